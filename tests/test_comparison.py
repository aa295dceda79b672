"""Methods side by side: all metrics over the same items, time and tokens of the same answers."""

import json
import time

import pytest

from longctx_edu import evaluation, margins, models, readers
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation import comparison
from longctx_edu.evaluation.comparison import (
    Evaluation,
    by_turn,
    compare_performance,
    difference,
    evaluate_wim_model,
    measure_inference_time,
    standard_inference,
)
from longctx_edu.evaluation.intervals import Interval
from longctx_edu.evaluation.scoring import Row, score
from longctx_edu.evaluation.tasks import generate
from longctx_edu.inference.ledger import Ledger


@pytest.fixture(scope="module")
def model():
    return models.tiny("llama", seed=1)


@pytest.fixture(scope="module")
def items(model):
    # Two documents: of one alone no difference could be told.
    return generate("second-question", 1500, 4, 0, model.tokenizer)


def row(item, answer, *, recall=0.0, method="plain", seconds=1.0, **more):
    return Row(item, method, answer, recall, more.get("nats"), more.get("rank"), 10, seconds)


def test_right_answers_score_full_by_every_metric_for_short_answers(items):
    rows = [row(one, one.gold[0], recall=1.0, nats=-0.5, rank=1) for one in items]
    found = Evaluation.of(rows)
    assert found.recall == found.exact_match == found.precision == found.ranked_first == 1
    assert found.token_f1 == found.rouge_l == 1
    assert found.bleu is None  # gold has one word
    assert found.perplexity == pytest.approx(2.718281828**0.5)
    assert found.interval.high == 1


def test_naming_every_candidate_has_recall_and_no_precision(items):
    rows = [row(one, ", ".join(one.candidates), recall=1.0) for one in items]
    found = Evaluation.of(rows)
    assert found.recall == 1
    assert found.precision <= 1 / 4
    assert found.exact_match == 0
    assert found.perplexity is found.ranked_first is None


def test_answers_of_sentences_have_a_bleu(model):
    items = generate("copy-ppl", 1500, 2, 0, model.tokenizer)
    found = Evaluation.of([row(one, one.gold[0], recall=1.0) for one in items])
    assert found.bleu == pytest.approx(1)


def test_one_row_is_what_the_table_says(items):
    found = Evaluation.of([row(one, "no", seconds=n) for n, one in enumerate(items)])
    table = found.as_dict()
    assert json.loads(json.dumps(table)) == table
    assert (table["method"], table["n"], table["seconds"]) == ("plain", 4, 1.5)
    assert {"low", "high"} <= table.keys()


def test_rows_of_two_methods_are_not_one_evaluation(items):
    mixed = [row(items[0], "x"), row(items[1], "x", method="margins")]
    for rows in (mixed, []):
        with pytest.raises(LongctxError, match="of one method's rows"):
            Evaluation.of(rows)


def test_a_method_and_its_baseline_get_the_same_items(model, items):
    method, baseline = evaluate_wim_model(items, model, segment_tokens=800)
    assert (method.method, baseline.method) == ("margins", "plain")
    assert [one.item for one in method.rows] == [one.item for one in baseline.rows] == items
    again = Evaluation.of(score("plain", items, model))
    assert (again.recall, again.perplexity) == pytest.approx((baseline.recall, baseline.perplexity))
    assert method.perplexity is None
    assert baseline.ranked_first is not None
    assert method.tokens_read > baseline.tokens_read  # notes are read and written, too
    interval = difference(method, baseline, metric="tokens_read")
    assert 0 < interval.low <= interval.high


def test_a_difference_is_of_the_same_items_in_the_same_order(items):
    better = Evaluation.of([row(one, "x", recall=1.0) for one in items])
    worse = Evaluation.of([row(one, "x") for one in items])
    assert difference(better, worse) == Interval(1.0, 1.0)
    with pytest.raises(LongctxError, match="same items"):
        difference(better, Evaluation.of([row(one, "x") for one in items[::-1]]))


def test_second_questions_are_told_apart_from_first_ones(items):
    turned = [items[0], items[2], items[1], items[3]]  # two documents, asked by turns
    rows = [row(one, "x", recall=float(n < 2), seconds=n) for n, one in enumerate(turned)]
    first, second = by_turn(rows)
    assert [one.item for one in first.rows] == [items[0], items[2]]
    assert [one.item for one in second.rows] == [items[1], items[3]]
    assert (first.recall, second.recall, second.seconds) == (1, 0, 2.5)


def test_the_standard_way_is_the_plain_method(model):
    text, question = "The lamp is lit. " * 20, "What is lit?"
    answer = standard_inference(text, question, model=model, max_new_tokens=5)
    reading = readers.read(text, method="plain", model=model)
    assert answer.text == reading.ask(question, max_new_tokens=5).text
    assert evaluation.standard_inference is standard_inference


def test_time_is_taken_after_a_call_to_warm_up():
    waits = iter([0.2, 0.05, 0.01, 0.03])
    shortest, median, longest = measure_inference_time(lambda: time.sleep(next(waits)), repeats=3)
    assert 0.01 <= shortest < 0.03 <= median < 0.05 <= longest < 0.2


def test_methods_take_turns_and_the_first_round_does_not_count(model, monkeypatch):
    called, clock = [], iter(range(1000))
    original = readers.read
    monkeypatch.setattr(
        readers, "read", lambda *a, **k: called.append(k["method"]) or original(*a, **k)
    )
    monkeypatch.setattr(comparison.time, "perf_counter", lambda: next(clock))
    found = compare_performance(
        "The lamp is lit. " * 40,
        ["What is lit?"],
        model=model,
        methods={"truncated": dict(max_prompt_tokens=300), "plain": {}},
        repeats=3,
        max_new_tokens=2,
    )
    assert called == ["plain", "truncated"] + ["truncated", "plain"] + ["plain", "truncated"] + [
        "truncated",
        "plain",
    ]
    assert [one.method for one in found] == ["truncated", "plain"]
    assert all(len(one.seconds) == 3 for one in found)


def test_the_ledger_beside_the_times_is_that_of_reading_and_asking(model):
    text, questions = "The lamp is lit. " * 60, ["What is lit?", "What burns?"]
    plain, written = compare_performance(
        text, questions, model=model, repeats=1, max_new_tokens=3, methods=["plain", "margins"]
    )
    reading = readers.read(text, method="plain", model=model)
    answers = [reading.ask(question, max_new_tokens=3) for question in questions]
    assert plain.reading == reading.ledger
    assert plain.asking == sum((one.ledger for one in answers), Ledger())
    assert plain.answers == tuple(one.text for one in answers)
    assert plain.times == 1
    table = written.as_dict()
    assert json.loads(json.dumps(table)) == table
    assert table["decoded"] > plain.as_dict()["decoded"]  # notes
    assert table["fastest"] <= table["seconds"] <= table["slowest"]


def test_ratios_are_taken_within_the_rounds(model, monkeypatch):
    # A machine that gets twice as slow in each round leaves the ratio as it is.
    calls = iter(range(100))

    def timed(call):
        number = next(calls)  # reading and asking, of two methods, in four rounds
        slow = 2.0 ** (number // 4)
        result = call()
        method = result.method if hasattr(result, "method") else None
        return slow * (3.0 if method == "truncated" else 1.0 if method else 0.0), result

    monkeypatch.setattr(comparison, "_timed", timed)
    plain, other = compare_performance(
        "The lamp is lit. " * 9,
        ["What?"],
        model=model,
        methods={"plain": {}, "truncated": dict(max_prompt_tokens=400)},
        max_new_tokens=1,
    )
    assert plain.seconds == (2.0, 4.0, 8.0)
    assert other.times == 3
    assert plain.times == 1


@pytest.mark.parametrize(
    "options",
    [dict(methods=[]), dict(methods="plain"), dict(questions=[]), dict(questions="Why?")]
    + [dict(repeats=0)],
)
def test_what_cannot_be_compared_is_refused(model, options):
    asked = dict(questions=["What?"], methods=["plain"]) | options
    with pytest.raises(LongctxError, match="at least"):
        compare_performance("A text.", asked.pop("questions"), model=model, **asked)
    with pytest.raises(LongctxError, match="repeats"):
        measure_inference_time(lambda: None, repeats=0)


@pytest.mark.model
def test_the_embedded_model_pays_more_for_margins_and_says_what_it_paid():
    model = models.load()
    items = generate("facts", 256, 2, 7, model.tokenizer)
    plain, written = compare_performance(
        items[0].documents,
        [items[0].question],
        model=model,
        repeats=1,
        max_new_tokens=6,
    )
    assert written.as_dict()["prefilled"] > plain.as_dict()["prefilled"]
    answer = margins.wim_inference(
        items[0].documents, items[0].question, model=model, max_new_tokens=6
    )
    assert written.answers == (answer.text,)
