"""How long the view of attention takes in real JupyterLab, on a long text of the embedded model.

``python tests/attention_latency.py [TOKENS]`` captures a run (8,192 tokens by default), shows it
in JupyterLab in headless Chromium, and prints as JSON, in seconds: ``first_picture`` and
``full_grid`` from the call to the screen, medians and worst of ``zoom`` (from the wheel to sharp
tiles) and ``hover`` (from the pointer to the exact row), and sizes in bytes. Python's clock and
the browser's are this machine's.
"""

import ast
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path

from lab import printed, run_new_cell, shown_in_lab

from conftest import NO_BROWSER, find_chromium

TOKENS = 8192
ZOOMS, HOVERS = 12, 20
CELLS = (
    "import json, time\n"
    "from longctx_edu import attention, models\n"
    "from longctx_edu.text import lighthouse_log, tokenize\n"
    "from longctx_edu.widgets import AttentionView\n"
    "model, text = models.load(), lighthouse_log().text\n"
    "tokens = tokenize(model.tokenizer, text)\n"
    "text = text[: tokens.spans[min(TOKENS, len(tokens)) - 1][1]]\n"
    "tokens = tokenize(model.tokenizer, text)\n"
    "record = attention.capture(model, tokens.ids)\n"
    "print('captured', len(tokens))",
    "begun = time.time()\nview = AttentionView(record, tokens, text=text, layer=8)\nview",
    "import tempfile, pathlib\n"
    "path = view.save(pathlib.Path(tempfile.mkdtemp()) / 'view.html')\n"
    "data, _ = view._repr_mimebundle_()\n"
    "print('found', [begun, path.stat().st_size, len(json.dumps(data)), view.view, view.query])",
)
_WHEN = """(condition) => new Promise((done) => {
    const test = new Function("root", `return ${condition}`);
    const look = () => {
        const root = document.querySelector(".lx-attention");
        if (root && test(root)) setTimeout(() => done(Date.now()));
        else requestAnimationFrame(look);
    };
    look();
})"""
_ZOOM = """([down, across, factor]) => new Promise((done) => {
    const root = document.querySelector(".lx-attention");
    const canvas = root.querySelector(".lx-heat");
    const box = canvas.getBoundingClientRect();
    const begun = performance.now();
    canvas.dispatchEvent(new WheelEvent("wheel", {
        ctrlKey: true, cancelable: true, deltaY: -200 * Math.log(factor),
        clientX: box.left + 72 + across * (box.width - 80),
        clientY: box.top + 60 + down * (box.width - 80),
    }));
    let frames = 0;
    const look = () => {
        if (frames++ > 2 && root.dataset.sharp === "yes") done(performance.now() - begun);
        else requestAnimationFrame(look);
    };
    look();
})"""
_HOVER = """([down, across]) => new Promise((done) => {
    const root = document.querySelector(".lx-attention");
    const canvas = root.querySelector(".lx-heat");
    const box = canvas.getBoundingClientRect();
    const before = root.dataset.row;
    const begun = performance.now();
    canvas.dispatchEvent(new PointerEvent("pointermove", {
        clientX: box.left + 72 + across * (box.width - 80),
        clientY: box.top + 60 + down * (box.width - 80),
    }));
    const look = () => {
        if (root.dataset.row !== before) done(performance.now() - begun);
        else requestAnimationFrame(look);
    };
    look();
})"""


def measured(chromium: str, *, tokens: int = TOKENS, seconds: float = 900) -> dict[str, float]:
    """Return what the module says, each by its name."""
    chance = random.Random(0)
    first, show, find = CELLS
    first = first.replace("TOKENS", str(tokens))
    size = dict(width=1500, height=1300)
    with (
        tempfile.TemporaryDirectory() as folder,
        shown_in_lab(chromium, Path(folder), first, **size, seconds=seconds) as (page, _),
    ):
        printed(page, "captured")
        run_new_cell(page, 1, show)
        shown = page.evaluate(_WHEN, "root.dataset.seen")
        full = page.evaluate(_WHEN, "root.dataset.grid === 'full'")
        page.evaluate(_WHEN, "root.dataset.sharp === 'yes'")
        zooms = [_zoomed(page, chance) for _ in range(ZOOMS)]
        page.get_by_role("button", name="all", exact=True).click()
        hovers = [_hovered(page, chance) for _ in range(HOVERS)]
        run_new_cell(page, 2, find)
        begun, saved, output, *_ = ast.literal_eval(printed(page, "found"))
    return {
        "first_picture": shown / 1000 - begun,
        "full_grid": full / 1000 - begun,
        "zoom": statistics.median(zooms) / 1000,
        "zoom_worst": max(zooms) / 1000,
        "hover": statistics.median(hovers) / 1000,
        "hover_worst": max(hovers) / 1000,
        "saved_bytes": saved,
        "output_bytes": output,
    }


def _place(chance) -> tuple[float, float]:
    """Return a place below the diagonal, in shares of the matrix: down and across."""
    down = chance.uniform(0.15, 0.95)
    return down, chance.uniform(0.02, down - 0.05)


def _zoomed(page, chance) -> float:
    """Zoom from the whole matrix into a place by 3 to 30 times; return the milliseconds."""
    page.get_by_role("button", name="all", exact=True).click()
    page.evaluate(_WHEN, "root.dataset.sharp === 'yes'")
    page.wait_for_timeout(100)
    return page.evaluate(_ZOOM, [*_place(chance), 3 * 10 ** chance.random()])


def _hovered(page, chance) -> float:
    page.wait_for_timeout(150)
    return page.evaluate(_HOVER, list(_place(chance)))


if __name__ == "__main__":
    browser = find_chromium()
    if browser is None:
        sys.exit(NO_BROWSER)
    print(json.dumps(measured(browser, tokens=int(*sys.argv[1:] or [TOKENS]))))
