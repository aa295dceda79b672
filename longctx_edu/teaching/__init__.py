"""Predictions, exercises with checks and hints, quizzes and progress, for the notebooks.

``predict``, ``reveal``, ``check``, ``hint``, ``solution``, ``quiz`` and
``progress`` print plain text and never raise; their content stands in
``lessons``. Nothing here loads torch.
"""

from importlib import import_module

_NAMES = ("check", "hint", "predict", "progress", "quiz", "reveal", "solution")
_HOME = dict.fromkeys(_NAMES, "longctx_edu.teaching.kit")

__all__ = list(_HOME)


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_HOME])
