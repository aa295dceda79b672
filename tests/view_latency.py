"""From an event to the screen: how long a margin's token takes to be seen in real JupyterLab.

``python tests/view_latency.py`` asks the embedded model a question in a notebook, in JupyterLab
in headless Chromium, and prints ``{"median": seconds, "worst": seconds, "events": count}`` as
JSON. Both clocks are this machine's: Python's when the event happened, and the browser's when
the frame that shows it was painted.
"""

import ast
import json
import sys
import tempfile
from pathlib import Path

from lab import jupyter_lab, open_notebook, run_all

from conftest import NO_BROWSER, find_chromium
from longctx_edu.teaching import canonical

TOKENS = 2048
CELLS = (
    "from longctx_edu import models, read\n"
    "from longctx_edu.text import lighthouse_log, tokenize\n"
    "from longctx_edu.widgets import MarginsView\n"
    "model, text = models.load(), lighthouse_log().text\n"
    f"text = text[: tokenize(model.tokenizer, text).spans[{TOKENS}][0]]\n"
    "view = MarginsView(read(text, method='margins', model=model), measure=True)\nview",
    "print('found', [view.median_latency, max(view.latencies), len(view.latencies)])",
)
_STATUS = "document.querySelector('.lx-status').textContent"
_RUN_LAST = """async (source) => {
    const { content } = window.notebookPanel;
    const cell = { cell_type: "code", source, metadata: {} };
    content.model.sharedModel.insertCells(1, [cell]);
    content.activeCellIndex = 1;
    await window.jupyterapp.commands.execute("notebook:run-cell");
}"""


def measured(chromium: str, *, seconds: float = 300) -> dict[str, float]:
    """Return the median and the worst latency, in seconds, and of how many events."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "00_view.ipynb"
        cell = dict(cell_type="code", execution_count=None, metadata={}, outputs=[])
        notebook = dict(cells=[{**cell, "source": CELLS[0]}], metadata={})
        notebook |= dict(nbformat=4, nbformat_minor=5)
        canonical.save(canonical.canonical(notebook, "00"), path)
        with jupyter_lab(Path(folder)) as server, open_notebook(server, path, chromium) as opened:
            page = opened.page
            page.set_default_timeout(seconds * 1000)
            run_all(page, seconds)
            # A view that has come to rest, as the reader's has when a question is typed.
            page.locator(".lx-card").first.wait_for()
            page.locator(".lx-ask input").fill("What was repaired after the storm in October?")
            page.keyboard.press("Enter")
            page.wait_for_function(f"{_STATUS}.startsWith('Answered')")
            page.evaluate(_RUN_LAST, CELLS[1])
            printed = page.locator(".jp-OutputArea-output", has_text="found [")
            printed.wait_for()
            median, worst, count = ast.literal_eval(printed.text_content().strip()[6:])
    return {"median": median, "worst": worst, "events": count}


if __name__ == "__main__":
    browser = find_chromium()
    if browser is None:
        sys.exit(NO_BROWSER)
    print(json.dumps(measured(browser)))
