"""Perplexity: each token scored once, with as much before it as the window gives."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longctx_edu import evaluation, models
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.perplexity import calculate_perplexity, nats, windows
from longctx_edu.inference import Context
from longctx_edu.text import Document, lighthouse_log, tokenize

TEXT = lighthouse_log().text[:700]


@pytest.fixture(scope="module")
def model():
    return models.tiny("llama", seed=3)


def direct(model, ids):
    """Minus the log-probability of each token but the first, by one pass over all of them."""
    with torch.no_grad():
        logits = model.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return [-float(logits[place, token]) for place, token in enumerate(ids[1:])]


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gemma3"])
def test_a_text_within_the_window_is_scored_as_by_one_pass(family):
    model = models.tiny(family, seed=2)
    found = calculate_perplexity(TEXT, model)
    ids = tokenize(model.tokenizer, TEXT).ids
    expected = direct(model, ids)
    assert found.nats == pytest.approx(expected, abs=2e-3)
    assert found.tokens == len(ids) - 1
    assert found.value == pytest.approx(math.exp(sum(expected) / len(expected)), rel=1e-4)
    assert found.nats_per_character == pytest.approx(sum(expected) / len(TEXT), rel=1e-4)


def test_it_is_what_a_context_says_token_by_token(model):
    ids = tokenize(model.tokenizer, TEXT[:60]).ids
    context, told = Context(model), []
    for token in ids:
        if context.next_logits is not None:
            told.append(-context.log_probability(token))
        list(context.prefill([token]))
    assert calculate_perplexity(TEXT[:60], model).nats == pytest.approx(told, abs=2e-3)


@pytest.mark.parametrize(("window", "stride"), [(100, 30), (128, 128), (64, 1), (699, 350)])
def test_in_windows_each_token_has_what_its_window_gives_it(model, window, stride):
    text = TEXT[: 700 if stride > 1 else 90]
    ids = tokenize(model.tokenizer, text).ids
    expected = []
    for start, end, begin in windows(len(ids), window, stride):
        expected += direct(model, ids[start:end])[begin - start - 1 :]
    found = calculate_perplexity(text, model, window=window, stride=stride)
    assert found.nats == pytest.approx(expected, abs=2e-3)
    assert found.tokens == len(ids) - 1


@given(st.integers(2, 300), st.integers(2, 80), st.data())
def test_windows_score_each_token_but_the_first_once(tokens, window, data):
    stride = data.draw(st.integers(1, window))
    scored, last = [], 0
    for start, end, begin in windows(tokens, window, stride):
        assert start < begin < end <= start + window
        assert start >= last
        # As much before a token as the window and the stride promise.
        assert start == 0 or begin - start >= max(window - stride, 1)
        scored += range(begin, end)
        last = start
    assert scored == list(range(1, tokens))


def test_the_context_length_is_said(model):
    found = calculate_perplexity(TEXT, model, window=200, stride=50)
    assert found.least_context == 150
    assert "at least 150 before it (but for the first 200)" in str(found)
    assert "nats=" not in repr(found)
    assert calculate_perplexity(TEXT, model, window=200, stride=200).least_context == 1


def test_more_before_a_token_can_only_be_had_by_more_passes(model):
    counted = [len(list(windows(1000, 100, stride))) for stride in (100, 50, 10)]
    assert counted == sorted(counted)
    assert counted[2] > 5 * counted[0]


def test_a_document_is_as_good_as_its_text(model):
    assert calculate_perplexity(Document("d", TEXT), model) == calculate_perplexity(TEXT, model)
    assert evaluation.calculate_perplexity is calculate_perplexity


def test_chunks_change_nothing(model):
    ids = tokenize(model.tokenizer, TEXT).ids
    whole = nats(model, ids, begin=1, chunk_tokens=1000)
    assert nats(model, ids, begin=1, chunk_tokens=37) == pytest.approx(whole, abs=2e-3)
    assert nats(model, ids, begin=400, chunk_tokens=64) == pytest.approx(whole[399:], abs=2e-3)


@pytest.mark.parametrize(
    ("text", "sizes", "message"),
    [
        ("x", {}, "1 tokens has no next token"),
        ("", {}, "0 tokens"),
        (TEXT, dict(window=1), "window=1"),
        (TEXT, dict(window=10**9), "window=1000000000"),
        (TEXT, dict(window=10, stride=11), "stride=11"),
        (TEXT, dict(stride=0), "stride=0"),
    ],
)
def test_what_cannot_be_scored_is_refused(text, sizes, message, model):
    with pytest.raises(LongctxError, match=message):
        calculate_perplexity(text, model, **sizes)


@pytest.mark.model
def test_prose_surprises_the_embedded_model_less_than_its_words_in_no_order():
    model = models.load()
    words = TEXT.split()
    prose, shuffled = (
        calculate_perplexity(" ".join(some), model) for some in (words, sorted(words))
    )
    assert shuffled.value > 2 * prose.value
    narrow = calculate_perplexity(TEXT, model, window=32, stride=32)
    assert narrow.value > calculate_perplexity(TEXT, model, window=32, stride=8).value > prose.value
