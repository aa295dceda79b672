"""The view of attention in headless Chromium: heads, zoom, rows, text, keys, both themes."""

from pathlib import Path

import numpy as np
import pytest
from esm import (
    cut_off,
    display,
    load_parts,
    open_page,
    picture_of,
    settle,
    tell,
    too_faint,
)
from test_attention_view import make_record

from longctx_edu import models
from longctx_edu.attention import capture
from longctx_edu.attention.record import Weighting
from longctx_edu.text import tokenize
from longctx_edu.widgets import AttentionView
from longctx_edu.widgets.matrix import written
from longctx_edu.widgets.tours import ATTENTION_TOUR

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

GOLDEN = Path(__file__).parent / "golden"
PLACES = {  # of its parts, in cells of a golden picture
    "heads": np.s_[6:35, 4:26],
    "matrix": np.s_[46:100, 9:63],
    "row": np.s_[101:106, 8:46],
    "map": np.s_[36:49, 65:78],
    "text": np.s_[53:78, 66:106],
}
TOKENS = 600
ROOT = "document.querySelector('.lx-attention')"


@pytest.fixture(scope="module")
def record():
    return make_record(TOKENS, layers=3, heads=4, kv_heads=2)


@pytest.fixture
def view(record):
    return AttentionView(record, [f" w{n}" for n in range(TOKENS)], query=400)


@pytest.fixture(scope="module")
def small():
    """A real run of a tiny model, its tokens, its text and the model."""
    model, text = models.tiny(), "One reads, and two look. One reads again."
    tokens = tokenize(model.tokenizer, text)
    return capture(model, tokens.ids), tokens, text, model


def shown(bench, view, **replaced):
    """Show a view and wait until all of it is there; return the page."""
    display(bench, view, **replaced)
    whole(bench.page)
    return bench.page


def whole(page):
    """Wait until the matrix is sharp and all heads are there."""
    page.wait_for_function(f"{ROOT}.dataset.sharp === 'yes' && {ROOT}.dataset.grid === 'full'")
    settle(page)


def row_of(page, query):
    page.wait_for_function(f"{ROOT}.dataset.row === '{query}'")
    settle(page)


def cell_at(page, row, column, rows=TOKENS, columns=TOKENS):
    """Return where a cell of the whole matrix is, in pixels of its canvas."""
    box = page.locator(".lx-heat").bounding_box()
    side = box["width"] - 80
    return {"x": 72 + (column + 0.5) * side / columns, "y": 60 + (row + 0.5) * side / rows}


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)
    settle(page)


# --------------------------------------------------------------------------
# What there is to see


def test_all_heads_the_matrix_and_the_exact_row_are_shown(bench, view, record):
    page = shown(bench, view)
    row_of(page, 400)
    expected = record.row(0, 0, 400, top_k=8)
    cells = page.locator(".lx-table tbody tr td:last-child").all_text_contents()
    assert cells == [written(float(one)) for one in expected.top_weights]
    keys = page.locator(".lx-table tbody button").all_text_contents()
    assert keys == [str(int(one)) for one in expected.top_indices]
    best = int(expected.top_indices[0])
    assert f"[ w{best}]" in page.locator(".lx-table tbody tr").first.text_content()
    asks = [ask for message in bench.messages for ask in message["asks"]]
    assert sorted(ask["layer"] for ask in asks if ask["op"] == "heads") == [0, 1, 2]
    # The scores come after all heads, and say what the chosen one does.
    page.wait_for_function(
        "document.querySelector('[data-part=heads] .lx-note').textContent"
        ".includes('previous token')"
    )


def test_the_colours_of_single_cells_are_those_of_their_codes(bench, record):
    view = AttentionView(record, [f"{n} " for n in range(TOKENS)], scale="log", query=-1)
    page = shown(bench, view)
    load_parts(page, "colours")
    page.locator(".lx-heat").click(position=cell_at(page, 300, 200))
    page.get_by_role("button", name="zoom to single weights").click()
    whole(page)
    page.wait_for_timeout(400)
    left, top, right, bottom = view.view
    assert right - left < 80
    query, key = int(top) + 12, int(left) + 7
    weight = float(record.row(0, 0, query).weights[key])
    found = page.evaluate(
        """([query, key, left, top, wide]) => {
            const canvas = document.querySelector(".lx-heat");
            const side = canvas.clientWidth - 80;
            const at = (place, from) => (place + 0.3 - from) * side / wide;
            return [...canvas.getContext("2d").getImageData(
                72 + at(key, left), 60 + at(query, top), 1, 1).data].slice(0, 3);
        }""",
        [query, key, left, top, right - left],
    )
    colour = page.evaluate(
        f"PALETTE[Math.round(255 * shareOf(weightOf(codeOf({weight})), 'log', 1))]"
    )
    assert np.abs(np.array(found) - colour).max() <= 4


def test_zooming_asks_for_the_tiles_in_view_in_one_message_and_only_once(bench, view):
    page = shown(bench, view)
    levels = [ask["level"] for m in bench.messages for ask in m["asks"] if ask["op"] == "tile"]
    assert levels[0] == 2  # roughly, before anything sharp
    before = len(bench.messages)
    page.mouse.move(*[page.locator(".lx-heat").bounding_box()[at] + 300 for at in "xy"])
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    settle(page)
    whole(page)
    page.wait_for_timeout(300)
    fresh = [m["asks"] for m in bench.messages[before:]]
    tiles = [asks for asks in fresh if asks[0]["op"] == "tile"]
    assert len(tiles) <= 1
    assert view.view[2] - view.view[0] < TOKENS / 5
    before = len(bench.messages)
    page.get_by_role("button", name="all", exact=True).click()
    page.wait_for_timeout(300)
    whole(page)
    again = [m["asks"][0]["op"] for m in bench.messages[before:]]
    assert "tile" not in again


def test_text_of_documents_stays_text(bench):
    hostile = "<img src=x onerror=\"document.title='ran'\">"
    view = AttentionView(np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None], [hostile] * 4, key=1)
    page = shown(bench, view)
    row_of(page, 3)
    assert page.locator(".lx-attention img").count() == 0
    assert hostile in page.locator(".lx-cell").text_content()
    assert page.title() == ""


def test_a_long_text_keeps_few_elements_in_the_page(bench, view):
    page = shown(bench, view)
    for query in (0, 300, TOKENS - 1):
        tell(bench, query=query)
        row_of(page, query)
        assert 0 < page.locator(".lx-token").count() <= 400
        assert page.locator(f"[data-token='{query}']").count() == 1


# --------------------------------------------------------------------------
# One selection, from both sides


def test_a_click_in_the_grid_chooses_a_head_in_python(bench, view):
    page = shown(bench, view)
    page.locator(".lx-grid").click(position={"x": 26 + 72 * 2 + 30, "y": 16 + 72 + 30})
    settle(page)
    assert (view.layer, view.head) == (2, 1)
    assert page.locator(".lx-left strong").text_content() == "Layer 2, head 1"
    tell(bench, layer=1, head=3)
    whole(page)
    assert page.locator(".lx-left strong").text_content() == "Layer 1, head 3"


def test_a_click_in_the_matrix_keeps_a_cell_and_touching_changes_nothing(bench, view):
    page = shown(bench, view)
    page.locator(".lx-heat").hover(position=cell_at(page, 500, 100))
    page.wait_for_function(f"Number({ROOT}.dataset.row) > 480 && Number({ROOT}.dataset.row) < 520")
    assert view.query == 400
    page.locator(".lx-heat").click(position=cell_at(page, 200, 100))
    settle(page)
    assert abs(view.query - 200) <= 2
    assert abs(view.key - 100) <= 2


def test_python_and_the_page_share_what_is_in_view(bench, view):
    page = shown(bench, view)
    tell(bench, view=[100, 150, 200, 250])
    whole(page)
    page.wait_for_timeout(300)
    assert view.view == [100, 150, 200, 250]
    page.get_by_role("button", name="zoom out").click()
    page.wait_for_timeout(400)
    assert view.view[2] - view.view[0] == pytest.approx(150, abs=1)
    # The map moves it.
    box = page.locator(".lx-map").bounding_box()
    page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.9 * box["height"])
    page.wait_for_timeout(400)
    assert sum(view.view[::2]) / 2 == pytest.approx(0.2 * TOKENS, abs=12)
    assert view.view[3] == pytest.approx(TOKENS, abs=30)


def test_how_weights_are_counted_changes_tiles_row_and_heads(bench, view, record):
    page = shown(bench, view)
    row_of(page, 400)
    page.get_by_role("button", name="without first token").click()
    whole(page)
    assert view.hide_sink
    best = record.row(0, 0, 400, weighting=Weighting(hide_sink=True)).top_weights[0]
    page.wait_for_function(
        f"document.querySelector('.lx-table tbody').textContent.includes('{written(float(best))}')"
    )
    page.locator("[data-picks=pooling]").select_option("mean")
    whole(page)
    assert view.pooling == "mean"
    asked = [ask for message in bench.messages for ask in message["asks"]]
    assert {"mean"} == {ask["pooling"] for ask in asked[-3:] if "pooling" in ask}


def test_heads_are_sorted_by_what_they_do(bench, view):
    page = shown(bench, view)
    page.locator("[data-picks=sort]").select_option("previous token")
    page.wait_for_timeout(300)
    scores = np.array(view.scores["previous token"])
    page.locator(".lx-grid").focus()
    press(page, "Home")
    assert scores[view.layer, view.head] == scores.max()
    press(page, "End")
    assert scores[view.layer, view.head] == scores.min()


def test_everything_works_by_keyboard(bench, small):
    record, tokens, text, model = small
    view = AttentionView(record, tokens, text=text, model=model)
    page = shown(bench, view)
    page.locator(".lx-grid").focus()
    press(page, "ArrowDown", "ArrowDown", "ArrowRight")
    assert (view.layer, view.head) == (1, 2)
    page.locator(".lx-heat").focus()
    press(page, "ArrowUp", "ArrowUp", "ArrowLeft", "Enter", "]", "{", "+", "+")
    assert (view.layer, view.head) == (0, 3)
    assert view.query >= 0
    assert view.key >= 0
    page.wait_for_timeout(300)
    assert view.view[2] - view.view[0] < len(tokens.ids)
    page.locator(".lx-table tbody button").first.focus()
    press(page, "Enter")
    row_of(page, view.query)
    best = int(record.row(0, 3, view.query).top_indices[0])
    assert view.key == best
    page.get_by_role("button", name="What changes").focus()
    press(page, "Enter")
    page.wait_for_function(
        "document.querySelector('[data-part=table]').textContent"
        ".includes('Without this key it leads')"
    )
    page.locator(".lx-heat").focus()
    press(page, "Escape")
    assert (view.query, view.key) == (-1, -1)


def test_a_row_is_predicted_and_then_revealed(bench, view, record):
    page = shown(bench, view)
    row_of(page, 400)
    page.get_by_role("button", name="Predict a row").click()
    settle(page)
    assert view.predicting
    assert page.locator(".lx-table tbody tr").count() == 0
    for _ in range(3):
        page.locator(".lx-tokens").focus()
        token = page.locator(".lx-token:visible").nth(2 * len(view.guesses))
        token.click()
        settle(page)
    assert len(view.guesses) == 3
    assert all(key <= 400 for key in view.guesses)
    note = page.locator("[data-part=text] .lx-note")
    page.wait_for_function(
        "document.querySelector('[data-part=text] .lx-note').textContent.startsWith('You expected')"
    )
    for key in view.guesses:
        assert written(float(record.row(0, 0, 400).weights[key])) in note.text_content()
    assert page.locator(".lx-table tbody tr").count() == 8


def test_a_tour_points_leads_and_ticks(bench, view):
    view.tour = ATTENTION_TOUR
    page = shown(bench, view)
    assert page.locator("[data-target]").get_attribute("data-part") == "heads"
    page.locator(".lx-grid").focus()
    press(page, "ArrowRight")
    page.wait_for_function("document.querySelector('.lx-tour').textContent.includes('✓')")
    page.get_by_role("button", name="Next").click()
    settle(page)
    assert view.tour_step == 1
    assert ATTENTION_TOUR[1]["text"] in page.locator(".lx-tour").text_content()
    assert page.get_by_role("button", name="Back").is_enabled()


# --------------------------------------------------------------------------
# Everywhere


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 820, 1100])
def test_nothing_is_cut_off_or_faint_at_any_width(browser, view, theme, width):
    view.theme = theme
    view.tour = ATTENTION_TOUR
    with open_page(browser, viewport={"width": width, "height": 900}) as bench:
        page = shown(bench, view)
        row_of(page, 400)
        assert cut_off(page, width) == []
        assert too_faint(page) == []
        bench.assert_clean()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_view_looks_as_it_did(browser, view, theme, tmp_path):
    view.theme, view.key = theme, 120
    with open_page(browser, viewport={"width": 1100, "height": 900}) as bench:
        page = shown(bench, view)
        row_of(page, 400)
        page.wait_for_timeout(400)
        path = picture_of(page, tmp_path / "now.png")
    now, before = coarse(path), coarse(GOLDEN / f"attention_{theme}.png")
    assert abs(len(now) - len(before)) <= 6  # letters differ from machine to machine
    assert differing(now, before) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("part", PLACES)
def test_a_picture_without_one_of_its_parts_looks_different(theme, part):
    golden = coarse(GOLDEN / f"attention_{theme}.png")
    blanked = golden.copy()
    blanked[PLACES[part]] = golden[-3, -3]  # the paper
    assert differing(blanked, golden)
    for rows in (-1, 0, 1):
        assert differing(np.roll(golden, rows, axis=0), golden) == []


def differing(now, before):
    """Return where blocks of 10 by 10 cells differ, even when moved by a row, (row, column)."""
    rows = np.arange(min(len(now), len(before)))
    moved = [now[np.clip(rows + by, 0, len(now) - 1)] for by in (-1, 0, 1)]
    off = [np.abs(one - before[rows]).mean(-1) for one in moved]
    return [
        (y, x)
        for y in range(0, len(rows), 10)
        for x in range(0, before.shape[1], 10)
        if min(one[y : y + 10, x : x + 10].mean() for one in off) >= 0.1
    ]


def coarse(path):
    """Return a picture in cells of 10 by 10 pixels, from 0 to 1, (rows, columns, 3)."""
    import matplotlib.image

    pixels = matplotlib.image.imread(path)[..., :3]
    if pixels.shape[1] < 200:  # a golden one is kept so
        return pixels
    high, wide = (length // 10 for length in pixels.shape[:2])
    return pixels[: high * 10, : wide * 10].reshape(high, 10, wide, 10, 3).mean(axis=(1, 3))


def test_a_saved_page_works_from_disk_and_can_reach_nothing(browser, view, tmp_path):
    view.layer, view.key = 1, 7
    path = view.save(tmp_path / "attention.html")
    with open_page(browser, path.as_uri()) as bench:
        page = bench.page
        # The page's policy forbids what a test could evaluate in it.
        page.locator(".lx-attention[data-sharp=yes][data-row='400']").wait_for()
        assert page.locator(".lx-table tbody tr").count() == 8
        page.locator(".lx-heat").focus()
        press(page, "]", "+", "+", "+")
        assert page.locator(".lx-left strong").text_content() == "Layer 1, head 1"
        press(page, "}")  # another layer is not in the file
        assert page.locator(".lx-left strong").text_content() == "Layer 1, head 1"
        page.locator(".lx-attention[data-sharp=yes]").wait_for()
        assert page.get_by_role("button", name="without first token").is_disabled()
        bench.assert_clean()


def test_cleaning_up_leaves_nothing_behind(bench, view):
    page = shown(bench, view)
    page.evaluate("() => cleanUp()")
    page.wait_for_timeout(300)
    assert page.locator(".lx").count() == 0
    assert page.evaluate("() => model.listening()") == 0
