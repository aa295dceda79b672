"""The view of routing in headless Chromium: stepped through, pointed at, by mouse and keys."""

import pytest
from esm import cut_off, display, load_parts, open_page, picture_of, settle, tell, too_faint
from test_routing_view import make_view

from longctx_edu.widgets import RoutingView
from longctx_edu.widgets.units import percent

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def head(page):
    return page.locator(".lx-status").text_content()


def pointed(page):
    return page.locator(".lx-cell").text_content()


def notes(page, side):
    return page.locator(f".lx-{side} .lx-numbers").all_text_contents()


def options(page, side):
    return page.locator(f".lx-{side} [role=option]")


def column(page, number):
    return page.locator(f".lx-table tbody td:nth-child({number})").all_text_contents()


def cell_at(page, view, sender, receiver):
    """Return where a cell of the matrix is, in pixels of its canvas; the layout is routing.js's."""
    box = page.locator(".lx-heat").bounding_box()
    across = (box["width"] - 120) / len(view.receivers)
    along = max(5, min(560 // len(view.senders), 22))
    return {"x": 112 + (receiver + 0.5) * across, "y": 30 + (sender + 0.5) * along}


def test_python_and_the_page_say_the_same_at_every_step(bench):
    view = make_view()
    display(bench, view)
    for step in range(4):
        tell(bench, step=step)
        settle(bench.page)
        said = view.describe().partition(", ")[2]
        assert head(bench.page) == f"{said}."
        assert notes(bench.page, "tos") == [
            percent(share) for share in view.sent.sum(0) / view.sent.sum()
        ]


def test_shares_are_written_alike_on_both_sides(bench):
    load_parts(bench.page, "dom")
    shares = [0, 1e-5, 0.004, 0.0994, 0.0996, 0.123, 0.5, 1]
    assert bench.page.evaluate("(all) => all.map(percent)", shares) == list(map(percent, shares))


def test_the_slider_goes_through_the_steps_and_python_hears_of_it(bench):
    view = make_view()
    display(bench, view)
    slider = bench.page.locator("input[type=range]")
    assert slider.get_attribute("aria-valuetext") == "4"
    slider.focus()
    bench.page.keyboard.press("Home")
    settle(bench.page)
    assert view.step == 0
    assert column(bench.page, 2) == notes(bench.page, "tos")
    assert head(bench.page).startswith("iteration 1: A gets most, ")


def test_a_sender_that_is_pointed_at_shows_what_it_sends(bench):
    view = make_view()
    display(bench, view)
    page = bench.page
    options(page, "froms").nth(2).hover()
    settle(page)
    best = view.receivers[int(view.sent[2].argmax())]
    assert pointed(page) == f"s2 sends 100 %, most of it to {best}."
    assert [float(one) for one in column(page, 4)] == pytest.approx(view.sent[2], abs=6e-4)
    assert view.sender == -1  # not chosen yet
    options(page, "froms").nth(2).click()
    options(page, "tos").nth(1).click()
    settle(page)
    assert (view.sender, view.receiver) == (2, 1)
    assert pointed(page) == f"s2 → B: {view.sent[2, 1]:.3f}."
    assert page.locator(".lx-table tr[data-marked] td").first.text_content() == "B"


def test_a_band_is_touched_where_it_runs(bench):
    view = make_view()
    display(bench, view)
    page = bench.page
    settle(page)
    canvas = page.locator(".lx-lines").bounding_box()
    end = options(page, "froms").nth(0).bounding_box()
    page.mouse.move(canvas["x"] + 3, end["y"] + end["height"] / 2)
    settle(page)
    assert pointed(page).startswith("s0 → ")


def test_everything_can_be_done_with_keys(bench):
    view = make_view()
    display(bench, view)
    page = bench.page
    options(page, "froms").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("[")  # the step before, without losing the place
    settle(page)
    assert view.step == 2
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    settle(page)
    assert view.sender == 2
    page.locator("[role=radio][data-value=bands]").focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert view.form == "cells"
    page.locator(".lx-heat").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    settle(page)
    assert (view.sender, view.receiver) == (2, 1)
    page.keyboard.press("]")
    page.keyboard.press("Escape")
    settle(page)
    assert (view.step, view.sender, view.receiver) == (3, -1, -1)


def test_cells_tell_the_same_as_bands(bench):
    view = make_view(form="cells")
    display(bench, view)
    page = bench.page
    settle(page)
    assert not page.locator(".lx-arcs").is_visible()
    page.locator(".lx-heat").click(position=cell_at(page, view, 4, 2))
    settle(page)
    assert (view.sender, view.receiver) == (4, 2)
    assert pointed(page) == f"s4 → C: {view.sent[4, 2]:.3f}."
    label = page.locator(".lx-strip").get_attribute("aria-label")
    assert label.startswith(f"Load: A {percent(view.sent[:, 0].sum() / view.sent.sum())}, B ")


def test_one_step_needs_no_slider_and_nothing_sent_is_said(bench):
    display(bench, RoutingView([[0.0, 0.0]], senders=["a"], receivers=["x", "y"]))
    page = bench.page
    assert not page.locator("input[type=range]").is_visible()
    assert head(page) == "Routing: nothing is sent."
    options(page, "froms").first.hover()
    settle(page)
    assert pointed(page) == "a sends nothing."


def test_names_and_texts_stay_text(bench):
    hostile = "<img src=x onerror=\"document.title='ran'\">"
    view = make_view(receivers=[hostile] * 3, senders=[hostile] * 6, texts=[hostile] * 3)
    display(bench, view)
    page = bench.page
    options(page, "tos").first.hover()
    settle(page)
    assert hostile in pointed(page)
    tell(bench, form="cells")
    settle(page)
    assert page.locator(".lx img").count() == 0
    assert page.title() == ""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 380])
def test_it_is_legible_in_both_themes_and_fits_a_narrow_page(browser, theme, width):
    with open_page(browser, viewport={"width": width, "height": 700}) as bench:
        long = "A passage with a name that is much longer than there is room for beside the bands"
        view = make_view(theme=theme, receivers=[long] * 3, texts=[long * 2] * 3)
        display(bench, view)
        for form in ("bands", "cells"):
            tell(bench, form=form, sender=1)
            settle(bench.page)
            assert cut_off(bench.page, width) == []
            assert too_faint(bench.page) == []
        bench.assert_clean()


def test_a_saved_file_goes_through_the_steps_without_a_kernel(browser, tmp_path):
    view = make_view()
    path = view.save(tmp_path / "routing.html")
    with open_page(browser, path.as_uri()) as bench:
        settle(bench.page)
        first = head(bench.page)
        bench.page.locator("input[type=range]").focus()
        bench.page.keyboard.press("Home")
        settle(bench.page)
        assert head(bench.page).startswith("iteration 1: ")
        assert head(bench.page) != first
        assert picture_of(bench.page, tmp_path / "page.png").stat().st_size > 5_000
        bench.assert_clean()


def test_a_display_that_is_closed_leaves_no_listener(bench):
    display(bench, make_view())
    bench.page.evaluate("() => cleanUp()")
    settle(bench.page)
    assert bench.page.evaluate("() => model.listening()") == 0
    assert bench.page.locator(".lx").count() == 0
