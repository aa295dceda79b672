"""What a run attended to, kept small: queries and keys, from which any weight is recomputed.

The weights of 8,192 tokens, 30 layers and 9 heads are 72 GB. The rotated queries and keys
are 0.4 GB in float16, and with one log-sum-exp for each row they give any cell by itself
as ``exp(query · key · scale - logsumexp)`` (Dao 2023, section 3.1, keeps the same
number for the backward pass). Nothing here runs a model; see ``recording``.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

_BLOCK_ROWS = 256


@dataclass(frozen=True)
class AttentionRow:
    """The weights that one query gives to the tokens before it, and to itself.

    Attributes:
        weights: ``(query + 1,)``; they add up to 1.
        top_indices: positions of the largest weights, largest first.
        top_weights: those weights.
    """

    weights: torch.Tensor
    top_indices: torch.Tensor
    top_weights: torch.Tensor


@dataclass(frozen=True)
class Pooled:
    """A stretch of one head's matrix, each cell standing for many weights.

    Attributes:
        max: largest weight in each cell, ``(cell rows, cell columns)``; finds needles.
        mean: mean weight in each cell, masked weights counting as 0; shows where the mass is.
        rows_per_cell, columns_per_cell: weights on either side of a cell; the last one of a
            row or column may stand for fewer.
    """

    max: torch.Tensor
    mean: torch.Tensor
    rows_per_cell: int
    columns_per_cell: int


class AttentionRecord:
    """Queries and keys of one text's run through a model, and the attention weights they make.

    Rows are queries, columns are keys, both given as positions in the text. The queries
    recorded may begin later than the keys (``start``), as for a question to a document.
    The weights are the softmax of the stored numbers: each row adds up to 1. From the weights
    of the run itself they differ by the rounding to float16. A row's log-sum-exp is worked
    out when it is first asked for, and kept.

    Attributes:
        ids: token ids of the text, if known.
    """

    def __init__(self, *, reserve: int = 0):
        self.reserve = reserve
        self.ids: list[int] | None = None
        self._layers: dict[int, LayerRecord] = {}

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers recorded."""
        return tuple(sorted(self._layers))

    @property
    def tokens(self) -> int:
        """Number of columns: tokens of the text."""
        return max((layer.tokens for layer in self._layers.values()), default=0)

    @property
    def start(self) -> int:
        """The first row: the position from which on queries were recorded."""
        return max((layer.start for layer in self._layers.values()), default=0)

    @property
    def heads(self) -> int:
        """Query heads of a layer."""
        return self._any_layer().queries.shape[0]

    @property
    def kv_heads(self) -> int:
        """Heads of keys in a layer; each serves ``heads / kv_heads`` query heads in a row."""
        return self._any_layer().keys.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes that the record takes, room in reserve included."""
        return sum(layer.nbytes for layer in self._layers.values())

    def __repr__(self) -> str:
        return (
            f"AttentionRecord(layers={len(self._layers)}, rows={self.start} to {self.tokens}, "
            f"columns={self.tokens}, megabytes={self.nbytes / 1e6:.1f})"
        )

    def queries(self, layer: int, head: int) -> torch.Tensor:
        """Return the stored queries after rotation, float16, ``(rows, head_dim)``."""
        recorded = self._layer(layer, head)
        return recorded.queries[head, : recorded.rows]

    def keys(self, layer: int, head: int) -> torch.Tensor:
        """Return the stored keys that a query head sees, float16, ``(tokens, head_dim)``."""
        recorded = self._layer(layer, head)
        return recorded.keys[recorded.kv_head(head), : recorded.tokens]

    def value_norms(self, layer: int, head: int) -> torch.Tensor:
        """Return the lengths of a query head's value vectors, ``(tokens,)``.

        A weight times this length says how much a key can add to the output; the first token
        often has a large weight and a short value (Kobayashi et al. 2020).
        """
        recorded = self._layer(layer, head)
        return recorded.value_norms[recorded.kv_head(head), : recorded.tokens]

    def scale(self, layer: int) -> float:
        """Return the factor of the scores in this layer."""
        return self._layer(layer).scale

    def window(self, layer: int) -> int | None:
        """Return how many tokens a query of this layer sees, itself included; None for all."""
        return self._layer(layer).window

    def lse(self, layer: int, head: int, rows: range | None = None) -> torch.Tensor:
        """Return the log-sum-exp of the scores of ``rows`` (default: all), float32."""
        rows = range(self.start, self.tokens) if rows is None else rows
        self._check(rows, "rows", self.start)
        return self._lse(self._layer(layer, head), head, torch.arange(rows.start, rows.stop))

    def tile(
        self,
        layer: int,
        head: int,
        rows: range,
        columns: range,
        *,
        pool: str | None = None,
        cells: int = 256,
    ) -> torch.Tensor:
        """Return the weights in a rectangle of one head's matrix; what is masked is 0.

        Args:
            rows, columns: positions, such as ``range(0, 256)``.
            pool: None for every weight; ``"max"`` or ``"mean"`` for at most ``cells`` cells on
                either side (see ``Pooled``).

        Returns:
            float32, ``(rows, columns)`` or ``(cell rows, cell columns)``.

        Raises:
            ValueError: for a layer, head or position that was not recorded, or another pool.
        """
        if pool not in (None, "max", "mean"):
            raise ValueError(f"pool must be None, 'max' or 'mean', got {pool!r}.")
        if pool is None:
            self._check(rows, "rows", self.start)
            self._check(columns, "columns")
            return self._weights(layer, head, torch.arange(rows.start, rows.stop), columns)
        return getattr(self.pooled(layer, head, rows, columns, cells=cells), pool)

    def pooled(
        self,
        layer: int,
        head: int,
        rows: range | None = None,
        columns: range | None = None,
        *,
        cells: int = 256,
        sampled_rows: int | None = None,
    ) -> Pooled:
        """Return a rectangle of one head's matrix (default: all), ``cells`` cells a side at most.

        Args:
            sampled_rows: look at so many evenly spaced rows of each cell only, for thumbnails;
                None looks at all.
        """
        rows = range(self.start, self.tokens) if rows is None else rows
        columns = range(self.tokens) if columns is None else columns
        self._check(rows, "rows", self.start)
        self._check(columns, "columns")
        if cells < 1 or (sampled_rows is not None and sampled_rows < 1):
            raise ValueError("cells and sampled_rows must be at least 1.")
        tall, wide = math.ceil(len(rows) / cells), math.ceil(len(columns) / cells)
        groups = [_spaced(range(a, min(a + tall, rows.stop)), sampled_rows) for a in rows[::tall]]
        together = max(1, _BLOCK_ROWS // len(groups[0]))  # groups whose rows make one block
        largest, mean = [], []
        for first in range(0, len(groups), together):
            block = groups[first : first + together]
            weights = self._weights(layer, head, torch.cat(block), columns)
            for part in weights.split([len(group) for group in block]):
                largest.append(_fold(part.amax(0), wide).amax(-1))
                mean.append(_fold(part.mean(0), wide).sum(-1))
        in_cell = _fold(torch.ones(len(columns)), wide).sum(-1)
        return Pooled(torch.stack(largest), torch.stack(mean) / in_cell, tall, wide)

    def row(self, layer: int, head: int, query: int, *, top_k: int = 16) -> AttentionRow:
        """Return all weights of one query, and the ``top_k`` largest.

        Raises:
            ValueError: for a layer, head or query that was not recorded.
        """
        self._check(range(query, query + 1), "rows", self.start)
        weights = self._weights(layer, head, torch.tensor([query]), range(query + 1))[0]
        top = weights.topk(min(top_k, len(weights)))
        return AttentionRow(weights, top.indices, top.values)

    def sink_share(self, layer: int, head: int, *, tokens: int = 1, rows: int = 256) -> float:
        """Return the mean weight that queries give to the first ``tokens`` tokens.

        Many heads park here what they do not need (Xiao et al. 2023, section 3.1). The mean is
        over at most ``rows`` evenly spaced queries that see more than these tokens.
        """
        later = range(max(self.start, tokens), self.tokens)
        self._check(later, "rows", self.start)
        chosen = _spaced(later, rows)
        blocks = chosen.split(_BLOCK_ROWS)
        mass = [self._weights(layer, head, block, range(self.tokens)) for block in blocks]
        return float(torch.cat([block[:, :tokens].sum(-1) for block in mass]).mean())

    def append(
        self, layer: int, query, key, value, *, scale: float, window: int | None, past: int
    ) -> None:
        """Add what one layer was given for some new tokens; see ``LayerRecord.append``."""
        if layer not in self._layers:
            self._layers[layer] = LayerRecord(scale=scale, window=window, reserve=self.reserve)
        self._layers[layer].append(query, key, value, past=past)

    def _weights(self, layer: int, head: int, rows: torch.Tensor, columns: range) -> torch.Tensor:
        recorded = self._layer(layer, head)
        first, last = int(rows[0]), int(rows[-1])
        scores = recorded.scores(head, rows, columns)
        if columns.start <= recorded.first_column(first) and columns.stop > last:
            lse = recorded.lse[head, rows - recorded.start] = scores.logsumexp(-1)
        else:
            lse = self._lse(recorded, head, rows)
        return scores.sub_(lse[:, None]).exp_()

    def _lse(self, recorded: "LayerRecord", head: int, rows: torch.Tensor) -> torch.Tensor:
        """Return the log-sum-exps of ``rows``, those not kept yet from all that the rows see."""
        kept = recorded.lse[head]
        missing = rows[kept[rows - recorded.start].isnan()]
        for block in missing.split(_BLOCK_ROWS) if len(missing) else ():
            columns = range(recorded.first_column(int(block[0])), int(block[-1]) + 1)
            kept[block - recorded.start] = recorded.scores(head, block, columns).logsumexp(-1)
        return kept[rows - recorded.start]

    def _any_layer(self) -> "LayerRecord":
        if not self._layers:
            raise ValueError("Nothing was recorded yet; read a text while capturing.")
        return next(iter(self._layers.values()))

    def _layer(self, layer: int, head: int = 0) -> "LayerRecord":
        if layer not in self._layers:
            raise ValueError(f"Layer {layer} was not recorded; recorded are {list(self.layers)}.")
        heads = self._layers[layer].queries.shape[0]
        if not 0 <= head < heads:
            raise ValueError(f"head must be 0 to {heads - 1}, got {head}.")
        return self._layers[layer]

    def _check(self, positions: range, name: str, start: int = 0) -> None:
        inside = start <= positions.start < positions.stop <= self.tokens
        if not inside or positions.step != 1:
            raise ValueError(
                f"{name} must be a range of one or more positions in steps of 1 within {start} to "
                f"{self.tokens}, got {positions}."
            )


class LayerRecord:
    """One layer's share of the record, grown as the text is read.

    ``queries``, ``keys`` and ``lse`` have room for ``reserve`` tokens; the first ``rows`` and
    ``tokens`` of them are filled, and ``lse`` is NaN where it was not asked for yet.
    """

    def __init__(self, *, scale: float, window: int | None, reserve: int):
        self.scale, self.window, self.reserve = scale, window, reserve
        self.start = self.tokens = 0

    @property
    def rows(self) -> int:
        return self.tokens - self.start

    @property
    def nbytes(self) -> int:
        stored = (self.queries, self.keys, self.lse, self.value_norms)
        return sum(tensor.numel() * tensor.itemsize for tensor in stored)

    def kv_head(self, head: int) -> int:
        return head * self.keys.shape[0] // self.queries.shape[0]

    def first_column(self, row: int) -> int:
        """Return the first column that ``row`` sees."""
        return 0 if self.window is None else max(0, row - self.window + 1)

    def scores(self, head: int, rows: torch.Tensor, columns: range) -> torch.Tensor:
        """Return the scaled scores in float32, minus infinity where masked."""
        query = self.queries[head, rows - self.start].float() * self.scale
        key = self.keys[self.kv_head(head), columns.start : columns.stop].float()
        scores = query @ key.T
        # Every row sees the columns from `low` to `high`; only the rest needs a mask.
        low, high = self.first_column(int(rows[-1])), int(rows[0]) + 1
        before = range(columns.start, min(low, columns.stop))
        after = range(max(high, columns.start), columns.stop)
        for part in (before, after):
            if part:
                positions = torch.arange(part.start, part.stop)
                hidden = ~visible(rows, positions, window=self.window)
                place = slice(part.start - columns.start, part.stop - columns.start)
                scores[:, place].masked_fill_(hidden, -torch.inf)
        return scores

    def append(self, query, key, value, *, past: int) -> None:
        """Add the queries of new tokens, and the keys and values not yet stored.

        Args:
            query: ``(heads, new tokens, head_dim)``.
            key, value: ``(kv_heads, seen, head_dim)``, of the last ``seen`` tokens, the new ones
                included.
            past: tokens before the new ones.

        Raises:
            ValueError: if ``past`` is not a beginning of the text recorded so far, or a number
                is too large for float16.
        """
        new, seen = query.shape[1], key.shape[1]
        end = past + new
        if self.tokens == 0:
            self.start = self.tokens = past
            self._reserve(query, key, end)
            held = past - (seen - new)  # what a window has dropped before; no row here sees it
            self.keys[:, :held] = self.value_norms[:, :held] = 0
            self._store_keys(key[:, : seen - new], value[:, : seen - new], held)
        self._cut(past, key[:, -new - 1] if seen > new else None)
        self._reserve(query, key, end)
        self.queries[:, past - self.start : end - self.start] = query
        self.lse[:, past - self.start : end - self.start] = torch.nan
        self._store_keys(key[:, -new:], value[:, -new:], past)
        stored = self.queries[:, past - self.start : end - self.start], self.keys[:, past:end]
        if any(part.abs().max() == torch.inf for part in stored):
            raise ValueError(
                "This model has queries or keys above 65504, the largest number of float16, in "
                "which they are kept; leave out the layer with layers=[...]."
            )
        self.tokens = end

    def _store_keys(self, key, value, position: int) -> None:
        end = position + key.shape[1]
        self.keys[:, position:end] = key
        self.value_norms[:, position:end] = value.float().norm(dim=-1)

    def _cut(self, past: int, last_key) -> None:
        """Go back to the first ``past`` tokens, as a cache that was rolled back or forked."""
        same_text = past <= self.tokens
        if same_text and last_key is not None and past:
            kept = self.keys[:, past - 1].float()
            same_text = torch.allclose(kept, last_key.float().cpu(), rtol=1e-2, atol=1e-2)
        if not same_text:
            raise ValueError(
                "The model went on with another text than the one recorded; capture each context "
                "by itself."
            )
        self.start, self.tokens = min(self.start, past), past

    def _reserve(self, query, key, end: int) -> None:
        """Make room for ``end`` tokens; twice what there is when more is needed."""
        room = self.keys.shape[1] if hasattr(self, "keys") else 0
        if end <= room and end - self.start <= self.queries.shape[1]:
            return
        room = room if end <= room else max(end, self.reserve, 2 * room)
        (heads, _, head_dim), kv_heads = query.shape, key.shape[0]
        rows = room - self.start
        self.queries = _grown(self, "queries", (heads, rows, head_dim), torch.float16)
        self.keys = _grown(self, "keys", (kv_heads, room, key.shape[2]), torch.float16)
        self.lse = _grown(self, "lse", (heads, rows), torch.float32)
        self.value_norms = _grown(self, "value_norms", (kv_heads, room), torch.float32)


def visible(rows: torch.Tensor, columns: torch.Tensor, *, window: int | None) -> torch.Tensor:
    """Return where a query sees a key: none that comes later, and none before its window.

    Args:
        rows, columns: positions, ``(rows,)`` and ``(columns,)``.

    Returns:
        True where attention is allowed, ``(rows, columns)``.
    """
    distance = rows[:, None] - columns
    return distance >= 0 if window is None else (distance >= 0) & (distance < window)


def _grown(layer: LayerRecord, name: str, shape, dtype) -> torch.Tensor:
    """Return room of this shape, with what is stored under ``name`` at its beginning."""
    grown = torch.empty(shape, dtype=dtype)
    stored = getattr(layer, name, None)
    if stored is not None:
        grown[:, : stored.shape[1]] = stored
    return grown


def _spaced(positions: range, count: int | None) -> torch.Tensor:
    """Return ``count`` evenly spaced positions, or all if there are no more."""
    if count is None or count >= len(positions):
        return torch.arange(positions.start, positions.stop)
    inside = (torch.arange(count) + 0.5) * len(positions) / count
    return positions.start + inside.long()


def _fold(columns: torch.Tensor, width: int) -> torch.Tensor:
    """Return ``(columns,)`` as ``(cells, width)``, the last cell filled up with zeros."""
    return F.pad(columns, (0, -len(columns) % width)).view(-1, width)
