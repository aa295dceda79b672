"""How long an event takes to be seen in JupyterLab, as ``tests/view_latency.py`` measures it.

That script drives a real JupyterLab in a headless Chromium, so it needs a checkout with the
``test`` extra; everything else about the view of margins works without.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from longctx_edu.errors import LongctxError

_SCRIPT = Path(__file__).parents[2] / "tests" / "view_latency.py"


def event_to_screen(*, seconds: float = 600) -> dict[str, float]:
    """Return ``median`` and ``worst``, in seconds, and the number of ``events``.

    Args:
        seconds: that it may take.

    Raises:
        LongctxError: without a checkout, Playwright, a browser or the embedded model.
    """
    if not _SCRIPT.is_file():
        raise LongctxError(
            f"There is no {_SCRIPT}; measure the view in a checkout of the course (git clone), "
            "installed with its test extra."
        )
    ran = subprocess.Popen(
        [sys.executable, str(_SCRIPT)],
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
