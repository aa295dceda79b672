"""How long views take in JupyterLab, as scripts in ``tests`` measure it.

``view_latency.py`` and ``attention_latency.py`` there drive a real JupyterLab in a headless
Chromium, so they need a checkout with the ``test`` extra; the views themselves work without.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from longctx_edu.errors import LongctxError

_SCRIPTS = Path(__file__).parents[2] / "tests"


def event_to_screen(*, seconds: float = 600) -> dict[str, float]:
    """Return ``median`` and ``worst``, in seconds, and the number of ``events``, of margins.

    Args:
        seconds: that it may take.

    Raises:
        LongctxError: without a checkout, Playwright, a browser or the embedded model.
    """
    return _measured("view_latency.py", seconds=seconds)


def attention_to_screen(*, tokens: int, seconds: float = 1200) -> dict[str, float]:
    """Return the times and sizes of the view of attention over a text of ``tokens``, by name.

    Args:
        seconds: that it may take.

    Raises:
        LongctxError: without a checkout, Playwright, a browser or the embedded model.
    """
    return _measured("attention_latency.py", str(tokens), seconds=seconds)


def _measured(name: str, *arguments: str, seconds: float) -> dict[str, float]:
    script = _SCRIPTS / name
    if not script.is_file():
        raise LongctxError(
            f"There is no {script}; measure the view in a checkout of the course (git clone), "
            "installed with its test extra."
        )
    ran = subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, complaint = ran.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        os.killpg(ran.pid, signal.SIGKILL)  # the server and the browser that it started, too
        ran.communicate()
        raise LongctxError(f"The view was not measured within {seconds:g} seconds.") from error
    if ran.returncode:
        last = (complaint.strip().splitlines() or ["it said nothing"])[-1]
        raise LongctxError(f"The view could not be measured: {last}")
    return json.loads(said.splitlines()[-1])
