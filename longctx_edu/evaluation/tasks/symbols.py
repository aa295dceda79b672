"""Tasks in symbols, for models trained here: told in one segment, asked in a later one.

A key is told with its value, and later asked for: associative recall with many queries (Arora
et al. 2023, Zoology), here across segments. Every answer stands in the document, so
the ceiling is 1; to whoever sees the asking segment alone it is chance. No words, no tokenizer.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from longctx_edu.errors import LongctxError
from longctx_edu.layers.batches import IGNORED, Batch

SPLITS = ("train", "validation", "test")
_PAIR = 2  # tokens: a key, its value


@dataclass(frozen=True)
class Symbols:
    """The vocabulary of these tasks: fillers come first, then keys, then values.

    >>> Symbols(fillers=3, keys=2, values=2).spell([0, 3, 6, 2])
    '· k0 v1 ·'
    """

    fillers: int = 16
    keys: int = 64
    values: int = 16

    def __post_init__(self):
        if self.fillers < len(SPLITS) or self.keys < 1 or self.values < 2:
            raise LongctxError(
                f"There must be {len(SPLITS)} fillers, 1 key and 2 values or more, got {self}."
            )

    @property
    def first_key(self) -> int:
        return self.fillers

    @property
    def first_value(self) -> int:
        return self.fillers + self.keys

    @property
    def size(self) -> int:
        """Symbols in all: the vocabulary of a model that reads them."""
        return self.fillers + self.keys + self.values

    def spell(self, ids) -> str:
        """Write ids so that a person can read them: ``k3`` a key, ``v1`` a value, a dot else."""
        return " ".join(map(self._name, torch.as_tensor(ids).tolist()))

    def _name(self, id: int) -> str:
        if id < self.first_key:
            return "·"
        if id < self.first_value:
            return f"k{id - self.first_key}"
        return f"v{id - self.first_value}"


@dataclass(frozen=True)
class _Task:
    """What the tasks share: their sizes, who gets which documents, and how one is laid out.

    Training, validation and test never share a document: the sum of a document's ids leaves the
    remainder 0, 1 or 2 when it is divided by three, and its first filler is chosen to make it so.
    """

    segment_tokens: int = 64
    segments: int = 4
    symbols: Symbols = Symbols()
    notes: int = 6

    ceiling: ClassVar[float] = 1.0

    @property
    def chance(self) -> float:
        """The share of answers that are right by guessing."""
        return 1 / self.symbols.values

    def draw(self, documents: int, generator: torch.Generator, *, split: str = "train") -> Batch:
        """Make documents on the fly.

        Args:
            documents: how many.
            generator: where chance comes from; it moves on.
            split: "train", "validation" or "test"; no document is in two of them.

        Raises:
            LongctxError: for another split, or no document.
        """
        if split not in SPLITS:
            raise LongctxError(f"split is one of {', '.join(SPLITS)}, got {split!r}.")
        if documents < 1:
            raise LongctxError(f"documents must be at least 1, got {documents}.")
        return self._drawn(documents, generator, SPLITS.index(split))

    def _drawn(self, documents: int, generator: torch.Generator, remainder: int) -> Batch:
        raise NotImplementedError

    def _fillers(self, documents: int, generator) -> torch.Tensor:
        shape = (documents, self.segments * self.segment_tokens)
        return torch.randint(self.symbols.fillers, shape, generator=generator)

    def _keys(self, documents: int, n: int, generator) -> torch.Tensor:
        """Return different keys for each document, ``(documents, n)``."""
        return self.symbols.first_key + _some(documents, self.symbols.keys, n, generator)

    def _assigned(self, ids: torch.Tensor, remainder: int) -> torch.Tensor:
        """Return the ids with a first filler that puts each document into its split."""
        first = ids[:, 0] // len(SPLITS) * len(SPLITS)
        first = first.clamp_max(self.symbols.fillers - len(SPLITS))
        missing = (remainder - first - ids[:, 1:].sum(1)) % len(SPLITS)
        return torch.cat([(first + missing)[:, None], ids[:, 1:]], 1)

    def _batch(self, generator, remainder, keys, values, told_at, which, asked_at) -> Batch:
        """Lay out documents of pairs, some of which are asked for.

        Args:
            keys, values, told_at: of each pair and where its key stands, ``(documents, pairs)``.
            which, asked_at: which pair is asked for, and where, ``(documents, questions)``.
        """
        ids = self._fillers(len(keys), generator)
        for at, pair in ((told_at, (keys, values)), (asked_at, _at(which, keys, values))):
            for offset, part in enumerate(pair):
                ids = ids.scatter(1, at + offset, part)
        targets = torch.full_like(ids, IGNORED).scatter(1, asked_at, values.gather(1, which))
        back = asked_at - told_at.gather(1, which)
        distances = torch.zeros_like(ids).scatter(1, asked_at, back)
        margins = self._margins(generator, keys, values, told_at, which, asked_at)
        ids = self._assigned(ids, remainder)
        return Batch(ids, targets, distances, self.segment_tokens, *margins)

    def _margins(self, generator, keys, values, told_at, which, asked_at):
        """Return notes for each segment: the earlier pairs that it asks for, among others.

        They are what a perfect reader would write, at most ``notes`` pairs in random order.
        """
        if not self.notes:
            return None, None
        documents, pairs = keys.shape
        told_in = told_at // self.segment_tokens
        rows, padding = [], []
        for segment in range(self.segments):
            here = (asked_at // self.segment_tokens == segment).float()
            asked = torch.zeros(documents, pairs).scatter_reduce(1, which, here, "amax")
            earlier = told_in < segment
            order = torch.rand(documents, pairs, generator=generator)
            best = (order + asked).masked_fill(~earlier, -1).topk(min(self.notes, pairs))
            mixed = _some(documents, *best.indices.shape[1:] * 2, generator)
            chosen = best.indices.gather(1, mixed)
            none = best.values.gather(1, mixed) < 0
            pair = torch.stack(_at(chosen, keys, values), -1).masked_fill(none[..., None], 0)
            rows.append(pair.flatten(1))
            padding.append(none.repeat_interleave(_PAIR, 1))
        return torch.stack(rows, 1), torch.stack(padding, 1)


@dataclass(frozen=True)
class AssociativeRecall(_Task):
    """Keys told with their values in every segment; asked for in the same one, or a later one.

    The first half of a segment tells ``pairs`` pairs, strewn among fillers. The second half asks:
    for ``near`` of these, and for ``far`` told in earlier segments, each pair once at most. A
    question is the key again; its value follows, as in any text.

    >>> task = AssociativeRecall(segments=2, segment_tokens=16, pairs=2, near=1, far=1)
    >>> batch = task.draw(8, torch.Generator().manual_seed(0), split="test")
    >>> tuple(batch.ids.shape), int((batch.targets != IGNORED).sum(1).max())
    ((8, 32), 3)

    Attributes:
        segment_tokens: a multiple of 4.
        segments: of a document.
        symbols: the vocabulary; it needs a key for each pair of a document.
        notes: pairs in the margin of a segment; 0 for no margins.
        pairs, near, far: told, asked from the same, asked from earlier segments; per segment.
    """

    pairs: int = 6
    near: int = 2
    far: int = 2

    def __post_init__(self):
        slots = self.segment_tokens // (2 * _PAIR)  # of half a segment
        _assert_whole(self.segment_tokens, self.segments)
        if not 1 <= self.pairs < slots or min(self.near, self.far, self.notes) < 0:
            raise LongctxError(
                f"Half a segment of {self.segment_tokens} tokens has room for 1 to {slots - 1} "
                f"pairs; got {self}."
            )
        if not 1 <= self.near + self.far <= self.pairs:
            raise LongctxError(
                f"near + far must be from 1 to {self.pairs}, the pairs of a segment, so that each "
                f"is asked once; got {self.near} + {self.far}."
            )
        _assert_keys(self.symbols, self.pairs * self.segments)

    def _drawn(self, documents, generator, remainder):
        pairs, segments = self.pairs, range(self.segments)
        keys = self._keys(documents, pairs * self.segments, generator)
        values = _values(self.symbols, keys.shape, generator)
        slots = self.segment_tokens // (2 * _PAIR)
        told_at, asked_at, which = [], [], []
        free = torch.ones_like(keys, dtype=torch.bool)
        for segment in segments:
            start, own = segment * self.segment_tokens, segment * pairs
            # The first slot stays filler: by it a document gets into its split.
            told = 1 + _some(documents, slots - 1, pairs, generator)
            told_at.append(start + _PAIR * told)
            near = own + _some(documents, pairs, self.near, generator)
            order = torch.rand(documents, own, generator=generator)
            order = order.masked_fill(~free[:, :own], -1)
            far = order.topk(self.far if segment else 0, dim=1).indices
            asked = torch.cat([near, far], 1)
            free = free.scatter(1, asked, False)
            places = slots + _some(documents, slots, asked.shape[1], generator)
            asked_at.append(start + _PAIR * places)
            which.append(asked)
        told_at, asked_at, which = (torch.cat(x, 1) for x in (told_at, asked_at, which))
        return self._batch(generator, remainder, keys, values, told_at, which, asked_at)


@dataclass(frozen=True)
class KeyValueLookup(_Task):
    """Pairs in the first segment, then only fillers, and questions in the last segment.

    However long the document is, it tells as much; so this measures distance and nothing else.
    After a list of lines ``key: value`` (Liu et al. 2023, section 3), in symbols. Pairs stand as
    in ``AssociativeRecall``, strewn in the first half of their segment.

    Attributes:
        segment_tokens, segments, symbols, notes: as in ``AssociativeRecall``.
        pairs: told.
        asked: of these in the end.
    """

    pairs: int = 6
    asked: int = 4

    def __post_init__(self):
        slots = self.segment_tokens // (2 * _PAIR)
        _assert_whole(self.segment_tokens, self.segments)
        if not 1 <= self.asked <= self.pairs < slots:
            raise LongctxError(
                f"Half a segment of {self.segment_tokens} tokens has room for 1 to {slots - 1} "
                f"pairs, of which 1 or more are asked; got {self}."
            )
        _assert_keys(self.symbols, self.pairs)

    def _drawn(self, documents, generator, remainder):
        keys = self._keys(documents, self.pairs, generator)
        values = _values(self.symbols, keys.shape, generator)
        slots = self.segment_tokens // (2 * _PAIR)
        told_at = _PAIR * (1 + _some(documents, slots - 1, self.pairs, generator))
        which = _some(documents, self.pairs, self.asked, generator)
        last = (self.segments - 1) * self.segment_tokens
        asked_at = last + _PAIR * (slots + _some(documents, slots, self.asked, generator))
        return self._batch(generator, remainder, keys, values, told_at, which, asked_at)


@dataclass(frozen=True)
class CopyAtDistance(_Task):
    """A key and a run of different values behind it; at the end the key again, and the run.

    Each place of the run has to be found by the symbol before it, so copying is recall with the
    answer of one question as the next question.

    Attributes:
        segment_tokens, segments, symbols: as in ``AssociativeRecall``.
        notes: 0 for no margins; else the last segment's margin is the key and its run.
        run: symbols to copy.
    """

    run: int = 8

    def __post_init__(self):
        _assert_whole(self.segment_tokens, self.segments)
        room = min(self.segment_tokens // 2 - 2, self.symbols.values)
        if not 1 <= self.run <= room:
            raise LongctxError(
                f"run must be from 1 to {room} here: half a segment of {self.segment_tokens} "
                f"tokens, and different values out of {self.symbols.values}; got {self.run}."
            )

    @property
    def chance(self) -> float:
        """By guessing, too: whoever guesses never repeats a value that was copied already."""
        values = self.symbols.values
        return sum(1 / (values - place) for place in range(self.run)) / self.run

    def _drawn(self, documents, generator, remainder):
        ids = self._fillers(documents, generator)
        key = self._keys(documents, 1, generator)
        run = _some(documents, self.symbols.values, self.run, generator)
        said = torch.cat([key, self.symbols.first_value + run], 1)  # (documents, 1 + run)
        half = self.segment_tokens // 2
        last = (self.segments - 1) * self.segment_tokens + half
        offsets = torch.randint(half - self.run - 1, (2, documents, 1), generator=generator)
        steps = torch.arange(self.run + 1)
        told_at, asked_at = 1 + offsets[0] + steps, last + offsets[1] + steps
        ids = ids.scatter(1, told_at, said).scatter(1, asked_at, said)
        asked_at = asked_at[:, :-1]  # nothing is asked after the last one
        targets = torch.full_like(ids, IGNORED).scatter(1, asked_at, said[:, 1:])
        back = asked_at - told_at[:, :-1]
        distances = torch.zeros_like(ids).scatter(1, asked_at, back)
        margins = padding = None
        if self.notes:
            margins = said[:, None].repeat(1, self.segments, 1)
            padding = torch.ones_like(margins, dtype=torch.bool)
            padding[:, -1] = self.segments == 1  # one segment has nothing before it
        ids = self._assigned(ids, remainder)
        return Batch(ids, targets, distances, self.segment_tokens, margins, padding)


def _some(rows: int, of: int, n: int, generator) -> torch.Tensor:
    """Return ``n`` different numbers below ``of`` for each row, ``(rows, n)``, in random order."""
    return torch.rand(rows, of, generator=generator).argsort(1)[:, :n]


def _values(symbols: Symbols, shape, generator) -> torch.Tensor:
    return symbols.first_value + torch.randint(symbols.values, shape, generator=generator)


def _at(which: torch.Tensor, *numbers: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(one.gather(1, which) for one in numbers)


def _assert_whole(segment_tokens: int, segments: int) -> None:
    if segment_tokens < 8 or segment_tokens % 4 or segments < 1:
        raise LongctxError(
            "A segment has a multiple of 4 tokens, 8 or more, and a document 1 segment or more; "
            f"got {segment_tokens} tokens and {segments} segments."
        )


def _assert_keys(symbols: Symbols, pairs: int) -> None:
    if pairs > symbols.keys:
        raise LongctxError(
            f"A document tells {pairs} pairs, and there are {symbols.keys} keys; a key is told "
            "once, so give more keys or fewer pairs."
        )
