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

from lab import run_cell, shown_in_lab

from conftest import NO_BROWSER, find_chromium

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


def measured(chromium: str, *, seconds: float = 300) -> dict[str, float]:
    """Return the median and the worst latency, in seconds, and of how many events."""
    with (
        tempfile.TemporaryDirectory() as folder,
        shown_in_lab(chromium, Path(folder), *CELLS, seconds=seconds) as (page, _),
    ):
        # A view that has come to rest, as the reader's has when a question is typed.
        page.locator(".lx-card").first.wait_for()
        page.locator(".lx-ask input").fill("What was repaired after the storm in October?")
        page.keyboard.press("Enter")
        page.wait_for_function(f"{_STATUS}.startsWith('Answered')")
        median, worst, count = ast.literal_eval(run_cell(page, 1, "found"))
    return {"median": median, "worst": worst, "events": count}


if __name__ == "__main__":
    browser = find_chromium()
    if browser is None:
        sys.exit(NO_BROWSER)
    print(json.dumps(measured(browser)))
