"""What a lesson asks: predictions, exercises and questions as plain data, and how to compare.

An exercise knows its wrong answers: whoever fails in the same way as one of them
is told what went wrong. Learners' code may do anything, so every look at an
answer is guarded; a learner's endless loop is not (interrupt the kernel).
"""

import copy
import functools
import itertools
import math
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
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


TOLERANCE = 1e-5


@dataclass(frozen=True)
class Case:
    """Arguments for a learner's function, by name, and what it must return."""

    arguments: Mapping[str, object]
    expected: object


def by_cases(*cases: Case, tolerance: float = TOLERANCE) -> Check:
    """Return a check of a function by its results; put the smallest case first.

    The arguments are handed over in order, so the learner may name them freely,
    and as copies, so that a function that writes into them spoils no other case.

    Args:
        tolerance: as in ``same``.
    """
    return by_late_cases(lambda: cases, tolerance=tolerance)


def by_late_cases(make: Callable[[], Iterable[Case]], *, tolerance: float = TOLERANCE) -> Check:
    """Return the check of ``by_cases`` for cases that are made when something is checked.

    For cases that hold tensors, so that a lesson is listed without loading torch.
    """
    made = functools.cache(lambda: tuple(make()))

    def check(answer: object) -> str | None:
        if not callable(answer):
            return f"give the function itself, not {shown(answer)}."
        faults = [_fault_in(answer, case, tolerance) for case in made()]
        if all(fault is not None and fault.untouched for fault in faults):
            return NOT_ATTEMPTED
        return next((fault.text for fault in faults if fault is not None), None)

    return check


def by_value(expected: object, *, tolerance: float = TOLERANCE) -> Check:
    """Return a check of a value, such as a number that the learner worked out."""

    def check(answer: object) -> str | None:
        if callable(answer):
            return f"give a value, not {shown(answer)}."
        if same(answer, expected, tolerance=tolerance):
            return None
        return f"{shown(answer)} is not the value{_precision(expected, tolerance)}."

    return check


def same(got: Any, expected: Any, *, tolerance: float = TOLERANCE) -> bool:
    """Say whether an answer equals what is expected.

    Whole numbers are equal or not. Any other number may differ by ``tolerance``
    times what is expected or, within an array or tensor, times its largest value:
    a zero computed in float32 is not exactly zero. Arrays and tensors count as
    lists, and lists as tuples. Anything that cannot be compared is different.
    """
    try:
        return _same(got, expected, tolerance)
    except (Exception, SystemExit):
        return False


def shown(value: object) -> str:
    """Return the value as short text that is the same on every run.

    Of an array or tensor with more than 16 values only the shape is told.
    """
    try:
        if _is_array(value):
            few = math.prod(value.shape) <= _SHORT.maxlist
            return _SHORT.repr(value.tolist()) if few else _shape(value)
        return re.sub(r" at 0x[0-9a-fA-F]+", "", _SHORT.repr(value))
    except (Exception, SystemExit):
        return "a value that cannot be shown"


class _Short(reprlib.Repr):
    def repr_float(self, value: float, level: int) -> str:
        return f"{value:.6g}" if value % 1 else repr(value)


_SHORT = _Short()
_SHORT.maxlist = _SHORT.maxtuple = 16
_SHORT.maxdict = 8
_SHORT.maxstring = _SHORT.maxother = 80


class _Fault(NamedTuple):
    text: str
    untouched: bool = False  # as an untouched stub behaves


def _fault_in(function: Callable, case: Case, tolerance: float) -> _Fault | None:
    given = ", ".join(f"{name}={shown(value)}" for name, value in case.arguments.items())
    arguments = copy.deepcopy(list(case.arguments.values()))
    try:
        got = function(*arguments)
    except KeyboardInterrupt:
        raise  # whoever interrupts the kernel means it
    except BaseException as error:
        text = f"{given}: it raised {type(error).__name__}, expected {shown(case.expected)}."
        return _Fault(text, untouched=isinstance(error, NotImplementedError))
    if same(got, case.expected, tolerance=tolerance):
        return None
    text = f"{given}: {_difference(got, case.expected, tolerance)}."
    return _Fault(text, untouched=got is None or got is ...)


def _difference(got: Any, expected: Any, tolerance: float) -> str:
    """Return where a wrong result goes wrong: its shape, its kind, one place, or all of it."""
    precision = _precision(expected, tolerance)
    try:
        if _is_array(got) and _is_array(expected):
            if tuple(got.shape) != tuple(expected.shape):
                return f"got {_shape(got)}, expected {_shape(expected)}"
            if ("bool" in str(got.dtype)) != ("bool" in str(expected.dtype)):
                return f"got values of {got.dtype}, expected {expected.dtype}"
            if math.prod(expected.shape) > _SHORT.maxlist:
                place = _first_difference(got, expected, tolerance)
                one, other = shown(got[place]), shown(expected[place])
                return f"at {list(place)} got {one}, expected {other}{precision}"
    except (Exception, SystemExit):
        pass  # the learner's object cannot be looked at in detail
    return f"got {shown(got)}, expected {shown(expected)}{precision}"


def _first_difference(got: Any, expected: Any, tolerance: float) -> tuple[int, ...]:
    slack = tolerance * _largest(expected.tolist())
    for place in itertools.product(*map(range, expected.shape)):
        if not _same(got[place].tolist(), expected[place].tolist(), tolerance, slack):
            return place
    raise ValueError("The arrays do not differ.")


def _precision(expected: Any, tolerance: float) -> str:
    """Return what to say of the tolerance: nothing where only whole values are compared."""
    plain = expected.tolist() if _is_array(expected) else expected
    if any(isinstance(value, float) for value in _flat(plain)):
        return f" (tolerance {tolerance:g})"
    return ""


def _is_array(value: Any) -> bool:
    """Say whether it is an array or number of numpy, or a tensor."""
    return not isinstance(value, type) and hasattr(value, "tolist") and hasattr(value, "shape")


def _shape(array: Any) -> str:
    kind = "a tensor" if "Tensor" in type(array).__name__ else "an array"
    return f"{kind} of shape {tuple(array.shape)}"


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _flat(inner.tolist() if _is_array(inner) else inner)
    else:
        yield value


def _largest(value: Any) -> float:
    numbers = (abs(one) for one in _flat(value) if isinstance(one, int | float))
    return max((number for number in numbers if math.isfinite(number)), default=0.0)


def _same(got: Any, expected: Any, tolerance: float, slack: float = 1e-9) -> bool:
    if _is_array(got) or _is_array(expected):
        if _is_array(got) and _is_array(expected) and tuple(got.shape) != tuple(expected.shape):
            return False
        got, expected = (one.tolist() if _is_array(one) else one for one in (got, expected))
        slack = max(slack, tolerance * _largest(expected))
    if isinstance(expected, bool) or isinstance(got, bool):
        return got is expected
    if isinstance(expected, int) and isinstance(got, int):
        return got == expected
    if isinstance(expected, int | float):
        close = math.isclose(got, expected, rel_tol=tolerance, abs_tol=slack)
        return isinstance(got, int | float) and close
    if isinstance(expected, list | tuple):
        return (
            isinstance(got, list | tuple)
            and len(got) == len(expected)
            and all(
                _same(one, other, tolerance, slack)
                for one, other in zip(got, expected, strict=True)
            )
        )
    if isinstance(expected, Mapping):
        return (
            isinstance(got, Mapping)
            and got.keys() == expected.keys()
            and all(_same(got[key], expected[key], tolerance) for key in expected)
        )
    return type(got) is type(expected) and bool(got == expected)
