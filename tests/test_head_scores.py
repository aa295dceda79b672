"""Scores of heads: 1 for the pattern itself, drawn by hand, and what a real model shows."""

import math

import pytest
import torch

from longctx_edu import models
from longctx_edu.attention import AttentionRecord, capture
from longctx_edu.attention.head_scores import PATTERNS, followers_of, head_scores

TOKENS = 24
IDS = [1, *[5, 6, 7, 8] * 5, 9, 10, 11]  # the last three come up once


def drawn(*targets, rows=TOKENS):
    """Return a record of one layer in which each head looks at one key from each query.

    Keys are the unit vectors, and a query is the one that it looks at, made so long that nothing
    else has any weight.
    """
    record = AttentionRecord()
    keys = torch.eye(rows)
    queries = torch.stack([keys[torch.tensor([at(row) for row in range(rows)])] for at in targets])
    record.append(0, queries * 50, keys[None], keys[None], scale=1.0, window=None, past=0)
    record.ids = IDS[:rows]
    return record


def sink(row):
    return 0


def previous(row):
    return max(row - 1, 0)


def itself(row):
    return row


def induction(row):
    """What came after the last earlier one of the same token, else the first token."""
    earlier = [place for place in range(row) if IDS[place] == IDS[row]]
    return earlier[-1] + 1 if earlier else 0


DRAWN = {"sink": sink, "previous token": previous, "itself": itself, "induction": induction}


@pytest.mark.parametrize("pattern", DRAWN)
def test_a_pattern_drawn_by_hand_has_the_score_one(pattern):
    scores = head_scores(drawn(DRAWN[pattern]))
    assert set(scores) == set(PATTERNS)
    assert scores[pattern].shape == (1, 1)
    assert float(scores[pattern]) == pytest.approx(1, abs=1e-4)
    assert float(scores["spread"]) == pytest.approx(0, abs=1e-3)
    if pattern != "induction":
        assert all(float(scores[other]) < 0.2 for other in DRAWN if other != pattern)


def test_even_attention_spreads_over_all_that_a_query_sees():
    record = AttentionRecord()
    record.append(
        0,
        torch.zeros(1, TOKENS, 4),
        *[torch.ones(1, TOKENS, 4)] * 2,
        scale=1.0,
        window=None,
        past=0,
    )
    scores = head_scores(record)
    bits = [math.log2(row + 1) for row in range(1, TOKENS)]
    assert float(scores["spread"]) == pytest.approx(sum(bits) / len(bits), abs=1e-4)
    shares = [1 / (row + 1) for row in range(1, TOKENS)]
    for name in ("sink", "previous token", "itself"):
        assert float(scores[name]) == pytest.approx(sum(shares) / len(shares), abs=1e-5)
    assert scores["induction"].isnan().all()  # no ids are known


def test_a_permutation_of_the_heads_permutes_the_scores():
    order = ["itself", "induction", "sink", "previous token"]
    one, other = (head_scores(drawn(*(DRAWN[name] for name in names))) for names in (DRAWN, order))
    moved = [list(DRAWN).index(name) for name in order]
    for name in PATTERNS:
        torch.testing.assert_close(one[name][:, moved], other[name])
    for number, name in enumerate(order):
        assert float(other[name][0, number]) == pytest.approx(1, abs=1e-4)


def test_followers_come_right_after_earlier_occurrences_and_before_the_query():
    ids = torch.tensor([4, 5, 4, 4, 6, 4])
    found = followers_of(ids, torch.arange(len(ids)))
    expected = {2: [1], 3: [1], 5: [1, 3, 4]}  # the second of two in a row follows no new place
    for row in range(len(ids)):
        assert found[row].nonzero().flatten().tolist() == expected.get(row, [])


def test_queries_whose_token_is_new_have_no_say_in_induction():
    assert head_scores(drawn(sink), ids=range(TOKENS))["induction"].isnan().all()
    short = head_scores(drawn(induction), ids=IDS)["induction"]
    assert float(short) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_scores_are_means_over_the_rows_of_the_whole_matrix(family):
    ids = torch.randint(3, 20, (50,), generator=torch.Generator().manual_seed(0)).tolist()
    record = capture(models.tiny(family), ids)
    scores = head_scores(record)
    seen = range(len(ids))
    for layer in record.layers:
        for head in range(record.heads):
            weights = record.tile(layer, head, seen, seen)[1:]
            rows = torch.arange(1, len(ids))
            mine = {name: float(scores[name][layer, head]) for name in PATTERNS}
            assert mine["sink"] == pytest.approx(float(weights[:, 0].mean()), abs=1e-5)
            own = weights[rows - 1, rows].mean()
            assert mine["itself"] == pytest.approx(float(own), abs=1e-5)
            before = weights[rows - 1, rows - 1].mean()
            assert mine["previous token"] == pytest.approx(float(before), abs=1e-5)
            again = [
                [p + 1 for p in range(row - 1) if ids[p] == ids[row]] for row in range(1, len(ids))
            ]
            mass = [weights[r, places].sum() for r, places in enumerate(again) if places]
            assert mine["induction"] == pytest.approx(float(sum(mass)) / len(mass), abs=1e-5)
            bits = -(weights * weights.clamp_min(1e-30).log2()).sum(-1).mean()
            assert mine["spread"] == pytest.approx(float(bits), abs=1e-4)


def test_sampled_rows_are_evenly_spaced_up_to_the_last():
    record = drawn(lambda row: row if row in (1, 12, TOKENS - 1) else 0)
    assert float(head_scores(record, rows=3)["itself"]) == pytest.approx(1, abs=1e-4)
    assert float(head_scores(record, rows=1)["itself"]) == pytest.approx(1, abs=1e-4)
    assert float(head_scores(record)["itself"]) == pytest.approx(3 / (TOKENS - 1), abs=1e-4)


def test_a_question_after_a_text_is_scored_by_its_own_rows():
    language_model = models.tiny()
    ids = IDS * 2
    whole = capture(language_model, ids)
    record = AttentionRecord()
    rows = [whole.queries(0, head)[40:] for head in range(whole.heads)]
    keys = torch.stack([whole.keys(0, head) for head in (0, 3)])
    record.append(0, torch.stack(rows), keys, keys, scale=whole.scale(0), window=None, past=40)
    record.ids = ids
    scores = head_scores(record)
    weights = whole.tile(0, 4, range(40, 48), range(48))
    assert float(scores["sink"][0, 4]) == pytest.approx(float(weights[:, 0].mean()), abs=1e-5)


def test_ids_of_another_text_and_a_text_of_one_token_are_refused():
    with pytest.raises(ValueError, match="24 columns and there are 3 ids"):
        head_scores(drawn(sink), ids=[1, 2, 3])
    with pytest.raises(ValueError, match="rows must be at least 1"):
        head_scores(drawn(sink), rows=0)
    with pytest.raises(ValueError, match="no query that sees a token before itself"):
        head_scores(drawn(sink, rows=1))


@pytest.mark.model
def test_random_tokens_said_twice_bring_out_induction_heads():
    language_model = models.load()
    generator = torch.Generator().manual_seed(0)
    half = torch.randint(1000, 20000, (40,), generator=generator)
    record = capture(language_model, torch.cat([half, half]).tolist())
    # The same weights, but as if the second half had come in another order.
    other = torch.cat([half, half[torch.randperm(40, generator=generator)]]).tolist()
    found, mistaken = (head_scores(record, ids=ids)["induction"] for ids in (None, other))
    best = found.argmax()
    assert float(found.flatten()[best]) > 0.5
    assert float(mistaken.flatten()[best]) < 0.1
