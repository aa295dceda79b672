"""Writing in the Margins step by step is the reading, and leaves the cache as it was."""

import pytest
import torch

from longctx_edu import margins, models, read
from longctx_edu.errors import LongctxError
from longctx_edu.inference import Context
from longctx_edu.margins import (
    YesNo,
    dynamic_context_update,
    generate_margin,
    wim_inference,
    writing_in_margins,
)

TEXT = "The boat is green. It lies in the harbour of Bergen. " * 6
QUESTION = "What colour is the boat?"
OPTIONS = dict(segment_tokens=80, margin_tokens=6)
FAMILIES = ["llama", "gpt2", "qwen3", "gpt_neox"]


@pytest.fixture(scope="module")
def model():
    return models.tiny(seed=2)


def prefilled(model, ids):
    context = Context(model)
    for _ in context.prefill(ids):
        pass
    return context


def cache_of(context):
    return [
        (layer.keys.clone(), layer.values.clone())
        for layer in context.cache.layers
        if layer.is_initialized
    ]


def assert_bitwise_equal(one, other):
    for (keys, values), (others, other_values) in zip(one, other, strict=True):
        assert torch.equal(keys, others)
        assert torch.equal(values, other_values)


def cut(reading):
    """The reading's tokens before the first segment, and those of each segment."""
    ends = [len(boundary) for boundary in reading._engine.boundaries]
    first = reading._runs[0].tokens[0].start
    starts = [first, *ends]
    ids = reading.context.ids
    return ids[:first], [ids[a:b] for a, b in zip(starts, ends, strict=False)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_margin_leaves_the_context_bitwise_as_it_was(family):
    context = prefilled(models.tiny(family, seed=1), [5 * n % 200 + 3 for n in range(70)])
    cache, logits, ids = cache_of(context), context.next_logits.clone(), list(context.ids)
    margin = generate_margin(context, QUESTION, max_tokens=5)
    assert margin.ledger.reused == len(context) == 70
    assert 1 <= margin.ledger.decoded <= 5
    assert context.ids == ids
    assert context.balance == context.cache.get_seq_length() == 70
    assert torch.equal(context.next_logits, logits)
    assert_bitwise_equal(cache_of(context), cache)


def test_the_same_context_gives_the_same_margin(model):
    context = prefilled(model, list(range(40, 90)))
    first, second = (generate_margin(context, QUESTION, max_tokens=6) for _ in range(2))
    assert first == second


def test_the_prompt_of_a_margin_can_be_chosen(model):
    context = prefilled(model, list(range(40, 90)))
    assert generate_margin(context, QUESTION, max_tokens=2).yes_lead is None
    asked = generate_margin(context, QUESTION, max_tokens=2, prompt=YesNo())
    assert isinstance(asked.yes_lead, float)


@pytest.mark.parametrize("family", [*FAMILIES, "gemma3"])
def test_after_each_margin_the_cache_is_as_if_none_had_been_written(family):
    model = models.tiny(family, seed=1)
    segments = [[(7 * n + row) % 200 + 3 for n in range(12 + row)] for row in range(4)]
    updated, plain = prefilled(model, [3, 4, 5]), prefilled(model, [3, 4, 5])
    steps = dynamic_context_update(updated, segments, QUESTION, max_tokens=4)
    for number, margin in enumerate(steps):
        for _ in plain.prefill(segments[number]):
            pass
        assert margin.segment == number
        assert updated.ids == plain.ids
        assert torch.equal(updated.next_logits, plain.next_logits)
        assert_bitwise_equal(cache_of(updated), cache_of(plain))
    assert updated.ledger == plain.ledger


def test_the_loop_can_be_left_after_any_segment(model):
    context = Context(model)
    steps = dynamic_context_update(context, [[5, 6, 7], [8, 9]], QUESTION, max_tokens=3)
    next(steps)
    steps.close()
    assert context.ids == [5, 6, 7]


def test_the_loop_writes_the_margins_of_the_reading(model):
    reading = read(TEXT, method="margins", model=model, **OPTIONS)
    reading.ask(QUESTION, max_new_tokens=2)
    head, segments = cut(reading)
    context = prefilled(model, head)
    steps = list(dynamic_context_update(context, segments, QUESTION, max_tokens=6))
    copied = [margins.CopySentence().note(margin.text) for margin in steps]
    assert copied == [note.text for note in reading.notes]
    assert [margin.confidence for margin in steps] == pytest.approx(
        [note.confidence for note in reading.notes], rel=1e-3
    )
    assert context.ids == reading.context.ids[: len(context)]


@pytest.mark.parametrize("writing", ["together", "one_by_one"])
def test_the_notes_are_those_of_the_reading_and_no_answer_is_written(writing, model, monkeypatch):
    options = dict(**OPTIONS, verdict="all", writing=writing)
    reading = read(TEXT, method="margins", model=model, **options)
    reading.ask(QUESTION, max_new_tokens=2)

    def refused(*arguments, **options):
        raise AssertionError("no answer was asked for")

    monkeypatch.setattr(margins.LocalEngine, "answer", refused)
    notes = writing_in_margins(TEXT, QUESTION, model=model, **options)
    assert len(notes) == len(reading.segments) > 2
    assert [note.segment for note in notes] == list(range(len(notes)))
    assert [(note.text, note.kept) for note in notes] == [
        (note.text, note.kept) for note in reading.notes
    ]


def test_the_whole_is_reading_and_asking(model):
    asked = dict(answer_prefix="The boat", max_new_tokens=5)
    whole = wim_inference(TEXT, QUESTION, model=model, **asked, **OPTIONS)
    reading = read(TEXT, method="margins", model=model, **OPTIONS)
    answer = reading.ask(QUESTION, **asked)
    assert (whole.text, whole.ledger) == (answer.text, answer.ledger)
    assert whole.trace["margins"] == answer.trace["margins"]


@pytest.mark.parametrize("step", [writing_in_margins, wim_inference])
def test_there_are_no_margins_without_a_question(step, model):
    with pytest.raises(LongctxError, match="empty"):
        step(TEXT, " ", model=model)
