"""The view of memory in real JupyterLab: asked, looked up in another way, and chosen from."""

import ast

import pytest
from lab import outputs, run_cell, shown_in_lab

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
    with shown_in_lab(chromium, tmp_path, *CELLS, width=1400, height=1000) as (page, saved):
        page.locator(".lx-passage").first.wait_for()
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
        told = ast.literal_eval(run_cell(page, 1, "found"))
        assert told == ["dd a box?", "answered", "topk", block, True]
        (shown,) = outputs(saved, "execute_result")
        assert shown["metadata"]["image/png"]["alt"].endswith("nothing was asked yet")
