"""Rules of position: what each allows, how they join, and what they say of whole blocks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu.attention import (
    bigbird,
    causal,
    dilated_window,
    global_tokens,
    longformer,
    random_blocks,
    sliding_window,
)
from longctx_edu.attention.patterns import Spans

SIMPLE = st.one_of(
    st.just(causal()),
    st.builds(sliding_window, st.integers(1, 40)),
    st.builds(dilated_window, st.integers(1, 8), st.integers(1, 5)),
    st.builds(global_tokens, st.integers(1, 5)),
    st.builds(global_tokens, st.lists(st.integers(0, 39), min_size=1, max_size=4)),
    st.builds(
        random_blocks,
        st.integers(1, 4),
        block_tokens=st.integers(1, 7),
        seed=st.integers(0, 3),
    ),
)
RULES = st.recursive(
    SIMPLE,
    lambda inner: st.builds(
        lambda a, b, sign: {"&": a & b, "|": a | b, "-": a - b}[sign],
        inner,
        inner,
        st.sampled_from("&|-"),
    ),
    max_leaves=4,
)


def seen(pattern, row, tokens=40):
    """The keys that the query at one place sees."""
    return pattern.mask(tokens)[row].nonzero().flatten().tolist()


def test_each_rule_allows_what_its_name_says():
    assert seen(causal(), 3) == [0, 1, 2, 3]
    assert seen(sliding_window(3), 9) == [7, 8, 9]
    assert seen(dilated_window(3, 4), 9) == [1, 5, 9]
    assert seen(dilated_window(9, 4), 9) == [1, 5, 9]
    assert seen(global_tokens(2) & causal(), 9) == [0, 1]
    assert seen(global_tokens([5, 7]) & causal(), 6) == [5]
    assert seen(global_tokens([5, 7]) & causal(), 7) == list(range(8))


def test_global_tokens_are_seen_by_all_and_see_all():
    mask = global_tokens([3]).mask(6)
    assert mask[3].all()
    assert mask[:, 3].all()
    assert int(mask.sum()) == 11


def test_random_blocks_are_whole_earlier_blocks_as_many_as_were_asked_for():
    mask = random_blocks(2, block_tokens=4).mask(40)
    blocks = mask.view(10, 4, 10, 4)
    whole = blocks.all(3).all(1)
    assert torch.equal(whole, blocks.any(3).any(1))
    assert whole.sum(1).tolist() == [0, 1] + [2] * 8
    assert not whole.triu().any()


def test_random_blocks_do_not_depend_on_the_length_and_do_on_the_seed():
    short, long = (random_blocks(2, block_tokens=4).mask(n) for n in (40, 80))
    assert torch.equal(short, long[:40, :40])
    assert not torch.equal(short, random_blocks(2, block_tokens=4, seed=1).mask(40))


def test_longformer_and_bigbird_are_unions_of_their_parts():
    parts = sliding_window(5).mask(40) | global_tokens([0, 20]).mask(40).tril()
    assert torch.equal(longformer(5, [0, 20]).mask(40), parts)
    drawn = random_blocks(2, block_tokens=8, seed=1).mask(40)
    whole = bigbird(5, [0, 20], 2, block_tokens=8, seed=1).mask(40)
    assert torch.equal(whole, parts | drawn)


@settings(max_examples=60)
@given(one=SIMPLE, other=SIMPLE)
def test_signs_join_rules_pair_by_pair(one, other):
    a, b = one.mask(30), other.mask(30)
    assert torch.equal((one & other).mask(30), a & b)
    assert torch.equal((one | other).mask(30), a | b)
    assert torch.equal((one - other).mask(30), a & ~b)


@settings(max_examples=60)
@given(
    pattern=RULES,
    start=st.integers(0, 20),
    row_block=st.integers(1, 9),
    column_block=st.integers(1, 9),
)
def test_what_is_said_of_blocks_holds_for_every_pair_in_them(
    pattern, start, row_block, column_block
):
    rows, columns = Spans.of(range(start, 40), row_block), Spans.of(range(40), column_block)
    maybe, sure = pattern.possible(rows, columns), pattern.certain(rows, columns)
    mask = pattern.mask(40)
    for i, (top, bottom) in enumerate(zip(*rows, strict=True)):
        for j, (left, right) in enumerate(zip(*columns, strict=True)):
            cells = mask[top : bottom + 1, left : right + 1]
            assert maybe[i, j] or not cells.any()
            assert not sure[i, j] or cells.all()


def test_windows_and_global_tokens_are_sure_where_it_saves_work():
    spans = Spans.of(range(640), 64)
    window, first = sliding_window(256), global_tokens(4) & causal()
    assert window.possible(spans, spans).sum(1).tolist() == [1, 2, 3, 4] + [5] * 6
    assert window.certain(spans, spans).sum(1).tolist() == [0, 1, 2, 3] + [3] * 6
    assert first.possible(spans, spans).sum(1).tolist() == [1] * 10


@settings(max_examples=40)
@given(pattern=RULES, tokens=st.integers(1, 600))
def test_allowed_pairs_are_counted_without_the_matrix(pattern, tokens):
    assert pattern.cells(tokens) == int(pattern.mask(tokens).sum())


@settings(max_examples=60)
@given(pattern=RULES)
def test_a_rule_is_a_value_that_says_how_to_write_it(pattern):
    again = eval(str(pattern))
    assert again == pattern
    assert hash(again) == hash(pattern)


@settings(max_examples=60)
@given(pattern=RULES)
def test_a_rule_that_calls_itself_causal_shows_no_later_key(pattern):
    if pattern.is_causal:
        assert not pattern.mask(40).triu(1).any()
    assert (pattern & causal()).is_causal


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sliding_window(0), "width is at least 1, got 0"),
        (lambda: dilated_window(4, 0), "step is at least 1, got 0"),
        (lambda: global_tokens(0), "positions from 0 on"),
        (lambda: global_tokens([3, -1]), "positions from 0 on"),
        (lambda: random_blocks(0), "count is at least 1, got 0"),
        (lambda: random_blocks(1, block_tokens=0), "block_tokens is at least 1, got 0"),
    ],
)
def test_rules_that_mean_nothing_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
