"""The view of memory in headless Chromium: looked at, asked and changed, by mouse and keys."""

import pytest
from asked_views import QUESTION
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
from test_memory_view import make_reading, with_size

from longctx_edu.widgets import MemoryView
from longctx_edu.widgets.memory import lookup_in_words

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def reading():
    return make_reading(holds="everything")


@pytest.fixture(scope="module")
def trace(reading):
    return reading.ask(QUESTION, max_new_tokens=8).trace


@pytest.fixture
def view(reading):
    """A live view that has answered one question."""
    made = MemoryView(reading, max_new_tokens=8)
    made.ask(QUESTION)
    made.wait(60)
    yield made
    made.close()


def cell_at(page, view, query, block):
    """Return where a cell of the matrix is, in pixels of its canvas; the layout is memory.js's."""
    box = page.locator(".lx-heat").bounding_box()
    right = 52 if box["width"] < 560 else 78
    across = (box["width"] - 112 - right) / len(view.blocks)
    along = max(5, min(640 // len(view.tokens), 18))
    return {"x": 112 + (block + 0.5) * across, "y": 34 + (query + 0.5) * along}


def pointed(page):
    return page.locator(".lx-cell").text_content()


def status(page):
    return page.locator(".lx-status").text_content()


# --------------------------------------------------------------------------
# What there is to see


def test_tokens_passages_text_answer_and_sources_are_shown(bench, view):
    display(bench, view)
    page = bench.page
    texts = page.locator("[data-passage] .lx-words").all_text_contents()
    assert texts == [view.text[one["start"] : one["end"]] for one in view.blocks]
    answer = [n for n, one in enumerate(view.tokens) if one["kind"] == "answer"]
    froms = page.locator(".lx-froms [role=option]")
    assert froms.evaluate_all("(all) => all.map((one) => Number(one.dataset.end))") == answer
    tos = page.locator(".lx-tos [role=option]")
    mass = view.masses[answer].sum(axis=0)
    used = [n for n in range(len(view.blocks)) if mass[n] > 0]
    assert tos.evaluate_all("(all) => all.map((one) => Number(one.dataset.end))") == used
    signs = page.locator("[data-passage] .lx-sign").all_text_contents()
    assert [sign == "✓" for sign in signs] == [one["chosen"] for one in view.blocks]
    assert page.locator(".lx-sources button").count() == len(view.citations)
    assert f"with {lookup_in_words(view.options)}." in status(page)
    label = page.locator(".lx-curve").get_attribute("aria-label")
    assert label.count(" %") == len(view.captured)


@pytest.mark.parametrize("lookup", ["passages", "blocks", "topk"])
def test_python_and_the_page_say_the_lookup_in_the_same_words(bench, reading, lookup):
    load_parts(bench.page, "memory")
    for number in (1, 7):
        options = {**MemoryView(reading).options, "lookup": lookup}
        options.update(blocks=number, passages=number, k=number)
        assert bench.page.evaluate("(all) => lookupInWords(all)", options) == lookup_in_words(
            options
        )


def test_text_of_documents_tokens_and_questions_stays_text(bench, trace):
    hostile = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>"
    tokens = [{**one, "text": hostile} for one in trace["tokens"]]
    display(bench, MemoryView({**trace, "tokens": tokens, "question": hostile}))
    page = bench.page
    page.locator(".lx-froms [role=option]").first.hover()
    settle(page)
    assert page.locator(".lx img, .lx script").count() == 0
    assert hostile in pointed(page)
    assert page.title() == ""


def test_tokens_that_come_apart_from_their_masses_are_shown(bench, view):
    display(bench, view)
    tell(bench, tokens=[{**one, "text": "late"} for one in view.tokens])
    settle(bench.page)
    names = bench.page.locator(".lx-froms [role=option]").all_text_contents()
    assert names
    assert all("late" in name for name in names)


def test_before_a_question_there_is_the_text_and_no_empty_picture(bench, reading):
    display(bench, MemoryView(reading))
    page = bench.page
    assert status(page).startswith("Ask a question")
    assert page.locator("[data-passage]").count() > 3
    for part in (".lx-heat", ".lx-arcs", ".lx-curve"):
        assert not page.locator(part).is_visible()


# --------------------------------------------------------------------------
# One selection


def test_a_cell_tells_its_token_block_and_mass_and_is_chosen_by_a_click(bench, view):
    display(bench, view)
    page = bench.page
    query = next(n for n, one in enumerate(view.tokens) if one["kind"] == "answer")
    block = int(view.masses[query].argmax())
    heat = page.locator(".lx-heat")
    heat.hover(position=cell_at(page, view, query, block))
    settle(page)
    assert f"of the answer → block {block} (chosen, score " in pointed(page)
    assert f": {view.masses[query, block]:.3f} of its attention" in pointed(page)
    assert heat.get_attribute("aria-label").endswith(pointed(page))
    assert (view.query, view.block) == (-1, -1)
    heat.click(position=cell_at(page, view, query, block))
    settle(page)
    assert (view.query, view.block) == (query, block)
    chosen = page.locator("[data-passage][data-chosen]")
    assert chosen.get_attribute("data-passage") == str(block)
    ends = page.locator(".lx-arcs [aria-selected=true]")
    assert ends.evaluate_all("(all) => all.map((one) => Number(one.dataset.end))") == [query, block]
    tell(bench, query=-1, block=0)  # and from Python
    settle(page)
    assert chosen.get_attribute("data-passage") == "0"


def test_the_keys_move_through_the_matrix_and_the_lists(bench, view):
    display(bench, view)
    page = bench.page
    page.locator(".lx-heat").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    looked_at = [n for n in range(len(view.blocks)) if view.masses[1, n] > 0]
    for block in [n for n in looked_at if n > 0][:2]:
        page.keyboard.press("]")
        settle(page)
        assert f"→ block {block} (" in pointed(page)
    page.keyboard.press("Enter")
    settle(page)
    assert (view.query, view.block) == (1, [n for n in looked_at if n > 0][1])
    page.keyboard.press("Escape")
    settle(page)
    assert (view.query, view.block) == (-1, -1)
    page.locator(".lx-tos [tabindex='0']").focus()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    settle(page)
    last = page.locator(".lx-tos [role=option]").last
    assert view.block == int(last.get_attribute("data-end"))
    assert page.locator(".lx-tos [tabindex='0']").count() == 1
    assert f"Block {view.block} (" in pointed(page)


def test_an_arc_leads_to_both_of_its_ends(bench, view):
    display(bench, view)
    page = bench.page
    settle(page)
    answer = [n for n, one in enumerate(view.tokens) if one["kind"] == "answer"]
    query, block = max(
        ((q, b) for q in answer for b in range(len(view.blocks))), key=lambda at: view.masses[at]
    )
    middle = page.evaluate(
        """([from, to]) => {
            const middle = (one) => { const b = one.getBoundingClientRect();
                return (b.top + b.bottom) / 2; };
            const lines = document.querySelector(".lx-lines").getBoundingClientRect();
            return middle(document.querySelector(`.lx-froms [data-end='${from}']`)) - lines.top;
        }""",
        [query, block],
    )
    lines = page.locator(".lx-lines")
    page.locator(".lx-arcs").scroll_into_view_if_needed()
    box = lines.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + middle)
    page.locator(".lx-cell", has_text=f"→ block {block} (").wait_for()
    page.mouse.click(box["x"] + 2, box["y"] + middle)
    settle(page)
    assert (view.query, view.block) == (query, block)
    # What is drawn between the lists makes them no higher, however often.
    for _ in range(3):
        page.locator(".lx-froms [role=option]").first.hover()
        page.locator(".lx-froms [role=option]").last.hover()
        settle(page)
    assert lines.bounding_box()["height"] == box["height"]


def test_a_source_is_marked_in_the_text_and_brought_into_sight(bench, view):
    display(bench, view)
    page = bench.page
    page.set_viewport_size({"width": 420, "height": 900})
    for n, one in enumerate(view.citations):
        page.locator(f"[data-source='{n}']").click()
        settle(page)
        start, end = one["place"]
        marked = "".join(page.locator("mark").all_text_contents())
        assert marked == view.text[start:end]
        box = page.locator(".lx-passages").bounding_box()
        at = page.locator("mark").first.bounding_box()
        assert box["y"] <= at["y"] < box["y"] + box["height"]
        assert view.block >= 0


def test_of_eight_hundred_blocks_none_that_is_looked_at_is_hidden(bench, trace):
    view = MemoryView(with_size(trace, blocks=800, answer=30))
    display(bench, view)
    page = bench.page
    settle(page)
    # Every column of the picture, which stands for several blocks, shows the largest mass.
    drawn = page.evaluate(
        "() => { const c = document.querySelector('.lx-heat'); return [c.width, c.height]; }"
    )
    assert min(drawn) > 300
    query = int(view.masses.max(axis=1).argmax())
    block = int(view.masses[query].argmax())
    at = cell_at(page, view, query, block)
    for beside in (-1.5, 0, 1.5):  # pixels: a neighbour of the same column
        page.locator(".lx-heat").hover(position={**at, "x": at["x"] + beside})
        settle(page)
        if f"→ block {block} (" in pointed(page):
            break
    else:
        raise AssertionError(pointed(page))
    assert page.locator(".lx-tos [role=option]").count() == 10
    assert "further blocks with" in page.locator(".lx-tos > p").text_content()
    page.locator(".lx-heat").focus()
    for _ in range(8):
        page.keyboard.press("+")
    settle(page)
    assert f"→ block {block} (" in pointed(page)


# --------------------------------------------------------------------------
# What a person does


def test_a_question_is_asked_and_looked_up_in_other_ways_from_the_page(bench, reading):
    view = MemoryView(reading, max_new_tokens=8)
    display(bench, view)
    page = bench.page
    page.get_by_role("textbox", name="Question").fill("Where 🙂?")
    page.keyboard.press("Enter")
    settle(page)
    view.wait(60)
    bring(bench)
    assert view.question == "Where 🙂?"
    assert status(page).startswith("Answered in")
    assert page.get_by_role("slider", name="passages").input_value() == str(
        view.allowed["passages"].index(3)
    )
    assert not page.get_by_label("positions").is_visible()
    page.get_by_role("radio", name="top k").click()
    settle(page)
    view.wait(60)
    bring(bench)
    assert view.options["lookup"] == "topk"
    assert page.get_by_role("radio", name="top k").get_attribute("aria-checked") == "true"
    assert not page.get_by_role("slider", name="passages").is_visible()
    page.get_by_label("positions").select_option("zero")
    settle(page)
    view.wait(60)
    bring(bench)
    assert view.options["positions"] == "zero"
    page.get_by_role("slider", name="k", exact=True).focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    view.wait(60)
    bring(bench)
    assert view.options["k"] == 12
    assert "12 best keys" in status(page)
    assert "; now 12: " in page.locator(".lx-curve").get_attribute("aria-label")


def test_what_python_refuses_is_told_in_the_page(bench, view):
    display(bench, view)
    page = bench.page
    page.get_by_role("textbox", name="Question").fill("   ")
    page.get_by_role("button", name="Ask", exact=True).click()
    problem = page.locator(".lx-problem")
    problem.filter(has_text="The question is empty").wait_for()
    assert problem.get_attribute("role") == "alert"


def test_what_was_found_before_stays_pale_until_the_answer_is_there(bench, view):
    display(bench, view)
    page = bench.page
    tell(bench, stage="answering", answer_text="", citations=[])
    settle(page)
    assert page.locator(".lx-heat").is_visible()
    assert page.locator("[data-old]").count() == 2
    assert status(page) == f"Looking up {lookup_in_words(view.options)}."
    assert page.get_by_role("button", name="Cancel").is_visible()
    assert page.get_by_role("button", name="Ask", exact=True).is_disabled()
    tell(bench, stage="answered")
    settle(page)
    assert page.locator("[data-old]").count() == 0


def test_the_time_of_a_picture_is_reported_when_it_is_measured(bench, reading):
    view = MemoryView(reading, max_new_tokens=8, measure=True)
    view.ask(QUESTION)
    view.wait(60)
    display(bench, view, tick=0)
    settle(bench.page)
    bring(bench)
    bench.page.wait_for_timeout(100)
    assert len(view.latencies) == len(view.run.events)


# --------------------------------------------------------------------------
# The page itself


def test_a_saved_page_works_without_a_kernel_or_a_network(browser, view, tmp_path):
    path = view.save(tmp_path / "memory.html")
    with open_page(browser, path.as_uri()) as bench:
        page = bench.page
        assert not page.get_by_role("button", name="Ask", exact=True).is_visible()
        assert not page.get_by_role("radiogroup").is_visible()
        page.locator("[data-source='0']").click()
        assert "".join(page.locator("mark").all_text_contents()) == view.citations[0]["text"]
        page.locator(".lx-tos [role=option]").first.click()
        assert page.locator("[data-passage][data-chosen]").count() == 1
        assert "This is a recording." in status(page)
        bench.assert_clean()


def test_closing_a_view_leaves_nothing_behind(bench, trace):
    display(bench, MemoryView(trace))
    page = bench.page
    page.evaluate("cleanUp()")
    assert page.evaluate("model.listening()") == 0
    assert page.locator(".lx").count() == 0
    page.wait_for_timeout(100)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 820, 1100])
def test_nothing_is_cut_off_or_too_faint_to_read(browser, view, tmp_path, width, scheme):
    with open_page(browser, color_scheme=scheme, viewport={"width": width, "height": 900}) as bench:
        display(bench, view)
        page = bench.page
        page.locator("[data-source='0']").click()
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert cut_off(page, width) == []
        assert too_faint(page) == []
        assert picture_of(page, tmp_path / "page.png").stat().st_size > 10_000
        bench.assert_clean()
