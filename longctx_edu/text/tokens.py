"""Tokens that know their characters, and the ways to cut a long row of them.

A token keeps its character span all the way, so that citations, margins and highlighted cells can
point back to the source. A text is tokenised once and its tokens are cut afterwards, since the
tokens of two halves are not the tokens of the whole.
"""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from longctx_edu.errors import DocumentError, LongctxError, ModelError
from longctx_edu.text.sentences import segment_sentences


@dataclass(frozen=True)
class Tokens:
    """Token ids and, for each, the characters (start, end) of the text that it stands for.

    Spans are in code points, never empty, in order, and leave no character out. Those of
    neighbours overlap where several tokens share a character: a byte-level tokenizer may split
    one emoji into four tokens.
    """

    ids: list[int]
    spans: list[tuple[int, int]]

    def __post_init__(self):
        if len(self.ids) != len(self.spans):
            raise LongctxError(
                f"Every token has one span, but there are {len(self.ids)} ids "
                f"and {len(self.spans)} spans."
            )

    def __len__(self):
        return len(self.ids)


class TokenWindow(NamedTuple):
    """Tokens ``start`` to ``stop`` (not included); no window before has those from ``new`` on."""

    start: int
    stop: int
    new: int


def tokenize(tokenizer, text: str) -> Tokens:
    """Tokenise a text that comes from outside: no special token is added, and none can be forged.

    ``<|im_end|>`` inside the text becomes the ordinary tokens of its ten characters. (Tokens that
    a vocabulary adds without calling them special are matched as its authors meant.)

    Some tokenizers leave white space or accents out of their offsets. What stands before a token
    and belongs to none is given to it, and what stands after the last to the last, so that the
    spans cover the text. Only a text of which the tokenizer keeps nothing has no tokens at all.

    Args:
        tokenizer: a fast tokenizer of transformers, which knows offsets.

    Raises:
        ModelError: if the tokenizer has no offsets.
        DocumentError: if the text holds half a character (a lone surrogate).
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{type(tokenizer).__name__} does not say which characters its tokens stand for; "
            "use a fast tokenizer (one with a tokenizer.json)."
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DocumentError(
            f"The text holds half a character (U+{ord(text[error.start]):04X}, a lone surrogate) "
            f"at offset {error.start}; replace it, for example by U+FFFD."
        ) from None
    added = tokenizer.added_tokens_decoder
    special = {token_id for token_id, token in added.items() if token.special}
    special.discard(tokenizer.unk_token_id)
    pairs = []
    for token_id, (start, end) in _encode(tokenizer, text):
        if token_id not in special:
            pairs.append((token_id, (start, end)))
            continue
        # A unigram vocabulary holds its special tokens as words, so that they match even so;
        # their characters, taken one by one, do not.
        for place in range(start, end):
            inside = _encode(tokenizer, text[place])
            pairs.extend((one, (place + s, place + e)) for one, (s, e) in inside)
    return Tokens([one for one, _ in pairs], _cover([span for _, span in pairs], len(text)))


def _encode(tokenizer, text: str) -> list[tuple[int, tuple[int, int]]]:
    encoded = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=True,
        verbose=False,  # that a text is longer than the window is no news here
    )
    return list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))


def _cover(offsets: list[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Stretch a tokenizer's offsets into ordered, non-empty spans without gaps."""
    spans, reached = [], 0
    for start, end in offsets:
        start, end = min(start, reached), max(end, reached)
        if start == end:  # a token of its own for no character shares the next one, or the last
            start, end = (start, end + 1) if end < length else (start - 1, end)
        spans.append((start, end))
        reached = end
    if spans:
        spans[-1] = (spans[-1][0], length)
    return spans


def character_span(tokens: Tokens, start: int, stop: int) -> tuple[int, int]:
    """The characters that tokens ``start`` to ``stop`` (not included) stand for, always whole ones.

    >>> wave = Tokens([7, 8, 9], [(0, 3), (3, 4), (3, 4)])
    >>> character_span(wave, 1, 2)
    (3, 4)

    Raises:
        LongctxError: if the range is empty or not within the tokens.
    """
    if not 0 <= start < stop <= len(tokens):
        raise LongctxError(
            f"A range of {len(tokens)} tokens has 0 <= start < stop <= {len(tokens)}, "
            f"but this one runs from {start} to {stop}."
        )
    return tokens.spans[start][0], tokens.spans[stop - 1][1]


def token_range(tokens: Tokens, start: int, end: int) -> tuple[int, int]:
    """The fewest tokens (first, one after the last) that hold all characters ``start`` to ``end``.

    >>> wave = Tokens([7, 8, 9], [(0, 3), (3, 4), (3, 4)])
    >>> token_range(wave, 1, 2), token_range(wave, 3, 4)
    ((0, 1), (1, 3))

    Raises:
        LongctxError: if the characters are none or not within the text.
    """
    length = tokens.spans[-1][1] if tokens.spans else 0
    if not 0 <= start < end <= length:
        raise LongctxError(
            f"A span of a text of {length} characters has 0 <= start < end <= {length}, "
            f"but this one runs from {start} to {end}."
        )
    first = bisect_right(tokens.spans, start, key=itemgetter(1))
    return first, bisect_left(tokens.spans, end, key=itemgetter(0))


def token_windows(n_tokens: int, window: int, stride: int) -> list[TokenWindow]:
    """Windows of at most ``window`` tokens, a new one every ``stride``; each token is new once.

    >>> token_windows(10, window=6, stride=3)
    [TokenWindow(start=0, stop=6, new=0), TokenWindow(start=3, stop=9, new=6), \
TokenWindow(start=6, stop=10, new=9)]

    Raises:
        LongctxError: unless 0 <= n_tokens and 1 <= stride <= window (a longer stride would skip
            tokens).
    """
    if n_tokens < 0 or not 1 <= stride <= window:
        raise LongctxError(
            "Token windows need n_tokens >= 0 and 1 <= stride <= window, but these are "
            f"n_tokens={n_tokens}, window={window}, stride={stride}."
        )
    windows, new = [], 0
    while new < n_tokens:
        start = len(windows) * stride
        stop = min(start + window, n_tokens)
        windows.append(TokenWindow(start, stop, new))
        new = stop
    return windows


def segment_tokens(tokens: Tokens, text: str, segment_tokens: int) -> list[tuple[int, int]]:
    """Adjacent token ranges of at most ``segment_tokens`` tokens that end where sentences end.

    Each takes as many whole sentences as fit. A sentence that does not fit alone is cut at the
    limit, between characters if one character does not fill the limit by itself.

    Returns:
        list of (start, stop) that covers all tokens, in order.

    Raises:
        LongctxError: if ``segment_tokens`` is less than 1, or the tokens are of another text.
    """
    if segment_tokens < 1:
        raise LongctxError(f"A segment has at least 1 token, but {segment_tokens} were asked for.")
    if tokens.spans and tokens.spans[-1][1] != len(text):
        raise LongctxError(
            f"These tokens are those of a text of {tokens.spans[-1][1]} characters, "
            f"but the text given has {len(text)}; give the text that was tokenised."
        )
    spans, sentences = tokens.spans, segment_sentences(text)
    # A token may hold the space before a sentence as well as its first word; then it belongs to
    # the new sentence. So a sentence ends before the first token that reaches beyond it.
    ends = [0, *(bisect_right(spans, end, key=itemgetter(1)) for _, end in sentences)]
    segments, start = [], 0
    while start < len(tokens):
        limit = min(start + segment_tokens, len(tokens))
        stop = ends[bisect_right(ends, limit) - 1]
        if stop <= start:
            stop = _between_characters(spans, start, limit)
        segments.append((start, stop))
        start = stop
    return segments


def _between_characters(spans: list[tuple[int, int]], start: int, limit: int) -> int:
    """The last boundary in ``start + 1 .. limit`` that splits no character, else ``limit``."""
    for stop in range(limit, start, -1):
        if stop == len(spans) or spans[stop - 1][1] <= spans[stop][0]:
            return stop
    return limit
