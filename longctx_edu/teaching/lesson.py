"""What a lesson asks: predictions, exercises and questions as plain data, and how to compare.

An exercise knows its wrong answers: whoever fails in the same way as one of them
is told what went wrong. Learners' code may do anything, so every look at an
answer is guarded; a learner's endless loop is not (interrupt the kernel).
"""

import copy
import math
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NOT_ATTEMPTED = "not attempted yet"

Check = Callable[[object], str | None]
"""Takes an answer; returns None if right, ``NOT_ATTEMPTED``, or what is wrong as a sentence."""


@dataclass(frozen=True)
class _Choice:
    """A question with lettered options, one of them right.

    Args:
        id: such as "0.1": the notebook's number and a count.
        question: what is asked.
        options: what can be chosen; the first is A.
        answer: the letter of the right one.
        feedback: for each wrong letter, the misconception behind it.
        explanation: why the right one is right.
    """

    id: str
    question: str
    options: tuple[str, ...]
    answer: str
    feedback: Mapping[str, str]
    explanation: str

    def __post_init__(self):
        if set(self.letters) != {self.answer, *self.feedback} or self.answer in self.feedback:
            raise ValueError(
                f"{type(self).__name__} {self.id}: the answer and the letters with feedback must "
                f"together be {', '.join(self.letters)}, each once."
            )

    @property
    def letters(self) -> tuple[str, ...]:
        return tuple("ABCDEFGH"[: len(self.options)])


class Prediction(_Choice):
    """What will happen? Answered before the cell that shows it is run."""


class Question(_Choice):
    """A question of the quiz at the end."""


@dataclass(frozen=True)
class WrongAnswer:
    """An answer that learners give, and what to tell those who give it."""

    answer: object
    says: str


@dataclass(frozen=True)
class Exercise:
    """A task with its check, staged hints, solution, and known wrong answers.

    ``solution`` is a function, whose source is shown, or a value.
    """

    id: str
    task: str
    check: Check
    hints: tuple[str, ...]
    solution: object
    wrong_answers: tuple[WrongAnswer, ...] = ()

    def fault(self, answer: object) -> str | None:
        """Return None if the answer is right, ``NOT_ATTEMPTED``, or what is wrong with it."""
        if answer is None or answer is ...:
            return NOT_ATTEMPTED
        found = self.check(answer)
        if found in (None, NOT_ATTEMPTED):
            return found
        for wrong in self.wrong_answers:
            if self.check(wrong.answer) == found:
                return f"{found} {wrong.says}"
        return found


@dataclass(frozen=True)
class Lesson:
    """All that one notebook asks, by id."""

    number: int
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    exercises: Mapping[str, Exercise] = field(default_factory=dict)
    questions: Mapping[str, Question] = field(default_factory=dict)


def lesson(number: int, *items: Prediction | Exercise | Question) -> Lesson:
    """Return the lesson made of these items.

    Raises:
        ValueError: if an id does not begin with the number, or stands twice.
    """
    groups = []
    for kind in (Prediction, Exercise, Question):
        chosen = [item for item in items if isinstance(item, kind)]
        by_id = {item.id: item for item in chosen}
        wrong = [item.id for item in chosen if not item.id.startswith(f"{number}.")]
        if wrong or len(by_id) < len(chosen):
            raise ValueError(
                f"Ids of lesson {number} begin with '{number}.' and stand once per kind; "
                f"{kind.__name__} has {', '.join(item.id for item in chosen)}."
            )
        groups.append(by_id)
    return Lesson(number, *groups)


@dataclass(frozen=True)
class Case:
    """Arguments for a learner's function, by name, and what it must return."""

    arguments: Mapping[str, object]
    expected: object


def by_cases(*cases: Case) -> Check:
    """Return a check of a function by its results; put the smallest case first.

    The arguments are handed over in order, so the learner may name them freely.
    """

    def check(answer: object) -> str | None:
        if not callable(answer):
            return f"give the function itself, not {shown(answer)}."
        faults = [_fault_in(answer, case) for case in cases]
        if all(fault is not None and fault.untouched for fault in faults):
            return NOT_ATTEMPTED
        return next((fault.text for fault in faults if fault is not None), None)

    return check


def by_value(expected: object) -> Check:
    """Return a check of a value, such as a number that the learner worked out."""

    def check(answer: object) -> str | None:
        if callable(answer):
            return f"give a value, not {shown(answer)}."
        return None if same(answer, expected) else f"{shown(answer)} is not the value."

    return check


def same(got: Any, expected: Any) -> bool:
    """Say whether an answer equals what is expected; numbers within one part in a million.

    Arrays and tensors count as lists, and lists as tuples. Anything that cannot
    be compared is different.
    """
    try:
        return _same(got, expected)
    except (Exception, SystemExit):
        return False


def shown(value: object) -> str:
    """Return the value as short text that is the same on every run."""
    try:
        return re.sub(r" at 0x[0-9a-fA-F]+", "", _SHORT.repr(value))
    except (Exception, SystemExit):
        return "a value that cannot be shown"


_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 8
_SHORT.maxstring = _SHORT.maxother = 80


class _Fault(NamedTuple):
    text: str
    untouched: bool = False  # as an untouched stub behaves


def _fault_in(function: Callable, case: Case) -> _Fault | None:
    given = ", ".join(f"{name}={shown(value)}" for name, value in case.arguments.items())
    wanted = f"expected {shown(case.expected)}."
    try:
        got = function(*copy.deepcopy(list(case.arguments.values())))
    except (Exception, SystemExit) as error:
        text = f"{given}: it raised {type(error).__name__}, {wanted}"
        return _Fault(text, untouched=isinstance(error, NotImplementedError))
    if same(got, case.expected):
        return None
    return _Fault(f"{given}: got {shown(got)}, {wanted}", untouched=got is None or got is ...)


def _same(got: Any, expected: Any) -> bool:
    if hasattr(got, "tolist"):
        got = got.tolist()
    if isinstance(expected, bool) or isinstance(got, bool):
        return got is expected
    if isinstance(expected, int | float):
        close = math.isclose(got, expected, rel_tol=1e-6, abs_tol=1e-9)
        return isinstance(got, int | float) and close
    if isinstance(expected, list | tuple):
        return (
            isinstance(got, list | tuple)
            and len(got) == len(expected)
            and all(_same(one, other) for one, other in zip(got, expected, strict=True))
        )
    if isinstance(expected, Mapping):
        return (
            isinstance(got, Mapping)
            and got.keys() == expected.keys()
            and all(_same(got[key], expected[key]) for key in expected)
        )
    return type(got) is type(expected) and bool(got == expected)
