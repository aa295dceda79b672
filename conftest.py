"""For every test and every notebook that pytest runs: no network, nobody's own progress."""

import contextlib
import os
import tempfile
from pathlib import Path

from longctx_edu.teaching.offline import no_network


def pytest_configure(config):
    undo = contextlib.ExitStack()
    config.add_cleanup(undo.close)
    undo.enter_context(no_network())
    scratch = undo.enter_context(tempfile.TemporaryDirectory(prefix="longctx-tests-"))
    os.environ["LONGCTX_EDU_PROGRESS"] = str(Path(scratch, "progress.json"))
