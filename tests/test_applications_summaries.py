"""Summaries say where they come from, and how good they are is counted against known decisions."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu import models, read
from longctx_edu.applications import (
    Summary,
    generate_minutes,
    process_long_document,
    summarize_document,
)
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.summaries import (
    compare_summaries,
    complete,
    coverage,
    faithfulness,
    invented,
    score_summary,
    support,
    touched,
)
from longctx_edu.margins.prompts import CopySentence
from longctx_edu.readers import METHOD_NAMES

SMALL = dict(meetings=1, decisions=2, others=1, talk=1)


@pytest.fixture(scope="module")
def model():
    return models.tiny(seed=2)


@pytest.fixture(scope="module")
def minutes():
    return generate_minutes(**SMALL)


# --- the minutes


@settings(max_examples=25)
@given(
    meetings=st.integers(1, 4),
    decisions=st.integers(1, 3),
    others=st.integers(0, 2),
    talk=st.integers(0, 20),
    seed=st.integers(0, 10**6),
)
def test_every_matter_stands_in_the_minutes_once_where_it_says(
    meetings, decisions, others, talk, seed
):
    made = generate_minutes(
        meetings=meetings, decisions=decisions, others=others, talk=talk, seed=seed
    )
    text = made.document.text
    assert len(made.decisions) == meetings * decisions
    assert len(made.matters) == meetings * (decisions + others)
    for matter in made.matters:
        assert text[matter.start : matter.end] == matter.statement
        assert text.count(matter.statement) == 1
        assert all(detail in matter.statement for detail in matter.details)
        assert text.count(matter.details[1]) == 1  # the sum, which nothing else gives away


def test_a_seed_makes_the_same_minutes_and_another_one_others():
    assert generate_minutes(seed=3) == generate_minutes(seed=3)
    assert generate_minutes(seed=3).document.text != generate_minutes(seed=4).document.text


@pytest.mark.parametrize("wrong", [dict(meetings=0), dict(decisions=0), dict(meetings=20)])
def test_minutes_without_a_decision_or_with_too_many_matters_are_refused(wrong):
    with pytest.raises(LongctxError, match="at most 24 matters"):
        generate_minutes(**wrong)


# --- how good a summary is


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_a_list_of_some_decisions_covers_these_and_is_faithful(seed, share):
    made = generate_minutes(seed=seed)
    told = random.Random(seed).sample(made.decisions, round(share * len(made.decisions)))
    listed = "\n".join(f"- {one.statement}" for one in told)
    shares = [measure(listed, made) for measure in (coverage, complete, touched)]
    assert shares == [len(told) / len(made.decisions)] * 3
    assert faithfulness(listed, made) == (1.0 if told else None)
    assert support(listed, made.document.text) == (1.0 if told else None)


def test_a_detail_of_another_matter_is_no_coverage_and_not_faithful(minutes):
    one, other = minutes.decisions
    mixed = one.statement.replace(one.details[1], other.details[1])
    assert mixed != one.statement
    assert complete(mixed, minutes) == 0
    assert coverage(mixed, minutes) == pytest.approx(2 / 3 / 2)  # who and when, of one of two
    assert touched(mixed, minutes) == 0.5
    assert faithfulness(mixed, minutes) == 0


def test_details_in_different_sentences_do_not_add_up_to_a_decision(minutes):
    one = minutes.decisions[0]
    who, cost, day = one.details
    apart = f"They talked about the {one.subject}. {who} does it. It costs {cost}. It is on {day}."
    together = f"{who} takes care of the {one.subject} for {cost} crowns by {day}."
    assert coverage(apart, minutes) == 0 < touched(apart, minutes)
    assert coverage(together, minutes) == complete(together, minutes) == 0.5
    assert complete(together.replace(day, "then"), minutes) == 0


def test_what_was_rejected_and_is_told_as_decided_is_not_faithful(minutes):
    (other,) = (one for one in minutes.matters if one.fate != "decided")
    assert faithfulness(f"It was decided to spend money on the {other.subject}.", minutes) == 0
    assert faithfulness(f"The {other.subject} was {other.fate}.", minutes) == 1
    decided = minutes.decisions[0].subject
    assert faithfulness(f"The {decided} was rejected.", minutes) == 0
    assert faithfulness("The weather was discussed.", minutes) is None


def test_support_counts_the_words_of_one_sentence_and_not_of_many():
    source = "The boat is green. Ada rowed it home. Rain fell on the sheep."
    assert support("The boat is green.", source) == 1
    assert support("Ada rowed the sheep.", source) == 0
    assert support("", source) is None


@settings(max_examples=5)
@given(seed=st.integers(0, 1000))
def test_nothing_in_the_minutes_is_invented_and_what_is_not_in_them_is(seed):
    made = generate_minutes(seed=seed)
    text = made.document.text
    assert invented(text, text) == []
    assert invented(f"{text} They met in Paris in 1066, and Paris was cold.", text) == [
        "Paris",
        "1066",
    ]


def test_a_score_counts_tokens_of_the_summary_for_each_of_the_source(minutes, model):
    text = minutes.document.text
    whole = score_summary(text, minutes, model.tokenizer, method="none")
    assert (whole.share, whole.coverage, whole.support) == (1, 1, 1)
    half = score_summary(text[: len(text) // 2], minutes, model.tokenizer, method="none")
    assert half.share == pytest.approx(0.5, abs=0.01)


# --- summaries


@pytest.mark.parametrize("method", METHOD_NAMES)
@pytest.mark.parametrize("focus", ["", "What was decided?"])
def test_every_method_summarises_and_its_points_lie_in_the_source(method, focus, minutes, model):
    options = {
        "margins": dict(segment_tokens=200, margin_tokens=4),
        "map_reduce": dict(segment_tokens=200, note_tokens=4),
    }.get(method, {})
    asked = dict(focus=focus, model=model, max_new_tokens=3)
    summary = summarize_document(minutes.document, method=method, **asked, **options)
    assert isinstance(summary, Summary)
    assert (summary.method, summary.focus) == (method, focus)
    assert summary.ledger.decoded >= 1
    assert bool(summary.points) == (method not in ("plain", "truncated"))
    text = minutes.document.text
    for point in summary.points:
        assert point.citations
        for cited in point.citations:
            assert text[cited.start : cited.end] == cited.text


def test_a_summary_of_the_whole_has_a_point_for_each_segment_that_says_something(minutes, model):
    options = dict(segment_tokens=150, margin_tokens=6)
    summary = summarize_document(minutes.document, model=model, max_new_tokens=2, **options)
    written = {note["text"] for note in summary.trace["margins"] if note["text"].strip()}
    assert [point.text for point in summary.points] == [
        note["text"] for note in summary.trace["margins"] if note["kept"]
    ]
    assert {point.text for point in summary.points} == written
    assert summary.trace["options"]["prompt"] == "one_sentence"
    assert summary.trace["options"]["verdict"] == "all"
    assert summary.listed.count("- ") >= len(summary.points)


def test_a_focus_is_what_is_asked_and_options_go_before_the_defaults(minutes, model):
    asked = dict(focus="Who?", model=model, max_new_tokens=2, prompt=CopySentence())
    summary = summarize_document(
        minutes.document, place="first", segment_tokens=300, margin_tokens=4, **asked
    )
    assert summary.trace["question"] == "Who?"
    assert summary.trace["options"]["prompt"] == "copy"
    assert summary.trace["options"]["place"] == "first"


def test_a_reading_and_a_memory_are_summarised_without_reading_again(minutes, model):
    bank = process_long_document(minutes.document, model=model)
    summary = summarize_document(bank, max_new_tokens=2)
    assert summary.trace["options"]["passages"] == 8
    assert len(summary.points) == len(summary.trace["passages"]) > 3
    reading = read(
        minutes.document, method="margins", model=model, segment_tokens=300, margin_tokens=4
    )
    before = reading.ledger
    again = summarize_document(reading, focus="Who?", max_new_tokens=2)
    assert reading.ledger == before == again.reading
    assert again.trace["options"]["segment_tokens"] == 300
    with pytest.raises(LongctxError, match="leave out method"):
        summarize_document(reading, method="memory")


def test_methods_are_compared_by_what_they_wrote_and_what_they_wrote_it_from(minutes, model):
    small = models.tiny(seed=2, window=512)
    options = dict(map_reduce=dict(segment_tokens=200, note_tokens=4), memory=dict(passages=2))
    methods = ["plain", "map_reduce", "memory"]
    scores = compare_summaries(minutes, methods, small, max_new_tokens=2, **options)
    assert [(one.method, one.what) for one in scores] == [
        ("plain", "written"),
        ("map_reduce", "written"),
        ("map_reduce", "points"),
        ("memory", "written"),
        ("memory", "points"),
    ]
    assert "window holds 512" in scores[0].notice
    assert scores[0].tokens_read == 0 < min(one.tokens_read for one in scores[1:])
    with pytest.raises(LongctxError, match="not compared"):
        compare_summaries(minutes, ["plain"], model, margins={})
