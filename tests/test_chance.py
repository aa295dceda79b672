"""What chance does to scores, against what can be worked out by hand."""

import math

import pytest

from longctx_edu import evaluation
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.chance import Misses, half_width, interval_misses, share_of_leads


def exact_share(lead, n, share):
    """Sum over both binomial counts."""
    count = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    return sum(
        count[a] * count[b] for a in range(n + 1) for b in range(n + 1) if abs(a - b) >= lead
    )


@pytest.mark.parametrize(("lead", "n", "share"), [(2, 20, 0.7), (5, 20, 0.7), (1, 3, 0.5)])
def test_leads_by_chance_are_as_frequent_as_the_binomial_says(lead, n, share):
    drawn = share_of_leads(lead, n, share=share)
    assert drawn == pytest.approx(exact_share(lead, n, share), abs=0.035)  # three deviations


def test_methods_that_are_always_right_have_no_lead():
    assert share_of_leads(1, 20, share=1.0) == 0


def test_independent_questions_are_missed_as_often_as_promised():
    by_questions, by_documents = interval_misses(40, 1)
    assert 0.02 < by_questions < 0.09
    assert 0.02 < by_documents < 0.09


def test_documents_that_differ_make_intervals_by_questions_miss():
    found = interval_misses(20, 8)
    assert found.by_questions > 0.12
    assert found.by_documents < found.by_questions / 2


def test_documents_that_are_alike_do_no_harm():
    assert interval_misses(5, 8, shares=(0.7,)).by_questions < 0.1


def test_four_times_the_questions_halve_the_interval():
    for share in (0.5, 0.9):
        assert half_width(share, 400) == pytest.approx(half_width(share, 100) / 2, rel=0.05)


def test_the_same_seed_draws_the_same():
    assert interval_misses(5, 4, rounds=50) == interval_misses(5, 4, rounds=50)
    assert isinstance(interval_misses(1, 1, rounds=1), Misses)
    assert evaluation.interval_misses is interval_misses
    assert evaluation.share_of_leads is share_of_leads


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: share_of_leads(2, 20, share=1.5), "between 0 and 1"),
        (lambda: share_of_leads(0, 20), "lead is at least 1"),
        (lambda: half_width(0.5, 0), "questions is at least 1"),
        (lambda: interval_misses(5, 0), "questions is at least 1"),
        (lambda: interval_misses(5, 8, shares=()), "between 0 and 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, said):
    with pytest.raises(LongctxError, match=said):
        call()
