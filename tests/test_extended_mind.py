"""A frozen model with a memory beside it: one object over the bank and its attention."""

import pytest
import torch

from longctx_edu import models
from longctx_edu.errors import LongctxError
from longctx_edu.inference import Context
from longctx_edu.memory import ExtendedMindTransformer, Recall, Storage, remembering
from longctx_edu.text import Document, tokenize

BOAT = Document("boat", "The boat is named Grey Petrel. It is painted green. " * 2)
KEEPER = Document("keeper", "The keeper is Anna Lund. She came by train. " * 2)
EXACT = Recall(k=10**6, positions="true")


@pytest.fixture(scope="module")
def model():
    return models.tiny("llama", seed=1)


def mind_of(model, *documents, recall=EXACT, sink_tokens=0):
    mind = ExtendedMindTransformer(
        model, recall=recall, storage=Storage("float32"), sink_tokens=sink_tokens
    )
    if documents:
        mind.remember(documents)
    return mind


def ids_of(model, text="What is the boat named?"):
    return torch.tensor([tokenize(model.tokenizer, text).ids])


@torch.no_grad()
def plain_logits(model, ids):
    return model.model(input_ids=ids).logits


def test_all_memory_at_true_positions_is_the_model_with_the_text_in_its_window(model):
    mind, ids = mind_of(model, BOAT), ids_of(model)
    whole = torch.cat([torch.tensor([mind.bank.ids]), ids], dim=1)
    expected = plain_logits(model, whole)[:, len(mind.bank) :]
    found = mind(ids)
    assert found.shape == (1, ids.shape[1], len(model.tokenizer))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    mind.recall = Recall(k=10**6, positions="zero")
    assert (mind(ids) - expected).abs().max() > 1e-2  # the test above can fail


def test_it_is_what_the_bank_and_its_attention_give(model):
    mind, ids = mind_of(model, BOAT, KEEPER, recall=Recall(k=4)), ids_of(model)
    with remembering(mind.bank, Recall(k=4)) as seen:
        expected = plain_logits(model, ids)
    assert torch.equal(mind(ids), expected)
    assert [one.layer for one in mind.looked_up] == [one.layer for one in seen]
    for ours, theirs in zip(mind.looked_up, seen, strict=True):
        assert torch.equal(ours.tokens, theirs.tokens)
        assert torch.equal(ours.weights, theirs.weights)


def test_without_memory_or_detached_it_is_the_model_bit_for_bit(model):
    ids = ids_of(model)
    expected = plain_logits(model, ids)
    assert torch.equal(mind_of(model)(ids), expected)
    mind = mind_of(model, BOAT)
    with mind.detached():
        assert torch.equal(mind(ids), expected)
        assert mind.looked_up == []
    assert not torch.equal(mind(ids), expected)
    assert torch.equal(plain_logits(model, ids), expected)  # nothing is left in the model


def test_the_first_token_of_each_document_is_not_looked_up(model):
    ids, both = ids_of(model), (BOAT, KEEPER)
    mind = mind_of(model, *both, recall=Recall(k=10**6), sink_tokens=1)
    found = mind(ids)
    starts = [held.tokens.start for held in mind.bank.held]
    for one in mind.looked_up:
        tokens = set(one.tokens.flatten().tolist())
        assert tokens == set(range(len(mind.bank))) - set(starts)
    without = [range(start, start + 1) for start in starts]
    with remembering(mind.bank, mind.recall, without=without):
        assert torch.equal(plain_logits(model, ids), found)


def test_fewer_than_no_sinks_are_refused(model):
    with pytest.raises(LongctxError, match="sink_tokens must be at least 0, got -1"):
        mind_of(model, sink_tokens=-1)


def test_an_error_inside_leaves_it_attached(model):
    mind = mind_of(model, BOAT)
    with pytest.raises(ZeroDivisionError), mind.detached():
        _ = 1 / 0
    assert mind.attached


def test_no_byte_of_the_weights_changes_and_one_that_does_is_seen():
    model = models.tiny("llama", seed=2)
    mind = mind_of(model)
    before = mind.weights_hash()
    mind.remember(BOAT)
    mind(ids_of(model))
    mind.generate("Who?", max_new_tokens=3)
    assert mind.weights_hash() == before
    with torch.no_grad():
        next(model.model.parameters()).view(-1)[7] += 1e-3
    assert mind.weights_hash() != before


def test_what_is_forgotten_is_as_if_it_had_never_been_read(model):
    mind, ids = mind_of(model, BOAT, KEEPER), ids_of(model)
    assert not torch.equal(mind(ids), mind_of(model, KEEPER)(ids))
    mind.forget("boat")
    assert torch.equal(mind(ids), mind_of(model, KEEPER)(ids))
    with pytest.raises(LongctxError, match="does not hold 'boat'; it holds keeper"):
        mind.forget("boat")


def test_remembering_says_how_many_tokens_are_held_and_adds_to_what_was_there(model):
    mind = mind_of(model)
    first, second = mind.remember(BOAT), mind.remember(KEEPER)
    assert (first, second) == (len(BOAT.text), len(KEEPER.text))  # a token is a byte here
    assert len(mind.bank) == first + second


def test_it_writes_what_the_model_would_with_the_text_before_the_prompt(model):
    mind, prompt = mind_of(model, BOAT), "The boat is named"
    context = Context(model)
    list(context.prefill(mind.bank.ids + tokenize(model.tokenizer, prompt).ids))
    expected = model.tokenizer.decode(
        [*context.decode(max_new_tokens=12)],
        skip_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
    assert mind.generate(prompt, max_new_tokens=12) == expected.rstrip("\ufffd").strip()
    steps = [one for one in mind.looked_up if one.layer == 0]
    assert [one.tokens.shape[2] for one in steps] == [len(prompt)] + [1] * (len(steps) - 1)


def test_a_batch_is_its_rows(model):
    mind = mind_of(model, BOAT, recall=Recall(k=5))
    ids = torch.cat([ids_of(model, "What is"), ids_of(model, "Who are")])
    rows = torch.cat([mind(row[None]) for row in ids])
    torch.testing.assert_close(mind(ids), rows, atol=1e-4, rtol=1e-4)


@pytest.mark.model
def test_a_frozen_model_answers_from_a_text_that_is_not_in_its_window():
    model = models.load()
    mind = ExtendedMindTransformer(model, recall=Recall(k=64))
    log = "It rained all day, and the mail came late. The keeper mended a net. " * 6
    fact = "The official language of the chess club is Hungarian. "
    mind.remember(log + fact + log)
    prompt = (
        "\n\nQuestion: What is the official language of the chess club?"
        "\nAnswer: The official language of the chess club is"
    )
    with mind.detached():
        assert "Hungarian" not in mind.generate(prompt, max_new_tokens=5)
    assert "Hungarian" in mind.generate(prompt, max_new_tokens=5)
