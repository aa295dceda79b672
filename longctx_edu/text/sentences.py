"""Lossless sentences: every character of a text belongs to exactly one sentence.

Margins, retrieval and citations all count in sentences, so none may be dropped or changed on the
way. A few rules about punctuation and line ends serve prose, lists and code in most scripts;
nothing is learned from data, so an unusual abbreviation may still end a sentence.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import NamedTuple

from longctx_edu.errors import LongctxError


class Span(NamedTuple):
    """Code points ``start`` to ``end`` (not included) of a text."""

    start: int
    end: int


def segment_sentences(text: str, *, max_characters: int | None = None) -> list[Span]:
    """Cut a text into adjacent, non-empty spans, a sentence each, that cover all of it.

    A sentence ends at ``. ? ! …`` before white space, at 。 and its kin in other scripts, at a
    blank line, around list items and headings, and at a line that stops short of its paragraph's
    width (verse, addresses, code). Closing quotes and the white space after a sentence belong to
    it; white space before the first sentence belongs to the first. It does not end at an
    abbreviation, an initial, a decimal point, a list number, or before a small letter.

    Args:
        max_characters: cut longer sentences at white space, or within a word where there is none.

    >>> text = "Dr. Roe paid 3.50 at noon. 完了。はい。"
    >>> [text[start:end] for start, end in segment_sentences(text)]
    ['Dr. Roe paid 3.50 at noon. ', '完了。', 'はい。']

    Raises:
        LongctxError: if ``max_characters`` is less than 1.
    """
    if max_characters is not None and max_characters < 1:
        raise LongctxError(
            f"max_characters is at least 1, or None for no limit, but this is {max_characters}."
        )
    first = len(text) - len(text.lstrip())  # where the first sentence's first word stands
    starts = {start for start in _after_stops(text) if start > first}
    starts |= {start for start in _after_line_ends(text) if start > first}
    bounds = [0, *sorted(starts), len(text)]
    spans = [Span(start, end) for start, end in pairwise(bounds) if start < end]
    return spans if max_characters is None else list(_pieces(text, spans, max_characters))


# --- ends by punctuation -------------------------------------------------------------------------

_BEFORE_SPACE = ".?!…"
_ANYWHERE = "。！？｡．؟۔।॥።։។။"  # these end a sentence without white space after them
_NEEDS_NO_SPACE = frozenset(_ANYWHERE)
# Possessive quantifiers (++, *+) and the look-behind read each character once, so that a text of
# nothing but dots takes linear time.
_STOP = re.compile(
    rf"(?<![{_BEFORE_SPACE}{_ANYWHERE}])"
    rf"(?P<stop>[{_BEFORE_SPACE}{_ANYWHERE}]++)"
    r"(?P<closing>[\"'”’»›)\]}」』】）》〉］｝*_`]*+(?:[“‘«‹](?=\s))?)"
    r"(?P<space>\s*+)"
)
_OPENING = re.compile(r"[\"'“‘«‹„‚([{*_`¿¡]*+")
_DOTTED = re.compile(r"(?:[^\W\d_]\.-?)+[^\W\d_]")
_LIST_NUMBER = re.compile(r"[ \t]*\(?(?:\d{1,3}(?:\.\d+)*|[^\W\d_])")
_LONGEST = 16  # characters before a full stop that can hold an abbreviation

# What the next word may follow: a capital (titles and references), or only a number.
_ABBREVIATIONS = (
    "dr mr mrs ms mx prof st rev hon capt col cmdr gen lt maj sgt adm gov sen rep pres "
    "sr sra srta mme mlle nr abb bzw "
    "fig figs eq eqs cf vs viz approx esp resp incl dept univ al"
)
_BEFORE_NUMBERS = (
    "no nos p pp vol vols ch chap sec sect art app par para ver v ed ca c "
    "jan feb mar apr jun jul aug sep sept oct nov dec"
)
_NEVER_LAST = frozenset(_ABBREVIATIONS.split())
_NOT_BEFORE_A_NUMBER = frozenset(_BEFORE_NUMBERS.split())


def _after_stops(text: str) -> Iterator[int]:
    """Where a new sentence starts after a mark that ends one."""
    for match in _STOP.finditer(text):
        if match.end() < len(text) and _ends_sentence(text, match):
            yield match.end()


def _ends_sentence(text: str, match: re.Match) -> bool:
    stop = match["stop"]
    following = text[match.end()]
    if not _NEEDS_NO_SPACE.isdisjoint(stop):
        return not (stop == "．" and following.isdigit())
    if not match["space"]:
        return False
    opened = _OPENING.match(text, match.end()).end()
    letter = text[opened : opened + 1]
    if letter.islower():
        return False
    if stop == ".":
        return not _is_abbreviated(text, match.start(), following)
    only_dots = not stop.strip(".…")  # an ellipsis: a pause, unless a new sentence follows
    return letter.isalpha() if only_dots else True


def _is_abbreviated(text: str, dot: int, following: str) -> bool:
    """Whether the full stop at ``dot`` belongs to the word before it."""
    if not text[dot - 1 : dot].isalnum():
        return False
    before = text[max(0, dot - _LONGEST) : dot]
    word = before.split()[-1].lstrip("\"'“‘«„([{*_`—–")
    small = word.lower()
    if small in _NEVER_LAST or (small in _NOT_BEFORE_A_NUMBER and following.isdigit()):
        return True
    if len(word) == 1 and word.isupper():
        return True
    if _DOTTED.fullmatch(word):
        return small not in ("a.m", "p.m")
    return _LIST_NUMBER.fullmatch(before.rpartition("\n")[2]) is not None


# --- ends by lines -------------------------------------------------------------------------------

_HEADING = re.compile(r"[ \t]*#{1,6}[ \t]")
_STANDS_APART = re.compile(  # list items, headings, table rows, code fences
    r"(?:[-*+•‣◦▪]|\(?\d{1,3}[.)]|\(?[A-Za-z]\)|#{1,6})[ \t]|\||```|~~~"
)
_SHORT = 0.8  # of the paragraph's width


def _after_line_ends(text: str) -> Iterator[int]:
    """Where a new sentence starts because of the line before it.

    A writer who wraps lines fills them. So a line that would have held the next line's first word
    with room to spare was ended on purpose.
    """
    position = 0
    for blank, paragraph in groupby(text.splitlines(keepends=True), key=str.isspace):
        lines = list(paragraph)
        filled = _SHORT * max(len(line.rstrip()) for line in lines)
        before = None
        for line in lines:
            words = line.lstrip()
            if not blank and (before is None or _ended_on_purpose(before, words, filled)):
                yield position + len(line) - len(words)
            position += len(line)
            before = line


def _ended_on_purpose(line: str, following: str, filled: float) -> bool:
    with_next_word = len(line.rstrip()) + 1 + len(following.split(maxsplit=1)[0])
    return (
        with_next_word <= filled
        or _HEADING.match(line) is not None
        or _STANDS_APART.match(following) is not None
    )


# --- over-long sentences -------------------------------------------------------------------------


def _pieces(text: str, spans: list[Span], most: int) -> Iterator[Span]:
    for start, end in spans:
        while end - start > most:
            cut = _cut(text, start, start + most)
            yield Span(start, cut)
            start = cut
        yield Span(start, end)


def _cut(text: str, start: int, end: int) -> int:
    """The last good cut in ``start + 1 .. end``: after white space, or between letters."""
    for cut in range(end, start, -1):
        if text[cut - 1].isspace():
            return cut
    for cut in range(end, start, -1):
        if not _joined(text[cut - 1], text[cut]):
            return cut
    return end


def _joined(left: str, right: str) -> bool:
    """Whether ``right`` is drawn on top of or together with ``left`` (accents, emoji)."""
    return (
        left == "\u200d"
        or right == "\u200d"
        or unicodedata.category(right).startswith("M")
        or "\U0001f3fb" <= right <= "\U0001f3ff"
    )
