"""What learners call in a notebook: predict, reveal, check, hint, solution, quiz, progress.

Everything prints plain text and returns None. What is printed depends on what
was called in this kernel and on nothing older, so that "Run all" always gives
the same outputs; only ``progress`` reads what earlier sessions left.
"""

import inspect
import json
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path

from longctx_edu.teaching import lessons
from longctx_edu.teaching.canonical import write_text
from longctx_edu.teaching.lesson import NOT_ATTEMPTED, Lesson, Prediction, Question, shown

_KINDS = ("predictions", "exercises", "questions")


class Progress:
    """Which items are done or tried, in one small local file.

    The file lies in the cache folder, or where ``LONGCTX_EDU_PROGRESS`` says. No
    account, no telemetry; where the file cannot be written, progress lasts as
    long as the kernel.
    """

    def __init__(self, file: Path | None = None):
        self._file = file
        self._items: dict[str, str] = {}

    def note(self, kind: str, item: str, state: str) -> None:
        """Remember "tried" or "done"; what is done stays done."""
        items = self.items()
        if items.get(f"{kind} {item}") in ("done", state):
            return
        self._items = {**items, f"{kind} {item}": state}
        try:
            file = self._path()
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps({"schema": 1, "items": self._items}, indent=1) + "\n")
        except OSError:
            pass  # a read-only home must not stop a lesson

    def items(self) -> dict[str, str]:
        """Return the states by "kind id", those in the file and those of this kernel."""
        try:
            stored = json.loads(self._path().read_text(encoding="utf-8"))["items"]
            return {**{str(key): str(state) for key, state in stored.items()}, **self._items}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return dict(self._items)  # no file yet, or not one of ours

    def _path(self) -> Path:
        if self._file is not None:
            return self._file
        if chosen := os.environ.get("LONGCTX_EDU_PROGRESS"):
            return Path(chosen)
        from longctx_edu.models import cache_folder

        return cache_folder() / "progress.json"


class Kit:
    """The calls of one kernel: its predictions, the hints it gave, and its progress."""

    def __init__(self, progress: Progress | None = None):
        self._progress = progress or Progress()
        self._predicted: dict[str, str] = {}
        self._hints_given: dict[str, int] = {}

    def predict(self, id: str, choice: str | None = None) -> None:
        """Note your prediction, a letter; without one, print what is asked."""
        asked = self._find("predictions", id)
        if asked is None:
            return
        self._predicted.pop(asked.id, None)
        letter = _letter(asked, choice)
        if choice is None:
            _say_options(f"Prediction {asked.id}", asked, "No prediction yet")
        elif letter is None:
            _say(f"Prediction {asked.id}: {shown(choice)} is not one of {_any_of(asked)}.")
        else:
            self._predicted[asked.id] = letter
            self._progress.note("predictions", asked.id, "done")
            _say(f"Prediction {asked.id}: {letter} noted. Run on to see what happens.")

    def reveal(self, id: str) -> None:
        """Explain what happened, once a prediction was made."""
        asked = self._find("predictions", id)
        if asked is None:
            return
        letter = self._predicted.get(asked.id)
        if letter is None:
            _say(
                f"Prediction {asked.id}: no prediction yet. "
                "Make it above, then run this cell again."
            )
        elif letter == asked.answer:
            _say(f"Prediction {asked.id}: you said {letter}, and so it is. {asked.explanation}")
        else:
            _say(
                f"Prediction {asked.id}: you said {letter}; it is {asked.answer}. "
                f"{asked.feedback[letter]} {asked.explanation}"
            )

    def check(self, id: str, answer: object = None) -> None:
        """Say whether the answer is right, or where it first goes wrong; it never raises."""
        exercise = self._find("exercises", id)
        if exercise is None:
            return
        try:
            fault = exercise.fault(answer)
        except KeyboardInterrupt:
            raise  # whoever interrupts the kernel means it
        except BaseException as error:  # the learner's object may do anything
            fault = f"the answer could not be examined ({type(error).__name__})."
        if fault is None:
            self._progress.note("exercises", exercise.id, "done")
            _say(f"Exercise {exercise.id}: correct.")
        elif fault == NOT_ATTEMPTED:
            _say(f"Exercise {exercise.id}: {NOT_ATTEMPTED}.")
        else:
            self._progress.note("exercises", exercise.id, "tried")
            _say(f"Exercise {exercise.id}: not yet - {fault}")

    def hint(self, id: str) -> None:
        """Print the next hint of an exercise; after the last one, the last one again."""
        exercise = self._find("exercises", id)
        if exercise is None:
            return
        given = min(self._hints_given.get(exercise.id, 0) + 1, len(exercise.hints))
        self._hints_given[exercise.id] = given
        _say(f"Hint {given} of {len(exercise.hints)} for exercise {exercise.id}:")
        print(exercise.hints[given - 1])

    def solution(self, id: str) -> None:
        """Print one right answer of an exercise."""
        exercise = self._find("exercises", id)
        if exercise is None:
            return
        print(f"One solution of exercise {exercise.id}:")
        if callable(exercise.solution):
            print(textwrap.dedent(inspect.getsource(exercise.solution)).rstrip())
        else:
            print(shown(exercise.solution))

    def quiz(self, id: str, answer: str | None = None) -> None:
        """Judge a letter; without one, print the question."""
        asked = self._find("questions", id)
        if asked is None:
            return
        letter = _letter(asked, answer)
        if answer is None:
            _say_options(f"Question {asked.id}", asked, "No answer yet")
        elif letter is None:
            _say(f"Question {asked.id}: {shown(answer)} is not one of {_any_of(asked)}.")
        elif letter == asked.answer:
            self._progress.note("questions", asked.id, "done")
            _say(f"Question {asked.id}: {letter} is right. {asked.explanation}")
        else:
            self._progress.note("questions", asked.id, "tried")
            _say(f"Question {asked.id}: {letter} is not it. {asked.feedback[letter]}")

    def progress(self) -> None:
        """Print how much of each lesson is done, tried and open, on this machine.

        The table depends on earlier sessions: a cell that shows it in a saved
        notebook carries the tag ``nbval-ignore-output``.
        """
        states = self._progress.items()
        print(f"{'lesson':<8}{'item':<14}{'done':>6}{'tried':>7}{'open':>6}")
        for lesson in lessons.every():
            for kind in _KINDS:
                found = [states.get(f"{kind} {item}", "open") for item in getattr(lesson, kind)]
                counts = [found.count(state) for state in ("done", "tried", "open")]
                print(f"{lesson.number:<8}{kind:<14}{counts[0]:>6}{counts[1]:>7}{counts[2]:>6}")

    def _find(self, kind: str, id: str):
        """Return the item, or None after saying which ones there are."""
        number = str(id).partition(".")[0]
        lesson = lessons.find(int(number)) if number.isdecimal() else None
        items: Mapping = getattr(lesson or Lesson(0), kind)
        if str(id) not in items:
            known = ", ".join(items) or "none in that lesson"
            _say(f"There is nothing with the id {shown(id)} among the {kind}; there are: {known}.")
        return items.get(str(id))


def _letter(asked: Prediction | Question, choice: object) -> str | None:
    letter = choice.strip().upper() if isinstance(choice, str) else None
    return letter if letter in asked.letters else None


def _any_of(asked: Prediction | Question) -> str:
    return f"{', '.join(asked.letters[:-1])} or {asked.letters[-1]}"


def _say_options(label: str, asked: Prediction | Question, state: str) -> None:
    _say(f"{label}. {asked.question}")
    for letter, option in zip(asked.letters, asked.options, strict=True):
        print(
            textwrap.fill(f"{letter}) {option}", 79, initial_indent="  ", subsequent_indent="     ")
        )
    _say(f"{state}: put {_any_of(asked)} in place of None and run this cell again.")


def _say(text: str) -> None:
    print(textwrap.fill(text, 79, break_long_words=False, break_on_hyphens=False))


_kit = Kit()
predict = _kit.predict
reveal = _kit.reveal
check = _kit.check
hint = _kit.hint
solution = _kit.solution
quiz = _kit.quiz
progress = _kit.progress
