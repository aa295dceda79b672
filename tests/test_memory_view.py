"""The view of memory without a browser: live on a tiny model, from traces, as a picture."""

import json
import subprocess
import sys
import time

import matplotlib as mpl
import numpy as np
import pytest
from asked_views import (
    DOCUMENTS,
    HARD_WORDS,
    QUESTION,
    assert_apart,
    hard_text,
    heard,
    paused,
    unchanged,
    wait_until,
)

from longctx_edu import models, read
from longctx_edu.errors import LongctxError
from longctx_edu.memory.trace import load_trace, save_trace
from longctx_edu.widgets import MemoryView
from longctx_edu.widgets.memory import CHANGES

mpl.use("Agg")

OPTIONS = dict(block_tokens=64, window=256, stride=192, passages=3, blocks=5, k=8)


def make_reading(**options):
    return read(DOCUMENTS, method="memory", model=models.tiny(), **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def reading():
    return make_reading(holds="everything")


@pytest.fixture(scope="module")
def trace(reading):
    return json.loads(json.dumps(reading.ask(QUESTION, max_new_tokens=8).trace))


@pytest.fixture
def view(reading):
    made = MemoryView(reading, max_new_tokens=8)
    yield made
    made.close()


# --------------------------------------------------------------------------
# Live


def test_before_a_question_the_text_lies_there_in_its_blocks(view, reading, trace):
    assert view.live
    assert view.stage == "ready"
    assert view.text == reading.text
    # The same blocks as those of every answer.
    assert [(one["start"], one["end"]) for one in view.blocks] == [
        (one["start"], one["end"]) for one in trace["blocks"]
    ]
    covered = {n for one in view.blocks for n in range(one["start"], one["end"])}
    assert "".join(view.text[n] for n in sorted(covered)) == "".join(d.text for d in DOCUMENTS)
    assert repr(view) == (
        f"MemoryView: a memory of {len(view.blocks)} blocks; nothing was asked yet"
    )


@pytest.mark.parametrize("lookup", ["passages", "blocks", "topk"])
def test_the_masses_shown_are_those_of_the_answers_trace(view, lookup):
    view.ask(QUESTION, lookup=lookup)
    answer = view.wait(60)
    assert view.answer_text == answer.text == answer.trace["answer"]["text"]
    assert view.stage == "answered"
    assert view.cost == vars(answer.ledger)
    assert view.seconds == answer.seconds > 0
    assert view.options["lookup"] == lookup
    tokens = answer.trace["tokens"]
    assert [one["text"] for one in view.tokens] == [one["text"] for one in tokens]
    for row, token in zip(view.masses, tokens, strict=True):
        expected = np.zeros(len(view.blocks), dtype=np.float32)
        for block, share in token["mass"]:
            expected[block] = share
        np.testing.assert_array_equal(row, expected)
    # What is not on the memory stayed within the window, but for what is too small to be kept.
    on_memory = [1 - one["window"] for one in tokens]
    np.testing.assert_allclose(view.masses.sum(axis=1), on_memory, atol=1e-4 * len(view.blocks))
    # A display that opens late finds all of it in the traits.
    assert view.get_state()["mass"] == view.mass


def test_what_was_used_most_comes_first_and_is_said(view):
    view.ask(QUESTION)
    view.wait(60)
    rows = [n for n, one in enumerate(view.tokens) if one["kind"] == "answer"]
    total = view.masses[rows].sum(axis=0)
    used = view.used()
    assert set(used) == set(np.flatnonzero(total))
    assert list(total[used]) == sorted(total[used], reverse=True)
    assert f"with 3 passages out of 5 blocks; most looked at: blocks {used[0]}, " in view.describe()
    assert view.describe().endswith(f"answer {view.answer_text.strip()!r}")


def test_sources_stand_at_their_place_in_the_joined_text(view):
    view.ask(QUESTION)
    view.wait(60)
    assert view.citations
    for one in view.citations:
        start, end = one["place"]
        assert view.text[start:end] == one["text"]


def test_a_change_asks_the_last_question_again_in_its_way(view, reading):
    view.ask(QUESTION, answer_prefix="It is")
    view.wait(60)
    view.change(lookup="topk", k=4, positions="zero")
    answer = view.wait(60)
    asked = dict(lookup="topk", k=4, positions="zero")
    again = reading.ask(QUESTION, answer_prefix="It is", max_new_tokens=8, **asked)
    assert answer.text == again.text
    assert answer.trace["tokens"] == again.trace["tokens"]
    assert {name: view.options[name] for name in asked} == asked
    assert view.question == QUESTION
    # What was changed holds for the questions after it.
    view.ask("More?")
    assert view.wait(60).trace["options"]["k"] == 4


def test_a_change_before_the_first_question_holds_for_it(view):
    assert view.change(blocks=2) is None
    assert view.stage == "ready"
    view.ask(QUESTION)
    assert sum(one["chosen"] for one in view.wait(60).trace["blocks"]) == 2


def test_of_several_changes_to_a_question_under_way_the_last_is_answered(
    view, reading, monkeypatch
):
    with paused(reading, monkeypatch, before="TokenDecoded", times=2) as (reached, on):
        run = view.ask(QUESTION)
        assert reached.acquire(timeout=60)
        assert view.change(blocks=1) is run
        assert view.change(blocks=2) is run
        on.set()
        answer = view.wait(60)
    assert answer.trace["options"]["blocks"] == view.options["blocks"] == 2
    # What the attempt before it wrote is gone.
    assert view.answer_text == answer.text
    asked = [type(event).__name__ for event in run.events]
    assert asked.count("Asked") == 2
    assert asked.count("Answered") == 1


def test_changes_at_any_moment_end_in_the_answer_to_the_last(view):
    view.ask(QUESTION)
    for blocks in (1, 2, 3, 4) * 3:
        time.sleep(0.02)
        view.change(blocks=blocks)
    wait_until(lambda: view.stage == "answered" and not view.run.is_running)
    assert view.wait(60).trace["options"]["blocks"] == 4
    assert view.last_answer.text == view.answer_text


def test_a_second_question_is_refused_while_one_is_under_way(view, reading, monkeypatch):
    with paused(reading, monkeypatch, before="TokenDecoded") as (reached, _):
        view.ask(QUESTION)
        assert reached.acquire(timeout=60)
        with pytest.raises(LongctxError, match="under way; wait for its answer, or cancel it"):
            view.ask("More?")
    view.wait(60)
    view.ask("More?")  # at once after the answer
    assert view.wait(60).text == view.answer_text


def test_a_cancelled_question_leaves_what_was_found_before_and_can_be_asked_again(
    view, reading, monkeypatch
):
    view.ask(QUESTION)
    view.wait(60)
    before = view.mass
    with paused(reading, monkeypatch, before="TokenDecoded") as (reached, _):
        view.change(blocks=1)
        assert reached.acquire(timeout=60)
        assert heard(view, op="cancel") == ""  # does not wait for the model
        wait_until(view.run._stop.is_set)
    wait_until(lambda: view.stage == "cancelled")
    with pytest.raises(LongctxError, match="cancelled before its end"):
        view.wait(60)
    assert view.mass == before
    view.change(blocks=2)
    view.wait(60)
    assert (view.stage, sum(one["chosen"] for one in view.blocks)) == ("answered", 2)


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
    view.change(blocks=2)
    view.wait(60)
    assert (view.stage, view.problem) == ("answered", "")


def test_only_what_the_memory_holds_is_offered(view, reading):
    assert view.allowed["lookup"] == ["passages", "blocks", "topk"]
    assert view.allowed["blocks"][-1] <= len(view.blocks)
    assert view.allowed["k"][-1] <= len(reading.bank)
    for name in ("passages", "blocks", "k"):
        assert view.options[name] in view.allowed[name]
        assert view.allowed[name] == sorted(set(view.allowed[name]))
    least = MemoryView(make_reading(), max_new_tokens=4)
    assert least.allowed["lookup"] == ["passages"]
    least.ask(QUESTION, lookup="blocks")
    with pytest.raises(LongctxError, match="choosing keys alone"):
        least.wait(60)
    assert "holds='everything'" in least.problem


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda view: view.ask("  "), "question is empty"),
        (lambda view: view.wait(), "Nothing was asked yet"),
        (lambda view: view.change(window=3), "cannot change 'window'; it may change lookup, "),
        (lambda view: view.change(lookup="best"), "lookup is one of"),
        (lambda view: view.change(blocks=0), "blocks is at least 1"),
        (lambda view: view.change(blocks="2"), "blocks is a whole number, not '2'"),
        (lambda view: view.ask("Why?", k=-1), "k >= 0"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(view, act, message):
    with unchanged(view), pytest.raises(LongctxError, match=message):
        act(view)


@pytest.mark.parametrize("source", [7, None, [], "reading"])
def test_only_readings_with_a_memory_and_traces_are_shown(source):
    if source == "reading":
        source = read("A text.", method="plain", model=models.tiny())
    with pytest.raises(LongctxError, match=r"method='memory'\), a trace .*, not"):
        MemoryView(source)


# --------------------------------------------------------------------------
# Messages of the browser


def test_the_browser_asks_changes_and_is_told_what_is_refused(view):
    assert heard(view, op="change", name="blocks", value=2) == ""
    assert heard(view, op="ask", question=QUESTION) == ""
    view.wait(60)
    assert heard(view, op="change", name="lookup", value="topk") == ""
    view.wait(60)
    assert (view.options["lookup"], view.options["blocks"]) == ("topk", 2)
    assert "positions is one of" in heard(view, op="change", name="positions", value="there")
    assert "question is empty" in heard(view, op="ask", question=" ")


@pytest.mark.parametrize(
    "message",
    [
        {"op": "change", "name": "blocks", "value": "2"},
        {"op": "change", "name": "blocks", "value": True},
        {"op": "change", "name": "blocks", "value": None},
        {"op": "change", "name": 3, "value": 3},
        {"op": "change", "name": "budget_bytes", "value": 3},
        {"op": "ask", "question": None},
        {"op": "row"},
        {},
    ],
)
def test_a_message_that_makes_no_sense_changes_nothing(view, message):
    with unchanged(view):
        assert heard(view, **message).endswith(".")


def test_latency_is_counted_for_every_event(reading):
    view = MemoryView(reading, max_new_tokens=8, measure=True)
    run = view.ask(QUESTION)
    view.wait(60)
    assert view.median_latency is None
    heard(view, op="shown", tick=view.tick, at=(time.time() + 5) * 1000)
    assert len(view.latencies) == len(run.events)
    assert 5 < view.median_latency < 65


# --------------------------------------------------------------------------
# Traces


def test_a_trace_shows_what_the_live_view_showed_without_a_model(view, reading, tmp_path):
    view.ask(QUESTION)
    trace = view.wait(60).trace
    path = save_trace(trace, tmp_path / "t.json")
    for source in (trace, path, str(path)):
        shown = MemoryView(source)
        assert not shown.live
        for name in ("text", "blocks", "tokens", "mass", "captured", "citations", "options"):
            assert getattr(shown, name) == getattr(view, name), name
        assert shown.describe() == view.describe()


def test_a_trace_can_be_neither_asked_nor_changed(trace):
    view = MemoryView(trace)
    for act in (lambda: view.ask("More?"), lambda: view.change(blocks=1)):
        refused = pytest.raises(LongctxError, match=r"shows a recording.*make it with a reading")
        with unchanged(view), refused:
            act()


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("blocks[0].chosen", lambda t: t["blocks"][0].update(chosen=1)),
        ("blocks[1]", lambda t: t["blocks"][1].update(end=10**9)),
        ("options.k", lambda t: t["options"].pop("k")),
        ("tokens[0].kind", lambda t: t["tokens"][0].update(kind="margin")),
        ("tokens[0].mass", lambda t: t["tokens"][0].update(mass=[[len(t["blocks"]), 0.5]])),
        ("tokens[0].mass", lambda t: t["tokens"][0].update(mass=[[0.5, 0.5]])),
        ("tokens[0].mass", lambda t: t["tokens"][0].update(mass=[[0, 7.5]])),
        ("captured[0]", lambda t: t.update(captured=[[1]])),
        ("answer.citations[0]", lambda t: t["answer"]["citations"][0].update(document_id="c")),
    ],
)
def test_a_damaged_trace_is_refused_at_the_place_of_its_fault(trace, tmp_path, place, change):
    damaged = json.loads(json.dumps(trace))
    change(damaged)
    path = tmp_path / "t.json"
    path.write_text(json.dumps(damaged))
    with pytest.raises(LongctxError) as told:
        MemoryView(path)
    assert f"damaged at {place};" in str(told.value)


def test_a_trace_of_another_kind_or_version_is_refused(trace, tmp_path):
    with pytest.raises(LongctxError, match=r"no trace of memory.*method='memory'"):
        MemoryView({**trace, "schema": "longctx-margins-trace"})
    with pytest.raises(LongctxError, match="has version 99"):
        MemoryView({**trace, "version": 99})
    with pytest.raises(LongctxError, match="could not be read"):
        load_trace(tmp_path / "none.json")


# --------------------------------------------------------------------------
# Pictures and files


def with_size(trace, *, blocks: int, answer: int) -> dict:
    """Return a trace with as many blocks and answer tokens, in texts that are hard to set."""
    text, spans = hard_text(blocks)
    chance = np.random.default_rng(0)
    shares = chance.dirichlet(np.full(blocks, 0.1), size=answer + 12) * 0.4
    tokens = [
        {
            "text": f" {HARD_WORDS[n % 6][:9]}",
            "kind": "question" if n < 12 else "answer",
            "window": float(1 - row.sum()),
            "mass": [[block, float(share)] for block, share in enumerate(row) if share > 1e-4],
        }
        for n, row in enumerate(shares)
    ]
    return {
        **trace,
        "text": text,
        "documents": [{"id": "d", "source": None, "start": 0, "end": len(text)}],
        "blocks": [
            {**span, "score": 0.5 / (n + 1), "chosen": n % 9 == 4} for n, span in enumerate(spans)
        ],
        "passages": [],
        "tokens": tokens,
        "question": HARD_WORDS[5] * 2,
        "answer": {"text": HARD_WORDS[5] * 3, "citations": []},
    }


@pytest.mark.filterwarnings("error:Glyph")  # matplotlib warns of letters that its font lacks
@pytest.mark.parametrize(("blocks", "answer"), [(1, 1), (23, 6), (800, 30), (800, 90)])
def test_nothing_in_the_picture_overlaps_or_leaves_it(trace, blocks, answer):
    view = MemoryView(with_size(trace, blocks=blocks, answer=answer))
    view.block = blocks - 1
    figure = view._closed_picture()
    figure.canvas.draw()
    boxes = [
        text.get_window_extent()
        for axes in figure.axes
        for text in (*axes.texts, *(axes.get_xticklabels() + axes.get_yticklabels()) * axes.axison)
        if text.get_text()
    ]
    assert len(boxes) > 20
    assert_apart(figure, boxes, across=1, down=3)


@pytest.mark.parametrize("lookup", ["passages", "blocks", "topk"])
def test_the_picture_hatches_what_was_not_looked_up(trace, lookup):
    shown = with_size(trace, blocks=23, answer=6)
    shown["options"] = {**shown["options"], "lookup": lookup}
    for token in shown["tokens"]:  # of the chosen block 4 and of block 5 nothing is kept
        token["mass"] = [[block, share] for block, share in token["mass"] if block not in (4, 5)]
    view = MemoryView(shown)
    (heat,) = (
        image
        for axes in view._closed_picture().axes
        for image in axes.images
        if image.get_array().shape[:2] == view.masses.shape
    )
    drawn = heat.get_array()[..., 3] > 0
    if lookup == "topk":
        np.testing.assert_array_equal(drawn, view.masses > 0)
    else:
        looked_up = view.masses.any(axis=0)
        looked_up[4] = lookup == "blocks"
        np.testing.assert_array_equal(drawn, np.broadcast_to(looked_up, drawn.shape))


def test_the_picture_says_whose_attention_a_passage_has(trace):
    for answer, whose in ((6, "answer"), (0, "question")):
        figure = MemoryView(with_size(trace, blocks=23, answer=answer))._closed_picture()
        texts = (text.get_text() for text in figure.axes[0].texts)
        said = [words for words in texts if "attention ·" in words]
        assert said
        assert all(f"of the {whose}'s attention" in words for words in said)


def test_a_view_that_was_not_asked_has_a_picture_of_its_text(view):
    figure = view._closed_picture()
    written = [text.get_text() for text in figure.axes[0].texts]
    assert "No question yet" in written
    assert "Block 0" in written


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_same_trace_gives_the_same_picture(trace, tmp_path, ending):
    paths = [MemoryView(trace).save(tmp_path / f"{n}.{ending}") for n in (1, 2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_saved_view_holds_what_was_found_and_cannot_be_asked(view):
    view.ask(QUESTION)
    view.wait(60)
    saved = view._saved()["state"]
    assert not saved["live"]
    assert saved["allowed"] == {}
    assert set(saved["options"]) == {*CHANGES, "block_tokens"}
    page = view.to_html()
    assert len(page) < 1_000_000
    assert "<img src=x" not in page  # the document's text is data


def test_the_view_loads_no_torch():
    program = "import sys, longctx_edu.widgets.memory; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr
