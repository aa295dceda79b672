"""Tasks whose answers are known by construction, at any length: ``generate(task, ...)``."""

from longctx_edu.evaluation.tasks.item import (
    LIKELIHOOD_TASKS,
    TASK_NAMES,
    Controls,
    Item,
    by_document,
    difficulty_of,
    generate,
)
from longctx_edu.evaluation.tasks.places import DEPTHS, Places

__all__ = [
    "DEPTHS",
    "LIKELIHOOD_TASKS",
    "TASK_NAMES",
    "Controls",
    "Item",
    "Places",
    "by_document",
    "difficulty_of",
    "generate",
]
