"""A needle in a haystack: one code told once in a long text; or ten of them, at all depths at once.

The test of Kamradt (2023), with the distractors of RULER's multi-key needles (Hsieh et al. 2024,
section 3.1). A map of depth by length takes a text for each of its cells with one needle, and a
text for each row with ``needles-everywhere``. Both alone say little about reading: a model may
find what looks foreign in the text and understand none of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks.fitting import (
    Insert,
    ceiling,
    draw_candidates,
    draw_numbers,
    filler,
    hide,
    of_digits,
    seeded,
)
from longctx_edu.evaluation.tasks.item import Controls, Item

_ADJECTIVES = "velvet", "purple", "marble", "hollow", "brass", "amber", "oval", "ivory", "tartan"
_NOUNS = "suitcase", "wardrobe", "chessboard", "violin", "umbrella", "typewriter", "saddle"
THINGS = tuple(f"{adjective} {noun}" for adjective in _ADJECTIVES for noun in _NOUNS)
"""What has a code; many share a word, so that half a name does not tell which is meant."""
_MOST = len(THINGS)
_CANDIDATES = 8  # gold and seven others


@dataclass(frozen=True)
class Needle:
    """How hard ``needle`` is.

    Attributes:
        distractors: codes of other things, each at a place of its own.
        digits: digits of a code.
        depth: where the needle stands, from 0 (start) to 1 (end); drawn anew for each document
            if None.
    """

    distractors: int = 3
    digits: int = 5
    # Not in the name that the generator is seeded with: a needle that moves stays the same.
    depth: float | None = field(default=None, repr=False)

    def __post_init__(self):
        if not 0 <= self.distractors < _MOST or self.digits < 3:
            raise LongctxError(
                f"A needle has 0 to {_MOST - 1} distractors and at least 3 digits, but "
                f"distractors={self.distractors} and digits={self.digits} were given."
            )
        if self.depth is not None and not 0 <= self.depth <= 1:
            raise LongctxError(
                f"A depth is 0 to 1, or None to draw it, but depth={self.depth} was given."
            )

    def items(self, length_tokens: int, seed: int, number: int, tokenizer) -> list[Item]:
        """Return the one item of document ``number``, as ``generate`` wants them."""
        draw = seeded("needle", seed, number, self)
        drawn = [draw.random() for _ in range(self.distractors + 1)]
        depths = drawn if self.depth is None else [self.depth, *drawn[1:]]
        id = f"needle-{length_tokens}-{seed}-{number}"
        if self.depth is not None:
            id += f"-depth-{self.depth:g}"
        written = _Written("needle", id, seed, number, length_tokens, self.digits)
        return written.items(depths, asked=1, draw=draw, tokenizer=tokenizer)


@dataclass(frozen=True)
class NeedlesEverywhere:
    """How hard ``needles-everywhere`` is.

    Attributes:
        needles: codes in a document, spread evenly; each is asked for, and is a distractor to
            all others.
        digits: digits of a code.
    """

    needles: int = 10
    digits: int = 5

    def __post_init__(self):
        if not 1 <= self.needles <= _MOST or self.digits < 3:
            raise LongctxError(
                f"A text has 1 to {_MOST} needles of at least 3 digits, but "
                f"needles={self.needles} and digits={self.digits} were given."
            )

    def items(self, length_tokens: int, seed: int, number: int, tokenizer) -> list[Item]:
        """Return the items of document ``number``, as ``generate`` wants them."""
        draw = seeded("needles-everywhere", seed, number, self)
        depths = [(place + 0.5) / self.needles for place in range(self.needles)]
        name = "needles-everywhere"
        id = f"{name}-{length_tokens}-{seed}-{number}"
        written = _Written(name, id, seed, number, length_tokens, self.digits)
        return written.items(depths, asked=self.needles, draw=draw, tokenizer=tokenizer)


@dataclass(frozen=True)
class _Written:
    """A text with codes in it, by the task and the number of the document."""

    task: str
    id: str
    seed: int
    number: int
    length_tokens: int
    digits: int

    def items(self, depths: Sequence[float], *, asked: int, draw, tokenizer) -> list[Item]:
        """Return the items that ask for the first ``asked`` of the codes at ``depths``."""
        things = draw.sample(THINGS, len(depths))
        codes = draw_numbers(draw, len(depths) + _CANDIDATES - 1, of_digits(self.digits))
        inserts = [
            Insert(
                f"The code of the {thing} is {code}.",
                depth=depth,
                questions=frozenset([place] if place < asked else []),
            )
            for place, (thing, code, depth) in enumerate(zip(things, codes, depths, strict=False))
        ]
        around = filler(self.seed, self.number, self.length_tokens)
        hidden, floor = hide(inserts, around, self.length_tokens, tokenizer, id=self.id)
        return [
            Item(
                task=self.task,
                seed=self.seed,
                documents=(hidden.document,),
                question=f"What is the code of the {things[question]}?",
                answer_prefix=f"The code of the {things[question]} is",
                gold=(codes[question],),
                candidates=_candidates(draw, codes, question),
                gold_spans=hidden.citations(inserts, question),
                controls=Controls((floor,), (ceiling(self.id, inserts, question),)),
            )
            for question in range(asked)
        ]


def _candidates(draw, codes: list[str], right: int) -> tuple[str, ...]:
    """Return the right code and seven others; those that a reader meets in the text first."""
    wrong = [code for place, code in enumerate(codes) if place != right]
    return draw_candidates(draw, codes[right], wrong[: _CANDIDATES - 1])
