"""The view of margins in real JupyterLab: asked, judged and answered while the kernel is free."""

import ast

import pytest
from lab import outputs, run_cell, shown_in_lab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CELLS = (
    "import time\nfrom longctx_edu import models, read\n"
    "from longctx_edu.widgets import MarginsView\n"
    "text = ' '.join(f'Sentence {n} says that box {n} is green.' for n in range(40))\n"
    "reading = read(text, method='margins', model=models.tiny(), segment_tokens=300,\n"
    "               margin_tokens=20)\n"
    "written = reading.events\n"
    "def at_the_pace_of_a_real_model(*given, **options):\n"
    "    for event in written(*given, **options):\n"
    "        time.sleep(0.03)\n"
    "        yield event\n"
    "reading.events = at_the_pace_of_a_real_model\n"
    "view = MarginsView(reading, max_new_tokens=20, measure=True)\nview",
    "print('free while', view.stage)",
    "print('found', [view.question, view.stage, view.selected, [n.by for n in view.notes][:2],\n"
    "       len(view.latencies), view.median_latency])",
)
STATUS = "document.querySelector('.lx-status').textContent"


def test_margins_in_jupyterlab_are_written_judged_by_a_person_and_answered_from(chromium, tmp_path):
    with shown_in_lab(chromium, tmp_path, *CELLS, width=1400, height=1000) as (page, saved):
        page.locator(".lx-card").first.wait_for()
        # Letters that are commands of the notebook, and its key to run a cell, stay words here.
        active = "window.notebookPanel.content.activeCellIndex"
        before = page.evaluate(active)
        page.locator(".lx-ask input").click()
        page.keyboard.type("dd a box?")
        page.keyboard.press("Enter")
        page.wait_for_function(f"{STATUS}.startsWith('Writing margins')")
        page.locator(".lx-card").first.focus()
        page.keyboard.press("r")
        page.locator(".lx-card").first.locator("text=left out by you").wait_for()
        assert page.evaluate(active) == before
        # The kernel is free while margins are written.
        assert run_cell(page, 1, "free while") in ("writing", "answering")
        page.wait_for_function(f"{STATUS}.includes('Notes were changed since')")
        page.get_by_role("button", name="Answer again").click()
        page.wait_for_function(f"{STATUS}.startsWith('Answered') && !{STATUS}.includes('changed')")
        page.locator("[data-source='0']").click()
        page.locator(".lx-passages mark").first.wait_for()
        told = ast.literal_eval(run_cell(page, 2, "found"))
        question, stage, selected, deciders, count, median = told
        assert (question, stage) == ("dd a box?", "answered")
        assert [one == "person" for one in deciders] == [True, False]
        assert selected >= 0
        assert count >= 20
        # `longctx bench margins` measures it on a quiet machine, against a far tighter bound.
        assert 0 < median < 1

        (shown,) = outputs(saved, "execute_result")
        assert shown["metadata"]["image/png"]["alt"].endswith("nothing was asked yet")
