"""Notes: what margins become once a model or a person has judged them, and where they come from.

A note is what enters the final prompt. A person may accept, reject or change one, or add one of
their own (Russak et al. 2024, section 6, sketches this). Writing them is for ``engine``.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from longctx_edu.text import segment_sentences

PERSON = "person"
_ALIKE = 0.7  # F1 of their words at which a note's sentence counts as a copy of the text's


@dataclass(frozen=True)
class Note:
    """A note on a segment, or a reader's own on the whole text.

    Attributes:
        segment: number of the segment, from 0; None for a note on the whole text.
        text: its words, "" if there was nothing to note.
        kept: whether it enters the final prompt.
        confidence: geometric mean of its tokens' probabilities, None for a person's.
        score: what the verdict went by, None if it had nothing to go by.
        by: the verdict's name, or "person".
        finished: whether it was written to its end.
    """

    segment: int | None
    text: str
    kept: bool = True
    confidence: float | None = None
    score: float | None = None
    by: str = PERSON
    finished: bool = True


def say_something_new(texts: Sequence[str]) -> list[bool]:
    """Say for each text whether it has words that none before it had.

    >>> say_something_new(["a boat", "", "a boat", "a ship"])
    [True, False, False, True]
    """
    return [bool(text.strip()) and text not in texts[:n] for n, text in enumerate(texts)]


def sources_of(note: str, text: str, segment: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the sentences of ``text`` that a note copies, as characters; else the segment.

    A margin sees everything up to its segment's end, and may copy what stood before it; of
    equals the last counts. Small changes of the wording are allowed for.

    >>> text = "It rained. The boat is green. All slept."
    >>> [(start, end)] = sources_of("the boat was green", text, (30, 40))
    >>> text[start:end]
    'The boat is green.'
    """
    start, end = segment
    sentences = [(a, b, _words(text[a:b])) for a, b in segment_sentences(text[:end])]
    found = []
    for a, b in segment_sentences(note):
        said = _words(note[a:b])
        alike, place = max(
            ((_overlap(said, words), (low, high)) for low, high, words in sentences),
            default=(0.0, segment),
        )
        if alike >= _ALIKE:
            found.append(_stripped(text, *place))
    return sorted(set(found)) or [segment]


def _words(text: str) -> Counter:
    return Counter(re.findall(r"\w+", text.lower()))


def _overlap(one: Counter, other: Counter) -> float:
    """Return F1 of the words that two texts share."""
    return 2 * (one & other).total() / max(1, one.total() + other.total())


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return start, start + len(piece.strip())


def within(notes: Sequence[Note], sizes: Sequence[int], most: int | None) -> set[int]:
    """Return the numbers of the kept notes that fit ``most`` tokens together, best scores first.

    Args:
        notes: in order.
        sizes: tokens of each.
        most: None for no limit.
    """
    kept = [n for n, note in enumerate(notes) if note.kept]
    if most is None:
        return {*kept}
    left, fitting = most, set()
    for n in sorted(kept, key=lambda n: (-_worth(notes[n]), n)):
        if sizes[n] <= left:
            fitting.add(n)
            left -= sizes[n]
    return fitting


def _worth(note: Note) -> float:
    """A person's notes come first."""
    return float("inf") if note.by == PERSON else note.score or 0.0


def numbered(notes: Collection[Note]) -> list[Note]:
    """Return notes in the order of the text, those on the whole text at the end."""
    return sorted(notes, key=lambda note: (note.segment is None, note.segment or 0))
