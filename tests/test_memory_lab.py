"""The view of memory in real JupyterLab: asked, looked up in another way, and chosen from."""

import ast

import pytest
from lab import jupyter_lab, open_notebook, outputs, run_all, screenshot
from test_margins_lab import run_cell

from longctx_edu.teaching import canonical

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CELLS = (
    "from longctx_edu import models, read\n"
    "from longctx_edu.widgets import MemoryView\n"
    "text = ' '.join(f'Sentence {n} says that box {n} is green.' for n in range(40))\n"
    "reading = read(text, method='memory', model=models.tiny(), holds='everything',\n"
    "               block_tokens=64, window=512, stride=384)\n"
    "view = MemoryView(reading, max_new_tokens=8)\nview",
    "print('found', [view.question, view.stage, view.options['lookup'], view.block,\n"
    "       len(view.mass) == 4 * len(view.tokens) * len(view.blocks)])",
)
STATUS = "document.querySelector('.lx-status').textContent"


def test_memory_in_jupyterlab_is_asked_changed_and_chosen_from(chromium, tmp_path):
    cell, further = (
        dict(cell_type="code", execution_count=None, metadata={}, outputs=[], source=source)
        for source in CELLS
    )
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path = tmp_path / "00_view.ipynb"
    canonical.save(canonical.canonical(notebook, "00"), path)
    with (
        jupyter_lab(tmp_path) as server,
        open_notebook(server, path, chromium, width=1400, height=1000) as opened,
    ):
        page = opened.page
        page.set_default_timeout(60_000)
        saved = run_all(page)
        assert outputs(saved, "error") == []
        page.locator(".lx-passage").first.wait_for()
        page.evaluate(
            "(cells) => window.notebookPanel.content.model.sharedModel.insertCells(1, cells)",
            [further],
        )
        # Letters that are commands of the notebook, and its key to run a cell, stay words here.
        active = "window.notebookPanel.content.activeCellIndex"
        before = page.evaluate(active)
        page.locator(".lx-ask input").click()
        page.keyboard.type("dd a box?")
        page.keyboard.press("Enter")
        page.wait_for_function(f"{STATUS}.startsWith('Answered')")
        page.get_by_role("radio", name="top k").click()
        page.wait_for_function(f"{STATUS}.startsWith('Answered') && {STATUS}.includes('best keys')")
        page.locator(".lx-tos [role=option]").last.click()
        block = int(page.locator(".lx-tos [role=option]").last.get_attribute("data-end"))
        assert page.evaluate(active) == before
        told = run_cell(page, 1, "found")
        assert ast.literal_eval(told[5:].strip()) == ["dd a box?", "answered", "topk", block, True]
        (shown,) = outputs(saved, "execute_result")
        assert shown["metadata"]["image/png"]["alt"].endswith("nothing was asked yet")
        assert screenshot(page, tmp_path / "lab.png").read_bytes().startswith(b"\x89PNG")
        assert opened.outside == []
        assert opened.errors == []
