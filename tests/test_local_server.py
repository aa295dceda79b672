"""The small completions server: the model's own answers, prefixes kept, and nothing left behind."""

import http.client
import json
import threading
import urllib.error
import urllib.request

import pytest

from longctx_edu import models, read
from longctx_edu.errors import LongctxError
from longctx_edu.margins import CompletionsServer, LocalServer
from longctx_edu.teaching.offline import no_network

TEXT = "The keeper was called Ada. She had a grey cat. The lamp used two litres of oil. " * 3
SMALL = dict(method="margins", segment_tokens=60, margin_tokens=5, verdict="surest")


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with no_network():
        yield


@pytest.fixture(scope="module")
def model():
    return models.tiny("llama")


def completed(served, **body):
    body = {"max_tokens": 4, "temperature": 0, **body}
    address = f"{served.url}/v1/completions"
    with urllib.request.urlopen(address, json.dumps(body).encode(), timeout=20) as answer:
        return json.loads(answer.read())


def assert_alike(one, other):
    """The same was written, and as probable, as far as sums in another order let it be."""
    one, other = (answer["choices"][0]["logprobs"] for answer in (one, other))
    assert one["tokens"] == other["tokens"]
    assert one["token_logprobs"] == pytest.approx(other["token_logprobs"], abs=1e-4)


def status_of(served, path, body):
    host = served.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("POST", path, json.dumps(body))
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())["error"]["message"]


def test_margins_by_the_server_are_those_of_the_model_and_most_of_the_text_is_read_once(model):
    local = read(TEXT, model=model, **SMALL).ask("Who kept it?", max_new_tokens=6)
    with LocalServer(model) as served:
        server = CompletionsServer(served.url, tokenizer=model.tokenizer)
        answer = read(TEXT, model=server, **SMALL).ask("Who kept it?", max_new_tokens=6)
    noted, told = ([note["text"] for note in one.trace["margins"]] for one in (answer, local))
    assert (answer.text, noted) == (local.text, told)
    assert len(noted) > 1
    assert answer.ledger.reused > 2 * answer.ledger.prefilled


def test_a_prompt_goes_on_from_the_longest_beginning_that_was_read_before(model):
    with LocalServer(model) as served:
        ids = model.tokenizer(TEXT).input_ids
        first = completed(served, prompt=ids[:40])
        again = completed(served, prompt=ids[:60])
        same = completed(served, prompt=ids[:60])
        other = completed(served, prompt=ids[20:50])
        told = [
            one["usage"]["prompt_tokens_details"]["cached_tokens"]
            for one in (first, again, same, other)
        ]
        assert told == served.cached == [0, 40, 59, 0]
        assert served.prompts == [40, 60, 60, 30]
    assert_alike(again, same)


def test_of_the_prompts_only_the_latest_are_kept(model):
    ids = model.tokenizer(TEXT).input_ids
    with LocalServer(model, most_kept=1) as served:
        for prompt in (ids[:40], ids[30:60], ids[:40]):
            completed(served, prompt=prompt)
        assert served.cached == [0, 0, 0]
    with LocalServer(model, most_kept=2) as served:
        for prompt in (ids[:40], ids[30:60], ids[:40]):
            completed(served, prompt=prompt)
        assert served.cached == [0, 0, 39]


def test_text_and_its_token_ids_are_the_same_prompt(model):
    with LocalServer(model) as served:
        by_text = completed(served, prompt=TEXT)
        by_ids = completed(served, prompt=model.tokenizer(TEXT).input_ids)
    assert_alike(by_text, by_ids)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prompt": []}, "do not fit"),
        ({"prompt": [10**9]}, "token ids of the model"),
        ({"prompt": {"a": 1}}, "token ids of the model"),
        ({"temperature": 1}, "temperature 0"),
        ({"max_tokens": 10**6}, "do not fit"),
        ({"max_tokens": 0}, "do not fit"),
    ],
)
def test_what_cannot_be_completed_is_refused_in_a_sentence_and_the_server_goes_on(
    model, change, says
):
    with LocalServer(model) as served:
        body = {"prompt": "Ada", "max_tokens": 2, "temperature": 0, **change}
        status, message = status_of(served, "/v1/completions", body)
        assert status == 400
        assert says in message
        assert completed(served, prompt="Ada")["choices"]
        assert status_of(served, "/v1/chat/completions", body)[0] == 404


def test_after_the_block_no_thread_and_no_port_is_left(model):
    before = threading.active_count()
    with LocalServer(model) as served:
        completed(served, prompt="Ada")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{served.url}/v1/models", timeout=2)
    assert threading.active_count() <= before + 1  # that of a connection may be ending
    assert not any(thread.name == "local-server" for thread in threading.enumerate())


def test_a_server_that_keeps_nothing_is_refused(model):
    with pytest.raises(LongctxError, match="at least 1 prompt"):
        LocalServer(model, most_kept=0)
