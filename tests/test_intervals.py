"""Intervals and paired tests: published values, exact counts, questions of one document."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.intervals import (
    by_cluster,
    effective_n,
    mcnemar,
    paired_bootstrap,
    sign_flip,
    wilson,
)

SCORES = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=9)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_values_of_newcombe_1998_table_one(successes, n, low, high):
    """Newcombe, Statistics in Medicine 17, 857 (1998), Table I, method 3."""
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_where_the_score_test_stops_rejecting(counts):
    successes, n = counts
    interval = wilson(successes, n)
    assert 0 <= interval.low <= successes / n <= interval.high <= 1
    for end in {interval.low if successes else None, interval.high if successes < n else None}:
        if end is None:
            continue
        z = abs(successes / n - end) / (end * (1 - end) / n) ** 0.5
        assert z == pytest.approx(1.959964, abs=1e-4)


def test_a_higher_level_and_fewer_questions_make_it_wider():
    def width(successes, n, **options):
        low, high = wilson(successes, n, **options)
        return high - low

    assert width(8, 10, level=0.99) > width(8, 10) > width(80, 100)


def test_mcnemar_is_the_binomial_tail_of_the_questions_that_differ():
    def p(won, lost, same=3):
        return mcnemar(
            [True] * won + [False] * lost + [True] * same,
            [False] * won + [True] * lost + [True] * same,
        )

    # 2 * sum of C(17, k), k = 0..5, over 2**17, as in any table of the binomial distribution
    assert p(12, 5) == pytest.approx(2 * (1 + 17 + 136 + 680 + 2380 + 6188) / 2**17)
    assert p(12, 5) == p(5, 12) == p(12, 5, same=100)
    assert p(5, 5) == p(0, 0) == 1
    assert p(6, 0) == 2 / 2**6


@given(SCORES, st.randoms())
def test_the_sign_test_counts_every_way_to_set_the_signs(a, random):
    b = [random.choice([0.0, 1.0]) for _ in a]
    differences = [x - y for x, y in zip(a, b, strict=True)]
    ways = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in itertools.product([1, -1], repeat=len(a))
    ]
    expected = sum(way >= abs(sum(differences)) - 1e-9 for way in ways) / len(ways)
    assert sign_flip(a, b) == pytest.approx(expected)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.randoms())
def test_for_right_and_wrong_the_exact_tests_agree(a, random):
    b = [random.choice([True, False]) for _ in a]
    assert sign_flip(a, b) == pytest.approx(mcnemar(a, b))


def test_many_documents_are_drawn_and_agree_with_the_exact_count():
    a, b = [True] * 18 + [False] * 8, [False] * 18 + [True] * 8
    drawn = sign_flip(a, b, draws=20_000, seed=3)
    assert drawn == pytest.approx(mcnemar(a, b), abs=0.01)
    assert drawn == sign_flip(a, b, draws=20_000, seed=3) > 0


def test_questions_of_one_document_change_sign_together():
    a, b = [1.0] * 12, [0.0] * 12
    assert sign_flip(a, b) == 2 / 2**12
    assert sign_flip(a, b, clusters=[n // 4 for n in range(12)]) == 2 / 2**3
    assert sign_flip(a, b, clusters=["one"] * 12) == 1


def test_the_bootstrap_holds_the_difference_and_repeats_itself():
    random = np.random.default_rng(0)
    a, b = random.random(60) < 0.8, random.random(60) < 0.5
    low, high = paired_bootstrap(a.astype(float), b.astype(float))
    assert low < a.mean() - b.mean() < high
    assert (low, high) == paired_bootstrap(a.astype(float), b.astype(float))
    few = [paired_bootstrap(list(a), list(b), draws=20, seed=seed) for seed in range(4)]
    assert len(set(few)) > 1
    d = a.astype(float) - b
    half = 1.96 * d.std(ddof=1) / 60**0.5  # the normal interval, close for 60 questions
    assert (low, high) == pytest.approx((d.mean() - half, d.mean() + half), abs=0.03)


def test_methods_that_always_agree_differ_by_nothing():
    assert paired_bootstrap([1, 0, 1], [1, 0, 1]) == (0, 0)
    assert sign_flip([1, 0, 1], [1, 0, 1]) == mcnemar([1, 0, 1], [1, 0, 1]) == 1


def test_copies_of_a_question_add_nothing_where_the_document_is_known():
    a, b = [1, 0, 1, 1, 0, 1], [0, 0, 1, 0, 1, 0]
    ids = list(range(6))
    once = paired_bootstrap(a, b, clusters=ids)
    assert paired_bootstrap(a * 8, b * 8, clusters=ids * 8) == pytest.approx(once)
    fooled = paired_bootstrap(a * 8, b * 8)
    assert fooled.high - fooled.low < 0.5 * (once.high - once.low)
    assert sign_flip(a * 8, b * 8, clusters=ids * 8) == sign_flip(a, b)


def test_alike_answers_within_documents_are_worth_fewer_and_mixed_ones_all():
    alike = [1.0] * 8 + [0.0] * 8 + [1.0] * 8 + [0.0] * 8
    documents = [n // 8 for n in range(32)]
    assert effective_n(alike, documents) < 5
    mixed = [0.0, 1.0] * 16
    assert effective_n(mixed, documents) == 32
    assert effective_n([1.0] * 32, documents) == 32
    assert effective_n(alike, list(range(32))) == pytest.approx(32)


def test_one_document_is_worth_one_question_and_gives_no_interval():
    assert effective_n([1, 0, 1, 0, 1], ["a"] * 5) == 1
    with pytest.raises(LongctxError, match="two or more"):
        paired_bootstrap([1, 0, 1], [0, 0, 1], clusters=["a"] * 3)


def test_clusters_need_not_be_neighbours():
    assert by_cluster([1, 2, 3], ["x", "y", "x"]) == [[1, 3], [2]]
    assert by_cluster([1, 2], None) == [[1], [2]]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: wilson(5, 4),
        lambda: wilson(-1, 4),
        lambda: wilson(0, 0),
        lambda: wilson(1, 2, level=95),
        lambda: mcnemar([True], []),
        lambda: mcnemar([], []),
        lambda: sign_flip([1], [0], draws=0),
        lambda: sign_flip([1, 0], [0, 0], clusters=["x"]),
        lambda: paired_bootstrap([1], [0], draws=0),
        lambda: paired_bootstrap([1], [0], level=0),
        lambda: effective_n([], []),
    ],
)
def test_what_has_no_answer_is_refused_in_a_sentence(wrong):
    with pytest.raises(LongctxError, match=r"given|got"):
        wrong()
