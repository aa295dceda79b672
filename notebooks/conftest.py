"""Notebooks are tested in the same environment in which they were saved."""

import os

from longctx_edu.teaching.notebooks import QUIET

os.environ.pop("MPLBACKEND", None)  # with it a kernel would show no figures
os.environ.update(QUIET)
