"""Tasks whose answers are known by construction, at any length: ``generate(task, ...)``."""

from longctx_edu.evaluation.tasks.item import (
    TASK_NAMES,
    Controls,
    Item,
    by_document,
    difficulty_of,
    generate,
)

__all__ = ["TASK_NAMES", "Controls", "Item", "by_document", "difficulty_of", "generate"]
