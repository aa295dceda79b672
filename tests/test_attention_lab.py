"""The view of attention in real JupyterLab: a head, a zoom and a query, read back in Python."""

import ast

import pytest
from lab import outputs, run_cell, shown_in_lab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CELLS = (
    "from longctx_edu import attention, models\n"
    "from longctx_edu.text import tokenize\n"
    "from longctx_edu.widgets import AttentionView\n"
    "model, text = models.tiny(), ' '.join(f'Box {n} is green.' for n in range(60))\n"
    "tokens = tokenize(model.tokenizer, text)\n"
    "view = AttentionView(attention.capture(model, tokens.ids), tokens, text=text, model=model)\n"
    "view",
    "print('found', [view.layer, view.head, view.query, view.key,\n"
    "                view.view[2] - view.view[0] < len(tokens) / 2])",
)
ROOT = "document.querySelector('.lx-attention').dataset"


def test_attention_in_jupyterlab_is_chosen_zoomed_and_read_back(chromium, tmp_path):
    with shown_in_lab(chromium, tmp_path, *CELLS, width=1400, height=1200) as (page, saved):
        # Tiles, small pictures and the row come by binary messages from the kernel's threads.
        page.wait_for_function(f"{ROOT}.sharp === 'yes' && {ROOT}.grid === 'full' && {ROOT}.row")
        active = "window.notebookPanel.content.activeCellIndex"
        before = page.evaluate(active)
        page.locator(".lx-grid").focus()
        for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
            page.keyboard.press(key)
        page.locator(".lx-heat").focus()
        for key in ("ArrowUp", "ArrowLeft", "ArrowLeft", "Enter", "+", "+", "+"):
            page.keyboard.press(key)
        page.wait_for_timeout(600)
        page.wait_for_function(f"{ROOT}.sharp === 'yes'")
        assert page.evaluate(active) == before
        layer, head, query, key, is_zoomed = ast.literal_eval(run_cell(page, 1, "found"))
        assert (layer, head, is_zoomed) == (1, 2, True)
        assert query > 0
        assert key >= 0
        (shown,) = outputs(saved, "execute_result")
        assert shown["metadata"]["image/png"]["alt"].startswith("attention of layer 0 of 3")
