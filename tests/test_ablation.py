"""A key hidden from one query: held against masks over whole texts, read from scratch."""

import pytest
import torch

from longctx_edu import models
from longctx_edu.attention import capturing, logits_without
from longctx_edu.attention.ablation import margin_without
from longctx_edu.attention.exchange import attention_exchanged
from longctx_edu.attention.record import visible
from longctx_edu.errors import CacheError
from longctx_edu.inference import Context
from longctx_edu.text import tokenize

FAMILIES = pytest.mark.parametrize("family", models.FAMILIES)
FULL = pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gpt_neox"])
TEXT = torch.randint(3, 200, (40,), generator=torch.Generator().manual_seed(0)).tolist()
QUERY, KEY = 30, 27


def read(language_model, ids):
    context = Context(language_model)
    for _ in context.prefill(ids):
        pass
    return context


def from_scratch(language_model, layer, head):
    """Return log-probabilities after the query from one run over the text, all weights at hand."""

    def attend(module, query, key, value, _, scaling=None, **options):
        heads, tokens, head_dim = query.shape[1:]
        key, value = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (key, value))
        scores = query @ key.mT * (head_dim**-0.5 if scaling is None else scaling)
        place = torch.arange(tokens)
        sees = visible(place, place, window=options.get("sliding_window"))
        sees = sees.expand(heads, -1, -1).clone()
        if layer in (None, module.layer_idx):
            sees[slice(None) if head is None else head, QUERY, KEY] = False
        weights = scores.masked_fill(~sees, -torch.inf).softmax(-1)
        return (weights @ value).transpose(1, 2), None

    with torch.no_grad(), attention_exchanged(language_model.model, "by_hand", attend):
        output = language_model.model(torch.tensor([TEXT]))
    return output.logits[0, QUERY].log_softmax(-1)


def assert_stands(standing, log_probabilities, token):
    assert standing.log_probability == pytest.approx(float(log_probabilities[token]), abs=1e-4)
    best = log_probabilities.topk(2).indices.tolist()
    rival = best[0] if best[0] != token else best[1]
    margin = float(log_probabilities[token] - log_probabilities[rival])
    assert standing.rival == rival
    assert standing.margin == pytest.approx(margin, abs=2e-4)


@FAMILIES
@pytest.mark.parametrize(("layer", "head"), [(None, None), (1, None), (1, 4), (0, 0)])
def test_it_is_a_mask_over_one_cell_of_the_whole_matrix(family, layer, head):
    language_model = models.tiny(family)
    found = margin_without(language_model, TEXT, QUERY, KEY, layer=layer, head=head)
    plain = read(language_model, TEXT[: QUERY + 1]).next_logits.log_softmax(-1)
    hidden = from_scratch(language_model, layer, head)
    assert found.token == int(plain.argmax())
    assert_stands(found.before, plain, found.token)
    assert_stands(found.after, hidden, found.token)
    assert found.token_after == int(hidden.argmax())
    assert found.before.margin >= 0
    assert found.after != found.before


@FULL
def test_hidden_everywhere_it_is_a_knockout(family):
    language_model = models.tiny(family)
    context = read(language_model, TEXT[:QUERY])
    logits = logits_without(context, TEXT[QUERY : QUERY + 1], [range(KEY, KEY + 1)])[0]
    found = margin_without(context, TEXT, QUERY, KEY)
    assert_stands(found.after, logits.log_softmax(-1), found.token)


def test_heads_that_share_keys_lose_them_one_by_one():
    """Six query heads on two heads of keys: each one's loss is its own."""
    language_model = models.tiny()
    context = read(language_model, TEXT)
    after = {
        margin_without(context, TEXT, QUERY, KEY, layer=1, head=head).after for head in range(6)
    }
    assert len(after) == 6


def test_what_a_window_hides_anyway_is_not_missed():
    language_model = models.tiny("gemma3")  # windows of 16 tokens in the layers 0 and 2
    found = margin_without(language_model, TEXT, QUERY, 3, layer=0)
    assert found.after.margin == pytest.approx(found.before.margin, abs=1e-5)
    seen = margin_without(language_model, TEXT, QUERY, 3, layer=1)
    assert abs(seen.after.margin - seen.before.margin) > 1e-3


@FULL
def test_it_does_not_matter_how_much_the_context_has_read(family):
    language_model = models.tiny(family)
    expected = margin_without(language_model, TEXT, QUERY, KEY, layer=1, head=2)
    for ids in (TEXT, TEXT[: QUERY + 1], TEXT[:QUERY], TEXT[:9], TEXT[:20] + [9] * 15):
        context = read(language_model, ids)
        keys = [layer.keys.clone() for layer in context.cache.layers]
        found = margin_without(context, TEXT, QUERY, KEY, layer=1, head=2)
        assert found.token == expected.token
        for mine, other in ((found.before, expected.before), (found.after, expected.after)):
            assert mine.margin == pytest.approx(other.margin, abs=1e-4)
        assert context.ids == ids
        kept = zip(context.cache.layers, keys, strict=True)
        assert all(torch.equal(layer.keys, before) for layer, before in kept)


def test_a_query_may_lose_itself():
    context = read(models.tiny(), TEXT)
    found = margin_without(context, TEXT, QUERY, QUERY, layer=1)
    assert found.after != found.before


def test_a_capture_under_way_does_not_see_it():
    language_model = models.tiny()
    with capturing(language_model) as record:
        context = read(language_model, TEXT)
        before = record.tile(1, 2, range(40), range(40)).clone()
        margin_without(context, TEXT, QUERY, KEY)
    assert record.tokens == len(TEXT)
    assert torch.equal(record.tile(1, 2, range(40), range(40)), before)


def test_places_that_there_are_not_are_refused():
    language_model = models.tiny()
    for places, sentence in (
        (dict(query=40, key=0), "query must be 0 to 39, got 40"),
        (dict(query=10, key=11), "sees the keys 0 to 10, so that key 11 cannot be hidden"),
        (dict(query=0, key=0), "The first token sees itself only"),
        (dict(query=10, key=1, layer=3), "layer must be 0 to 2, got 3"),
        (dict(query=10, key=1, layer=0, head=6), "head must be 0 to 5, got 6"),
        (dict(query=10, key=1, head=1), "Head 1 of which layer"),
    ):
        with pytest.raises(ValueError, match=sentence):
            margin_without(language_model, TEXT, **places)


def test_a_context_with_windows_that_has_read_on_is_refused():
    with pytest.raises(CacheError, match="Cannot roll back"):
        margin_without(read(models.tiny("gemma3"), TEXT), TEXT, QUERY, KEY)


@pytest.mark.model
def test_the_token_that_is_copied_is_the_one_that_is_missed():
    language_model = models.load()
    fact = "The keeper's name is Anna"
    text = f"{fact} Lund, and the boat is painted green. {fact}"
    tokens = tokenize(language_model.tokenizer, text)
    words = [text[start:end] for start, end in tokens.spans]
    context = read(language_model, tokens.ids)
    query = len(tokens.ids) - 1

    def without(word):
        key = next(place for place, found in enumerate(words) if found.strip() == word)
        return margin_without(context, tokens.ids, query, key)

    surname = next(word.strip() for word in words[words.index(" Anna") + 1 :])
    found, other = without(surname), without("boat")
    said = language_model.tokenizer.decode([found.token]).strip()
    assert said == surname
    assert found.after.margin < found.before.margin - 1
    assert abs(other.after.margin - other.before.margin) < 1
