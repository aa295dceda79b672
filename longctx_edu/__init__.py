"""How language models read long documents: memory outside the window, notes in the margins.

Every public name is imported on first use, so that ``import longctx_edu``
loads neither torch nor transformers.
"""

from longctx_edu.lazy import lazily

__version__ = "0.1.0"

_HOME = {
    "Answer": "readers",
    "Citation": "text",
    "Document": "text",
    "LanguageModel": "models",
    "Ledger": "inference",
    "prepare": "readers",
    "read": "readers",
    "run_in_background": "readers",
}

__all__ = ["__version__", *_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
