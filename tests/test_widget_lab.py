"""A view in real JupyterLab: shown, driven by mouse, keys and Python, saved with its picture."""

import json

import pytest
from lab import outputs, run_cell, shown_in_lab

from longctx_edu.teaching import canonical

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CELLS = (
    "import numpy as np\nfrom longctx_edu.widgets import WeightsView\n"
    "powers = np.tril(np.random.default_rng(0).random((2, 3, 12, 12)) ** 4)\n"
    "view = WeightsView(powers / powers.sum(-1, keepdims=True), list('reads a text'))\nview",
    "view.head = 2\nview.query = 5\nprint('set')",
    "print('chosen', view.layer, view.head, view.query, view.key)",
)
TABLE = "document.querySelector('.lx-table').textContent"


def test_a_view_in_jupyterlab_and_python_tell_each_other(chromium, tmp_path):
    with shown_in_lab(chromium, tmp_path, *CELLS, width=1400) as (page, saved):
        page.locator(".lx-heat").wait_for()
        # What Python chooses in the second cell.
        run_cell(page, 1, "set")
        page.wait_for_function("document.querySelector('.lx-cell').textContent.includes('Query 5')")
        assert page.locator("[data-picks=head]").input_value() == "2"
        # Exact numbers come by a binary message from the kernel.
        page.wait_for_function(f"!{TABLE}.includes('≈') && {TABLE}.includes('query 5')")

        # What the mouse and the keys choose; Jupyter's own keys do not act inside the view.
        active = "window.notebookPanel.content.activeCellIndex"
        page.locator("[data-token='8']").click()
        before = page.evaluate(active)
        page.locator(".lx-heat").focus()
        for key in ("ArrowUp", "ArrowDown", "ArrowDown", "ArrowRight", "Enter", "["):
            page.keyboard.press(key)
        assert page.evaluate(active) == before
        page.locator("[data-picks=head]").focus()
        assert run_cell(page, 2, "chosen") == "0 1 9 1"

        # What stays in the file: a described picture, and little else.
        (shown,) = outputs(saved, "execute_result")
        assert shown["data"]["image/png"]
        assert shown["metadata"]["image/png"]["alt"].startswith("attention of layer 0 of 2")
        assert len(json.dumps(saved)) < 2_000_000
        kept = canonical.canonical({"cells": saved}, "00")["cells"][0]["outputs"][0]
        assert set(kept["data"]) == {"image/png", "text/plain"}
