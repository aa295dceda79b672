"""Reading and writing with a model: cache, prefill, decode loop, prompt, ledger.

Names are imported on first use, so that the ledger can be had without torch.
"""

from importlib import import_module

_HOME = {
    "Context": "context",
    "Continuations": "continuations",
    "Ledger": "ledger",
    "Prompt": "prompt",
    "can_roll_back": "cache",
    "chat_prompt": "prompt",
    "continue_turn": "prompt",
    "fork": "cache",
    "new_cache": "cache",
    "roll_back": "cache",
}

__all__ = [*_HOME]


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
