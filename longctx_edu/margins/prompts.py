"""What the model is asked: for a note at the end of a segment, and for the answer at the very end.

Two ways to ask for a note and three to hand the kept ones over, as small objects that can be
exchanged. The paper asks for relevance and note in one go (Russak et al. 2024, section 4); the
wording is our own. Whether a note counts is for ``verdicts``. Text enters by concatenation.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from longctx_edu.errors import LongctxError

_NOTHING = re.compile(
    r"\W*((no|none|nothing|not mentioned|unknown|i don'?t know|i do not know)\W*$"
    r"|(the|this) text does not (say|mention)\b)",
    re.IGNORECASE,
)
_NO = re.compile(r"\W*no\b", re.IGNORECASE)


def is_empty_note(note: str) -> bool:
    """Say whether a note only states that there is nothing to note.

    >>> is_empty_note("NO"), is_empty_note("The text does not say."), is_empty_note("No ship came.")
    (True, True, False)
    """
    return not note.strip() or _NOTHING.match(note) is not None


class ExtractionPrompt(Protocol):
    """A way to ask for a note on a segment.

    Attributes:
        name: under which it is chosen.
        says: the words for yes and no with which a note begins; None if it does not say.
    """

    name: str
    says: tuple[str, str] | None

    def request(self, question: str) -> str:
        """Return the request, to stand right after a segment."""

    def note(self, written: str) -> str:
        """Return the note in what the model wrote; "" if it noted nothing."""

    def is_over(self, written: str) -> bool:
        """Say whether what the model has written so far already holds the whole note."""


@dataclass(frozen=True)
class CopySentence:
    """Ask for a sentence copied from the text; the note is the first line.

    The question comes first: asked the other way round, a small model repeats the request.
    """

    name = "copy"
    says = None

    def request(self, question: str) -> str:
        return f"{question}\nAnswer with a sentence copied from the text above."

    def note(self, written: str) -> str:
        line = _first_line(written)
        return "" if is_empty_note(line) else line

    def is_over(self, written: str) -> bool:
        return "\n" in written.lstrip()


@dataclass(frozen=True)
class YesNo:
    """Ask whether the text says anything to the question, and for the note, in one go.

    The first token is the verdict, and a NO ends the margin: irrelevant segments cost two tokens.

    >>> YesNo().note("YES# The boat is green."), YesNo().note("NO#"), YesNo().is_over("No, not")
    ('The boat is green.', '', True)
    """

    name = "yes_no"
    says = ("YES", "NO")

    def request(self, question: str) -> str:
        return (
            f"Question: {question}\n"
            "If the text above answers the question, write YES# and then copy that sentence. "
            "If it does not, write NO#."
        )

    def note(self, written: str) -> str:
        said = _first_line(re.sub(r"^\W*yes\b\W*", "", written, flags=re.IGNORECASE))
        return "" if _NO.match(written) or is_empty_note(said) else said

    def is_over(self, written: str) -> bool:
        says_no = re.match(r"\W*no[^\w']", written, re.IGNORECASE)
        return says_no is not None or "\n" in re.sub(
            r"^\W*yes\b\W*", "", written, flags=re.IGNORECASE
        )


class FinalPrompt(Protocol):
    """A way to hand over the kept notes with the question."""

    name: str

    def notes(self, notes: Sequence[str]) -> str:
        """Return the notes as they stand in the prompt; "" if there are none."""

    def ask(self, question: str) -> str:
        """Return the question as it stands at the end."""


@dataclass(frozen=True)
class Labelled:
    """One line says what they are, then a list of the notes."""

    name = "labelled"

    def notes(self, notes: Sequence[str]) -> str:
        lines = "".join(f"- {note}\n" for note in notes)
        return f"Notes taken while reading:\n{lines}\n" if notes else ""

    def ask(self, question: str) -> str:
        return question


@dataclass(frozen=True)
class Bare:
    """The notes alone, one to a line, as the authors' published code joins them."""

    name = "bare"

    def notes(self, notes: Sequence[str]) -> str:
        return "".join(f"{note}\n" for note in notes) + "\n" if notes else ""

    def ask(self, question: str) -> str:
        return question


@dataclass(frozen=True)
class ReadAgain:
    """The notes, and the request to use them with the text, as in the paper's experiments."""

    name = "read_again"

    def notes(self, notes: Sequence[str]) -> str:
        lines = "".join(f"- {note}\n" for note in notes)
        return f"While reading, you noted on this text:\n{lines}\n" if notes else ""

    def ask(self, question: str) -> str:
        return f"Look at the notes and at the text once more, then answer. {question}"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip()


EXTRACTION_PROMPTS = {kind.name: kind for kind in (CopySentence, YesNo)}
FINAL_PROMPTS = {kind.name: kind for kind in (Labelled, Bare, ReadAgain)}


def chosen(kinds: dict[str, type], choice, what: str):
    """Return the object that ``choice``, a name or an object, means.

    Raises:
        LongctxError: for a name that there is not.
    """
    if not isinstance(choice, str):
        return choice
    if choice not in kinds:
        raise LongctxError(f"There is no {what} {choice!r}; choose one of {', '.join(kinds)}.")
    return kinds[choice]()
