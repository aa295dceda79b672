"""What is said of verdicts and of margins' worth: rates, curves, comparisons by hand."""

import random

import pytest

from longctx_edu import models
from longctx_edu.evaluation.margin_quality import PLAIN, answers, compared
from longctx_edu.evaluation.margin_verdicts import Judged, area_under_roc, judge_all, roc, summary
from longctx_edu.evaluation.tasks import difficulty_of, generate


def judged(scores, relevant, kept=None, holds=None):
    kept = kept or [False] * len(scores)
    holds = holds or relevant
    return [
        Judged(n // 2, "surest", n % 2, *given, "d")
        for n, given in enumerate(zip(scores, kept, relevant, holds, strict=True))
    ]


def test_precision_recall_and_answers_are_counted_by_hand():
    given = judged(
        [0.9, 0.2, 0.8, 0.7],
        relevant=[True, False, False, True],
        kept=[True, False, True, True],
        holds=[True, False, False, False],
    )
    found = summary(given)
    assert found["precision"] == pytest.approx(2 / 3)
    assert found["recall"] == 1
    assert found["answer_kept"] == 1 / 2  # of two questions one has a kept note with the answer
    assert found["notes_kept"] == 3 / 2
    assert found["right_notes"] == pytest.approx(1 / 3)
    assert found["auc"] == 3 / 4


def test_the_area_is_that_under_the_curve():
    draw = random.Random(0)
    scores = [draw.randrange(6) / 5 for _ in range(40)]
    relevant = [draw.random() < 0.2 + score / 2 for score in scores]
    points = roc(judged(scores, relevant))
    points = [(point["false_positives"], point["true_positives"]) for point in points]
    assert points[0] == (0, 0)
    assert points[-1] == (1, 1)
    steps = zip(points, points[1:], strict=False)
    area = sum((x - a) * (y + b) / 2 for (a, b), (x, y) in steps)
    assert area == pytest.approx(area_under_roc(scores, relevant))


def test_a_verdict_without_scores_has_no_curve():
    assert roc(judged([None, None], [True, False])) == []
    assert area_under_roc([], []) is None


@pytest.fixture(scope="module")
def items():
    tokenizer = models.tiny().tokenizer
    facts = difficulty_of("facts")(facts=2)
    return generate("facts", 1600, 4, 3, tokenizer, difficulty=facts)


def test_every_verdict_sees_the_same_segments(items):
    model = models.tiny("llama", seed=1)
    names = ("all", "surest", "sure_and_seen")
    found = judge_all(items[:2], model, verdicts=names, segment_tokens=400, margin_tokens=4)
    rows = {name: [one for one in found if one.verdict == name] for name in names}
    relevant = [[one.relevant for one in rows[name]] for name in names]
    assert relevant[0] == relevant[1] == relevant[2]
    assert any(relevant[0])
    assert not all(relevant[0])


def test_ways_are_asked_the_same_and_compared_with_plain(items):
    model = models.tiny("llama", seed=1)
    rows = answers(items, model, half=900, segment_tokens=400, margin_tokens=4)
    table = compared(rows)
    ways = [row["way"] for row in table]
    assert {"margins", PLAIN, "random notes", "empty notes", "retrieval"} < {*ways}
    assert all(row["n"] == 4 and row["documents"] == 2 for row in table)
    plain = next(row for row in table if row["way"] == PLAIN)
    assert (plain["gain"], plain["gain_low"], plain["gain_high"], plain["p"]) == (0, 0, 0, 1)
    for row in table:
        own = [one["recall"] for one in rows if one["way"] == row["way"]]
        assert row["recall"] == pytest.approx(sum(own) / 4)
        assert row["low"] <= row["recall"] <= row["high"]
