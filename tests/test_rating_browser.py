"""Rating in headless Chromium: by keys and by mouse, blind, and in a file without a kernel."""

import pytest
from esm import cut_off, display, open_page, picture_of, settle, tell, too_faint

from longctx_edu.widgets import RatingView

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

QUESTIONS = ["When did it land?", "Who <b>saw</b> it?"]
ANSWERS = {
    "METHOD1": ["In May.\n\nAnd again in June.", "The <img src=x onerror=alert(1)> keeper."],
    "METHOD2": ["In " + "very " * 300 + "late June.", "Nobody, " + "x" * 300],
}
REFERENCES = ["in May", "the keeper"]


def place(page):
    return page.get_by_role("status").text_content()


def texts(page):
    return page.locator("blockquote").all_text_contents()


def test_digits_rate_and_go_on_to_what_is_not_rated(bench):
    view = RatingView(QUESTIONS, ANSWERS)
    display(bench, view)
    page = bench.page
    assert texts(page) == view.sheets[0]["texts"]
    page.locator("blockquote").focus()
    for number, key in enumerate("5310", 1):  # 0 is no rating
        page.keyboard.press(key)
        settle(page)
        assert sum(map(bool, view.ratings)) == min(number, 3)
    assert view.ratings == [5, 3, 1, 0]
    assert view.at == 3
    assert texts(page) == view.sheets[3]["texts"]
    page.keyboard.press("2")
    settle(page)
    assert view.done
    assert "All are rated" in place(page)
    assert page.locator("progress").evaluate("(one) => [one.value, one.max]") == [4, 4]


def test_sheets_turn_both_ways_and_a_rating_can_be_changed(bench):
    view = RatingView(QUESTIONS, ANSWERS, scale="better", references=REFERENCES)
    display(bench, view)
    page = bench.page
    assert page.get_by_role("button", name="Before").is_disabled()
    page.get_by_role("radio", name="First is better").click()
    settle(page)
    assert (view.ratings, view.at) == ([1, 0], 0)  # a click rates and stays
    assert page.get_by_role("radio", name="First is better").get_attribute("aria-checked") == "true"
    page.keyboard.press("ArrowRight")
    settle(page)
    assert view.ratings == [2, 0]
    page.keyboard.press("]")
    settle(page)
    assert view.at == 1
    assert texts(page) == view.sheets[1]["texts"]
    assert view.sheets[1]["reference"] in page.locator(".lx-reference").text_content()
    page.keyboard.press("[")
    page.keyboard.press("3")
    settle(page)
    assert (view.ratings, view.at) == ([3, 0], 1)
    page.get_by_role("button", name="Before").click()
    settle(page)
    assert view.at == 0


def test_text_stays_text_and_no_method_is_named(bench):
    view = RatingView(QUESTIONS, ANSWERS, scale="better")
    display(bench, view)
    page = bench.page
    for _ in view.sheets:
        assert texts(page) == view.sheets[view.at]["texts"]
        assert page.locator(".lx img, .lx b").count() == 0
        assert "METHOD" not in page.content()
        page.keyboard.press("]")
        page.get_by_role("button", name="Next").click(force=True)
        settle(page)


def test_python_turns_the_sheets_and_sets_ratings(bench):
    view = RatingView(QUESTIONS, ANSWERS)
    display(bench, view)
    page = bench.page
    tell(bench, ratings=[4, 0, 0, 0], at=2)
    settle(page)
    assert place(page) == "Sheet 3 of 4; 1 rated"
    tell(bench, at=0)
    settle(page)
    assert page.get_by_role("radio", name="4").get_attribute("aria-checked") == "true"


def test_a_saved_page_gives_a_file_that_python_takes_in(browser, tmp_path):
    view = RatingView(QUESTIONS, ANSWERS, scale="better", rater='Ada "A" Byron, Ms')
    path = view.save(tmp_path / "rating.html")
    assert "METHOD" not in path.read_text(encoding="utf-8")
    with open_page(browser, path.as_uri()) as bench:
        page = bench.page
        page.locator("blockquote").first.focus()
        page.keyboard.press("2")
        page.keyboard.press("3")
        settle(page)
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save ratings").click()
        file = tmp_path / "ratings.csv"
        saved.value.save_as(file)
        bench.assert_clean()
    view.load(file)
    assert view.ratings == [2, 3]
    assert '"Ada ""A"" Byron, Ms"' in file.read_text()


def test_closing_a_view_leaves_nothing_behind(bench):
    display(bench, RatingView(QUESTIONS, ANSWERS))
    page = bench.page
    page.evaluate("cleanUp()")
    assert page.evaluate("model.listening()") == 0
    assert page.locator(".lx").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1100])
def test_nothing_is_cut_off_or_too_faint_to_read(browser, tmp_path, width, scheme):
    view = RatingView(QUESTIONS, ANSWERS, scale="better", references=REFERENCES)
    with open_page(browser, color_scheme=scheme, viewport={"width": width, "height": 900}) as bench:
        display(bench, view)
        page = bench.page
        page.locator("blockquote").first.focus()
        page.keyboard.press("1")
        settle(page)
        assert view.at == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert cut_off(page, width) == []
        assert too_faint(page) == []
        assert picture_of(page, tmp_path / "page.png").stat().st_size > 5_000
        bench.assert_clean()
