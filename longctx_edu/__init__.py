"""How language models read long documents: memory outside the window, notes in the margins.

Every public name is imported on first use, so that ``import longctx_edu``
loads neither torch nor transformers.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "Answer": "longctx_edu.readers",
    "Citation": "longctx_edu.text",
    "Document": "longctx_edu.text",
    "LanguageModel": "longctx_edu.models",
    "Ledger": "longctx_edu.inference",
    "prepare": "longctx_edu.readers",
    "read": "longctx_edu.readers",
    "run_in_background": "longctx_edu.readers",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_HOME])
