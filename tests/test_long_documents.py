"""A long document goes into a memory token by token, and an answer names what it rests on."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu import Document, models, read
from longctx_edu.applications import SourcedAnswer, long_form_qa, process_long_document
from longctx_edu.errors import DoesNotFit, LongctxError
from longctx_edu.inference import Context
from longctx_edu.memory import MemoryBank, Storage
from longctx_edu.text import lighthouse_log, lighthouse_questions, tokenize

TEXT = "The boat is green. It lies in the harbour of Bergen. " * 8
QUESTION = "What colour is the boat?"


@pytest.fixture(scope="module")
def model():
    return models.tiny(seed=2)


@pytest.fixture(scope="module")
def bank(model):
    return process_long_document(TEXT, model=model, window=96, stride=64)


# --- into the memory


@settings(max_examples=25)
@given(length=st.integers(1, 120), window=st.integers(1, 64), part=st.floats(0, 1))
def test_every_token_is_held_once_whatever_window_and_stride(model, length, window, part):
    text, stride = TEXT[:length], max(1, round(part * window))
    bank = process_long_document(text, model=model, window=window, stride=stride)
    tokens = tokenize(model.tokenizer, text)
    assert bank.ids == tokens.ids
    assert bank.held[0].spans == tokens.spans
    later = -(-max(0, length - window) // stride)  # windows after the first
    assert bank.forwarded == length + later * (window - stride)


def test_by_default_the_windows_are_the_models_if_these_are_shorter(model):
    bank = process_long_document(TEXT, model=replace(model, window=64))
    assert {(held.window, held.stride) for held in bank.held} == {(64, 64)}


@pytest.mark.parametrize("window", [len(TEXT), len(TEXT) + 100])
def test_a_document_that_fits_one_window_is_read_in_a_single_pass(model, window):
    exact = Storage(precision="float32")
    bank = process_long_document(TEXT, model=model, window=window, stride=7, storage=exact)
    context = Context(model)
    list(context.prefill(bank.ids))
    assert bank.forwarded == len(TEXT)
    there = torch.arange(len(bank))
    for layer, cached in enumerate(context.cache.layers):
        key, value = bank.at(layer, range(len(bank)), there)
        assert torch.allclose(key, cached.keys[0], atol=1e-5)
        assert torch.equal(value, cached.values[0])


def test_a_short_window_is_no_single_pass(model, bank):
    whole = process_long_document(TEXT, model=model, window=len(TEXT), stride=1)
    last = len(bank.layers) - 1
    away = (bank.keys_of(last) - whole.keys_of(last)).abs().amax((0, 2))  # by token
    assert away[:96].max() < 1e-5
    assert away[96:].max() > 1e-2


def test_several_documents_are_read_each_by_itself(model):
    both = [Document("a", TEXT[:90]), Document("b", TEXT[:90])]
    bank = process_long_document(both, model=model, window=96, stride=64)
    last = bank.keys_of(len(bank.layers) - 1)
    assert torch.equal(last[:, :90], last[:, 90:])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (dict(window=64, stride=65), "1 <= stride <= window"),
        (dict(window=4097), "model's window"),
        (dict(window=64, stride=64, budget_bytes=10), "takes .* bytes"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(model, options, says, monkeypatch):
    monkeypatch.setattr(MemoryBank, "_read", None)
    with pytest.raises(LongctxError, match=says):
        process_long_document(TEXT, model=model, **options)


# --- asked


def test_a_question_to_documents_is_the_reading_of_them_asked(model):
    asked = dict(answer_prefix="The boat", max_new_tokens=5)
    options = dict(lookup="blocks", block_tokens=32, blocks=3)
    mine = long_form_qa(TEXT, QUESTION, model=model, **asked, **options)
    its = read(TEXT, method="memory", model=model, **options).ask(QUESTION, **asked)
    assert (mine.text, mine.citations, mine.ledger) == (its.text, its.citations, its.ledger)
    assert mine.trace["ranges"] == its.trace["ranges"]


def test_a_memory_is_asked_as_the_reading_that_it_belongs_to(model, tmp_path):
    path = tmp_path / "memory.safetensors"
    options = dict(model=model, window=96, stride=64)
    reading = read(TEXT, method="memory", memory_file=path, **options)
    loaded = MemoryBank.load(path, model)
    answers = [long_form_qa(source, QUESTION, max_new_tokens=4) for source in (reading, loaded)]
    assert answers[0].text == answers[1].text
    assert answers[0].citations == answers[1].citations
    assert answers[0].ledger == answers[1].ledger


def test_one_question_may_be_looked_up_in_another_way(bank):
    answer = long_form_qa(bank, QUESTION, max_new_tokens=2, lookup="blocks", blocks=1)
    assert answer.trace["options"]["lookup"] == "blocks"
    assert len(answer.trace["ranges"]) == 1
    with pytest.raises(LongctxError, match="cannot change 'window'"):
        long_form_qa(bank, QUESTION, window=50)


def test_what_is_removed_from_a_memory_is_not_cited_any_more(model):
    both = [Document("a", TEXT), Document("b", TEXT.replace("green", "white"))]
    bank = process_long_document(both, model=model, window=96, stride=64)
    gone = long_form_qa(bank, QUESTION, max_new_tokens=3).citations[0].document_id
    bank.remove(gone)
    after = {one.document_id for one in long_form_qa(bank, QUESTION, max_new_tokens=3).citations}
    assert after == {"a", "b"} - {gone}


def test_an_empty_memory_or_another_model_or_method_is_refused(model, bank):
    with pytest.raises(LongctxError, match="holds no document"):
        long_form_qa(MemoryBank(model), QUESTION)
    for wrong in (dict(method="plain"), dict(model=models.tiny(seed=3))):
        with pytest.raises(LongctxError, match="leave out method and model"):
            long_form_qa(bank, QUESTION, **wrong)
    with pytest.raises(LongctxError, match="question is empty"):
        long_form_qa(bank, " ")


# --- what the answer says of itself


def test_the_answer_says_how_many_tokens_stood_before_the_question(bank):
    answer = long_form_qa(bank, QUESTION, max_new_tokens=2, blocks=1, passages=2)
    seen = sum(stop - start for start, stop in answer.trace["ranges"])
    assert 0 < seen < len(bank)
    assert f"Of {len(bank)} tokens {seen} stood before the question" in answer.notice


def test_a_memory_that_stood_there_whole_leaves_nothing_out(bank):
    everything = dict(lookup="blocks", blocks=1000)
    assert "tokens" in long_form_qa(bank, QUESTION, max_new_tokens=1, **everything).notice
    assert "Of " not in long_form_qa(bank, QUESTION, max_new_tokens=1, **everything).notice
    one_by_one = long_form_qa(bank, QUESTION, max_new_tokens=1, lookup="topk", k=3)
    assert f"looked up 3 of {len(bank)} tokens" in one_by_one.notice


def test_what_truncation_cuts_out_stands_in_the_answer(model):
    reading = read(TEXT, method="truncated", model=model, max_prompt_tokens=250)
    answer = long_form_qa(reading, QUESTION, max_new_tokens=2)
    dropped = answer.trace["dropped"]
    assert f"{dropped['tokens']} tokens were cut out" in answer.notice
    assert f"characters {dropped['start']} to {dropped['end']}" in answer.notice
    whole = long_form_qa(TEXT, QUESTION, method="truncated", model=model, max_new_tokens=2)
    assert "cut out" not in whole.notice


def test_a_text_beyond_the_window_is_refused_by_plain_and_not_cut(model):
    small = models.tiny(seed=2, window=256)
    with pytest.raises(DoesNotFit, match="memory"):
        long_form_qa(TEXT, QUESTION, method="plain", model=small)


def test_an_answer_that_stopped_at_its_limit_says_so(bank, monkeypatch):
    cut = long_form_qa(bank, QUESTION, max_new_tokens=3)
    assert "stopped at its limit of 3 tokens" in cut.notice
    first = cut.trace["answer_ids"][0]
    ending = models.tiny(seed=2)
    object.__setattr__(ending, "end_ids", frozenset({first}))
    again = process_long_document(TEXT, model=ending, window=96, stride=64)
    whole = long_form_qa(again, QUESTION, max_new_tokens=3)
    assert whole.trace["answer_ids"] == [first]
    assert "limit" not in whole.notice


def test_an_answer_prints_with_numbered_sources_and_its_notice(bank):
    answer = long_form_qa(bank, QUESTION, answer_prefix="It is", max_new_tokens=3)
    lines = str(answer).splitlines()
    assert isinstance(answer, SourcedAnswer)
    assert answer.citations
    assert str(answer).startswith(f"It is {answer.text}".strip())
    for number, cited in enumerate(answer.citations, start=1):
        assert TEXT[cited.start : cited.end] == cited.text
        place = f"[{number}] document-1, characters {cited.start} to {cited.end}"
        assert any(line.startswith(place) for line in lines)
    assert lines[-1] == answer.notice
    assert "Sources: none are known." in str(SourcedAnswer("Green."))


@pytest.mark.model
def test_a_fact_beyond_the_cut_is_found_and_cited():
    model, asked = models.load(), lighthouse_questions()[4]  # the novel in the box
    text = lighthouse_log().text[: asked.end + 120]
    bank = process_long_document(
        Document("log", text), model=model, window=512, stride=384,
        storage=Storage(holds="choosing_keys"),
    )  # fmt: skip
    asking = dict(answer_prefix=asked.answer_prefix, max_new_tokens=8)
    found = long_form_qa(bank, asked.question, **asking)
    assert asked.gold in found.text
    assert any(one.start < asked.end and one.end > asked.start for one in found.citations)
    first = tokenize(model.tokenizer, text).spans[511][1]  # where a cut at 512 tokens falls
    assert first < asked.start
    cut = long_form_qa(text[:first], asked.question, model=model, **asking)
    assert asked.gold not in cut.text
