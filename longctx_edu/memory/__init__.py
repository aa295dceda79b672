"""Extended Mind memory: keys and values outside the window, looked up by a frozen model."""

from longctx_edu.lazy import lazily

_HOME = {
    "LookedUp": "attention",
    "MemoryBank": "bank",
    "Recall": "attention",
    "block_scores": "blocks",
    "context_with": "blocks",
    "remembering": "attention",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
