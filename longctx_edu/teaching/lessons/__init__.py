"""The content of the lessons: one module a notebook, ``lesson_00`` for notebook 00.

A module defines ``LESSON``. Adding a lesson is adding its module; nothing is
registered anywhere else. Importing it loads no torch: cases with tensors are made
late (``by_late_cases``), and a function that needs torch imports it inside, so that
its source runs where ``solution`` shows it.
"""

import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module

from longctx_edu.teaching.lesson import Lesson


@cache
def find(number: int) -> Lesson | None:
    """Return the lesson of a notebook's number, or None where there is none."""
    if number not in _numbers():
        return None
    return import_module(f"{__name__}.lesson_{number:02d}").LESSON


def every() -> Iterator[Lesson]:
    """Yield all lessons in the order of the course."""
    for number in _numbers():
        yield find(number)


@cache
def _numbers() -> tuple[int, ...]:
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(int(name[-2:]) for name in names if re.fullmatch(r"lesson_\d\d", name)))
