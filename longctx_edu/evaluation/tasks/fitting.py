"""Real text of any length around what a task hides in it, fitted to a number of tokens.

Sentences go in as text, at the ends of sentences, and the whole is tokenised once: the tokens of
a needle cut into the tokens of a haystack are not the tokens of the joined text.
"""

import random
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from longctx_edu.errors import LongctxError
from longctx_edu.text import (
    Citation,
    Document,
    lighthouse_log,
    python_reference,
    segment_sentences,
    tokenize,
)

_CHARACTERS_A_TOKEN = 6  # more than any tokenizer makes of prose; so much filler is enough
_WORD = re.compile(r"\w+")


def seeded(*parts) -> random.Random:
    """Return a generator that depends on ``parts`` alone, in every process and on every machine."""
    return random.Random("/".join(map(str, parts)))


@dataclass(frozen=True)
class Filler:
    """Real text, where sentences end in it (so that one more can follow), and where words do."""

    text: str
    sentence_ends: tuple[int, ...]
    paragraph_ends: tuple[int, ...]
    word_ends: tuple[int, ...]


@dataclass(frozen=True)
class Insert:
    """A sentence or line to hide.

    ``depth`` is its place, from 0 (start) to 1 (end). ``questions`` are the numbers of the
    document's questions that need it; an insert that none needs is a distractor.
    """

    text: str
    depth: float
    questions: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Hidden:
    """A document, and for each insert its characters (start, end) in it, in the given order."""

    document: Document
    spans: tuple[tuple[int, int], ...]

    def citations(self, inserts: Sequence[Insert], question: int) -> tuple[Citation, ...]:
        """Return the places that ``question`` needs, in the order of the text."""
        needed = [
            span
            for span, insert in zip(self.spans, inserts, strict=True)
            if question in insert.questions
        ]
        document = self.document
        return tuple(
            Citation(document.id, start, end, document.text[start:end], kind="gold")
            for start, end in sorted(needed)
        )


def filler(seed: int, number: int, length_tokens: int) -> Filler:
    """Return real text for document ``number``: the log, from a paragraph drawn at random on.

    At its end it starts over, and what is longer than the whole log goes on with the language
    reference of Python. The headings of the log stay in.

    Raises:
        LongctxError: if ``length_tokens`` is less than 1, or more than both texts can give.
    """
    if length_tokens < 1:
        raise LongctxError(
            f"length_tokens is at least 1, but {length_tokens} was given; give the number of "
            "tokens that a document shall have."
        )
    starts = [0, *(match.end() for match in re.finditer("\n\n(?!#)", lighthouse_log().text))]
    return _filler(
        seeded("filler", seed, number).choice(starts), _CHARACTERS_A_TOKEN * length_tokens
    )


@lru_cache(maxsize=64)
def _filler(start: int, characters: int) -> Filler:
    log = lighthouse_log().text.strip()
    text = f"{log[start:]}\n\n{log[:start]}".strip()
    if characters > len(text):
        text = f"{text}\n\n{python_reference().text}"
    text = text[:characters]
    words = tuple(match.end() for match in re.finditer(r"\S+", text))
    ends = [start + len(text[start:end].rstrip()) for start, end in segment_sentences(text)]
    sentences = tuple(end for end in ends if text[end - 1] in ".!?")
    paragraphs = tuple(end for end in sentences if text[end : end + 2] == "\n\n")
    return Filler(text, sentences, paragraphs, words)


def occurs_in_filler(value: str) -> bool:
    """Say whether any word of ``value`` stands anywhere in the texts that ``filler`` draws on."""
    return not _filler_words().isdisjoint(_WORD.findall(value.casefold()))


@lru_cache(maxsize=1)
def log_words() -> tuple[str, ...]:
    """Return the common words of 5 to 8 letters in the log, sorted: keys and list entries."""
    return tuple(
        sorted(set(re.findall(r"(?<![\w'’-])[a-z]{5,8}(?![\w'’-])", lighthouse_log().text)))
    )


@lru_cache(maxsize=1)
def _filler_words() -> frozenset[str]:
    both = lighthouse_log().text + " " + python_reference().text
    return frozenset(_WORD.findall(both.casefold()))


def draw_numbers(draw: random.Random, count: int, numbers: range) -> list[str]:
    """Draw different numbers that occur nowhere in the filler.

    Raises:
        LongctxError: if there are not so many.
    """
    # Some of what is drawn is dropped again; a few more than twice as many is enough.
    drawn = map(str, draw.sample(numbers, min(len(numbers), 2 * count + 20)))
    free = [number for number in drawn if not occurs_in_filler(number)]
    if len(free) < count:
        raise LongctxError(
            f"{count} numbers from {numbers[0]} to {numbers[-1]} are needed that the filler lacks; "
            "ask for more digits or fewer numbers."
        )
    return free[:count]


def of_digits(digits: int) -> range:
    """Return the numbers of so many digits."""
    return range(10 ** (digits - 1), 10**digits)


def draw_candidates(draw: random.Random, gold: str, others: Sequence[str]) -> tuple[str, ...]:
    """Return gold and the others in a random order."""
    row = [gold, *others]
    draw.shuffle(row)
    return tuple(row)


def hide(
    inserts: Sequence[Insert],
    around: Filler,
    length_tokens: int,
    tokenizer,
    *,
    id: str,
    as_lines: bool = False,
) -> tuple[Hidden, Document]:
    """Put the inserts into as much filler as makes a document of ``length_tokens`` tokens.

    Args:
        as_lines: each insert is a line of its own between two paragraphs, not a sentence among
            others.

    Returns:
        The document with the places of the inserts; and its floor, the same without the inserts
        that any question needs, everything else where it was.

    Raises:
        LongctxError: if the inserts alone are too long.
    """
    ends = around.paragraph_ends if as_lines else around.sentence_ends
    separator = "\n\n" if as_lines else " "
    if not ends:
        raise LongctxError(
            f"{length_tokens} tokens are too few for a place between sentences; give some hundred."
        )
    shortest = bisect_left(around.word_ends, ends[0])

    def document(words: int) -> Hidden:
        return _put_in(inserts, around.text[: around.word_ends[words]], ends, separator, id)

    words = most(
        lambda words: document(words).document.text,
        range(shortest, len(around.word_ends)),
        length_tokens,
        tokenizer,
    )
    distractors = [insert for insert in inserts if not insert.questions]
    text = around.text[: around.word_ends[words]]
    floor = _put_in(distractors, text, ends, separator, f"{id}-floor")
    return document(words), floor.document


def ceiling(id: str, inserts: Sequence[Insert], question: int, separator: str = " ") -> Document:
    """Return a document of only what one question needs."""
    needed = (insert.text for insert in inserts if question in insert.questions)
    return Document(f"{id}-ceiling-{question}", separator.join(needed), source="evaluation.tasks")


def _put_in(inserts, text: str, ends: Sequence[int], separator: str, id: str) -> Hidden:
    usable = ends[: bisect_right(ends, len(text))]
    places = [_nearest(usable, insert.depth * len(text)) for insert in inserts]
    order = sorted(range(len(inserts)), key=lambda n: (places[n], inserts[n].depth))
    pieces, spans, reached, length = [], {}, 0, 0
    for n in order:
        before = text[reached : places[n]] + separator
        start = length + len(before)
        spans[n] = (start, start + len(inserts[n].text))
        pieces += [before, inserts[n].text]
        reached, length = places[n], spans[n][1]
    document = Document(id, "".join(pieces) + text[reached:], source="evaluation.tasks")
    return Hidden(document, tuple(spans[n] for n in range(len(inserts))))


def _nearest(ends: Sequence[int], target: float) -> int:
    after = bisect_left(ends, target)
    return min(ends[max(after - 1, 0) : after + 1], key=lambda end: abs(end - target))


def most(build: Callable[[int], str], sizes: range, length_tokens: int, tokenizer) -> int:
    """Return the largest size whose text has at most ``length_tokens`` tokens.

    Raises:
        LongctxError: if even the smallest text is longer, or even the largest is much shorter.
    """

    def tokens(size: int) -> int:
        return len(tokenize(tokenizer, build(size)))

    if (least := tokens(sizes[0])) > length_tokens:
        raise LongctxError(
            f"The task needs {least} tokens at this difficulty, and {length_tokens} were given; "
            "give more tokens or make the task smaller."
        )
    # Between a size that fits and one that does not, tokens grow nearly evenly: guess by that,
    # and halve the range now and then in case they do not. At first a size counts one token.
    low, fits, high, over = 0, least, len(sizes), least + len(sizes)
    rounds = 0
    while high - low > 1:
        share = 0.5 if rounds % 4 == 3 else (length_tokens - fits) / max(1, over - fits)
        middle = min(max(low + int(share * (high - low)), low + 1), high - 1)
        count = tokens(sizes[middle])
        if count <= length_tokens:
            low, fits = middle, count
        else:
            high, over = middle, count
        rounds += 1
    if low == len(sizes) - 1 and fits < 0.98 * length_tokens:
        raise LongctxError(
            f"All the text there is makes {fits} tokens, and {length_tokens} were "
            "asked for; ask for less."
        )
    return sizes[low]
