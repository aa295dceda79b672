"""A view in real JupyterLab: shown, driven by mouse, keys and Python, saved with its picture."""

import json

import pytest
from lab import jupyter_lab, open_notebook, outputs, run_all, screenshot

from longctx_edu.teaching import canonical

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CELLS = (
    "import numpy as np\nfrom longctx_edu.widgets import WeightsView\n"
    "powers = np.tril(np.random.default_rng(0).random((2, 3, 12, 12)) ** 4)\n"
    "view = WeightsView(powers / powers.sum(-1, keepdims=True), list('reads a text'))\nview",
    "view.head = 2\nview.query = 5",
    "print('chosen', view.layer, view.head, view.query, view.key)",
)
TABLE = "document.querySelector('.lx-table').textContent"
RUN_CELL = """async (place) => {
    window.notebookPanel.content.activeCellIndex = place;
    await window.jupyterapp.commands.execute("notebook:run-cell");
}"""


def test_a_view_in_jupyterlab_and_python_tell_each_other(chromium, tmp_path):
    cells = [
        dict(cell_type="code", execution_count=None, metadata={}, outputs=[], source=source)
        for source in CELLS
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path = tmp_path / "00_view.ipynb"
    canonical.save(canonical.canonical(notebook, "00"), path)
    with (
        jupyter_lab(tmp_path) as server,
        open_notebook(server, path, chromium, width=1400) as opened,
    ):
        page = opened.page
        saved = run_all(page)
        assert outputs(saved, "error") == []
        page.locator(".lx-heat").wait_for()
        # What Python chose in the second cell.
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
        page.evaluate(RUN_CELL, 2)
        page.locator(".jp-OutputArea-output", has_text="chosen 0 1 9 1").wait_for()

        # What stays in the file: a described picture, and little else.
        (shown,) = outputs(saved, "execute_result")
        assert shown["data"]["image/png"]
        assert shown["metadata"]["image/png"]["alt"].startswith("attention of layer 0 of 2")
        assert len(json.dumps(saved)) < 2_000_000
        kept = canonical.canonical({**notebook, "cells": saved}, "00")["cells"][0]["outputs"][0]
        assert set(kept["data"]) == {"image/png", "text/plain"}

        assert screenshot(page, tmp_path / "lab.png").read_bytes().startswith(b"\x89PNG")
        assert opened.outside == []
        assert opened.errors == []
