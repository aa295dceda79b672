"""Scoring: every method in the same words, one reading a document, controls, calibration."""

import json

import pytest

from longctx_edu import models, readers
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation import calibration, scoring
from longctx_edu.evaluation.calibration import Calibration, best, calibrate
from longctx_edu.evaluation.intervals import Interval
from longctx_edu.evaluation.metrics import answer_likelihoods, answered, recall
from longctx_edu.evaluation.scoring import (
    answer_tokens,
    ceiling_of,
    floor_of,
    mean_recall,
    score,
)
from longctx_edu.evaluation.tasks import LIKELIHOOD_TASKS, TASK_NAMES, difficulty_of, generate
from longctx_edu.inference import Context


@pytest.fixture(scope="module")
def model():
    return models.tiny("llama", seed=1)


@pytest.fixture(scope="module")
def items(model):
    return generate("multi-value", 2000, 6, 0, model.tokenizer)


def test_there_is_a_row_for_each_item_and_a_reading_for_each_document(model, items, monkeypatch):
    read = []
    original = readers.read
    monkeypatch.setattr(readers, "read", lambda *a, **k: read.append(a[0]) or original(*a, **k))
    mixed = [items[4], items[0], items[5], items[1]]
    rows = score("plain", mixed, model, likelihood=False)
    assert [row.item for row in rows] == mixed
    assert len(read) == 2
    assert set(read) == {items[0].documents, items[4].documents}


def test_a_row_is_what_asking_gives(model, items):
    (row,) = score("plain", items[:1], model)
    item = items[0]
    reading = readers.read(item.documents, method="plain", model=model)
    answer = reading.ask(
        item.question,
        answer_prefix=item.answer_prefix,
        max_new_tokens=answer_tokens(item, model.tokenizer),
    )
    assert row.answer == answer.text
    assert row.recall == recall(answer.text, item.gold)
    assert row.right == (row.recall == 1)
    assert row.tokens_read == answer.ledger.prefilled + answer.ledger.decoded
    user = f"{item.documents[0].text}\n\n{item.question}"
    prompts, start = answered(model, user, item.answer_prefix, [item.gold[0]])
    (likelihood,) = answer_likelihoods(Context(model), prompts, start)
    assert row.log_probability_per_token == pytest.approx(likelihood.per_token, abs=1e-4)
    assert 1 <= row.rank <= len(item.candidates)


def test_likelihoods_read_the_document_no_second_time(model, items, monkeypatch):
    read = []
    original = Context.prefill
    monkeypatch.setattr(
        Context, "prefill", lambda self, ids, **k: read.append(len(ids)) or original(self, ids, **k)
    )
    score("plain", items[:2], model)
    assert sorted(read)[-1] > 1900
    assert sum(length > 500 for length in read) == 1


@pytest.mark.parametrize("method", ["truncated", "retrieval"])
def test_other_methods_are_scored_by_their_answers_alone(method, model, items):
    options = dict(sentences=3) if method == "retrieval" else dict(max_prompt_tokens=600)
    (row,) = score(method, items[:1], model, **options)
    assert (row.method, row.log_probability_per_token, row.rank) == (method, None, None)
    assert 0 <= row.recall <= 1


def test_rows_are_plain_values(model, items):
    rows = [row.as_dict() for row in score("plain", items[:1], model, likelihood=False)]
    assert json.loads(json.dumps(rows)) == rows
    assert rows[0]["gold"] == list(items[0].gold)


def test_nothing_to_score_is_refused(model):
    with pytest.raises(LongctxError, match="no item to score"):
        score("plain", [], model)


def test_controls_ask_the_same_of_other_texts(items):
    for control, name in ((floor_of, "floor"), (ceiling_of, "ceiling")):
        for item, other in zip(items, control(items), strict=True):
            assert other.documents == getattr(item.controls, name)
            assert (other.question, other.gold) == (item.question, item.gold)


def test_calibration_picks_the_middle_of_the_range():
    def of(score):
        return Calibration("facts", difficulty_of("facts")(), score, Interval(0, 1), 40, 0.1, 1.0)

    assert best([of(1.0), of(0.9), of(0.8), of(0.2)]).score == 0.8
    assert [of(score).tells_apart for score in (0.69, 0.7, 0.95, 0.96)] == [
        False,
        True,
        True,
        False,
    ]


def test_every_task_is_swept_or_scored_by_log_probability():
    assert {*calibration.SWEEP} | {*LIKELIHOOD_TASKS} == {*TASK_NAMES}
    assert {*calibration.SWEEP}.isdisjoint(LIKELIHOOD_TASKS)


@pytest.mark.parametrize("task", calibration.SWEEP)
def test_the_defaults_are_among_the_difficulties_that_were_measured(task):
    kind = difficulty_of(task)
    assert kind() in [kind(**chosen) for chosen in calibration.SWEEP[task]]


@pytest.mark.model
def test_the_embedded_model_finds_facts_and_guesses_none_without_them():
    model = models.load()
    found = calibrate("facts", model, length_tokens=256, n=4, seed=11)
    assert found.floor < min(found.score, found.ceiling)
    assert found.interval.low < found.score <= found.interval.high
    assert (found.n, found.task) == (4, "facts")


@pytest.mark.model
def test_a_fact_that_is_told_is_more_probable_than_one_that_is_not():
    model = models.load()
    items = generate("facts", 256, 2, 11, model.tokenizer)
    told, untold = score("plain", items, model), score("plain", floor_of(items), model)
    for with_fact, without in zip(told, untold, strict=True):
        assert with_fact.log_probability_per_token > without.log_probability_per_token + 1
        assert with_fact.rank <= without.rank
    assert mean_recall(told) == scoring.mean_recall(told) > mean_recall(untold)
