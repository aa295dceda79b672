"""The view of margins without a browser: live on a tiny model, from recordings, as a picture."""

import json
import subprocess
import sys
import time

import matplotlib as mpl
import pytest
from asked_views import (
    DOCUMENTS,
    HARD_WORDS,
    QUESTION,
    assert_apart,
    hard_text,
    heard,
    paused,
    wait_until,
)

from longctx_edu import models, read
from longctx_edu.errors import LongctxError
from longctx_edu.margins import save_trace
from longctx_edu.widgets import MarginsView, margin_picture, margin_states

mpl.use("Agg")


@pytest.fixture(scope="module")
def reading():
    return read(
        DOCUMENTS, method="margins", model=models.tiny(), segment_tokens=200, margin_tokens=8
    )


@pytest.fixture(scope="module")
def trace(reading):
    return reading.ask(QUESTION, max_new_tokens=12).trace


@pytest.fixture
def view(reading):
    made = MarginsView(reading, max_new_tokens=12)
    yield made
    made.close()


# --------------------------------------------------------------------------
# Live


def test_before_a_question_a_margin_waits_on_each_segment(view, reading):
    assert view.live
    assert view.stage == "ready"
    assert view.text == reading.text
    assert view.segments == [list(span) for span in reading.segments]
    assert [(one["segment"], one["state"]) for one in view.margins] == [
        (n, "waiting") for n in range(len(reading.segments))
    ]
    assert repr(view) == (
        f"MarginsView: margins on {len(reading.segments)} segments; nothing was asked yet"
    )


def test_a_view_ends_with_the_notes_the_answer_and_the_costs_of_its_reading(view, reading, trace):
    view.ask(QUESTION)
    answer = view.wait(60)
    assert answer.text == view.answer_text == trace["answer"]["text"]
    assert view.last_answer is answer
    assert view.stage == "answered"
    assert view.notes == reading.notes
    assert view.cost == vars(answer.ledger)
    assert view.predicted == trace["cost"]["predicted"]
    assert view.events == answer.trace["events"]
    assert not view.changed
    assert view.seconds == answer.seconds > 0


def test_sources_stand_at_their_place_in_the_joined_text(view):
    view.ask(QUESTION)
    view.wait(60)
    for one in view.citations:
        start, end = one["place"]
        assert view.text[start:end] == one["text"]
    assert {one["document_id"] for one in view.citations} == {"a.txt", "b.txt"}


def test_several_margins_grow_at_once_before_any_is_judged(view, reading, monkeypatch):
    seen = []
    view.observe(lambda change: seen.append(change["new"]), "margins")
    with paused(reading, monkeypatch, before="Judged") as (reached, _):
        view.ask(QUESTION)
        assert reached.acquire(timeout=60)
        wait_until(lambda: all(one["state"] == "done" for one in view.margins))
        assert {one["kept"] for one in view.margins} == {None}
        assert view.stage == "writing"
        assert "5 not written yet" not in view.describe()
    view.wait(60)
    # A display that opens late finds all of it in the traits.
    assert view.get_state()["margins"] == view.margins
    assert len(seen) >= 2  # before they were judged, and after; how often between is for the clock


def test_a_second_question_is_refused_while_one_is_under_way(view, reading, monkeypatch):
    with paused(reading, monkeypatch, before="TokenDecoded") as (reached, _):
        view.ask(QUESTION)
        assert reached.acquire(timeout=60)
        for act in (lambda: view.ask("More?"), view.ask_again):
            with pytest.raises(LongctxError, match="under way; wait for its answer, or cancel it"):
                act()
    view.wait(60)
    view.ask("More?")  # at once after the answer
    assert view.wait(60).text == view.answer_text


def test_a_person_who_rejects_before_the_answer_is_heard_by_the_next_one(
    view, reading, monkeypatch
):
    with paused(reading, monkeypatch, before="NoteWritten") as (reached, _):
        view.ask(QUESTION)
        assert reached.acquire(timeout=60)
        for place in range(len(view.margins)):
            view.reject(place)
    view.wait(60)
    assert view.changed
    assert all(one["kept"] is False and one["by"] == "person" for one in view.margins)
    assert all(one["score"] is not None and one["text"] is not None for one in view.margins)
    view.edit(1, " The box is green. ")
    view.add_note("Ask the clerk.")
    before = [note.text for note in view.notes]
    view.ask_again()
    answer = view.wait(60)
    assert [note.text for note in view.notes] == before  # each at its own place
    assert [note.text for note in reading.notes if note.kept] == [
        "The box is green.",
        "Ask the clerk.",
    ]
    assert not view.changed
    assert view.predicted == {}
    # Only the end of the prompt was read.
    assert answer.ledger.reused > answer.ledger.prefilled
    assert all(event["event"] != "MarginToken" for _, event in view.events)


def test_what_was_written_before_a_cancel_can_be_answered_from(view, reading, monkeypatch):
    with paused(reading, monkeypatch, before="Judged") as (reached, _):
        view.ask(QUESTION)
        assert reached.acquire(timeout=60)
        wait_until(lambda: view.margins[0]["state"] == "done")
        assert heard(view, op="cancel") == ""  # does not wait for the model
        wait_until(view.run._stop.is_set)
    with pytest.raises(LongctxError, match="cancelled before its end"):
        view.wait(60)
    wait_until(lambda: view.stage == "cancelled")
    texts = [note.text for note in view.notes]
    assert any(texts)
    view.ask_again()
    view.wait(60)
    assert view.stage == "answered"
    assert [note.text for note in view.notes] == texts


def test_answer_now_cuts_the_margins_under_way_short(view, reading, monkeypatch):
    with paused(reading, monkeypatch, before="MarginToken") as (reached, _):
        view.ask(QUESTION)
        assert reached.acquire(timeout=60)
        view.answer_now()
    view.wait(60)
    assert view.stage == "answered"
    assert "cut" in {one["state"] for one in view.margins}
    with pytest.raises(LongctxError, match="No margins are being written"):
        view.answer_now()


def test_what_goes_wrong_is_told_and_the_view_can_be_asked_again(view, reading, monkeypatch):
    def broken(*_, **__):
        yield from ()
        raise LongctxError("The lamp is out; light it.")

    with monkeypatch.context() as patch:
        patch.setattr(reading, "events", broken)
        view.ask(QUESTION)
        with pytest.raises(LongctxError, match="lamp"):
            view.wait(10)
        wait_until(lambda: view.stage == "failed")
        assert view.problem == "The lamp is out; light it."
    view.ask(QUESTION)
    view.wait(60)
    assert (view.stage, view.problem) == ("answered", "")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda view: view.ask("  "), "question is empty"),
        (lambda view: view.ask_again(), "Nothing was asked yet"),
        (lambda view: view.wait(), "Nothing was asked yet"),
        (lambda view: view.reject(99), "no note 99; choose from 0 to"),
        (lambda view: view.accept("1"), "no note '1'"),
        (lambda view: view.edit(0, " "), "A note needs words"),
        (lambda view: view.add_note(""), "A note needs words"),
        (lambda view: view.add_note("x", segment=77), "no segment 77; choose from 0 to"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(view, act, message):
    before = view.get_state()
    with pytest.raises(LongctxError, match=message):
        act(view)
    assert view.get_state() == before


def test_a_note_still_being_written_cannot_be_edited(view, reading, monkeypatch):
    with paused(reading, monkeypatch, before="NoteWritten") as (reached, _):
        view.ask(QUESTION)
        assert reached.acquire(timeout=60)
        wait_until(lambda: view.margins[0]["state"] == "writing")
        with pytest.raises(LongctxError, match="still being written"):
            view.edit(0, "mine")
    view.wait(60)


@pytest.mark.parametrize("source", [7, None, [], "reading"])
def test_only_readings_with_margins_and_traces_are_shown(source):
    if source == "reading":
        source = read("A text.", method="plain", model=models.tiny())
    with pytest.raises(LongctxError, match=r"method='margins'\), a trace .*, not"):
        MarginsView(source)


# --------------------------------------------------------------------------
# Messages of the browser


def test_the_browser_asks_decides_and_is_told_what_is_refused(view):
    assert heard(view, op="ask", question=QUESTION) == ""
    view.wait(60)
    assert heard(view, op="judge", note=0, kept=False) == ""
    assert heard(view, op="edit", note=1, text="mine") == ""
    assert heard(view, op="add", segment=0, text="also") == ""
    assert (view.notes[0].kept, view.notes[1].text, view.notes[-1].segment) == (False, "mine", 0)
    assert heard(view, op="again") == ""
    view.wait(60)
    assert "no note 99" in heard(view, op="judge", note=99, kept=True)
    assert "No margins are being written" in heard(view, op="now")


@pytest.mark.parametrize(
    "message",
    [
        {"op": "judge", "note": "0", "kept": True},
        {"op": "judge", "note": 0, "kept": 1},
        {"op": "ask", "question": None},
        {"op": "add", "segment": "0", "text": "x"},
        {"op": "row"},
        {},
    ],
)
def test_a_message_that_makes_no_sense_changes_nothing(view, message):
    before = view.get_state()
    assert heard(view, **message).endswith(".")
    assert view.get_state() == before


def test_latency_is_counted_for_every_event_from_its_happening_to_its_picture(reading):
    view = MarginsView(reading, max_new_tokens=12, measure=True)
    run = view.ask(QUESTION)
    view.wait(60)
    assert view.latencies == []
    assert view.median_latency is None
    heard(view, op="shown", tick=view.tick, at=(time.time() + 5) * 1000)
    assert len(view.latencies) == len(run.events)
    assert all(5 < one < 65 for one in view.latencies)
    assert view.latencies[0] > view.latencies[-1]  # what came first has waited longest
    heard(view, op="shown", tick=view.tick, at=0)
    assert len(view.latencies) == len(run.events)


def test_a_slow_browser_gets_the_latest_state_and_not_all_of_them(reading):
    sent = {}
    for slow in (False, True):
        view = MarginsView(reading, max_new_tokens=12)
        if slow:
            heard(view, op="shown", tick=0, at=0)  # it watches, and then shows nothing for long
        view.ask(QUESTION)
        view.wait(60)
        sent[slow] = view.tick
        assert view.answer_text == view.last_answer.text
    assert 1 <= sent[True] < sent[False]


# --------------------------------------------------------------------------
# Recordings


def test_a_recording_shows_its_end_without_a_model(trace, tmp_path):
    for source in (trace, save_trace(trace, tmp_path / "t.json"), str(tmp_path / "t.json")):
        view = MarginsView(source)
        assert not view.live
        assert view.stage == "answered"
        assert view.answer_text == trace["answer"]["text"]
        assert [vars(note) for note in view.notes] == trace["margins"]


def test_a_recording_at_a_step_shows_what_was_shown_then(trace):
    view = MarginsView(trace)
    segments, events = len(trace["segments"]), trace["events"]
    assert view.shown()["answer_text"] == trace["answer"]["text"]
    view.step = 0
    assert {one["state"] for one in view.shown()["margins"]} == {"waiting"}
    assert f"0 kept, 0 left out, {segments} not written yet; no answer yet" in view.describe()
    kinds = [event["event"] for _, event in events]
    view.step = kinds.index("Judged")
    shown = view.shown()
    assert [one["text"] for one in shown["margins"]] == [one["text"] for one in trace["margins"]]
    assert {one["kept"] for one in shown["margins"]} == {None}
    view.step = len(events) - 1
    kept = [one["kept"] for one in view.shown()["margins"]]
    assert kept == [one["kept"] for one in trace["margins"]]


def test_every_step_adds_to_the_one_before(trace):
    margins = list(map(margin_states.of_note, trace["margins"]))
    events = trace["events"]
    state = {**margin_states.begun(len(trace["segments"])), "seconds": 0.0}
    for step, (seconds, event) in enumerate(events, 1):
        margin_states.take(state, event)
        state["seconds"] = seconds
        assert state == margin_states.replayed(margins, len(trace["segments"]), events, step)
    assert state["cost"]["decoded"] == trace["cost"]["question"]["decoded"]
    assert state["answer_text"].strip() == trace["answer"]["text"]


@pytest.mark.parametrize(
    "act",
    [
        lambda view: view.ask("More?"),
        lambda view: view.ask_again(),
        lambda view: view.reject(0),
        lambda view: view.edit(0, "x"),
        lambda view: view.add_note("x"),
    ],
)
def test_a_recording_can_be_neither_asked_nor_changed(trace, act):
    view = MarginsView(trace)
    before = view.get_state()
    with pytest.raises(LongctxError, match=r"shows a recording.*make it with a reading"):
        act(view)
    assert view.get_state() == before


def test_a_damaged_trace_is_refused(trace, tmp_path):
    with pytest.raises(LongctxError, match=r"damaged at margins\[0\]\.text"):
        MarginsView({**trace, "margins": [{**trace["margins"][0], "text": 7}]})
    with pytest.raises(LongctxError, match="could not be read"):
        MarginsView(tmp_path / "none.json")


# --------------------------------------------------------------------------
# Pictures and files


def long_trace(trace, segments):
    """Return a trace with as many segments, in texts and notes that are hard to set."""
    words = HARD_WORDS
    text, spans = hard_text(segments)
    margins = [
        {**trace["margins"][0], "segment": n, "text": words[n % 6], "kept": n % 3 == 0}
        for n in range(segments)
    ]
    documents = [{"id": "d", "source": None, "start": 0, "end": len(text)}]
    answer = {**trace["answer"], "text": words[5] * 2, "citations": []}
    return {
        **trace, "text": text, "segments": spans, "margins": margins, "answer": answer,
        "documents": documents, "question": words[5] * 2, "events": [],
    }  # fmt: skip


@pytest.mark.filterwarnings("error:Glyph")  # matplotlib warns of letters that its font lacks
@pytest.mark.parametrize("segments", [1, 7, 40])
def test_nothing_in_the_picture_overlaps_or_leaves_it(trace, segments):
    view = MarginsView(long_trace(trace, segments))
    figure = view._closed_picture()
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert len(boxes) >= 4
    assert_apart(figure, boxes)


def test_of_many_notes_the_picture_keeps_those_that_count(trace):
    rows, missing = margin_picture._rows(
        "text " * 40,
        [[n, n + 5] for n in range(40)],
        [
            margin_states.margin(n, "said", "done", kept=n in (3, 30), by="surest")
            for n in range(40)
        ],
        35,
        [],
    )
    numbers = [row["number"] for row in rows]
    assert len(numbers) == margin_picture.MOST_ROWS
    assert {"3", "30", "35"} <= {*numbers}
    assert numbers == sorted(numbers, key=int)
    assert missing == f"… and {40 - margin_picture.MOST_ROWS} further notes, not drawn here"


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_same_recording_gives_the_same_picture(trace, tmp_path, ending):
    paths = [MarginsView(trace).save(tmp_path / f"{n}.{ending}") for n in (1, 2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_saved_view_holds_its_recording_and_cannot_be_asked(view):
    view.ask(QUESTION)
    view.wait(60)
    view.reject(0)
    state = view._saved()["state"]
    assert state["events"] == view.events
    assert state["margins"][0]["by"] == "person"
    assert not state["live"]
    assert not state["changed"]
    assert len(view.to_html()) < 1_000_000
    assert json.loads(json.dumps(state)) == state


def test_the_view_loads_no_torch():
    program = "import sys, longctx_edu.widgets.margins; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr
