"""Patterns: rules of position that say which keys a query may see, and how rules join.

Sliding and dilated windows and global tokens: Beltagy et al. 2020 (Longformer), section 3.1;
random blocks: Zaheer et al. 2020 (BigBird), section 2; first tokens kept: Xiao et al. 2023.
A rule knows positions only, never what stands there. Nothing is attended to here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import NamedTuple

import torch
import torch.nn.functional as F

_COUNTED_TOKENS = 256


class Spans(NamedTuple):
    """Stretches of positions, each from ``first`` to ``last`` inclusive; ``(spans,)`` each."""

    first: torch.Tensor
    last: torch.Tensor

    @classmethod
    def of(cls, places: range, block_tokens: int) -> "Spans":
        """Cut a range of positions into blocks; the last may be short."""
        first = torch.arange(places.start, places.stop, block_tokens)
        return cls(first, (first + block_tokens - 1).clamp(max=places.stop - 1))


class Pattern:
    """A rule that allows or forbids a query at one position to see a key at another.

    ``a & b`` allows what both allow, ``a | b`` what either does, ``a - b`` what the first alone
    does. Rules are values: equal ones compare equal, and ``str`` says how to write one.

    Besides single pairs a rule answers for whole blocks (``possible``, ``certain``), from their
    ends alone, so that blocks can be left out without looking into them. Such an answer may be
    cautious: what is possible need not be so, what is not certain may hold all the same.

    Attributes:
        is_causal: whether the rule allows no later key.
    """

    is_causal = True

    def allows(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Say which keys each query may see.

        Args:
            rows, columns: positions of queries and keys, ``(rows,)`` and ``(columns,)``.

        Returns:
            bool, ``(rows, columns)``.
        """
        raise NotImplementedError

    def possible(self, rows: Spans, columns: Spans) -> torch.Tensor:
        """Return False where no query of a span may see any key of another: it can be skipped.

        Returns:
            bool, ``(row spans, column spans)``.
        """
        raise NotImplementedError

    def certain(self, rows: Spans, columns: Spans) -> torch.Tensor:
        """Return True where every query of a span may see every key of another: no mask needed.

        Returns:
            bool, ``(row spans, column spans)``.
        """
        raise NotImplementedError

    def mask(self, tokens: int) -> torch.Tensor:
        """Return the whole matrix of a text, bool ``(tokens, tokens)``: for drawing and checks."""
        places = torch.arange(tokens)
        return self.allows(places, places)

    def cells(self, tokens: int) -> int:
        """Return how many pairs of a query and a key of a text are allowed.

        >>> sliding_window(3).cells(5)
        12
        """
        spans, places = Spans.of(range(tokens), _COUNTED_TOKENS), torch.arange(tokens)
        maybe, sure = self.possible(spans, spans), self.certain(spans, spans)
        width = spans.last - spans.first + 1
        count = int((sure * width[:, None] * width).sum())
        for row, in_part in zip(places.split(_COUNTED_TOKENS), maybe & ~sure, strict=True):
            columns = places[in_part.repeat_interleave(width)]
            count += int(self.allows(row, columns).sum())
        return count

    def __and__(self, other: "Pattern") -> "Pattern":
        return Both(self, other)

    def __or__(self, other: "Pattern") -> "Pattern":
        return Either(self, other)

    def __sub__(self, other: "Pattern") -> "Pattern":
        return Without(self, other)


@dataclass(frozen=True)
class LookBack(Pattern):
    """A query sees itself and the tokens 1, 2, ... ``step``s before it, ``width`` in all.

    Attributes:
        width: keys that a query sees where the text is long enough; None for no limit.
    """

    width: int | None = None
    step: int = 1

    def __post_init__(self):
        for name, value in (("width", self.width), ("step", self.step)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is at least 1, got {value}.")

    def allows(self, rows, columns):
        distance = rows[:, None] - columns
        allowed = distance >= 0
        if self.width is not None:
            allowed &= distance <= self._reach
        if self.step > 1:
            allowed &= distance % self.step == 0
        return allowed

    def possible(self, rows, columns):
        near, far = self._distances(rows, columns)
        near = near.clamp(min=0)
        if self.width is not None:
            far = far.clamp(max=self._reach)
        return (far >= near) & (far - far % self.step >= near)

    def certain(self, rows, columns):
        near, far = self._distances(rows, columns)
        every = near >= 0
        if self.width is not None:
            every &= far <= self._reach
        if self.step > 1:
            every &= (near == far) & (near % self.step == 0)
        return every

    @property
    def _reach(self) -> int:
        return (self.width - 1) * self.step

    @staticmethod
    def _distances(rows: Spans, columns: Spans):
        return rows.first[:, None] - columns.last, rows.last[:, None] - columns.first

    def __str__(self) -> str:
        if self.width is None:
            return "causal()"
        if self.step == 1:
            return f"sliding_window({self.width})"
        return f"dilated_window({self.width}, {self.step})"


@dataclass(frozen=True)
class GlobalTokens(Pattern):
    """Tokens at ``places``, ascending, see all and are seen by all."""

    places: tuple[int, ...]
    is_causal = False

    def __post_init__(self):
        if not self.places or min(self.places) < 0:
            raise ValueError(f"Global tokens stand at positions from 0 on, got {self.places}.")

    def allows(self, rows, columns):
        rows, columns = (torch.isin(x, torch.tensor(self.places)) for x in (rows, columns))
        return rows[:, None] | columns

    def possible(self, rows, columns):
        rows, columns = (self._within(x) > 0 for x in (rows, columns))
        return rows[:, None] | columns

    def certain(self, rows, columns):
        rows, columns = (self._within(x) > x.last - x.first for x in (rows, columns))
        return rows[:, None] | columns

    def _within(self, spans: Spans):
        """Return how many of the places lie in each span."""
        places = torch.tensor(self.places)
        return torch.searchsorted(places, spans.last, right=True) - torch.searchsorted(
            places, spans.first
        )

    def __str__(self) -> str:
        count = len(self.places)
        first = self.places == tuple(range(count))
        return f"global_tokens({count if first else list(self.places)})"


@dataclass(frozen=True)
class RandomBlocks(Pattern):
    """The queries of a block see the keys of ``count`` earlier blocks, drawn at random."""

    count: int
    block_tokens: int = 64
    seed: int = 0

    def __post_init__(self):
        for name, value in (("count", self.count), ("block_tokens", self.block_tokens)):
            if value < 1:
                raise ValueError(f"{name} is at least 1, got {value}.")

    def allows(self, rows, columns):
        own, seen = rows // self.block_tokens, columns // self.block_tokens
        return self._drawn(own, seen)[own[:, None], seen]

    def possible(self, rows, columns):
        return self._among(rows, columns) > 0

    def certain(self, rows, columns):
        spans = (
            (x.last // self.block_tokens) - (x.first // self.block_tokens) + 1
            for x in (rows, columns)
        )
        high, wide = spans
        return self._among(rows, columns) == high[:, None] * wide

    def _drawn(self, rows, columns):
        """Return which blocks of keys the blocks of queries see, from 0 to the last asked for."""
        last = (int(blocks.max()) if blocks.numel() else -1 for blocks in (rows, columns))
        seen = torch.zeros(*(block + 1 for block in last), dtype=torch.bool)
        for row in rows.unique().tolist():
            drawn = _drawn_blocks(row, self.count, self.seed)
            seen[row, [block for block in drawn if block < seen.shape[1]]] = True
        return seen

    def _among(self, rows: Spans, columns: Spans):
        """Return how many pairs of blocks that touch two spans were drawn."""
        top, bottom = (x // self.block_tokens for x in rows)
        left, right = (x // self.block_tokens for x in columns)
        every = torch.arange(int(bottom.max()) + 1)
        # Sums over rectangles from (0, 0), of which any rectangle is four.
        sums = F.pad(self._drawn(every, right).long().cumsum(0).cumsum(1), (1, 0, 1, 0))
        upper, lower = sums[top], sums[bottom + 1]
        return lower[:, right + 1] - lower[:, left] - upper[:, right + 1] + upper[:, left]

    def __str__(self) -> str:
        return f"random_blocks({self.count}, block_tokens={self.block_tokens}, seed={self.seed})"


@lru_cache(maxsize=4096)
def _drawn_blocks(block: int, count: int, seed: int) -> tuple[int, ...]:
    """Draw ``count`` of the blocks before this one: the same ones however long the text is."""
    return tuple(Random(f"{seed}/{block}").sample(range(block), min(count, block)))


@dataclass(frozen=True)
class _Joined(Pattern):
    one: Pattern
    other: Pattern

    def __str__(self) -> str:
        parts = (f"({x})" if isinstance(x, _Joined) else str(x) for x in (self.one, self.other))
        return f" {self.sign} ".join(parts)


class Both(_Joined):
    """What both rules allow."""

    sign = "&"

    @property
    def is_causal(self) -> bool:
        return self.one.is_causal or self.other.is_causal

    def allows(self, rows, columns):
        return self.one.allows(rows, columns) & self.other.allows(rows, columns)

    def possible(self, rows, columns):
        return self.one.possible(rows, columns) & self.other.possible(rows, columns)

    def certain(self, rows, columns):
        return self.one.certain(rows, columns) & self.other.certain(rows, columns)


class Either(_Joined):
    """What one of two rules allows."""

    sign = "|"

    @property
    def is_causal(self) -> bool:
        return self.one.is_causal and self.other.is_causal

    def allows(self, rows, columns):
        return self.one.allows(rows, columns) | self.other.allows(rows, columns)

    def possible(self, rows, columns):
        return self.one.possible(rows, columns) | self.other.possible(rows, columns)

    def certain(self, rows, columns):
        return self.one.certain(rows, columns) | self.other.certain(rows, columns)


class Without(_Joined):
    """What the first rule allows and the second does not."""

    sign = "-"

    @property
    def is_causal(self) -> bool:
        return self.one.is_causal

    def allows(self, rows, columns):
        return self.one.allows(rows, columns) & ~self.other.allows(rows, columns)

    def possible(self, rows, columns):
        return self.one.possible(rows, columns) & ~self.other.certain(rows, columns)

    def certain(self, rows, columns):
        return self.one.certain(rows, columns) & ~self.other.possible(rows, columns)


def causal() -> Pattern:
    """Return the rule of language models: a query sees itself and what came before it."""
    return LookBack()


def sliding_window(width: int) -> Pattern:
    """Return the rule that a query sees itself and the ``width - 1`` tokens before it.

    Raises:
        ValueError: for a width below 1.
    """
    return LookBack(width)


def dilated_window(width: int, step: int) -> Pattern:
    """Return the rule that a query sees ``width`` tokens, each ``step`` before the next one.

    The first of them is itself; the farthest stands ``(width - 1) * step`` before it.

    Raises:
        ValueError: for a width or step below 1.
    """
    return LookBack(width, step)


def global_tokens(count_or_places: int | Sequence[int]) -> Pattern:
    """Return the rule that some tokens are seen by all and see all, later ones included.

    In a language model join it with ``causal()``: then all that come after see them.

    Args:
        count_or_places: how many first tokens, or the positions.

    Raises:
        ValueError: for a count below 1, no position, or one below 0.
    """
    one_number = isinstance(count_or_places, int)
    places = range(count_or_places) if one_number else sorted({*count_or_places})
    return GlobalTokens(tuple(places))


def random_blocks(count: int, *, block_tokens: int = 64, seed: int = 0) -> Pattern:
    """Return the rule that a block of queries sees ``count`` earlier blocks, drawn at random.

    What is drawn for a block depends on the seed and the block alone, not on how long the text
    becomes; the first blocks see all the earlier ones there are.

    Raises:
        ValueError: for a count or block_tokens below 1.
    """
    return RandomBlocks(count, block_tokens, seed)


def longformer(width: int, globals: int | Sequence[int] = 4) -> Pattern:
    """Return Longformer's rule for a language model: a sliding window and global tokens.

    Beltagy et al. 2020, section 3.1, the causal half of it.
    """
    return sliding_window(width) | (global_tokens(globals) & causal())


def bigbird(
    width: int,
    globals: int | Sequence[int] = 4,
    random: int = 2,
    *,
    block_tokens: int = 64,
    seed: int = 0,
) -> Pattern:
    """Return BigBird's rule for a language model: window, global tokens and random blocks.

    Zaheer et al. 2020, section 2, the causal half of it.
    """
    return longformer(width, globals) | random_blocks(random, block_tokens=block_tokens, seed=seed)
