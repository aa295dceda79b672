"""Continuations written as one batch are those written one after another on branches."""

from dataclasses import replace

import pytest
import torch

from longctx_edu import models
from longctx_edu.attention import capturing
from longctx_edu.errors import CacheError
from longctx_edu.inference import Context
from longctx_edu.inference.continuations import Continuations, served

TEXT = [7 * n % 251 + 3 for n in range(90)]
LENGTHS = [20, 33, 64, 90]
REQUEST = [5, 9, 200, 31, 4]
SERVED = ["llama", "gpt2", "qwen3", "gpt_neox"]


def read(model, ids=TEXT):
    context = Context(model)
    for _ in context.prefill(ids):
        pass
    return context


def one_by_one(context, *, max_new_tokens=12):
    for length in LENGTHS:
        with context.branch(length) as branch:
            for _ in branch.prefill(REQUEST):
                pass
            tokens, logs = [], []
            for token_id in branch.decode(max_new_tokens=max_new_tokens):
                tokens.append(token_id)
                logs.append(branch.log_probability(token_id))
        yield tokens, logs, branch.ledger


def together(context, *, max_new_tokens=12, lengths=LENGTHS):
    rows = Continuations(context, lengths)
    rows.prefill(REQUEST)
    tokens = [[] for _ in lengths]
    for step in rows.decode(max_new_tokens=max_new_tokens):
        for token in step:
            tokens[token.row].append(token)
    return rows, tokens


@pytest.mark.parametrize("family", SERVED)
def test_rows_write_what_branches_write_and_keep_the_same_books(family):
    context = read(models.tiny(family, seed=1))
    before = [(layer.keys.clone(), layer.values.clone()) for layer in context.cache.layers]
    rows, written = together(context)
    for row, (tokens, logs, ledger) in enumerate(one_by_one(context)):
        assert [token.id for token in written[row]] == tokens
        found = torch.tensor([token.log_probability for token in written[row]])
        torch.testing.assert_close(found, torch.tensor(logs), atol=1e-4, rtol=1e-4)
        assert rows.ledger(row) == ledger
    for layer, (keys, values) in zip(context.cache.layers, before, strict=True):
        assert torch.equal(layer.keys, keys)
        assert torch.equal(layer.values, values)


def test_the_general_forward_pass_and_the_quick_one_write_the_same():
    context = read(models.tiny("llama", seed=3))
    _, quick = together(context)
    hooked = context.language_model.model
    hooked.model.layers[0].mlp.register_forward_hook(lambda *_: None)
    rows, general = together(context)
    assert rows._quick is None
    assert [[t.id for t in row] for row in general] == [[t.id for t in row] for row in quick]


def test_a_row_that_ends_leaves_the_others_as_they_were():
    context = read(models.tiny("llama", seed=1))
    _, alone = together(context)
    rows = Continuations(context, LENGTHS)
    rows.prefill(REQUEST)
    tokens = [[] for _ in LENGTHS]
    for number, step in enumerate(rows.decode(max_new_tokens=12)):
        for token in step:
            tokens[token.row].append(token.id)
        if number == 3:
            rows.drop([0, 2])
    assert [len(row) for row in tokens] == [4, 12, 4, 12]
    for ids, whole in zip(tokens, alone, strict=True):
        assert ids == [token.id for token in whole][: len(ids)]
    assert [rows.ledger(row).decoded for row in (0, 1)] == [4, 12]


def test_all_rows_may_end_at_the_same_token():
    context = read(models.tiny("llama", seed=1))
    _, alone = together(context, lengths=[64])
    third = alone[0][2].id
    ending = replace(context.language_model, end_ids=frozenset([third]))
    rows = Continuations(read(ending), [64, 64])
    rows.prefill(REQUEST)
    steps = list(rows.decode(max_new_tokens=12))
    assert [token.id for token in steps[-1]] == [third, third]
    assert len(steps) <= 3
    assert rows.rows == []


def test_writing_needs_something_read():
    with pytest.raises(CacheError, match="prefill"):
        next(Continuations(read(models.tiny()), [64]).decode(max_new_tokens=1))


def test_a_model_that_is_captured_is_not_served():
    context = read(models.tiny())
    with capturing(context.language_model):
        assert not served(context)
    assert served(context)


def test_rows_after_the_same_prefix_are_alike():
    _, written = together(read(models.tiny()), lengths=[40, 40])
    first, second = ([token.id for token in row] for row in written)
    assert first == second


def test_a_lead_is_the_distance_of_the_two_best_scores():
    context = read(models.tiny())
    rows = Continuations(context, [90])
    rows.prefill(REQUEST)
    token = next(rows.decode(max_new_tokens=1))[0]
    with context.branch() as branch:
        for _ in branch.prefill(REQUEST):
            pass
        best = branch.next_logits.topk(2).values
    assert token.lead == pytest.approx(float(best[0] - best[1]), abs=1e-4)


def test_a_sliding_window_is_refused_by_name():
    context = read(models.tiny("gemma3"))
    assert not served(context)
    with pytest.raises(CacheError, match="one after another"):
        Continuations(context, [10])


@pytest.mark.parametrize("lengths", [[], [0], [91]])
def test_a_prefix_must_have_been_read(lengths):
    with pytest.raises(CacheError, match="1 to 90"):
        Continuations(read(models.tiny()), lengths)


@pytest.mark.model
def test_the_embedded_model_writes_the_same_rows_together_and_apart():
    from longctx_edu.text import lighthouse_log, tokenize

    model = models.load()
    ids = tokenize(model.tokenizer, lighthouse_log().text).ids[:600]
    request = tokenize(model.tokenizer, "\n\nWhat was repaired?").ids
    context = read(model, ids)
    rows = Continuations(context, [150, 300, 450, 600])
    rows.prefill(request)
    together = [[], [], [], []]
    for step in rows.decode(max_new_tokens=10):
        for token in step:
            together[token.row].append(token)
    for length, written in zip([150, 300, 450, 600], together, strict=True):
        with context.branch(length) as branch:
            for _ in branch.prefill(request):
                pass
            apart = list(branch.decode(max_new_tokens=10))
        # Greedy rows may part where the two best scores are as good as equal, not before.
        surely = next((n for n, token in enumerate(written) if token.lead < 1e-3), len(written))
        assert [token.id for token in written][:surely] == apart[:surely]
