"""Pictures of what happens: interactive views, and their static twins in ``plots``.

Nothing here loads matplotlib or a widget library before a picture is asked for.
"""

from importlib import import_module

_HOME = {
    "ArraySource": "longctx_edu.widgets.sources",
    "View": "longctx_edu.widgets.base",
    "WeightsSource": "longctx_edu.widgets.sources",
    "WeightsView": "longctx_edu.widgets.weights",
}

__all__ = [*_HOME]


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_HOME])
