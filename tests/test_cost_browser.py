"""The explorer of costs in headless Chromium: what it shows is what Python says."""

import time

import pytest
from esm import (
    answer_late,
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
from test_cost_explorer import MACHINE

from longctx_edu import cost
from longctx_edu.widgets import CostExplorer
from longctx_edu.widgets.units import amount, duration

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


def dial(page, name):
    return page.locator(f"[data-dial='{name}']")


def shows(page, view, seconds=60):
    """Wait until the page, with nothing on its way, says what Python says."""
    end = time.monotonic() + seconds
    said = page.locator(".lx-costs:not([data-old]) .lx-sentence")
    while said.all_text_contents() != [f"{view.describe()}."]:
        assert time.monotonic() < end, (said.all_text_contents(), view.describe())
        page.wait_for_timeout(20)


def times(page):
    rows = page.locator("figure .lx-table tbody tr")
    return {
        cells[0]: cells[1:]
        for cells in rows.evaluate_all(
            "(rows) => rows.map((row) => [...row.cells].map((one) => one.textContent))"
        )
    }


def test_amounts_are_written_as_python_writes_them(bench):
    load_parts(bench.page, "units")
    numbers = [0, 1, 9.995, 9.996, 999.4, 999.5, 1125, 6143, 0.0004, 1e-9, 123456789, 8.5e14, 3e23]
    numbers += [1.37**n for n in range(-60, 160)]
    written = bench.page.evaluate(
        "(all) => all.map((one) => [amount(one, 'B'), duration(one)])", numbers
    )
    assert written == [[amount(one, "B"), duration(one)] for one in numbers]


@pytest.mark.parametrize("preset", cost.KNOWN_MODELS)
def test_the_page_says_of_each_model_what_python_says(bench, preset):
    view = CostExplorer(machine=MACHINE)
    display(bench, view)
    page = bench.page
    page.get_by_label("Model").select_option(preset)
    page.get_by_role("radio", name="4-bit weights").click()
    dial(page, "window").focus()
    page.keyboard.press("Home")
    shows(page, view)
    assert (view.preset, view.window, view.precision) == (preset, 64, "4-bit weights")
    bounds = {one.name: view.estimate.on(one) for one in view.machines}
    assert {name: cells[1] for name, cells in times(page).items()} == {
        name: f"≥ {duration(one.decode)}" for name, one in bounds.items()
    }
    assert {name: cells[2] for name, cells in times(page).items()} == {
        name: "yes" if one.holds else "no" for name, one in bounds.items()
    }


def test_the_keys_move_the_sliders(bench):
    view = CostExplorer()
    display(bench, view)
    page = bench.page
    dial(page, "layers").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    shows(page, view)
    assert view.layers == view.stops["layers"][view.stops["layers"].index(30) + 2] == 40
    assert dial(page, "layers").get_attribute("aria-valuetext") == str(view.layers)
    asked = len(bench.messages)
    dial(page, "tokens").focus()
    page.keyboard.press("End")
    shows(page, view)
    assert view.tokens == 2**20
    assert len(bench.messages) == asked  # one answer holds every length


def test_of_many_places_that_a_slider_passes_python_answers_for_the_last(bench):
    view = CostExplorer()
    display(bench, view)
    page = bench.page
    shows(page, view)
    asked = len(bench.messages)
    dial(page, "layers").evaluate(
        """(slider) => {
            for (let place = 0; place <= 5; place++) {
                slider.value = place;
                slider.dispatchEvent(new Event("input"));
            }
        }"""
    )
    layers = view.stops["layers"][5]
    shows(page, CostExplorer(layers=layers))
    assert view.layers == layers
    assert [one["layers"] for message in bench.messages[asked:] for one in message["asks"]] == (
        [layers]
    )


def test_heads_that_cannot_share_the_kv_heads_take_fewer(bench):
    view = CostExplorer()
    display(bench, view)
    page = bench.page
    dial(page, "heads").focus()
    page.keyboard.press("ArrowLeft")
    shows(page, view)
    assert (view.heads, view.kv_heads) == (8, 2)
    assert "with 8 heads, 2 KV heads takes" in view.describe()
    dial(page, "kv_heads").focus()
    page.keyboard.press("End")
    shows(page, view)
    assert view.kv_heads == 8


def test_python_moves_the_sliders(bench):
    view = CostExplorer()
    display(bench, view)
    page = bench.page
    tell(bench, tokens=5000)
    shows(page, view)
    tell(bench, preset="Gemma 3 1B")
    shows(page, view)
    assert "in 22 of 26 layers" in page.locator(".lx-dials + .lx-help").text_content()
    tell(bench, window=0)
    shows(page, view)
    assert dial(page, "window").get_attribute("aria-valuetext") == "all"
    label = page.locator(".lx-curve").get_attribute("aria-label")
    assert f"at {cost.crossover_tokens(view.architecture):,} tokens" in label


def test_this_machine_is_measured_when_one_asks_for_it(bench):
    view = CostExplorer()
    display(bench, view)
    page = bench.page
    shows(page, view)
    assert times(page)["this machine"] == ["not measured", "not measured", ""]
    page.get_by_role("button", name="Measure this machine").click()
    page.get_by_role("button", name="Measuring").or_(
        page.get_by_role("button", name="Measure this machine")
    ).wait_for()
    for _ in range(100):
        if view.machine:
            break
        page.wait_for_timeout(100)
    bring(bench)
    bound = view.estimate.on(view.machines[0])
    page.locator("figure td", has_text=f"≥ {duration(bound.prefill)}").first.wait_for()
    assert page.get_by_role("button", name="Measure this machine again").is_enabled()
    assert view.machine["source"] in page.locator("figure .lx-help").text_content()


def test_what_was_shown_stays_pale_until_a_busy_kernel_answers(bench):
    view = CostExplorer()
    display(bench, view)
    page = bench.page
    shows(page, view)
    bench.kernel_answers = False
    before = view.describe()
    page.get_by_label("Model").select_option("Llama 3 8B")
    page.wait_for_timeout(200)
    assert page.locator(".lx-costs[data-old] .lx-sentence").text_content() == f"{before}."
    answer_late(bench)
    shows(page, view)


def test_the_curve_is_a_table_too(bench):
    view = CostExplorer(tokens=1024)
    display(bench, view)
    page = bench.page
    shows(page, view)
    page.get_by_text("The curve as a table").click()
    rows = page.locator("details tbody tr")
    assert rows.count() == len(view.stops["tokens"])
    attention = cost.attention_flops(view.architecture, 1024)
    marked = page.locator("details tr[data-marked]")
    assert marked.locator("td").nth(2).text_content() == amount(attention, "FLOP")


def test_a_saved_page_works_without_a_kernel_or_a_network(browser, tmp_path):
    view = CostExplorer("GPT-2 124M", layers=24, tokens=4096)
    path = view.save(tmp_path / "cost.html")
    with open_page(browser, path.as_uri()) as bench:
        page = bench.page
        shows(page, view)
        assert dial(page, "layers").is_disabled()
        assert not page.get_by_role("button", name="Measure").is_visible()
        page.get_by_label("Model").select_option("Mistral 7B")
        page.get_by_role("radio", name="16-bit").click()
        dial(page, "window").focus()
        page.keyboard.press("End")
        dial(page, "tokens").focus()
        page.keyboard.press("Home")
        shows(page, CostExplorer("Mistral 7B", tokens=32, precision="16-bit", window=0))
        page.get_by_label("Model").select_option("GPT-2 124M")
        shows(page, CostExplorer("GPT-2 124M", layers=24, tokens=32, precision="16-bit"))
        bench.assert_clean()


def test_closing_a_view_leaves_nothing_behind(bench):
    display(bench, CostExplorer())
    page = bench.page
    page.evaluate("cleanUp()")
    assert page.evaluate("model.listening()") == 0
    assert page.locator(".lx").count() == 0
    page.wait_for_timeout(500)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 820, 1100])
def test_nothing_is_cut_off_or_too_faint_to_read(browser, tmp_path, width, scheme):
    view = CostExplorer("Llama 3 70B", machine=MACHINE, tokens=2**20, window=1000)
    with open_page(browser, color_scheme=scheme, viewport={"width": width, "height": 900}) as bench:
        display(bench, view)
        page = bench.page
        shows(page, view)
        page.get_by_text("The curve as a table").click()
        settle(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert cut_off(page, width) == []
        assert too_faint(page) == []
        assert picture_of(page, tmp_path / "page.png").stat().st_size > 10_000
        bench.assert_clean()
