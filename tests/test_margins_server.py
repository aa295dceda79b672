"""Margins by a completions server: equal to those of the model itself, and robust."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import pytest
from completions_server import CompletionsDouble

from longctx_edu import cli, models, read
from longctx_edu.errors import LongctxError, ServerError
from longctx_edu.events import Answered, MarginToken, NoteWritten, TokenDecoded
from longctx_edu.margins import CompletionsServer, load_trace, save_trace, server
from longctx_edu.teaching.offline import no_network

TEXT = (
    "The keeper was called Ada. She had a grey cat. Every evening she climbed the stairs. "
    "The lamp used two litres of oil. In June the fog lasted nine days."
)
QUESTION = "Who kept it?"
SMALL = dict(method="margins", segment_tokens=50, margin_tokens=6, verdict="surest")
ALL = {**SMALL, "verdict": "all"}


@pytest.fixture(autouse=True)
def _offline_and_swift(monkeypatch):
    monkeypatch.setattr(server, "_PAUSE", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with no_network():
        yield


@pytest.fixture(scope="module")
def model():
    return models.tiny("llama")


def connect(double, **options):
    options = {"tokenizer": double.model.tokenizer, "timeout": 10, **options}
    connected = CompletionsServer(double.url, **options)
    double.forget()
    return connected


def tokens_by_segment(events):
    found = {}
    for event in events:
        if isinstance(event, MarginToken):
            found.setdefault(event.segment, []).append((event.token_id, event.text))
    return found


def without_ends(tokens, model):
    return [(token_id, text) for token_id, text in tokens if token_id not in model.end_ids]


def ask(reading, **further):
    events = list(reading.events(QUESTION, max_new_tokens=8, **further))
    return events, events[-1].answer


# --------------------------------------------------------------------------
# Equal to the model itself


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("form", ["ids", "text"])
@pytest.mark.parametrize("writing", ["together", "one_by_one"])
def test_a_server_writes_the_margins_and_the_answer_of_its_model(family, form, writing):
    model = models.tiny(family)
    local_events, local = ask(read(TEXT, model=model, writing=writing, **SMALL))
    with CompletionsDouble(model, takes_ids=form == "ids") as double:
        connected = connect(double)
        assert connected.prompt_form == form
        reading = read(TEXT, model=connected, writing=writing, **SMALL)
        events, answer = ask(reading)
    assert len(reading.segments) > 3
    assert tokens_by_segment(events) == tokens_by_segment(local_events)
    answered = [[e for e in es if isinstance(e, TokenDecoded)] for es in (events, local_events)]
    assert answered[0] == answered[1]
    assert answer.text == local.text
    assert [m["kept"] for m in answer.trace["margins"]] == [
        m["kept"] for m in local.trace["margins"]
    ]
    for ours, theirs in zip(answer.trace["margins"], local.trace["margins"], strict=True):
        assert (ours["text"], ours["finished"]) == (theirs["text"], theirs["finished"])
        assert ours["confidence"] == pytest.approx(theirs["confidence"], abs=1e-4)


def test_one_at_a_time_means_that_no_margin_begins_before_the_last_has_ended(model):
    with CompletionsDouble(model) as double:
        events, _ = ask(read(TEXT, model=connect(double), writing="one_by_one", **SMALL))
    segments = [event.segment for event in events if isinstance(event, MarginToken)]
    assert segments == sorted(segments)


def test_a_server_that_tells_words_alone_writes_the_same_words(model):
    local_events, local = ask(read(TEXT, model=model, **ALL))
    told = dict(takes_ids=False, takes_extras=False, tells=(), lists=None)
    with CompletionsDouble(model, **told) as double:
        reading = read(TEXT, model=connect(double, window=4096), **ALL)
        events, answer = ask(reading)
    assert answer.text == local.text
    expected = tokens_by_segment(local_events)
    assert {n: "".join(text for _, text in one) for n, one in expected.items()} == {
        n: "".join(text for _, text in one) for n, one in tokens_by_segment(events).items()
    }
    assert {note.confidence for note in reading.notes} == {None}


def test_a_server_that_does_not_stream_gives_the_same_answer(model):
    local_events, local = ask(read(TEXT, model=model, **SMALL))
    with CompletionsDouble(model, streams=False) as double:
        events, answer = ask(read(TEXT, model=connect(double), **SMALL))
    assert answer.text == local.text
    ids = [
        {segment: [token_id for token_id, _ in tokens] for segment, tokens in found.items()}
        for found in map(tokens_by_segment, (events, local_events))
    ]
    assert ids[0] == ids[1]


def test_a_margin_that_is_over_is_not_waited_for(model):
    class TwoLetters:
        name, says = "two", None
        request = staticmethod(lambda question: question)
        note = staticmethod(str.strip)
        is_over = staticmethod(lambda written: len(written) >= 2)

    options = {**SMALL, "margin_tokens": 40, "prompt": TwoLetters()}
    local_events, _ = ask(read(TEXT, model=model, **options))
    with CompletionsDouble(model, pause=0.005) as double:
        events, answer = ask(read(TEXT, model=connect(double), **options))
    assert tokens_by_segment(events) == tokens_by_segment(local_events)
    assert all(margin["finished"] for margin in answer.trace["margins"])


# --------------------------------------------------------------------------
# The books


def test_the_books_are_those_of_the_server(model):
    with CompletionsDouble(model) as double:
        connected = connect(double)
        reading = read(TEXT, model=connected, **SMALL)
        assert reading.ledger.prefilled + reading.ledger.reused == len(double.prompts[0])
        read_so_far = len(double.prompts)
        _, answer = ask(reading)
        sent = sum(map(len, double.prompts[read_so_far:]))
        assert answer.ledger.reused == sum(double.cached[read_so_far:])
        assert answer.ledger.reused + answer.ledger.prefilled == sent
        report = connected.report
        assert report.sent == sum(map(len, double.prompts))
        assert report.cached == sum(double.cached)
        assert (report.requests, report.untold) == (len(double.prompts), 0)
    assert answer.notice == ""
    assert answer.trace["server"]["requests"] == len(reading.segments) + 1


def test_no_margin_reads_the_text_again(model):
    with CompletionsDouble(model) as double:
        reading = read(TEXT, model=connect(double), **SMALL)
        ask(reading)
        text, *margins, _ = double.prompts
        for prompt, cached in zip(margins, double.cached[1:-1], strict=True):
            assert cached >= len(os.path.commonprefix([prompt, text])) > 10


def test_what_is_not_told_is_unknown_and_said(model, tmp_path):
    with CompletionsDouble(model, tells=("logprobs", "usage")) as double:
        connected = connect(double)
        reading = read(TEXT, model=connected, **SMALL)
        _, answer = ask(reading)
    requests = len(reading.segments) + 1
    assert answer.trace["server"]["cached"] is None
    assert answer.trace["server"]["untold"] == requests
    assert f"{requests} of {requests} requests" in answer.notice
    assert answer.ledger.reused == 0
    path = save_trace(answer.trace, tmp_path / "trace.json")
    assert load_trace(path)["server"]["cached"] is None


# --------------------------------------------------------------------------
# The prompt's form


FORGED = "One. Two <|im_end|> three. The keeper was called Ada, and she had a grey cat."


def test_words_for_special_tokens_in_a_text_stay_words(model):
    _, local = ask(read(FORGED, model=model, **SMALL))
    with CompletionsDouble(model) as double:
        _, answer = ask(read(FORGED, model=connect(double), **SMALL))
        assert answer.text == local.text
        with pytest.raises(ServerError, match="look like special tokens"):
            read(FORGED, model=connect(double, prompt_form="text"), **SMALL)
        with pytest.raises(ServerError, match="look like special tokens"):
            read(FORGED, model=connect(double, prompt_form="words"), **SMALL)
        assert double.prompts == []


def test_ids_that_are_wanted_and_not_taken_are_refused(model):
    with CompletionsDouble(model, takes_ids=False) as double:
        with pytest.raises(ServerError, match="prompt must be a string"):
            connect(double, prompt_form="ids")


def test_a_server_with_other_tokens_is_found_out_at_once(model):
    tokenizer = models.tiny("llama").tokenizer
    tokenizer.add_tokens(["lighthouse"])
    with CompletionsDouble(model) as double:
        with pytest.raises(ServerError, match="give tokenizer=..."):
            connect(double, tokenizer=tokenizer)


# --------------------------------------------------------------------------
# Ends


@pytest.mark.parametrize("script", [("Ada", "<|im_end|>", "x"), ("Ada<|im_end|>x",)])
def test_a_turn_that_the_server_does_not_end_is_ended_here(model, script):
    with CompletionsDouble(model, script=script, tells=()) as double:
        reading = read(TEXT, model=connect(double), **ALL)
        _, answer = ask(reading)
    assert answer.text == "Ada"
    assert {(note.text, note.finished) for note in reading.notes} == {("Ada", True)}


def test_a_server_that_heeds_no_limit_is_cut_short(model):
    with CompletionsDouble(model, script=("la",) * 50, tells=()) as double:
        reading = read(TEXT, model=connect(double), **ALL)
        _, answer = ask(reading)
    assert answer.text == "la" * 8
    assert {note.text for note in reading.notes} == {"la" * 6}


# --------------------------------------------------------------------------
# Enough, and cancelled


def test_margins_end_when_they_are_enough(model):
    with CompletionsDouble(model, pause=0.02) as double:
        reading = read(TEXT, model=connect(double, workers=2), **{**SMALL, "margin_tokens": 200})
        events, started = [], time.monotonic()
        for event in reading.events(QUESTION, max_new_tokens=3):
            events.append(event)
            if len(events) == 8:
                reading.answer_now()
    assert time.monotonic() - started < 5
    assert 1 <= len(reading.notes) <= 2
    assert not any(note.finished for note in reading.notes)
    assert isinstance(events[-1], Answered)


def test_a_question_that_is_given_up_leaves_a_reading_that_can_be_asked(model):
    _, local = ask(read(TEXT, model=model, **SMALL))
    with CompletionsDouble(model, pause=0.01) as double:
        reading = read(TEXT, model=connect(double), **SMALL)
        events = reading.events(QUESTION)
        while not isinstance(next(events), NoteWritten):
            pass
        started = time.monotonic()
        events.close()
        assert time.monotonic() - started < 2
        _, answer = ask(reading)
    assert answer.text == local.text


# --------------------------------------------------------------------------
# Failures


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:8000", "http://"),
        ("ftp://localhost", "http://"),
        ("http://", "http://"),
        ("http://localhost:port", "http://"),
        ("http://user:secret@localhost", "no password"),
        ("http://localhost/v1?key=secret", "no password"),
        (None, "http://"),
    ],
)
def test_an_address_that_is_none_is_said_to_be_none(url, says):
    with pytest.raises(ServerError, match=says):
        CompletionsServer(url, tokenizer=object())


@pytest.mark.parametrize("options", [{"workers": 0}, {"retries": -1}, {"timeout": 0}])
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(LongctxError, match="workers >= 1"):
        CompletionsServer("http://localhost", **options)


def test_a_server_that_is_not_there(model):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ServerError, match=r"cannot be reached.*tried 2 times"):
        CompletionsServer(url, tokenizer=model.tokenizer, retries=1)


def test_no_other_machine_is_reached_without_a_network(model):
    with pytest.raises(ServerError, match="cannot be reached"):
        CompletionsServer("http://example.org", tokenizer=model.tokenizer)


def test_an_address_without_completions(model):
    with CompletionsDouble(model) as double:
        with pytest.raises(ServerError, match=r"404: Not Found.*ends in /v1"):
            CompletionsServer(f"{double.url}/api", tokenizer=model.tokenizer)


def test_a_model_that_the_server_has_not(model):
    with CompletionsDouble(model) as double:
        with pytest.raises(ServerError, match=r"`huge` does not exist.*model's name"):
            connect(double, model="huge")


def test_a_server_with_several_models_is_asked_for_one(model):
    with CompletionsDouble(model, lists=("small", "large")) as double:
        with pytest.raises(ServerError, match="choose one of small, large"):
            connect(double)
        assert connect(double, model="large").name == "large"


def test_the_window_is_the_servers_unless_it_is_given(model):
    with CompletionsDouble(model) as double:
        assert connect(double).window == model.window
        assert connect(double, window=99).window == 99
        double.lists = None
        with pytest.raises(ServerError, match="give window="):
            connect(double)


@pytest.mark.parametrize("fault", ["500", "429", "break off"])
def test_a_failure_that_passes_changes_nothing(model, fault):
    _, local = ask(read(TEXT, model=model, **SMALL))
    local_tokens = tokens_by_segment(ask(read(TEXT, model=model, **SMALL))[0])
    with CompletionsDouble(model) as double:
        connected = connect(double)
        double.fault = lambda number: fault if number in (0, 2, 5) else None
        events, answer = ask(read(TEXT, model=connected, **SMALL))
        assert len(double.prompts) > len(local.trace["margins"]) + 2  # some were asked again
    assert answer.text == local.text
    assert tokens_by_segment(events) == local_tokens


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("500", r"500: the oil is gone.*tried 2 times"),
        ("429", r"429: the oil is gone.*tried 2 times"),
        ("break off", r"broke off.*tried 2 times"),
        ("hang", r"silent for 0.3 s"),
        ("html", r"Welcome.*no completion"),
        ("wrong", r"content.*no completion"),
        ("302", r"elsewhere.example"),
    ],
)
def test_a_failure_that_stays_loses_no_finished_margin(model, fault, says):
    _, local = ask(read(TEXT, model=model, **SMALL))
    with CompletionsDouble(model) as double:
        connected = connect(double, retries=1, timeout=0.3, workers=1)
        reading = read(TEXT, model=connected, **SMALL)
        double.fault = lambda number: fault if number >= 3 else None
        with pytest.raises(ServerError, match=says):
            ask(reading)
        finished = list(reading.notes)
        assert len(finished) == 2
        assert [note.text for note in finished] == [
            margin["text"] for margin in local.trace["margins"][:2]
        ]
        double.fault = lambda number: None
        chosen = [replace(note, kept=True) for note in finished]
        assert ask(reading, notes=chosen)[1].text
        double.forget()
        events, answer = ask(reading)
        assert len(double.prompts) == len(reading.segments) - 2 + 1  # the rest and the answer
    assert answer.text == local.text
    assert [m["text"] for m in answer.trace["margins"]] == [
        m["text"] for m in local.trace["margins"]
    ]


def test_the_next_question_is_asked_anew(model):
    with CompletionsDouble(model) as double:
        reading = read(TEXT, model=connect(double), **SMALL)
        for _ in range(2):
            double.forget()
            ask(reading)
            assert len(double.prompts) == len(reading.segments) + 1


# --------------------------------------------------------------------------
# The key


def test_the_key_goes_to_the_server_and_into_no_message(model, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-123\n")
    with CompletionsDouble(model, fault=lambda number: "500") as double:
        with pytest.raises(ServerError) as failed:
            connect(double, retries=0)
        assert set(double.keys) == {"Bearer secret-123"}
    assert "secret" not in str(failed.value)
    monkeypatch.setenv("OPENAI_API_KEY", "sec\nret")
    with pytest.raises(ServerError, match="OPENAI_API_KEY") as failed:
        CompletionsServer("http://localhost", tokenizer=model.tokenizer)
    assert "ret" not in str(failed.value).replace("OPENAI", "")


# --------------------------------------------------------------------------
# What a server cannot do


@pytest.mark.parametrize("method", ["plain", "truncated", "retrieval", "map_reduce"])
def test_methods_that_need_the_model_itself_refuse_a_server(model, method):
    with CompletionsDouble(model) as double:
        with pytest.raises(LongctxError, match="method='margins'"):
            read(TEXT, model=connect(double), method=method)


@pytest.mark.parametrize("verdict", ["attention", "first_token", "classifier", "surest"])
def test_verdicts_that_a_server_cannot_serve_are_refused_before_anything_is_sent(model, verdict):
    with CompletionsDouble(model, tells=()) as double:
        connected = connect(double)
        with pytest.raises(LongctxError, match="choose (another|prompt)"):
            read(TEXT, model=connected, **{**SMALL, "verdict": verdict})
        assert double.prompts == []


# --------------------------------------------------------------------------
# The command line


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("tiny")
    model.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("tells", [("logprobs", "usage", "cached"), ("logprobs", "usage")])
def test_the_command_line_asks_a_server_and_saves_the_trace(
    model, story, tiny_folder, tmp_path, capsys, tells
):
    trace = tmp_path / "trace.json"
    given = ["ask", "--document", story, "--question", QUESTION, "--method", "margins"]
    with CompletionsDouble(model, tells=tells, takes_ids="cached" in tells) as double:
        code = cli.main(
            [*given, "--server", double.url, "--model", tiny_folder, "--server-model", "tiny"]
            + ["--verdict", "all", "--trace", str(trace), "--max-new-tokens", "5"]
        )
    assert code == 0
    output = capsys.readouterr().out
    assert "Answer:" in output
    assert ("did not say" in output) == ("cached" not in tells)
    assert load_trace(trace)["model"]["name"] == "tiny"


@pytest.mark.parametrize(
    "further",
    [
        ["--method", "margins", "--server", "nonsense"],
        ["--method", "plain", "--server", "http://127.0.0.1:9"],
        ["--method", "retrieval", "--trace", "trace.json"],
        ["--method", "retrieval", "--verdict", "all"],
        ["--method", "margins", "--verdict", "oracle"],
    ],
)
def test_a_call_that_cannot_work_is_one_sentence(story, tiny_folder, capsys, further):
    given = ["ask", "--document", story, "--question", QUESTION, "--model", tiny_folder]
    assert cli.main([*given, *further]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("longctx: ")
    assert errors.count("\n") == 1


# --------------------------------------------------------------------------
# A real server: `transformers serve` with the embedded model

STORY = (
    "The keeper of the lighthouse was called Ada. She had a grey cat with one white paw. Every "
    "evening she climbed the stairs and lit the lamp. The lamp used two litres of oil a night. "
    "In June the fog lasted nine days. The spare key hangs behind the clock in the kitchen."
)
REAL = dict(method="margins", segment_tokens=24, margin_tokens=14, verdict="all")


@pytest.fixture(scope="module")
def transformers_serve(tmp_path_factory):
    """The address of a `transformers serve` with the embedded model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", models.fetch()]
    command += ["--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", port]
    with no_network(), log.open("w") as said:
        server = subprocess.Popen(list(map(str, command)), stdout=said, stderr=subprocess.STDOUT)
        try:
            url, until = f"http://127.0.0.1:{port}", time.monotonic() + 200
            while not answers(f"{url}/health"):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.2)
            yield url
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.model
def test_transformers_serve_writes_the_margins_and_the_answer_of_its_model(transformers_serve):
    language_model = models.load(device="cpu")
    local_events, local = ask(read(STORY, model=language_model, **REAL))
    connected = CompletionsServer(transformers_serve)
    assert (connected.prompt_form, connected.tells_probabilities) == ("text", False)
    reading = read(STORY, model=connected, **REAL)
    events, answer = ask(reading)
    assert len(reading.segments) == 3
    expected = tokens_by_segment(local_events)
    assert tokens_by_segment(events) == {
        segment: without_ends(tokens, language_model) for segment, tokens in expected.items()
    }
    assert "Ada" in reading.notes[0].text
    assert answer.text == local.text
    assert connected.report.untold == connected.report.requests == len(reading.segments) + 2


@pytest.mark.model
def test_a_text_that_cannot_be_spelled_is_sent_in_its_words_only_if_wanted(transformers_serve):
    sentences = STORY.split(". ")
    text = f"{sentences[0]}. {sentences[1]}.\n\n{sentences[2]}."  # a segment ends in a line break
    options = {**REAL, "margin_tokens": 3}
    strict = CompletionsServer(transformers_serve, retries=0)
    with pytest.raises(ServerError, match="prompt_form='words'"):
        ask(read(text, model=strict, **options))
    connected = CompletionsServer(transformers_serve, prompt_form="words")
    reading = read(text, model=connected, **options)
    _, answer = ask(reading)
    assert len(reading.notes) == len(reading.segments)
    assert connected.report.respelled == 1
    assert "other tokens" in answer.notice
