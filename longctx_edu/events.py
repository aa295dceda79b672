"""What happens while a document is read, a question answered, a small model trained.

Frozen dataclasses: progress bars, live views, traces and tests all listen to the same
events. A generator of events may be closed between any two of them.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any


def returned_by(events: Generator) -> Any:
    """Let a generator of events run to its end; return what it returns."""
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def watched(events: Generator, see: Callable[[Any], None]) -> Generator:
    """Yield events as they happen, each after ``see`` has had it; return what they return."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value
        see(event)
        yield event


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` units of a stage such as "reading" are finished."""

    stage: str
    done: int
    total: int
    unit: str = "tokens"


@dataclass(frozen=True)
class TokenDecoded:
    """The model produced one more token; ``text`` is what it adds to the text so far."""

    stage: str
    text: str
    token_id: int


@dataclass(frozen=True)
class SegmentRead:
    """The text from character ``start`` to ``end``, one of ``segments``, is in the cache."""

    segment: int
    segments: int
    start: int
    end: int


@dataclass(frozen=True)
class MarginToken:
    """The margin on a segment got one more token; ``text`` is what it adds to the margin so far."""

    segment: int
    text: str
    token_id: int


@dataclass(frozen=True)
class NoteWritten:
    """A note on one segment is finished; ``confidence``, if known, is how sure the model was."""

    segment: int
    segments: int
    text: str
    confidence: float | None


@dataclass(frozen=True)
class RolledBack:
    """A margin's request and words, ``tokens`` in all, are off the cache; ``length`` are left."""

    segment: int
    tokens: int
    length: int


@dataclass(frozen=True)
class Judged:
    """Whether the note on a segment counts; ``by`` names the verdict, or is "person"."""

    segment: int
    kept: bool
    score: float | None
    by: str


@dataclass(frozen=True)
class Ready:
    """Last event of ``prepare``: the reading can be asked."""

    reading: Any


@dataclass(frozen=True)
class Answered:
    """Last event of ``reading.events``: the answer."""

    answer: Any


@dataclass(frozen=True)
class Step:
    """One step of training is taken; ``loss`` is from before it, ``tokens`` were trained on.

    ``rate`` is the learning rate, ``gradient`` the gradient's norm before it was clipped, and
    ``seconds`` all that went into training so far, without validation.
    """

    step: int
    steps: int
    loss: float
    rate: float
    gradient: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Validated:
    """The model answered documents that are not for training: mean loss, share right."""

    step: int
    loss: float
    recall: float


@dataclass(frozen=True)
class Saved:
    """All that training needs to go on from this step lies in the file at ``path``."""

    step: int
    path: Any


@dataclass(frozen=True)
class Trained:
    """Last event of training; ``training`` holds the model and its curves."""

    training: Any


@dataclass(frozen=True)
class Dropped:
    """``tokens`` of ``total`` were left out, between the characters ``start`` and ``end``."""

    tokens: int
    start: int
    end: int
    total: int
