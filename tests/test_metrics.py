"""Metrics: what counts as right, and the probability of an answer that the model did not write."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longctx_edu import models
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.metrics import (
    Likelihood,
    answer_likelihoods,
    answered,
    exact_match,
    holds,
    normalised,
    rank,
    recall,
)
from longctx_edu.inference import Context, chat_prompt


@pytest.fixture(scope="module")
def model():
    return models.tiny("llama", seed=4)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("312.", "312"),
        ("It is 312, they say", "312"),
        ("12,345 crowns", "12345"),
        ("12345 crowns", "12,345"),
        ("the GREY\npetrel", "Grey Petrel"),
        ("The Keeper’s Goat", "keeper's goat"),
        ("312 and 7", "7"),
        ("(312)", "312"),
        ("“Bishop”", "Bishop"),
        ("at 3.50 crowns", "3.50"),
        ("code: x-7.", "x-7."),
        ("ﬁsh", "fish"),
        ("Straße", "STRASSE"),
    ],
)
def test_an_answer_holds_what_stands_in_it_as_whole_words(answer, gold):
    assert holds(answer, gold)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("312", "12"),
        ("312", "31"),
        ("12.5", "12"),
        ("0.12", "12"),
        ("12,345", "345"),
        ("12,345", "12"),
        ("A7", "7"),
        ("catfish", "cat"),
        ("goats", "goat"),
        ("", "goat"),
        ("3 12", "312"),
    ],
)
def test_part_of_a_number_or_word_does_not_count(answer, gold):
    assert not holds(answer, gold)


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_number_holds_itself_and_no_other(one, other):
    for text in (f"It is {one}.", f"{one:,}", f"({one}) and so on"):
        assert holds(text, str(one))
        assert holds(text, str(other)) == (one == other)


@given(st.text())
def test_normalising_twice_changes_nothing_more(text):
    assert normalised(normalised(text)) == normalised(text)


def test_recall_counts_each_gold_string_once():
    assert recall("381, 472 and 381", ["381", "472", "900"]) == pytest.approx(2 / 3)
    assert recall("nothing", ["381"]) == 0
    assert recall("381", ["381"]) == 1


@pytest.mark.parametrize("gold", ["381", [], [""], [" "]])
def test_gold_that_every_answer_would_hold_is_refused(gold):
    with pytest.raises(LongctxError, match="gold"):
        recall("381", gold)


def test_an_exact_match_has_nothing_else():
    assert exact_match(" Grey  Petrel.", "grey petrel")
    assert not exact_match("the Grey Petrel", "Grey Petrel")
    assert not exact_match("312", "12")


def whole(model, prompt, start):
    """The log-probability of ``prompt[start:]`` by one pass over the whole prompt."""
    with torch.no_grad():
        logits = model.model(torch.tensor([prompt])).logits[0].float().log_softmax(-1)
    return sum(float(logits[n - 1, prompt[n]]) for n in range(start, len(prompt)))


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gpt_neox"])
def test_a_likelihood_is_that_of_one_pass_over_the_whole_prompt(family):
    model = models.tiny(family, seed=2)
    prompts, start = answered(model, "The lamp.\n\nWhat?", "It is", ["a lamp", "312", "x"])
    context = Context(model)
    list(context.prefill(prompts[0][:20]))
    for likelihood, prompt in zip(
        answer_likelihoods(context, prompts, start), prompts, strict=True
    ):
        assert likelihood.log_probability == pytest.approx(whole(model, prompt, start), abs=1e-3)
        assert likelihood.tokens == len(prompt) - start
        assert likelihood.per_token == likelihood.log_probability / likelihood.tokens


def test_probabilities_of_all_next_tokens_sum_to_one(model):
    ids = chat_prompt(model, "Hello").ids
    everything = [[*ids, token] for token in range(len(model.tokenizer))]
    found = answer_likelihoods(Context(model), everything, len(ids))
    assert sum(math.exp(one.log_probability) for one in found) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("read", ["nothing", "a beginning", "everything before", "something else"])
def test_scoring_leaves_the_context_bitwise_as_it_was(model, read):
    prompts, start = answered(model, "A text.\n\nWhat?", "It is", ["grey", "green"])
    fresh = answer_likelihoods(Context(model), prompts, start)
    context = Context(model)
    ids = {
        "nothing": [],
        "a beginning": prompts[0][:15],
        "everything before": prompts[0][:start],
        "something else": [*prompts[0][:15], 5, 6, 7],
    }[read]
    list(context.prefill(ids))
    logits, books = context.next_logits, context.ledger
    before = [layer.keys.clone() for layer in context.cache.layers] if ids else []
    found = answer_likelihoods(context, prompts, start)
    for one, other in zip(found, fresh, strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)
    assert (context.ids, context.ledger) == (ids, books)
    assert context.next_logits is logits
    after = [layer.keys for layer in context.cache.layers] if ids else []
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_prompts_that_differ_too_early_or_end_too_soon_are_refused(model):
    for prompts, start in (([[5, 6, 7], [5, 8, 7]], 2), ([[5, 6]], 2), ([[5, 6]], 0)):
        with pytest.raises(LongctxError, match="share their first"):
            answer_likelihoods(Context(model), prompts, start)


def test_an_answer_follows_its_prefix_after_one_space(model):
    decode = model.tokenizer.decode
    for prefix, expected in (("It is", " grey"), ("It is ", "grey"), ("", "grey")):
        prompts, start = answered(model, "Text", prefix, ["grey"])
        assert decode(prompts[0][start:]) == expected
        assert decode(prompts[0]).endswith(prefix + expected)


@pytest.mark.model
def test_a_token_that_joins_prefix_and_answer_is_scored_with_the_answer():
    model = models.load()
    # "{" and "{}" are different tokens: what the prefix ends in changes with what follows.
    prompts, start = answered(model, "Text", "void f() { ", ["}", "x"])
    bare = chat_prompt(model, "Text", answer_prefix="void f() { ").ids
    assert start < len(bare)
    assert all(prompt[:start] == bare[:start] for prompt in prompts)
    spaced, at = answered(model, "Text", "The code is", ["4821", "77"])
    assert at == len(chat_prompt(model, "Text", answer_prefix="The code is").ids)
    assert model.tokenizer.decode(spaced[0][at:]) == " 4821"


@pytest.mark.model
def test_the_embedded_model_finds_what_stands_in_the_prompt_most_probable():
    model = models.load()
    text = "The boat is named Grey Petrel. The keeper is named Anna Lund."
    names = ["White Heron", "Grey Petrel", "Black Swan", "Anna Lund"]
    prompts, start = answered(model, f"{text}\n\nWhat is the boat's name?", "It is named", names)
    found = answer_likelihoods(Context(model), prompts, start)
    assert rank(found, names.index("Grey Petrel")) == 1
    assert rank(found, names.index("Black Swan")) > 2


def test_the_rank_counts_better_and_equal_others():
    found = [Likelihood(value, 2) for value in (-3.0, -1.0, -3.0, -7.0)]
    assert [rank(found, right) for right in range(4)] == [3, 1, 3, 4]
