"""Tokens that may not look at a place give what a model without that place would give."""

import pytest
import torch

from longctx_edu import models
from longctx_edu.attention import logits_without
from longctx_edu.errors import ModelError
from longctx_edu.inference import Context
from longctx_edu.text import token_range, tokenize

FULL = ("llama", "gpt2", "qwen3", "gpt_neox")
FAMILIES = pytest.mark.parametrize("family", FULL)
TEXT = torch.randint(3, 200, (40,), generator=torch.Generator().manual_seed(0)).tolist()
NEW = [70, 71, 72]


def read(language_model, ids):
    context = Context(language_model, reserve=64)
    for _ in context.prefill(ids):
        pass
    return context


def one_by_one(context, ids):
    """Return the scores after each token, read in the ordinary way."""
    with context.branch() as branch:
        rows = []
        for token in ids:
            list(branch.prefill([token]))
            rows.append(branch.next_logits)
    return torch.stack(rows)


def assert_same(mine, other):
    torch.testing.assert_close(mine, other, atol=2e-4, rtol=1e-4)


@FAMILIES
def test_with_nothing_hidden_it_is_an_ordinary_reading(family):
    context = read(models.tiny(family), TEXT)
    assert_same(logits_without(context, NEW), one_by_one(context, NEW))


@FAMILIES
def test_the_context_is_left_as_it_was(family):
    context = read(models.tiny(family), TEXT)
    logits, ledger = context.next_logits.clone(), context.ledger
    keys = [layer.keys.clone() for layer in context.cache.layers]
    logits_without(context, NEW, [range(5, 20)])
    assert (context.ids, context.ledger) == (TEXT, ledger)
    assert torch.equal(context.next_logits, logits)
    kept = zip(context.cache.layers, keys, strict=True)
    assert all(torch.equal(layer.keys, before) for layer, before in kept)


@FAMILIES
def test_what_stood_at_hidden_places_that_nobody_else_read_does_not_matter(family):
    language_model = models.tiny(family)
    one, other = read(language_model, TEXT), read(language_model, TEXT[:33] + [9] * 7)
    hidden = [range(33, 40)]
    assert_same(logits_without(one, NEW, hidden), logits_without(other, NEW, hidden))
    assert not torch.allclose(logits_without(one, NEW), logits_without(other, NEW), atol=0.1)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt_neox"])
def test_blind_to_all_before_is_to_begin_anew(family):
    """With rotary positions only distances count, so it does not matter where one begins."""
    language_model = models.tiny(family)
    found = logits_without(read(language_model, TEXT), NEW, [range(10), range(10, 40)])
    assert_same(found, logits_without(Context(language_model), NEW))


@FAMILIES
def test_hiding_is_a_mask_in_every_layer(family):
    """The same from scratch: the whole text in one run, with one mask for all layers."""
    language_model = models.tiny(family)
    total = len(TEXT) + len(NEW)
    seen = torch.ones(total, total, dtype=torch.bool).tril()
    seen[len(TEXT) :, 4:9] = seen[len(TEXT) :, 30:31] = False
    mask = torch.zeros(total, total).masked_fill(~seen, -torch.inf)
    with torch.no_grad():
        output = language_model.model(torch.tensor([TEXT + NEW]), attention_mask=mask[None, None])
    found = logits_without(read(language_model, TEXT), NEW, [range(4, 9), range(30, 31)])
    assert_same(found, output.logits[0, len(TEXT) :])


def test_places_that_were_not_read_and_windows_are_refused():
    context = read(models.tiny(), TEXT)
    with pytest.raises(ValueError, match="lie within the 40 tokens read, got range\\(38, 41\\)"):
        logits_without(context, NEW, [range(38, 41)])
    with pytest.raises(ValueError, match="ids is empty"):
        logits_without(context, [])
    with pytest.raises(ModelError, match="look back on a window only"):
        logits_without(read(models.tiny("gemma3"), TEXT), NEW)


@pytest.mark.model
def test_an_answer_is_lost_when_its_only_source_is_hidden():
    language_model = models.load()
    text = (
        "The keeper's name is Anna Lund, and the boat is painted green. Ask anyone in the harbour: "
    )
    tokens = tokenize(language_model.tokenizer, text + "the keeper's name is Anna")
    context = read(language_model, tokens.ids[:-1])

    def probability(*words):
        places = [token_range(tokens, text.index(w), text.index(w) + len(w)) for w in words]
        hidden = [range(*place) for place in places]
        scores = logits_without(context, tokens.ids[-1:], hidden)
        (lund,) = tokenize(language_model.tokenizer, " Lund").ids
        return float(scores[0].softmax(-1)[lund])

    assert probability() > 0.5
    assert probability("Anna Lund") < 0.05
    assert probability("boat is painted green") > 0.5
