"""Reading and writing with a model: cache, prefill, decode loop, prompt, ledger.

Names are imported on first use, so that the ledger can be had without torch.
"""

from longctx_edu.lazy import lazily

_HOME = {
    "Context": "context",
    "Continuations": "continuations",
    "Ledger": "ledger",
    "Prompt": "prompt",
    "Words": "writing",
    "Written": "writing",
    "can_roll_back": "cache",
    "chat_prompt": "prompt",
    "continue_turn": "prompt",
    "fork": "cache",
    "new_cache": "cache",
    "reading_events": "writing",
    "roll_back": "cache",
    "tree_logits": "tree",
    "turn_end": "prompt",
    "turn_start": "prompt",
    "write": "writing",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
