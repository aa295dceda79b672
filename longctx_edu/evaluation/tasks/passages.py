"""Questions on real prose, as readers ask them: nothing was put into the text for them.

The text is the log that comes with the course, from any place on, as long as asked for, and beyond
its end Python's language reference; questions, answers and the sentences that say them are known
(``text.lighthouse_questions``). The log is invented, so no model has read it. Where the answer lies
is drawn anew for each document, at the same share of the way at every length (Liu et al. 2023).
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks.fitting import (
    draw_candidates,
    draw_numbers,
    most,
    of_digits,
    seeded,
)
from longctx_edu.evaluation.tasks.item import Controls, Item
from longctx_edu.text import (
    Citation,
    Document,
    lighthouse_log,
    lighthouse_questions,
    python_reference,
)

_CHARACTERS_A_TOKEN = 6  # more than any tokenizer makes of prose
_WRONG = 7


@dataclass(frozen=True)
class DocumentQuestions:
    """How hard ``docs-qa`` is.

    Attributes:
        questions: questions on each document, whose answers follow one another in the log.
    """

    questions: int = 2

    def __post_init__(self):
        most_questions = len(lighthouse_questions())
        if not 1 <= self.questions <= most_questions:
            raise LongctxError(
                f"A document has 1 to {most_questions} questions, but "
                f"questions={self.questions} was given."
            )

    def items(self, length_tokens: int, seed: int, number: int, tokenizer) -> list[Item]:
        """Return the items of document ``number``, as ``generate`` wants them."""
        id = f"docs-qa-{length_tokens}-{seed}-{number}"
        known = lighthouse_questions()
        # All questions take their turn before one comes again.
        starts = list(range(0, len(known) - self.questions + 1, self.questions))
        seeded("docs-qa", seed, self, number // len(starts)).shuffle(starts)
        first = starts[number % len(starts)]
        asked = known[first : first + self.questions]
        draw = seeded("docs-qa", seed, number, self)
        stretch = _Stretch(asked[0].start, asked[-1].end, depth=draw.random())
        tape = _tape(_CHARACTERS_A_TOKEN * length_tokens > len(lighthouse_log().text))
        sizes = range(0, len(tape.starts) // 3 - tape.words(stretch) + 1)
        size = most(lambda size: tape.cut(stretch, size)[0], sizes, length_tokens, tokenizer)
        text, moved = tape.cut(stretch, size)
        spans = [(one.start + moved, one.end + moved) for one in asked]
        document = Document(id, text, source="evaluation.tasks")
        floor = Document(f"{id}-floor", _without(text, spans), source="evaluation.tasks")
        items = []
        for (start, end), one in zip(spans, asked, strict=True):
            sentence = text[start:end]
            ceiling = Document(f"{id}-ceiling-{len(items)}", sentence, source="evaluation.tasks")
            items.append(
                Item(
                    task="docs-qa",
                    seed=seed,
                    documents=(document,),
                    question=one.question,
                    answer_prefix=one.answer_prefix,
                    gold=(one.gold,),
                    candidates=draw_candidates(draw, one.gold, _wrong(draw, one.gold)),
                    gold_spans=(Citation(id, start, end, sentence, kind="gold"),),
                    controls=Controls((floor,), (ceiling,)),
                )
            )
        return items


@dataclass(frozen=True)
class _Stretch:
    """Characters of the log that a document must hold, and at which share of what is around."""

    start: int
    end: int
    depth: float


@dataclass(frozen=True)
class _Tape:
    """A text three times over, so that there is text before and after every place of the middle."""

    text: str
    period: int
    starts: tuple[int, ...]  # of words
    ends: tuple[int, ...]

    def words(self, stretch: _Stretch) -> int:
        first, last = self._bounds(stretch)
        return last - first + 1

    def cut(self, stretch: _Stretch, size: int) -> tuple[str, int]:
        """Return the stretch with ``size`` words around it, and by how much characters moved."""
        first, last = self._bounds(stretch)
        before = round(stretch.depth * size)
        start, end = self.starts[first - before], self.ends[last + size - before]
        return self.text[start:end], self.period - start

    def _bounds(self, stretch: _Stretch) -> tuple[int, int]:
        """Return the first and last word of a stretch in the middle copy."""
        first = bisect_right(self.starts, self.period + stretch.start) - 1
        return first, bisect_left(self.ends, self.period + stretch.end)


@lru_cache(maxsize=2)
def _tape(long: bool) -> _Tape:
    text = lighthouse_log().text
    text = text.rstrip() + "\n\n"
    if long:
        text += python_reference().text.strip() + "\n\n"
    words = [match.span() for match in re.finditer(r"\S+", 3 * text)]
    return _Tape(3 * text, len(text), *map(tuple, zip(*words, strict=True)))


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    for start, end in reversed(spans):
        text = text[:start].rstrip(" ") + text[end:]
    return text


def _wrong(draw, gold: str) -> list[str]:
    """Return wrong answers that look like the right one: numbers, names, or plain words."""
    if gold.isdigit():
        numbers = of_digits(len(gold))
        return [one for one in draw_numbers(draw, _WRONG + 1, numbers) if one != gold][:_WRONG]
    others = [one.gold for one in lighthouse_questions() if one.gold != gold]
    alike = [one for one in others if _kind(one) == _kind(gold) and not one.isdigit()]
    return draw.sample(alike, _WRONG)


def _kind(answer: str) -> str:
    return "number" if answer[0].isdigit() else "name" if answer[0].isupper() else "words"
