"""The view of margins in headless Chromium: read, judged, asked and replayed, by mouse and keys."""

import pytest
from asked_views import DOCUMENTS, QUESTION
from esm import (
    bring,
    cut_off,
    display,
    load_parts,
    open_page,
    picture_of,
    settle,
    tell,
    too_faint,
)

from longctx_edu import models, read
from longctx_edu.widgets import MarginsView, margin_states

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


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
    """A live view that has answered one question."""
    made = MarginsView(reading, max_new_tokens=12)
    made.ask(QUESTION)
    made.wait(60)
    yield made
    made.close()


def cards(page, part):
    """Return the texts of one part of all cards, in order."""
    return page.locator(f".lx-card .lx-{part}").all_text_contents()


def shown(page, name):
    return page.get_by_role("button", name=name, exact=True).is_visible()


def focused(page):
    return page.evaluate("document.activeElement.dataset.note ?? document.activeElement.tagName")


# --------------------------------------------------------------------------
# What there is to see


def test_the_rules_of_a_replay_are_those_of_python(bench, trace):
    load_parts(bench.page, "margin_states")
    margins = list(map(margin_states.of_note, trace["margins"]))
    segments = [[one["start"], one["end"]] for one in trace["segments"]]
    only_answer = [entry for entry in trace["events"] if entry[1]["event"] == "TokenDecoded"]
    for events in (trace["events"], only_answer):
        found = bench.page.evaluate(
            "(all) => all.events.map((_, step) => replayed({ ...all, step }))",
            dict(margins=margins, segments=segments, events=events),
        )
        assert found == [
            margin_states.replayed(margins, len(segments), events, step)
            for step in range(len(events))
        ]


def test_text_margins_verdicts_answer_and_cost_are_shown(bench, view):
    display(bench, view)
    page = bench.page
    words = page.locator("[data-passage] .lx-words").all_text_contents()
    assert words == [view.text[start:end] for start, end in view.segments]
    assert "".join(page.locator(".lx-words").all_text_contents()).split() == view.text.split()
    said = cards(page, "said")
    assert said == [note.text or "(nothing noted)" for note in view.notes]
    assert cards(page, "verdict") == [
        f"{'✓ kept' if note.kept else '✗ left out'} by {note.by.replace('_', ' ')}"
        for note in view.notes
    ]
    assert page.locator("[data-passage] .lx-sign").all_text_contents() == [
        "✓" if note.kept else "✗" for note in view.notes
    ]
    assert (
        page.locator(".lx-answer > .lx-said")
        .text_content()
        .endswith(view.answer_text or "(nothing)")
    )
    assert f"{view.cost['decoded']} decoded of at most {view.predicted['decoded']}" in (
        page.locator(".lx-cost").text_content()
    )


def test_text_of_documents_margins_and_questions_stays_text(bench, view):
    hostile = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>"
    view.edit(0, hostile)
    view.add_note(hostile)
    display(bench, view)
    page = bench.page
    page.locator(".lx-ask input").fill(hostile)
    tell(
        bench, text=hostile + view.text, question=hostile, answer_text=hostile, notice=hostile,
        problem=hostile, answer_prefix=hostile,
        citations=[{**one, "text": hostile} for one in view.citations],
    )  # fmt: skip
    page.locator("[data-source='0']").click()
    page.locator("[data-note='0'] [data-act='edit']").click()
    settle(page)
    assert page.locator(".lx img, .lx script").count() == 0
    assert page.title() != "ran"
    assert hostile in page.locator("[data-note='0'] textarea").input_value()
    assert page.locator(".lx-problem").text_content() == hostile


def test_a_source_leads_to_its_place_counted_in_code_points(bench, view):
    display(bench, view)
    page = bench.page
    for n, one in enumerate(view.citations):
        page.locator(f"[data-source='{n}']").focus()
        page.keyboard.press("Enter")
        settle(page)
        assert "".join(page.locator("mark").all_text_contents()) == one["text"]
        assert view.place == one["place"]
        mark, box = page.locator("mark").first, page.locator(".lx-passages")
        assert box.bounding_box()["y"] <= mark.bounding_box()["y"]
    place = view.text.index("🙂")
    tell(bench, place=[place, place + 1])
    settle(page)
    assert page.locator("mark").all_text_contents() == ["🙂"]
    tell(bench, place=[])
    settle(page)
    assert page.locator("mark").count() == 0
    assert page.locator("[data-passage] .lx-words").all_text_contents() == [
        view.text[start:end] for start, end in view.segments
    ]


def test_a_margin_shows_its_segment_and_a_segment_its_margin(bench, view):
    display(bench, view)
    page = bench.page
    page.set_viewport_size({"width": 420, "height": 900})
    last = len(view.segments) - 1
    page.locator(f"[data-note='{last}'] .lx-said").click()
    settle(page)
    assert view.selected == last
    assert page.locator("[data-passage][data-chosen]").get_attribute("data-passage") == str(last)
    page.locator("[data-passage='0'] .lx-words").dispatch_event("click")
    settle(page)
    assert view.selected == 0
    chosen = page.locator(".lx-card[data-chosen]")
    assert chosen.get_attribute("data-note") == "0"
    side = page.locator(".lx-cards").bounding_box()
    assert side["y"] <= chosen.bounding_box()["y"] < side["y"] + side["height"]
    tell(bench, selected=1)  # and from Python
    settle(page)
    assert page.locator(".lx-card[data-chosen]").get_attribute("data-note") == "1"


def test_a_state_that_comes_while_margins_are_written_is_shown(bench, view):
    display(bench, view)
    page = bench.page
    margins = margin_states.begun(len(view.segments))["margins"]
    margins[1].update(text="so far", state="writing")
    margins[2].update(text="all of it", state="done", confidence=0.5)
    tell(
        bench, margins=margins, stage="writing", progress=[3, 8], answer_text="", citations=[],
        events=[], cost={"decoded": 7},
    )  # fmt: skip
    settle(page)
    assert cards(page, "state")[:3] == ["… waiting", "✎ writing", ""]
    assert cards(page, "verdict")[:3] == ["", "", ""]
    assert cards(page, "numbers")[2] == "confidence 0.50"
    assert "step 3 of at most 8; 1 of" in page.locator(".lx-status").text_content()
    assert (shown(page, "Answer now"), shown(page, "Cancel"), shown(page, "Answer again")) == (
        True, True, False,
    )  # fmt: skip
    assert page.get_by_role("button", name="Ask", exact=True).is_disabled()
    assert page.locator("[data-note='1'] [data-act='edit']").is_disabled()
    assert not page.locator(".lx-player").is_visible()
    tell(bench, stage="cancelled")
    settle(page)
    assert "Cancelled" in page.locator(".lx-status").text_content()


def test_those_who_hear_the_page_are_told_of_stages_and_not_of_tokens(bench, view):
    display(bench, view)
    page = bench.page
    spoken = page.locator("[aria-live=polite]")
    tell(bench, stage="writing", events=[])
    page.wait_for_function(
        "document.querySelector('[aria-live=polite]').textContent.startsWith('Writing')"
    )
    before = spoken.text_content()
    for step in (1, 2, 3):
        tell(bench, progress=[step, 8])
    page.wait_for_timeout(400)
    assert spoken.text_content() == before
    tell(bench, stage="answered")
    page.wait_for_function(
        "document.querySelector('[aria-live=polite]').textContent.startsWith('Answer: ')"
    )


# --------------------------------------------------------------------------
# What a person does


def test_a_question_is_asked_and_answered_again_from_the_page(bench, reading):
    view = MarginsView(reading, max_new_tokens=12)
    display(bench, view)
    page = bench.page
    page.locator(".lx-ask input").fill("Where 🙂?")
    page.keyboard.press("Enter")
    settle(page)
    view.wait(60)
    bring(bench)
    assert view.question == "Where 🙂?"
    assert page.locator(".lx-status").text_content().startswith("Answered in")
    page.locator("[data-note='0'] [data-act='reject']").click()
    bring(bench)
    assert cards(page, "verdict")[0] == "✗ left out by you"
    assert "Notes were changed since" in page.locator(".lx-status").text_content()
    page.get_by_role("button", name="Answer again").click()
    settle(page)
    view.wait(60)
    bring(bench)
    assert "Notes were changed" not in page.locator(".lx-status").text_content()
    assert reading.notes[0].by == "person"


def test_what_python_refuses_is_told_in_the_page(bench, view):
    display(bench, view)
    page = bench.page
    page.locator(".lx-ask input").fill("   ")
    page.get_by_role("button", name="Ask", exact=True).click()
    problem = page.locator(".lx-problem")
    problem.filter(has_text="The question is empty").wait_for()
    assert problem.get_attribute("role") == "alert"
    page.locator("[data-note='0'] [data-act='accept']").click()
    page.wait_for_function("document.querySelector('.lx-problem').textContent === ''")


def test_decisions_one_right_after_another_all_arrive(bench, view):
    display(bench, view)
    page = bench.page
    page.evaluate("document.querySelectorAll('[data-act=reject]').forEach((one) => one.click())")
    bring(bench)
    assert {(note.kept, note.by) for note in view.notes} == {(False, "person")}


def test_all_of_it_is_done_by_keys_alone(bench, view):
    display(bench, view)
    page = bench.page
    page.locator(".lx-card[tabindex='0']").focus()
    assert focused(page) == "0"
    last = len(view.notes) - 1
    for key, note in dict(ArrowDown=1, ArrowRight=2, ArrowUp=1, Home=0, End=last).items():
        page.keyboard.press(key)
        assert focused(page) == str(note)
    page.keyboard.press("Home")
    page.keyboard.press("r")
    bring(bench)
    assert (view.notes[0].kept, view.notes[0].by) == (False, "person")
    page.keyboard.press("a")
    bring(bench)
    assert view.notes[0].kept
    assert focused(page) == "0"  # also after the page has changed
    page.keyboard.press("e")
    assert focused(page) == "TEXTAREA"
    page.keyboard.press("Control+A")
    page.keyboard.type("are")  # letters that are keys elsewhere
    page.keyboard.press("Enter")
    bring(bench)
    assert view.notes[0].text == "are"
    assert focused(page) == "0"
    page.keyboard.press("e")
    page.keyboard.type("forgotten")
    page.keyboard.press("Escape")
    assert focused(page) == "0"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("n")
    page.keyboard.type("mine")
    page.keyboard.press("Enter")
    bring(bench)
    assert (view.notes[-1].text, view.notes[-1].segment) == ("mine", 1)
    assert view.notes[0].text == "are"
    assert focused(page) == "1"
    # One's own note stands beside its segment.
    assert page.locator(".lx-card").evaluate_all("(all) => all.map((one) => one.dataset.note)")[
        :3
    ] == ["0", "1", str(len(view.notes) - 1)]
    page.keyboard.press("Enter")
    settle(page)
    assert view.selected == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.act") == "accept"
    page.locator(".lx-passages").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    settle(page)
    assert view.selected >= 0


def test_one_card_at_a_time_can_be_reached_by_tab(bench, view):
    display(bench, view)
    page = bench.page
    page.locator(".lx-card").nth(2).focus()
    stops = """(all) => all.filter((one) => one.tabIndex === 0)
        .map((one) => one.closest(".lx-card").dataset.note)"""
    assert page.locator(".lx-card, .lx-card button").evaluate_all(stops) == ["2"] * 4


def test_a_note_on_the_whole_text_is_added_with_the_mouse(bench, view):
    display(bench, view)
    page = bench.page
    page.get_by_role("button", name="Note on the whole text").click()
    page.get_by_label("Your note on the whole text").fill("Mind the <b>tide</b>.")
    page.get_by_role("button", name="Add to the whole text").click()
    bring(bench)
    assert (view.notes[-1].segment, view.notes[-1].text) == (None, "Mind the <b>tide</b>.")
    assert cards(page, "where")[-1] == "Whole text"
    assert cards(page, "verdict")[-1] == "✓ kept by you"


def test_words_being_edited_stay_while_the_page_changes(bench, view):
    display(bench, view)
    page = bench.page
    page.locator("[data-note='0'] [data-act='edit']").click()
    page.keyboard.press("Control+A")
    page.keyboard.type("half a thou")
    page.locator(".lx-ask input").fill("half a quest")
    view.reject(1)
    bring(bench)
    assert page.locator("[data-note='0'] textarea").input_value() == "half a thou"
    assert page.locator(".lx-ask input").input_value() == "half a quest"


def test_the_time_of_a_picture_is_reported_when_it_is_measured(bench, reading):
    view = MarginsView(reading, max_new_tokens=12, measure=True)
    view.ask(QUESTION)
    view.wait(60)
    display(bench, view, tick=0)
    settle(bench.page)
    assert view.latencies == []
    bring(bench)
    bench.page.wait_for_timeout(100)
    assert len(view.latencies) == len(view.run.events)
    assert min(view.latencies) > 0


# --------------------------------------------------------------------------
# Recordings


def test_a_recording_plays_pauses_and_goes_by_steps(bench, trace):
    view = MarginsView(trace)
    display(bench, view)
    page = bench.page
    slider = page.get_by_role("slider")
    last = len(view.events)
    assert slider.input_value() == str(last)
    assert page.locator("[data-act]:visible").count() == 0
    assert not shown(page, "Ask")
    page.get_by_role("button", name="One event back").click()
    settle(page)
    assert view.step == last - 1
    slider.focus()
    page.keyboard.press("Home")
    settle(page)
    assert view.step == 0
    assert set(cards(page, "state")) == {"… waiting"}
    slider.fill(str(last // 2))
    settle(page)
    assert cards(page, "said") == [
        one["text"] or ("(nothing noted)" if one["state"] == "done" else "")
        for one in view.shown()["margins"]
    ]
    page.get_by_role("button", name="Play the recording").click()
    page.get_by_role("button", name="Pause the recording").wait_for()
    page.wait_for_function(f"Number(document.querySelector('[type=range]').value) === {last}")
    page.get_by_role("button", name="Play the recording").wait_for()
    settle(page)
    assert view.step == -1
    assert cards(page, "said") == [note.text or "(nothing noted)" for note in view.notes]
    tell(bench, step=0)
    settle(page)
    assert slider.input_value() == "0"


def test_a_saved_page_replays_without_a_kernel_or_a_network(browser, view, tmp_path):
    view.add_note("mine")
    path = view.save(tmp_path / "margins.html")
    with open_page(browser, path.as_uri()) as bench:
        page = bench.page
        assert cards(page, "said")[-1] == "mine"
        assert not shown(page, "Ask")
        assert not shown(page, "Answer again")
        page.locator("[data-source='0']").click()
        assert "".join(page.locator("mark").all_text_contents()) == view.citations[0]["text"]
        page.locator("[data-note='1'] .lx-said").click()
        assert page.locator("[data-passage][data-chosen]").get_attribute("data-passage") == "1"
        page.get_by_role("slider").fill("0")
        assert set(cards(page, "state")) == {"… waiting"}
        page.get_by_role("button", name="Play the recording").click()
        # The page forbids what `wait_for_function` does.
        page.locator(".lx-status", has_text="Answered in").wait_for()
        bench.assert_clean()


# --------------------------------------------------------------------------
# The page itself


def test_closing_a_view_leaves_nothing_behind(bench, trace):
    display(bench, MarginsView(trace))
    page = bench.page
    page.get_by_role("slider").fill("0")
    page.get_by_role("button", name="Play the recording").click()
    page.evaluate("cleanUp()")
    assert page.evaluate("model.listening()") == 0
    assert page.locator(".lx").count() == 0
    page.wait_for_timeout(100)


def test_a_token_costs_no_more_beside_thirty_thousand_characters_than_beside_few(bench, trace):
    def spans(text):
        size = len(text) // 60
        return [{"start": n * size, "end": (n + 1) * size} for n in range(60)]

    text, short = ("The ferry leaves at nine 🙂. " * times for times in (1100, 20))
    long = {
        **trace, "text": text, "events": [], "segments": spans(text),
        "documents": [{"id": "d", "source": None, "start": 0, "end": len(text)}],
        "answer": {**trace["answer"], "citations": []},
        "margins": [{**trace["margins"][0], "segment": n} for n in range(60)],
    }  # fmt: skip
    view = MarginsView(long)
    display(bench, view)
    best_of_many = """async () => {
        let best = Infinity;
        for (let n = 0; n < 30; n++) {
            const margins = model.get("margins").map((one) => ({ ...one, text: `${n}` }));
            const begin = performance.now();
            model.take({ margins });
            await Promise.resolve();
            document.body.offsetHeight;
            best = Math.min(best, performance.now() - begin);
        }
        return best;
    }"""
    beside_many = bench.page.evaluate(best_of_many)
    segments = [[one["start"], one["end"]] for one in spans(short)]
    tell(bench, text=short, segments=segments)
    beside_few = bench.page.evaluate(best_of_many)
    assert beside_many < 3 * beside_few + 5  # milliseconds


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1100])
def test_nothing_is_cut_off_or_too_faint_to_read(browser, view, tmp_path, width, scheme):
    with open_page(browser, color_scheme=scheme, viewport={"width": width, "height": 900}) as bench:
        display(bench, view)
        page = bench.page
        page.locator("[data-source='0']").click()
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert cut_off(page, width) == []
        assert picture_of(page, tmp_path / "page.png").stat().st_size > 10_000
        assert too_faint(page) == []
        bench.assert_clean()
