"""Only the place of a line changes, what is counted adds up, and the batch is the slow way."""

from dataclasses import replace

import pytest
import torch

from longctx_edu import models
from longctx_edu.attention import capture, equal_parts, mass_by_part, mean_weights
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation import attention_by_place, positions
from longctx_edu.evaluation.positions import (
    Placed,
    compare,
    curve,
    items_at_places,
    measure,
    measure_control,
    user_turn,
)
from longctx_edu.evaluation.tasks import DEPTHS, Places, difficulty_of, generate
from longctx_edu.inference import Context, tree_logits
from longctx_edu.models.tiny import byte_tokenizer

TASKS = pytest.mark.parametrize("task", positions.TASKS)
BYTES = 4000  # about 1,000 tokens of a trained tokenizer


@pytest.fixture(scope="module")
def versions():
    """The same two texts of each task at each turn: by task, then turn, document, question."""
    tokenizer = byte_tokenizer()
    return {
        task: [items_at_places(task, BYTES, 2, 5, tokenizer, turn=turn) for turn in range(5)]
        for task in positions.TASKS
    }


def told_elsewhere(items):
    """The text without the lines that are asked for."""
    text = items[0].documents[0].text
    spans = [span for item in items for span in item.gold_spans]
    for span in sorted(spans, key=lambda span: -span.start):
        text = text[: span.start] + text[span.end :]
    return text.split()


# --- places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("each", [1, 2, 3])
def test_over_the_turns_every_question_stands_once_at_every_place(each):
    turns = [Places(each=each, turn=turn) for turn in range(5)]
    for question in range(5 * each):
        assert sorted(places.depth(question) for places in turns) == list(DEPTHS)


@pytest.mark.parametrize("each", [1, 2])
def test_slots_are_taken_once_from_the_first_to_the_last_and_are_the_same_at_every_turn(each):
    taken = [sorted(Places(each=each, turn=turn).slots(17)) for turn in range(5)]
    assert taken == [taken[0]] * 5
    assert len({*taken[0]}) == 5 * each
    assert (taken[0][0], taken[0][-1]) == (0, 16)
    assert 8 in taken[0]


def test_what_cannot_be_placed_is_refused():
    with pytest.raises(LongctxError, match="a turn is 0 to 4"):
        Places(turn=5)
    with pytest.raises(LongctxError, match="10 lines need as many slots"):
        Places().slots(9)
    for task, options in (("kv-list", {"questions": 8}), ("facts", {"facts": 8})):
        with pytest.raises(LongctxError, match="These places are for 10"):
            difficulty_of(task)(**options, places=Places())
    with pytest.raises(LongctxError, match="measured with kv-list or facts"):
        items_at_places("common-words", BYTES, 1, 0, byte_tokenizer())


@TASKS
def test_a_line_that_moves_stays_the_same_question(task, versions):
    for document in range(2):
        for question in range(10):
            asked = [turn[document][question] for turn in versions[task]]
            for name in ("question", "answer_prefix", "gold", "candidates"):
                assert len({getattr(item, name) for item in asked}) == 1
            assert len({item.controls.ceiling[0].text for item in asked}) == 1
            assert len({item.gold_spans[0].text for item in asked}) == 1


@TASKS
def test_all_else_stays_where_it_was(task, versions):
    for document in range(2):
        rest = [told_elsewhere(turn[document]) for turn in versions[task]]
        shortest = min(map(len, rest))
        assert shortest > 0.97 * max(map(len, rest))  # fitted to the length anew, by a word or two
        assert len({tuple(words[: shortest - 3]) for words in rest}) == 1


@TASKS
def test_lines_stand_at_the_places_they_are_said_to_stand_at(task, versions):
    for turn, documents in enumerate(versions[task]):
        for items in documents:
            starts = [item.gold_spans[0].start for item in items]
            depths = [Places(turn=turn).depth(question) for question in range(10)]
            order = sorted(range(10), key=starts.__getitem__)
            assert [depths[question] for question in order] == sorted(depths)
            for start, depth in zip(starts, depths, strict=True):
                assert start / len(items[0].documents[0].text) == pytest.approx(depth, abs=0.2)


def test_without_places_nothing_is_drawn_otherwise_than_before():
    tokenizer = byte_tokenizer()
    for task in positions.TASKS:
        assert "places" not in repr(difficulty_of(task)())
        plain = generate(task, BYTES, 1, 5, tokenizer)[0]
        assert plain.documents[0].id == f"{task}-{BYTES}-5-0"


# --- asking ---------------------------------------------------------------------------------------


def test_a_question_is_asked_after_the_text_or_around_it(versions):
    item = versions["kv-list"][0][0][0]
    text = item.documents[0].text
    assert user_turn(item) == f"{text}\n\n{item.question}"
    assert user_turn(item, "around") == f"{item.question}\n\n{text}\n\n{item.question}"
    with pytest.raises(LongctxError, match="after or around"):
        user_turn(item, "before")


def test_every_question_is_asked_at_every_place_and_controls_have_none():
    model = models.tiny("llama", seed=3, window=8192)
    options = dict(length_tokens=2600, documents=1, seed=1)
    rows = measure("kv-list", model, questions=(1, 4), **options)
    assert sorted((row.question, row.place) for row in rows) == [
        (question, place) for question in (1, 4) for place in DEPTHS
    ]
    assert all(1 <= row.rank <= 18 for row in rows)
    floor = measure_control("floor", "kv-list", model, **options)
    assert [(row.question, row.place) for row in floor] == [(n, None) for n in range(10)]


# --- counting -------------------------------------------------------------------------------------


def rows_of(*right, documents=8):
    """Questions that are right at these places, first to last, one to each text."""
    return [
        Placed(document, 0, place, bool(one), -0.1 if one else -2.0, 1 if one else 5)
        for document in range(documents)
        for place, one in zip(DEPTHS, right, strict=True)
    ]


def test_a_curve_has_a_score_for_each_place_in_its_order():
    scores = curve(rows_of(1, 0, 0, 0, 1)[::-1])
    assert [score.place for score in scores] == list(DEPTHS)
    assert [score.right for score in scores] == [1, 0, 0, 0, 1]
    assert all(score.interval.low <= score.right <= score.interval.high for score in scores)
    assert [score.rank for score in scores] == [1, 5, 5, 5, 1]
    assert scores[0].log_probability == pytest.approx(-0.1)
    (control,) = curve([replace(row, place=None) for row in rows_of(1, 1, 1, 1, 1)])
    assert (control.place, control.n) == (None, 40)


def test_questions_of_one_text_that_share_its_luck_count_as_fewer():
    alike = [Placed(n // 10, n % 10, 0.5, n < 40, -1.0, 1) for n in range(80)]
    apart = [Placed(n, 0, 0.5, n < 40, -1.0, 1) for n in range(80)]
    (one,), (other,) = curve(alike), curve(apart)
    assert one.right == other.right == 0.5
    assert one.interval.high - one.interval.low > 2 * (other.interval.high - other.interval.low)


def test_a_lost_middle_is_told_from_none():
    lost = compare(rows_of(1, 0, 0, 0, 1), [0.5], [0.0, 1.0])
    assert lost.mean == -1
    assert lost.interval.high < 0
    assert lost.p == 2 / 2**8
    none = compare(rows_of(1, 1, 1, 1, 1), [0.5], [0.0, 1.0])
    assert (none.mean, none.p) == (0, 1)
    half = compare(rows_of(0, 0, 0, 0, 1), [0.5], [0.0, 1.0])
    assert half.mean == -0.5
    likelier = compare(rows_of(1, 0, 0, 0, 1), [0.5], [0.0], of="log_probability")
    assert likelier.mean == pytest.approx(-1.9)


def test_a_question_missing_at_a_place_is_no_pair():
    with pytest.raises(LongctxError, match="every question at every place"):
        compare(rows_of(1, 1, 1, 1, 1)[1:], [0.5], [0.0])


# --- a tree in one pass ---------------------------------------------------------------------------

BRANCHES = [[5, 9, 30, 31], [5, 9, 30], [5, 9, 40, 41, 42], [5, 8]]


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gpt_neox"])
@pytest.mark.parametrize("past", [0, 40])
@pytest.mark.parametrize("skip", [0, 1])
def test_a_tree_read_in_one_pass_gives_what_each_branch_gives(family, past, skip):
    model = models.tiny(family, seed=2)
    context = Context(model)
    text = [7 * n % 251 + 3 for n in range(past)]
    list(context.prefill(text))
    books = (list(context.ids), context.ledger, context.cache.get_seq_length())
    for ids, found in zip(BRANCHES, tree_logits(context, BRANCHES, skip=skip), strict=True):
        with torch.no_grad():
            whole = model.model(torch.tensor([text + ids])).logits[0, past + skip :].float()
        torch.testing.assert_close(found, whole, atol=1e-3, rtol=1e-3)
    assert (context.ids, context.ledger, context.cache.get_seq_length()) == books


# --- looking --------------------------------------------------------------------------------------


def test_mean_weights_and_their_parts_are_those_of_a_softmax():
    model = models.tiny("llama", seed=1)
    record = capture(model, [7 * n % 251 + 3 for n in range(60)])
    rows = range(50, 60)
    weights = mean_weights(record, rows)
    assert weights.shape == (3, 6, 60)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 6))
    torch.testing.assert_close(weights[1, 2], record.tile(1, 2, rows, range(60)).mean(0))
    parts = equal_parts(range(60), 7)
    assert [n for part in parts for n in part] == list(range(60))
    assert {len(part) for part in parts} == {8, 9}
    torch.testing.assert_close(mass_by_part(weights, parts).sum(-1), weights.sum(-1))


def test_parts_outside_of_the_text_are_refused():
    with pytest.raises(ValueError, match="lies within the 5 tokens"):
        mass_by_part(torch.ones(5), [range(3, 6)])
    with pytest.raises(ValueError, match="make 1 to 3 parts, not 4"):
        equal_parts(range(3), 4)


def test_the_shares_of_attention_add_up_to_one_and_leave_the_context_as_it_was():
    model = models.tiny("llama", seed=3, window=8192)
    item = items_at_places("kv-list", 2600, 1, 1, model.tokenizer)[0][4]
    context = positions.having_read(item, Context(model))
    read = list(context.ids)
    shares = attention_by_place.shares_of_attention(context, item)
    assert context.ids == read
    total = shares.sink + shares.template + sum(shares.tenths) + shares.line + shares.asked
    assert total == pytest.approx(1, abs=1e-4)
    assert len(shares.tenths) == len(shares.typical) == attention_by_place.PARTS
    assert positions.having_read(item, context) is context


def test_one_heavy_token_changes_a_sum_and_not_what_is_typical():
    weights = torch.full((50,), 0.01)
    heavy = weights.clone()
    heavy[3] = 5.0
    parts = equal_parts(range(50), 10)
    assert mass_by_part(heavy, parts)[0] > 50 * mass_by_part(weights, parts)[0]
    for one in (weights, heavy):
        assert float(one[:5].median()) * 5 == pytest.approx(0.05)


@pytest.mark.model
def test_what_greedy_decoding_would_write_is_what_it_writes():
    from longctx_edu.evaluation.scoring import score

    model = models.load()
    items = items_at_places("kv-list", 500, 1, 11, model.tokenizer)[0][:4]
    rows = measure(
        "kv-list", model, length_tokens=500, documents=1, seed=11, questions=range(4), turns=[0]
    )
    written = score("plain", items, model, likelihood=False)
    assert [row.right for row in rows] == [one.right for one in written]
