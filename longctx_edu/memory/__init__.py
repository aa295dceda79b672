"""Extended Mind memory: keys and values outside the window, looked up by a frozen model."""

from longctx_edu.lazy import lazily

_HOME = {
    "Chosen": "blocks",
    "ExtendedMindTransformer": "extended_mind",
    "ExternalMemory": "external",
    "Held": "bank",
    "LookedUp": "attention",
    "MemoryBank": "bank",
    "Recall": "attention",
    "Storage": "storage",
    "block_scores": "blocks",
    "choose": "blocks",
    "context_with": "blocks",
    "remembering": "attention",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
