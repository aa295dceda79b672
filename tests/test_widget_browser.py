"""Views in headless Chromium: drawn, driven by mouse and keys, in step with Python, offline."""

import random
import re

import numpy as np
import pytest
from esm import answer_late, display, load_parts, open_page, picture_of, tell
from test_widget_base import HOSTILE, softmax_weights

from longctx_edu.widgets import WeightsView
from longctx_edu.widgets.heads import pieces
from longctx_edu.widgets.matrix import TICKS, colours, written
from longctx_edu.widgets.sources import codes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

N = len(HOSTILE)


@pytest.fixture
def weights():
    return softmax_weights()


@pytest.fixture
def view(weights):
    return WeightsView(weights, HOSTILE, layer=1, head=2)


def settle(page):
    """Wait until the browser has painted what was asked for."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def centre(page, row, column):
    """Return the place of a cell of the matrix, from the canvas' corner."""
    at = page.evaluate(
        """([row, column]) => {
            const box = document.querySelector(".lx-heat").getBoundingClientRect();
            const side = box.width - 96 - 8;
            const down = box.height - 84 - 4;
            const [_l, _h, rows, columns] = model.get("shape");
            return { x: 96 + (column + 0.5) * side / columns, y: 84 + (row + 0.5) * down / rows };
        }""",
        [row, column],
    )
    return {"x": at["x"], "y": at["y"]}


def pixel(page, row, column):
    """Return the colour in the middle of a cell of the matrix, as [red, green, blue]."""
    return page.evaluate(
        """({ x, y }) => {
            const canvas = document.querySelector(".lx-heat");
            const dense = canvas.width / canvas.getBoundingClientRect().width;
            const found = canvas.getContext("2d").getImageData(x * dense, y * dense, 1, 1);
            return [...found.data].slice(0, 3);
        }""",
        centre(page, row, column),
    )


def shown_table(page):
    return page.locator(".lx-table tbody tr").evaluate_all(
        "(rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
    )


def chosen(bench):
    """Return the query and key that Python knows of, when the page has told all."""
    settle(bench.page)
    return bench.view.query, bench.view.key


def said(page):
    """Return the name of the whole view."""
    return page.locator(".lx-weights").get_attribute("aria-label")


def described(view):
    """Return what Python says of the view, with quotation marks as the browser sets them."""
    return re.sub(r"'(\w*)'", r"“\1”", view.describe())


def wait_for_exact(page):
    page.wait_for_function(
        "() => /\\d/.test(document.querySelector('.lx-table').textContent)"
        " && !document.querySelector('.lx-table').textContent.includes('≈')"
    )


# --------------------------------------------------------------------------
# Parts


def test_offsets_of_python_and_of_the_browser_find_the_same_text(bench):
    load_parts(bench.page, "offsets")
    letters = [
        "a",
        " ",
        "é",
        "e\u0301",
        "中",
        "\U00020000",
        "🙂",
        "👩‍👩‍👧",
        "ß",
        "\n",
        "\u200f",
        "א",
    ]
    chance = random.Random(0)
    texts = ["".join(chance.choices(letters, k=chance.randint(0, 40))) for _ in range(200)]
    cuts = [sorted(chance.choices(range(len(text) + 1), k=2)) for text in texts]
    found = bench.page.evaluate(
        "(all) => all.map(([text, [a, b]]) => {"
        " const points = new CodePoints(text); return [points.length, points.slice(a, b)]; })",
        list(zip(texts, cuts, strict=True)),
    )
    assert found == [[len(text), text[a:b]] for text, (a, b) in zip(texts, cuts, strict=True)]


def test_tokens_that_share_characters_are_cut_as_in_python(bench):
    load_parts(bench.page, "offsets")
    assert pieces("a🙂b", [(0, 1), (1, 2), (1, 2), (1, 3), (3, 3)]) == ["a", "🙂", "", "b", ""]
    chance = random.Random(0)
    cuts = [sorted(sorted(chance.choices(range(7), k=2)) for _ in range(5)) for _ in range(200)]
    found = bench.page.evaluate(
        "([text, all]) => all.map((spans) => pieces(text, spans.flat()))", ["a🙂中bé\n", cuts]
    )
    assert found == [pieces("a🙂中bé\n", spans) for spans in cuts]


_PAINTED = """([scale, length]) => {
    const [canvas, codes] = [document.createElement("canvas"), Uint8Array.from(PALETTE.keys())];
    paintCodes(canvas, { height: 1, width: 255, codes: codes.slice(1) }, scale, () => length);
    const { data } = canvas.getContext("2d").getImageData(0, 0, 255, 1);
    return Array.from({ length: 255 }, (_, n) => [...data.slice(4 * n, 4 * n + 3)]);
}"""


def test_the_browser_writes_and_colours_weights_as_python_does(bench):
    load_parts(bench.page, "colours", "dom")
    some = [0, 1e-12, 1.26e-9, 2**-20, 1.24e-5, 0.00123, 0.0041, 0.01, 0.0333, 0.5, 0.9984, 1]
    assert bench.page.evaluate("(all) => all.map(written)", some) == list(map(written, some))
    for length in (1, 3, 256):
        matrix = np.tile(np.arange(1, 256, dtype=np.uint8), (1, 1))
        matrix = np.pad(matrix, ((0, 0), (0, max(0, length - 255))), constant_values=1)
        for scale in TICKS:
            seen = (matrix != 0).sum()  # how many keys the row of codes can see
            expected = colours(matrix, scale)[0, :255, :3]
            found = bench.page.evaluate(_PAINTED, [scale, int(seen)])
            assert found == expected.tolist()


def test_letters_are_readable_on_every_colour(bench):
    load_parts(bench.page, "colours")
    pairs = bench.page.evaluate("() => PALETTE.map((colour) => [colour, readableOn(colour)])")
    for colour, ink in pairs:
        assert contrast(colour, [0, 0, 0] if ink == "#000000" else [255] * 3) > 4.5


def test_ten_thousand_tokens_need_a_few_hundred_elements(bench):
    load_parts(bench.page, "tokens")
    bench.page.evaluate(
        """() => {
            const ignore = () => {};
            window.text = new TokenText({ name: "long", touched: ignore, chosen: ignore,
                released: ignore, signal: new AbortController().signal });
            document.body.append(text.element);
            text.element.style.cssText = "position:relative;overflow:auto;height:220px;width:500px";
            text.show(Array.from({ length: 10000 }, (_, n) => n % 90 ? ` w${n}` : "\\n"));
            text.colour((n) => PALETTE[n % 256]);
            text.mark(9990, 5);
        }"""
    )
    settle(bench.page)
    counted = "() => document.querySelectorAll('.lx-token').length"
    assert 0 < bench.page.evaluate(counted) < 400
    bench.page.evaluate("() => text.reveal(9990)")
    bench.page.wait_for_selector("[data-token='9990'][aria-selected='true']")
    assert bench.page.evaluate(counted) < 400
    assert bench.page.locator("[data-token='5']").count() == 0
    assert bench.page.locator("[aria-setsize='10000']").count() > 0


def test_a_finer_image_lies_over_the_coarse_one_where_it_belongs(bench):
    load_parts(bench.page, "heat")
    found = bench.page.evaluate(
        """async () => {
            const ignore = () => {};
            const heat = new HeatMatrix({ name: "large", touched: ignore, chosen: ignore,
                released: ignore, signal: new AbortController().signal });
            heat.canvas.style.cssText = "display:block;width:616px";  // a side of 512
            document.body.append(heat.canvas);
            const labels = Array.from({ length: 8192 }, String);
            heat.shape({ rows: 8192, columns: 8192, rowLabels: labels, columnLabels: labels,
                rowLength: (row) => row + 1 });
            const image = (size, code) =>
                ({ height: size, width: size, codes: new Uint8Array(size * size).fill(code) });
            heat.put("overview", image(256, 100));
            heat.put("tile",
                { row: 4096, column: 0, rows: 1024, columns: 2048, ...image(64, 250) });
            const painted = () => new Promise((done) =>
                requestAnimationFrame(() => requestAnimationFrame(done)));
            const at = (row, column) => {
                const { left, top, x, y, across, along } = heat.geometry();
                return [...heat.canvas.getContext("2d").getImageData(
                    left + (column - x) * across, top + (row - y) * along, 1, 1).data].slice(0, 3);
            };
            await painted();
            const before = [at(4600, 1000), at(4600, 3000), at(3000, 1000)];
            heat.mark({ row: 4600, column: 1000 });
            for (let n = 0; n < 4; n++) heat.zoom(2);
            heat.mark({ row: -1, column: -1 });
            await painted();
            const after = [at(4600, 1040), at(4650, 960)];
            const table = WEIGHTS.map((one) => PALETTE[Math.round(255 * shareOf(one, "log", 1))]);
            return { before, after, coarse: table[100], fine: table[250] };
        }"""
    )
    coarse, fine = found["coarse"], found["fine"]
    assert found["before"] == [fine, coarse, coarse]
    assert found["after"] == [fine, fine]


def test_of_many_wishes_the_first_and_the_last_are_sent(bench):
    load_parts(bench.page, "requests")
    found = bench.page.evaluate(
        """async () => {
            const handlers = new Set();
            const sent = [], heard = [];
            const model = { on: (_, one) => handlers.add(one), off: () => {},
                send: (message) => sent.push(message) };
            const answer = (message) => handlers.forEach((one) =>
                one({ id: message.id, answers: [{ buffers: 0 }] }, []));
            const pause = (ms) => new Promise((done) => setTimeout(done, ms));
            const requests = new Requests(model, { answered: (asks) => heard.push(asks[0].n) },
                new AbortController().signal);
            for (let n = 0; n < 5; n++) requests.ask([{ n }]);
            await pause(120);
            for (let n = 5; n < 30; n++) { requests.ask([{ n }]); await pause(4); }
            await pause(120);
            const beforeAnswer = sent.map((one) => one.asks[0].n);
            answer({ id: "another view's" });
            answer(sent[0]);
            answer(sent[0]);  // twice: the second is nobody's
            answer(sent[1]);
            return { beforeAnswer, sent: sent.map((one) => one.asks[0].n), heard };
        }"""
    )
    assert found == {"beforeAnswer": [4], "sent": [4, 29], "heard": [4, 29]}


# --------------------------------------------------------------------------
# The view


def test_the_matrix_shows_the_colours_of_the_codes_and_a_pattern_where_masked(bench, view, weights):
    display(bench, view)
    settle(bench.page)
    expected = colours(codes(weights[1, 2], np.tri(N, dtype=bool)), "relative")
    for cell in [(0, 0), (5, 2), (9, 9), (12, 0)]:
        assert pixel(bench.page, *cell) == expected[cell][:3].tolist()
    masked = [pixel(bench.page, row, row + 4) for row in range(9)]
    assert all(min(colour) > 150 for colour in masked)  # paper and thin lines
    assert all(max(colour) - min(colour) < 6 for colour in masked)  # greys, no colour


def test_a_click_chooses_the_cell_in_python_and_shows_its_row(bench, view, weights):
    display(bench, view)
    bench.page.locator(".lx-heat").click(position=centre(bench.page, 9, 4))
    assert chosen(bench) == (9, 4)
    wait_for_exact(bench.page)
    order = np.argsort(-weights[1, 2, 9, :10])[:8]
    assert shown_table(bench.page) == [
        [str(rank + 1), str(key), HOSTILE[key], written(weights[1, 2, 9, key])]
        for rank, key in enumerate(order)
    ]
    assert written(weights[1, 2, 9, 4]) in bench.page.locator(".lx-cell").text_content()
    assert said(bench.page).startswith("attention of layer 1 of 2, head 2 of 3, over 14 tokens; ")


def test_only_the_left_button_chooses(bench, view):
    display(bench, view)
    bench.page.locator(".lx-heat").click(position=centre(bench.page, 9, 4), button="right")
    assert chosen(bench) == (N - 1, -1)


def test_a_button_let_go_outside_drags_nothing_afterwards(bench, view):
    display(bench, view)
    heat, mouse = bench.page.locator(".lx-heat"), bench.page.mouse
    heat.hover(position=centre(bench.page, 7, 7))
    for _ in range(2):
        bench.page.get_by_role("button", name="zoom in").click()
    settle(bench.page)
    heat.click(position={"x": 300, "y": 300})
    first = chosen(bench)
    heat.hover(position={"x": 200, "y": 200})
    mouse.down()
    mouse.move(2, 2)
    mouse.up()
    heat.hover(position={"x": 240, "y": 240})
    heat.click(position={"x": 300, "y": 300})
    assert chosen(bench) == first != (N - 1, -1)


def test_touching_shows_and_changes_nothing(bench, view):
    display(bench, view)
    bench.page.locator(".lx-heat").hover(position=centre(bench.page, 6, 2))
    bench.page.wait_for_function(
        "document.querySelector('.lx-cell').textContent.includes('Query 6')"
    )
    assert chosen(bench) == (N - 1, -1)
    bench.page.mouse.move(2, 2)
    bench.page.wait_for_function(
        f"document.querySelector('.lx-cell').textContent.includes('Query {N - 1}')"
    )


def test_the_browser_follows_python(bench, view, weights):
    display(bench, view)
    tell(bench, layer=0, head=1, query=7, key=3, scale="log")
    wait_for_exact(bench.page)
    assert bench.page.locator("[data-picks=layer]").input_value() == "0"
    assert bench.page.locator("[data-picks=head]").input_value() == "1"
    assert bench.page.locator("[aria-checked=true]").text_content() == "log"
    assert "Layer 0, head 1: where query 7 looks" in bench.page.locator(".lx-table").inner_text()
    assert shown_table(bench.page)[0][1] == str(weights[0, 1, 7].argmax())
    settle(bench.page)
    expected = colours(codes(weights[0, 1], np.tri(N, dtype=bool)), "log")
    assert pixel(bench.page, 11, 2) == expected[11, 2, :3].tolist()


def test_python_prevails_over_a_resting_pointer(bench, view):
    display(bench, view)
    bench.page.locator(".lx-heat").hover(position=centre(bench.page, 6, 2))
    tell(bench, query=3)
    bench.page.wait_for_function(
        "document.querySelector('.lx-cell').textContent.includes('Query 3')"
    )


def test_python_follows_the_pickers(bench, view):
    display(bench, view)
    bench.page.select_option("[data-picks=layer]", "0")
    bench.page.select_option("[data-picks=head]", "1")
    bench.page.get_by_role("radio", name="linear").click()
    wait_for_exact(bench.page)
    assert (view.layer, view.head, view.scale, view.shown) == (0, 1, "linear", [0, 1])


def test_a_token_of_the_text_is_a_query(bench, view):
    display(bench, view)
    bench.page.locator("[data-token='8']").click()
    assert chosen(bench) == (8, -1)
    colours_of = bench.page.locator(".lx-token").evaluate_all(
        "(all) => all.map((one) => one.style.backgroundColor)"
    )
    assert [bool(colour) for colour in colours_of] == [True] * 9 + [False] * (N - 9)


def test_everything_works_by_keyboard(bench, view):
    display(bench, view)
    page = bench.page
    stops = []
    for _ in range(9):
        page.keyboard.press("Tab")
        stops.append(
            page.evaluate(
                "document.activeElement.dataset.picks || document.activeElement.ariaLabel"
                " || document.activeElement.textContent"
            )
        )
    assert stops[:6] == [
        "layer",
        "head",
        "relative",
        "zoom out",
        "zoom in",
        "show the whole matrix",
    ]
    assert stops[6].startswith("Attention weights")
    assert stops[7].startswith("Text")
    page.locator(".lx-heat").focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowRight", "ArrowRight", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    # From no key at all the cursor enters at the row's first key.
    assert chosen(bench) == (N - 3, 1)
    page.keyboard.press("[")
    wait_for_exact(page)
    assert (view.layer, view.head) == (1, 1)
    page.keyboard.press("{")
    wait_for_exact(page)
    assert (view.layer, view.head) == (0, 1)
    page.keyboard.press("Escape")
    assert chosen(bench) == (-1, -1)
    page.get_by_role("radio", name="relative").focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert view.scale == "log"
    assert page.evaluate("document.activeElement.textContent") == "log"
    page.locator(".lx-tokens").focus()
    for key in ("End", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    assert chosen(bench) == (N - 2, -1)


def test_the_focus_is_seen_and_the_cell_is_spoken(bench, view):
    display(bench, view)
    page = bench.page
    for _ in range(7):
        page.keyboard.press("Tab")
    style = page.evaluate(
        "(() => { const s = getComputedStyle(document.activeElement);"
        " return [s.outlineStyle, parseFloat(s.outlineWidth)]; })()"
    )
    assert style == ["solid", 3]
    page.keyboard.press("ArrowUp")
    page.wait_for_function("document.querySelector('[aria-live]').textContent.includes('→ key')")
    label = page.locator(".lx-heat").get_attribute("aria-label")
    assert page.locator("[aria-live]").text_content() in label


def test_zooming_keeps_the_cell_under_the_pointer(bench, view):
    display(bench, view)
    heat = bench.page.locator(".lx-heat")
    place = centre(bench.page, 10, 3)
    heat.hover(position=place)
    bench.page.keyboard.down("Control")
    bench.page.mouse.wheel(0, -120)
    bench.page.keyboard.up("Control")
    settle(bench.page)
    heat.click(position=place)
    assert chosen(bench) == (10, 3)
    beside = {"x": place["x"] + 30, "y": place["y"]}
    heat.click(position=beside)  # the cells are larger now: still the same one or its neighbour
    assert view.key in (3, 4)


def test_zooming_by_key_keeps_the_cell_of_the_cursor_whole_in_view(bench, view):
    display(bench, view)
    heat = bench.page.locator(".lx-heat")
    heat.focus()
    for key in ("ArrowLeft", "ArrowLeft", "Home", *"++", "Enter"):  # the lower left corner
        bench.page.keyboard.press(key)
    settle(bench.page)
    assert chosen(bench) == (N - 1, 0)
    box = heat.bounding_box()
    tell(bench, query=2)
    # Two steps make a cell twice as wide, so that here is still the same one.
    heat.click(position={"x": 96 + 53, "y": box["height"] - 4 - 53})
    assert chosen(bench) == (N - 1, 0)


def test_without_an_answer_the_numbers_are_marked_as_rough(bench, view, weights):
    bench.kernel_answers = False
    display(bench, view)
    bench.page.wait_for_function("document.querySelector('.lx-table').textContent.includes('≈')")
    for row in shown_table(bench.page):
        rough = float(row[3].removeprefix("≈ "))
        assert rough == pytest.approx(weights[1, 2, N - 1, int(row[1])], rel=0.03, abs=5e-4)


def test_what_a_busy_kernel_answers_late_replaces_the_rough_numbers(bench, view):
    page = bench.page
    page.clock.install()
    bench.kernel_answers = False
    display(bench, view)
    asked = []
    for query in (N - 1, 3):
        tell(bench, query=query)
        page.clock.fast_forward("01:00")
        page.wait_for_function(
            f"/query {query} .*≈/.test(document.querySelector('.lx-table').textContent)"
        )
        asked.append(query)
        assert [one["asks"][0]["query"] for one in bench.messages] == asked
    answer_late(bench)
    wait_for_exact(page)
    tell(bench, query=N - 1)
    page.wait_for_function(
        f"document.querySelector('.lx-table').textContent.includes('query {N - 1} ')"
    )
    wait_for_exact(page)
    assert len(bench.messages) == 2


def test_the_keys_of_heads_are_signs_wherever_they_lie_on_a_keyboard(bench, view):
    display(bench, view)
    for key, modifiers, expected in [
        ("[", {"altKey": True}, 1),  # Option on a German Mac
        ("[", {"altKey": True, "ctrlKey": True, "modifierAltGraph": True}, 0),  # AltGr on Windows
        ("]", {"ctrlKey": True}, 0),
        ("]", {"metaKey": True}, 0),
        ("]", {}, 1),
    ]:
        bench.page.locator(".lx-heat").dispatch_event(
            "keydown", {"key": key, "bubbles": True, **modifiers}
        )
        settle(bench.page)
        assert view.head == expected


def test_moving_fast_over_many_rows_sends_one_message(bench, view):
    display(bench, view)
    wait_for_exact(bench.page)
    before = len(bench.messages)
    bench.page.evaluate(
        """(places) => {
            const heat = document.querySelector(".lx-heat");
            const box = heat.getBoundingClientRect();
            for (const { x, y } of places) {
                const at = { clientX: box.left + x, clientY: box.top + y, bubbles: true };
                heat.dispatchEvent(new PointerEvent("pointermove", at));
            }
        }""",
        [centre(bench.page, row, 0) for row in range(N - 1)],
    )
    bench.page.wait_for_timeout(300)
    assert [one["asks"][0]["query"] for one in bench.messages[before:]] == [N - 2]
    wait_for_exact(bench.page)
    assert f"where query {N - 2} looks" in bench.page.locator(".lx-table").inner_text()


def test_a_display_that_gets_its_weights_late_draws_them_then(bench, view):
    display(bench, view, codes=b"", shown=[], shape=[], text="", spans=b"")
    assert bench.page.locator(".lx-status").text_content() == "Waiting for the weights."
    state = {name: getattr(view, name) for name in ("codes", "shown", "shape", "text", "spans")}
    for name, value in state.items():  # one by one, in an order that is no good
        sent = list(value) if isinstance(value, bytes) else value
        bench.page.evaluate(
            "([name, value, binary]) => model.take({ [name]:"
            " binary ? new DataView(Uint8Array.from(value).buffer) : value })",
            [name, sent, isinstance(value, bytes)],
        )
    wait_for_exact(bench.page)
    assert bench.page.locator(".lx-status").text_content() == ""
    assert bench.page.locator("[data-picks=head] option").count() == 3


def test_text_is_never_read_as_html(bench, view):
    display(bench, view)
    bench.page.evaluate("() => { window.alert = () => { throw new Error('text was run'); }; }")
    for token in range(N):
        tell(bench, query=token, key=0)
    settle(bench.page)
    assert bench.page.locator(".lx img, .lx script").count() == 0
    shown = bench.page.locator(".lx-token").evaluate_all(
        "(all) => all.map((one) => one.textContent)"
    )
    assert shown == HOSTILE


def test_cleaning_up_leaves_nothing_behind(bench, view):
    display(bench, view)
    wait_for_exact(bench.page)
    bench.page.evaluate("cleanUp()")
    assert bench.page.evaluate("model.listening()") == 0
    assert bench.page.locator(".lx").count() == 0
    bench.page.set_viewport_size({"width": 600, "height": 500})
    tell(bench, query=3)
    settle(bench.page)


def test_two_displays_of_a_view_stay_in_step(bench, view):
    display(bench, view)
    bench.page.evaluate(
        "async (esm) => { const el = document.createElement('div'); document.body.append(el);"
        " const url = URL.createObjectURL(new Blob([esm], { type: 'text/javascript' }));"
        " (await import(url)).default.render({ model, el }); }",
        view._esm,
    )
    bench.page.locator(".lx-heat").first.click(position=centre(bench.page, 9, 4))
    bench.page.wait_for_function(
        "[...document.querySelectorAll('.lx-cell')]"
        ".every((one) => /Query 9 .*key 4/.test(one.textContent))"
    )


# --------------------------------------------------------------------------
# Looks


def contrast(one, other):
    """Return the contrast of two colours [red, green, blue] by WCAG 2, from 1 to 21."""

    def luminance(colour):
        light = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]

    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def paper_and_inks(page):
    found = page.evaluate(
        """() => [".lx", ".lx-help", ".lx-table", ".lx-cell", ".lx-bar label"].map((name) => {
            const style = (one) => getComputedStyle(document.querySelector(one));
            return [style(name).color, style(".lx").backgroundColor];
        })"""
    )
    return [[list(map(int, re.findall(r"\d+", colour)[:3])) for colour in pair] for pair in found]


@pytest.mark.parametrize("system", ["light", "dark"])
@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_a_view_is_light_or_dark_as_asked_and_readable_in_both(browser, view, system, theme):
    view.theme = theme
    with open_page(browser, color_scheme=system) as bench:
        display(bench, view)
        dark = (system if theme == "auto" else theme) == "dark"
        for ink, paper in paper_and_inks(bench.page):
            assert contrast(ink, paper) > 4.5
            assert (sum(paper) < 200) == dark
        bench.assert_clean()


def test_the_theme_of_jupyterlab_prevails_over_the_systems(browser, view):
    with open_page(browser, color_scheme="light") as bench:
        bench.page.evaluate("document.body.dataset.jpThemeLight = 'false'")
        display(bench, view)
        root = bench.page.locator(".lx")
        assert root.get_attribute("data-theme") == "dark"
        bench.page.evaluate("document.body.dataset.jpThemeLight = 'true'")
        bench.page.wait_for_selector(".lx[data-theme=light]")
        tell(bench, theme="dark")
        assert root.get_attribute("data-theme") == "dark"
        bench.assert_clean()


@pytest.mark.parametrize("width", [360, 640, 1200])
def test_nothing_is_cut_off_at_any_width(browser, width):
    view = WeightsView(softmax_weights(30, 9, 24), [" antidisestablishmentarianism"] * 24)
    with open_page(browser, viewport={"width": width, "height": 900}) as bench:
        display(bench, view)
        settle(bench.page)
        assert bench.page.evaluate("document.documentElement.scrollWidth") <= width
        bench.assert_clean()


def test_nothing_moves_by_itself(browser, view):
    with open_page(browser, reduced_motion="reduce") as bench:
        display(bench, view)
        settle(bench.page)
        assert bench.page.evaluate("document.getAnimations().length") == 0


# --------------------------------------------------------------------------
# A file of its own


def test_a_saved_page_works_from_disk_and_can_reach_nothing(browser, view, weights, tmp_path):
    path = view.save(tmp_path / "x.html")
    with open_page(browser, path.as_uri()) as bench:
        page = bench.page
        wait_for_exact(page)
        assert shown_table(page)[0][1] == str(weights[1, 2, N - 1].argmax())
        page.select_option("[data-picks=head]", "0")
        page.wait_for_function("document.querySelector('.lx-table').textContent.includes('≈')")
        assert shown_table(page)[0][1] == str(weights[1, 0, N - 1].argmax())
        assert page.locator("[data-picks=layer] option:disabled").count() == 1
        assert page.locator(".lx img, .lx script").count() == 0
        bench.assert_clean()
        page.evaluate("fetch('https://example.org/').catch(() => null)")
        page.evaluate("new Image().src = 'https://example.org/x.png'")
        page.wait_for_timeout(100)
        assert bench.outside == []  # stopped by the page's own policy, before any request
        assert len(bench.errors) >= 2


def test_a_saved_page_names_what_it_shows_now(browser, weights, tmp_path):
    view = WeightsView(weights, list("abcdefghijklmn"), layer=1, head=2)
    with open_page(browser, view.save(tmp_path / "x.html").as_uri()) as bench:
        wait_for_exact(bench.page)
        assert said(bench.page) == described(view)
        bench.page.select_option("[data-picks=head]", "0")
        bench.page.locator("[data-token='7']").click()
        bench.page.wait_for_function(
            "document.querySelector('.lx-table').textContent.includes('query 7 ')"
        )
        view.set_state({"head": 0, "query": 7})
        shown, _, rough = said(bench.page).partition(", weight ≈ ")
        expected, _, weight = described(view).partition(", weight ")
        assert shown == expected
        assert float(rough) == pytest.approx(float(weight), rel=0.04)
        bench.assert_clean()


def test_a_choice_in_a_saved_page_changes_only_what_differs(bench, view):
    load_parts(bench.page, "standalone", "dom")
    kept = bench.page.evaluate(
        """(saved) => {
            const model = new SavedModel(saved);
            const codes = () => model.get("codes");
            const choose = (name, value) => { model.set(name, value); model.save_changes(); };
            const [before, changed] = [codes(), []];
            model.on("change:codes", () => changed.push(model.get("head")));
            choose("query", 3);
            choose("head", 0);
            choose("query", 5);
            choose("head", 2);
            return [changed, before === codes()];
        }""",
        view._saved(),
    )
    assert kept == [[0, 2], True]


def test_a_query_that_sees_no_key_is_shown_as_such(bench, weights):
    seen = np.tri(N, dtype=bool)
    seen[3] = False
    display(bench, WeightsView(weights * seen, ["a"] * N, visible=seen, query=3))
    bench.page.wait_for_function(
        "document.querySelector('.lx-cell').textContent.includes('no key')"
    )
    assert said(bench.page) == described(bench.view)
    assert shown_table(bench.page) == []


def test_a_saved_page_opens_without_the_view_changing(browser, view, tmp_path):
    before = view.get_state()
    with open_page(browser, view.save(tmp_path / "x.html").as_uri()) as bench:
        bench.page.locator("[data-token='3']").click()
        picture = picture_of(bench.page, tmp_path / "x.png")
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert view.get_state() == before


# --------------------------------------------------------------------------
# The embedded model


@pytest.mark.model
def test_a_real_text_shows_where_the_model_really_looks(bench):
    from longctx_edu import models
    from longctx_edu.attention import capture
    from longctx_edu.text import tokenize

    text = "The harbour master lit the lamp. At night the harbour master lit the"
    model = models.load()
    tokens = tokenize(model.tokenizer, text)
    record = capture(model, tokens.ids)
    view = WeightsView(record, tokens, text=text, layer=5, head=0)
    display(bench, view)
    wait_for_exact(bench.page)
    direct = eager_weights(model, tokens.ids)
    assert view.shape == list(direct.shape)
    row = direct[5, 0, -1]
    for _, key, piece, weight in shown_table(bench.page):
        assert float(weight) == pytest.approx(row[int(key)], abs=2e-3)
        assert piece == "".join(text[slice(*tokens.spans[int(key)])])


def eager_weights(model, ids):
    """Return the weights (layers, heads, n, n) as the model itself can return them."""
    import torch

    kept = model.model.config._attn_implementation
    model.model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            found = model.model(torch.tensor([ids]), output_attentions=True).attentions
    finally:
        model.model.set_attn_implementation(kept)
    return torch.cat(found).numpy()
