"""The pictures of the margins' record show the numbers of its tables."""

from types import SimpleNamespace

import pytest

from longctx_edu.widgets.margin_record import (
    describe_gains,
    describe_roc,
    gains_over_plain,
    roc_curves,
)
from longctx_edu.widgets.plots import _close


def gain(task, way, mean, low, high):
    return dict(task=task, way=way, gain=mean, gain_low=low, gain_high=high, n=24)


def curve(verdict, *points):
    return [dict(verdict=verdict, false_positives=x, true_positives=y) for x, y in points]


RESULT = SimpleNamespace(
    tables={
        "verdicts": [
            dict(task="facts", verdict="all", auc=None),
            dict(task="facts", verdict="surest", auc=0.5),
            dict(task="facts", verdict="attention", auc=1.0),
            dict(task="multi-value", verdict="surest", auc=0.9),
        ],
        "roc": [
            *curve("surest", (0, 0), (1, 1)),
            *curve("attention", (0, 0), (0, 1), (1, 1)),
        ],
        "quality": [
            gain("facts", "margins", 0.125, -0.1, 0.3),
            gain("facts", "plain", 0.0, 0.0, 0.0),
            gain("facts", "empty notes", -0.2, -0.4, -0.1),
            gain("words", "margins", -0.5, -0.6, -0.4),
            gain("words", "plain", 0.0, 0.0, 0.0),
        ],
    }
)


@pytest.fixture
def drawn():
    made = []

    def draw(figure):
        made.append(figure)
        return figure

    yield draw
    for figure in made:
        _close(figure)


def test_each_verdict_with_scores_has_its_curve_and_the_best_comes_first(drawn):
    (axes,) = drawn(roc_curves(RESULT)).axes
    best, other, guessing = axes.get_lines()
    assert best.get_label() == "attention, 1.00"
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([0, 0, 1], [0, 1, 1])
    assert other.get_label() == "surest, 0.50"
    assert guessing.get_label().startswith("guessing")


def test_the_areas_are_told_in_one_line():
    assert describe_roc(RESULT).endswith("guessing: attention 1.00, surest 0.50")


def test_a_gain_is_a_dot_on_its_interval(drawn):
    facts, words = drawn(gains_over_plain(RESULT)).axes
    interval, dot = facts.get_lines()[:2]
    assert list(interval.get_xdata()) == [-0.1, 0.3]
    assert list(dot.get_xdata()) == [0.125]
    assert [label.get_text() for label in facts.get_yticklabels()] == ["margins", "empty notes"]
    assert (facts.get_title(), words.get_title()) == ("facts, n = 24", "words, n = 24")
    low, high = facts.get_ylim()
    assert low > high  # the first way on top


def test_ways_can_be_chosen(drawn):
    facts, _ = drawn(gains_over_plain(RESULT, ["empty notes"])).axes
    assert list(facts.get_lines()[1].get_xdata()) == [-0.2]


def test_gains_are_told_in_one_line():
    assert describe_gains(RESULT) == (
        "gain of margins over the plain prompt: "
        "facts +0.12 (-0.10 to +0.30); words -0.50 (-0.60 to -0.40)"
    )
