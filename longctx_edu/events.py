"""What happens while a document is read and a question answered, as frozen dataclasses.

Progress bars, live views, traces and tests all listen to the same events. A
generator of events may be closed between any two of them.
"""

from dataclasses import dataclass
from typing import Any


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
class NoteWritten:
    """A note on one segment is finished; ``confidence`` says how sure the model was of it."""

    segment: int
    segments: int
    text: str
    confidence: float


@dataclass(frozen=True)
class Ready:
    """Last event of ``prepare``: the reading can be asked."""

    reading: Any


@dataclass(frozen=True)
class Answered:
    """Last event of ``reading.events``: the answer."""

    answer: Any


@dataclass(frozen=True)
class Dropped:
    """``tokens`` of ``total`` were left out, between the characters ``start`` and ``end``."""

    tokens: int
    start: int
    end: int
    total: int
