"""What a run attended to, kept small: queries and keys, from which any weight is recomputed.

The weights of 8,192 tokens, 30 layers and 9 heads are 72 GB. The rotated queries and keys
are 0.4 GB in float16, and with one log-sum-exp for each row they give any cell by itself
as ``exp(query · key · scale - logsumexp)`` (Dao 2023, section 3.1, keeps the same
number for the backward pass). Nothing here runs a model; see ``recording``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

_BLOCK_ROWS = 256
_FEWEST_ROWS = 64
_LOG2_E = 1 / math.log(2)


@dataclass(frozen=True)
class Weighting:
    """How weights are counted; however it is, each row adds up to 1.

    Attributes:
        by_value_norm: times the length of each key's value vector, which is what a key can add
            to the output (Kobayashi et al. 2020, section 3).
        hide_sink: without the first token, where many heads park what they do not need (Xiao et
            al. 2023, section 3.1); the other weights are their share of the rest.
    """

    by_value_norm: bool = False
    hide_sink: bool = False


PLAIN = Weighting()
"""The weights as the model uses them."""


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
class FromMemory:
    """What the queries of one layer looked up in a memory, beside the tokens of the text.

    Attributes:
        ids: token ids of the whole memory.
        tokens: of the memory, which ones, ``(heads, queries, k)``.
        scores: of these, as they stand in the softmax, ``(heads, queries, k)``; minus infinity
            for none.
        value_norms: lengths of their values, ``(heads, queries, k)``.
    """

    ids: Sequence[int]
    tokens: torch.Tensor
    scores: torch.Tensor
    value_norms: torch.Tensor

    def after(self, queries: int) -> "FromMemory":
        """Return it without that of the first ``queries`` queries."""
        found = (self.tokens, self.scores, self.value_norms)
        return FromMemory(self.ids, *(tensor[:, queries:] for tensor in found))


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

    A memory that was attended to stands before the text: its tokens are the first
    ``memory_columns`` columns, and the text's positions go on from there. What a query did not
    look up there has the weight 0.

    Attributes:
        ids: token ids of the columns, if known.
        memory_ids: those of the memory; empty if there is none.
    """

    def __init__(self, *, reserve: int = 0):
        self.reserve = reserve
        self.ids: list[int] | None = None
        self.memory_ids: list[int] = []
        self._layers: dict[int, LayerRecord] = {}

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers recorded."""
        return tuple(sorted(self._layers))

    @property
    def tokens(self) -> int:
        """Number of columns: tokens of the memory, if there is one, and of the text."""
        return max((layer.tokens for layer in self._layers.values()), default=0)

    @property
    def memory_columns(self) -> int:
        """How many of the first columns are tokens of a memory."""
        return len(self.memory_ids)

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
        """Return the stored keys that a query head sees, float16, ``(tokens, head_dim)``.

        Those of the text: of a memory the scores are kept, and no keys.
        """
        recorded = self._layer(layer, head)
        return recorded.keys[recorded.kv_head(head), : recorded.text_tokens]

    def value_norms(self, layer: int, head: int) -> torch.Tensor:
        """Return the lengths of a query head's value vectors, ``(tokens,)``.

        A weight times this length says how much a key can add to the output; the first token
        often has a large weight and a short value (Kobayashi et al. 2020). It is 0 for what
        was never looked up in a memory.
        """
        return self._layer(layer, head).norms(head, range(self.tokens))

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
        weighting: Weighting = PLAIN,
    ) -> torch.Tensor:
        """Return the weights in a rectangle of one head's matrix; what is masked is 0.

        Args:
            rows, columns: positions, such as ``range(0, 256)``.
            pool: None for every weight; ``"max"`` or ``"mean"`` for at most ``cells`` cells on
                either side (see ``Pooled``).
            weighting: how weights are counted.

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
            positions = torch.arange(rows.start, rows.stop)
            return self._weights(layer, head, positions, columns, weighting)
        found = self.pooled(
            layer, head, rows, columns, cells=cells, pools=(pool,), weighting=weighting
        )
        return getattr(found, pool)

    def weights(self, layer: int, head: int, rows: Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Return all weights of some queries, wherever they stand.

        Args:
            rows: positions, rising.

        Returns:
            float32, ``(rows, tokens)``; each row adds up to 1, and what it does not see is 0.

        Raises:
            ValueError: for a layer, head or position that was not recorded.
        """
        rows = torch.as_tensor(rows)
        self._check(range(int(rows[0]), int(rows[-1]) + 1), "rows", self.start)
        return self._weights(layer, head, rows, range(self.tokens))

    def pooled(
        self,
        layer: int,
        head: int,
        rows: range | None = None,
        columns: range | None = None,
        *,
        cells: int = 256,
        per_cell: int | None = None,
        sampled_rows: int | None = None,
        pools: Sequence[str] = ("max", "mean"),
        weighting: Weighting = PLAIN,
    ) -> Pooled:
        """Return a rectangle of one head's matrix (default: all), ``cells`` cells a side at most.

        Args:
            per_cell: weights on either side of a cell, in place of ``cells``.
            sampled_rows: look at so many evenly spaced rows of each cell only, for thumbnails;
                None looks at all.
            pools: which of ``max`` and ``mean`` to work out; the largest alone is quicker.
            weighting: how weights are counted.
        """
        rows = range(self.start, self.tokens) if rows is None else rows
        columns = range(self.tokens) if columns is None else columns
        self._check(rows, "rows", self.start)
        self._check(columns, "columns")
        if any(count is not None and count < 1 for count in (cells, per_cell, sampled_rows)):
            raise ValueError("cells, per_cell and sampled_rows must be at least 1.")
        tall, wide = (per_cell or math.ceil(len(side) / cells) for side in (rows, columns))
        groups = [_spaced(range(a, min(a + tall, rows.stop)), sampled_rows) for a in rows[::tall]]
        # Groups whose rows make one block; several blocks, as each sees less than the whole, but
        # not of few rows, since starting an operation takes time as well.
        fewest = max(math.ceil(len(groups) / 8), _FEWEST_ROWS // len(groups[0]))
        together = max(1, min(_BLOCK_ROWS // len(groups[0]), fewest))
        shape = (len(groups), math.ceil(len(columns) / wide))
        largest, mean = (torch.zeros(shape) if pool in pools else None for pool in ("max", "mean"))
        for first in range(0, len(groups), together):
            block = groups[first : first + together]
            rows_of_block = torch.cat(block)
            # What no row of the block sees is left out: half of the work, on a whole matrix.
            seen = self._seen(layer, rows_of_block, columns, wide)
            if not seen:
                continue
            cells_seen = slice((seen.start - columns.start) // wide, None)
            of_block = (layer, head, rows_of_block, seen, weighting)
            weights = (self._log_weights if mean is None else self._weights)(*of_block)
            if mean is not None:
                found = _fold(_by_group(weights, block, torch.mean), wide).sum(-1)
                _put(mean[first : first + together, cells_seen], found)
            if largest is not None:
                found = _fold(_by_group(weights, block, torch.amax), wide, -torch.inf).amax(-1)
                # The exponential keeps the order, so it may come last.
                found = found if mean is not None else found.exp_()
                _put(largest[first : first + together, cells_seen], found)
        if mean is not None:
            mean /= _fold(torch.ones(len(columns)), wide).sum(-1)
        return Pooled(largest, mean, tall, wide)

    def row(
        self, layer: int, head: int, query: int, *, top_k: int = 16, weighting: Weighting = PLAIN
    ) -> AttentionRow:
        """Return all weights of one query, and the ``top_k`` largest.

        Raises:
            ValueError: for a layer, head or query that was not recorded.
        """
        self._check(range(query, query + 1), "rows", self.start)
        seen = torch.tensor([query]), range(query + 1)
        weights = self._weights(layer, head, *seen, weighting)[0]
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
        self,
        layer: int,
        query,
        key,
        value,
        *,
        scale: float,
        window: int | None,
        past: int,
        memory: FromMemory | None = None,
    ) -> None:
        """Add what one layer was given for some new tokens; see ``LayerRecord.append``.

        Raises:
            ValueError: for another memory than before.
        """
        ids = [] if memory is None else memory.ids
        if not self._layers:
            self.memory_ids = list(ids)
        elif len(ids) != self.memory_columns:
            raise ValueError(
                f"The record began with a memory of {self.memory_columns} tokens, and now there "
                f"are {len(ids)}; keep to one memory within a capture."
            )
        if layer not in self._layers:
            how = dict(scale=scale, window=window, reserve=self.reserve)
            self._layers[layer] = LayerRecord(**how, memory_columns=len(ids))
        self._layers[layer].append(query, key, value, past=past, memory=memory)

    def _weights(
        self, layer: int, head: int, rows, columns: range, weighting: Weighting = PLAIN
    ) -> torch.Tensor:
        recorded = self._layer(layer, head)
        if recorded.sees_all_of(rows, columns):
            scores = recorded.scores(head, rows, columns, weighting)
            kept = recorded.kept_lse(weighting)
            weights, kept[head, rows - recorded.start] = _softmax(scores)
            return weights
        # Of minus infinity the power of two is taken twice as fast as the exponential.
        return self._log_weights(layer, head, rows, columns, weighting).mul_(_LOG2_E).exp2_()

    def _log_weights(
        self, layer: int, head: int, rows: torch.Tensor, columns: range, weighting: Weighting
    ) -> torch.Tensor:
        recorded = self._layer(layer, head)
        scores = recorded.scores(head, rows, columns, weighting)
        kept, places = recorded.kept_lse(weighting)[head], rows - recorded.start
        if recorded.sees_all_of(rows, columns) and kept[places].isnan().any():
            kept[places] = _softmax(scores)[1]
        return scores.sub_(self._lse(recorded, head, rows, weighting)[:, None])

    def _seen(self, layer: int, rows: torch.Tensor, columns: range, wide: int) -> range:
        """Return the columns that rows may see, in whole cells of ``wide`` columns."""
        recorded = self._layer(layer)
        low = max(columns.start, recorded.first_column(int(rows[0])))
        low -= (low - columns.start) % wide
        high = min(columns.stop, int(rows[-1]) + 1)
        high += -(high - columns.start) % wide
        return range(low, min(high, columns.stop))

    def _lse(
        self, recorded: "LayerRecord", head: int, rows: torch.Tensor, weighting: Weighting = PLAIN
    ) -> torch.Tensor:
        """Return the log-sum-exps of ``rows``, those not kept yet from all that the rows see."""
        kept = recorded.kept_lse(weighting)[head]
        missing = rows[kept[rows - recorded.start].isnan()]
        for block in missing.split(_BLOCK_ROWS) if len(missing) else ():
            columns = range(recorded.first_column(int(block[0])), int(block[-1]) + 1)
            scores = recorded.scores(head, block, columns, weighting)
            kept[block - recorded.start] = _softmax(scores)[1]
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
    ``text_tokens`` of them are filled, and ``lse`` is NaN where it was not asked for yet. What
    was looked up in memory is kept for each row: ``memory_tokens`` and ``memory_scores``,
    ``(heads, rows, k)``. ``start`` and ``tokens`` count the memory's columns.
    """

    def __init__(self, *, scale: float, window: int | None, reserve: int, memory_columns: int = 0):
        self.scale, self.window, self.reserve = scale, window, reserve
        self.memory_columns = memory_columns
        self.start = self.tokens = memory_columns
        self._reweighted: dict[Weighting, torch.Tensor] = {}

    @property
    def rows(self) -> int:
        return self.tokens - self.start

    @property
    def text_tokens(self) -> int:
        return self.tokens - self.memory_columns

    @property
    def nbytes(self) -> int:
        stored = (self.queries, self.keys, self.lse, self.value_norms)
        stored += (self.memory_tokens, self.memory_scores, self.memory_norms)
        return sum(tensor.numel() * tensor.itemsize for tensor in stored)

    def kv_head(self, head: int) -> int:
        return head * self.keys.shape[0] // self.queries.shape[0]

    def kept_lse(self, weighting: Weighting) -> torch.Tensor:
        """Return the log-sum-exps kept for a weighting, ``(heads, rows)``; NaN if not known."""
        if weighting == PLAIN:
            return self.lse
        if weighting not in self._reweighted:
            self._reweighted[weighting] = torch.full_like(self.lse, torch.nan)
        return self._reweighted[weighting]

    def sees_all_of(self, rows: torch.Tensor, columns: range) -> bool:
        """Say whether ``columns`` hold all that ``rows``, in rising order, see."""
        return columns.start <= self.first_column(int(rows[0])) and columns.stop > int(rows[-1])

    def first_column(self, row: int) -> int:
        """Return the first column that ``row`` sees."""
        return 0 if self.memory_columns else self._first_of_text(row)

    def _first_of_text(self, row: int) -> int:
        first = self.memory_columns
        return first if self.window is None else max(first, row - self.window + 1)

    def norms(self, head: int, columns: range) -> torch.Tensor:
        """Return the lengths of the values that a query head sees in ``columns``."""
        kv_head = self.kv_head(head)
        whole = torch.cat([self.memory_norms[kv_head], self.value_norms[kv_head]])
        return whole[columns.start : columns.stop]

    def scores(
        self, head: int, rows: torch.Tensor, columns: range, weighting: Weighting = PLAIN
    ) -> torch.Tensor:
        """Return the scaled scores in float32, minus infinity where masked or not looked up.

        A weight times a factor is a score with the factor's logarithm added.
        """
        first = self.memory_columns  # of the text; with a memory the sink is here as well
        border = min(max(columns.start, first), columns.stop)
        scores = self._scores_of_text(head, rows, range(border, columns.stop))
        if columns.start < border:
            memory = self._scores_of_memory(head, rows)[:, columns.start : border]
            scores = torch.cat([memory, scores], dim=1)
        if weighting.by_value_norm:
            scores += self.norms(head, columns).log()
        if weighting.hide_sink and first in columns:
            scores[:, first - columns.start] = -torch.inf
        return scores

    def _scores_of_memory(self, head: int, rows: torch.Tensor) -> torch.Tensor:
        found = (x[head, rows - self.start] for x in (self.memory_tokens, self.memory_scores))
        return torch.full((len(rows), self.memory_columns), -torch.inf).scatter_(1, *found)

    def _scores_of_text(self, head: int, rows: torch.Tensor, columns: range) -> torch.Tensor:
        query = self.queries[head, rows - self.start].float() * self.scale
        places = slice(columns.start - self.memory_columns, columns.stop - self.memory_columns)
        scores = query @ self.keys[self.kv_head(head), places].float().T
        # Every row sees the columns from `low` to `high`; only the rest needs a mask.
        low, high = self._first_of_text(int(rows[-1])), int(rows[0]) + 1
        before = range(columns.start, min(low, columns.stop))
        after = range(max(high, columns.start), columns.stop)
        for part in (before, after):
            if part:
                positions = torch.arange(part.start, part.stop)
                hidden = ~visible(rows, positions, window=self.window)
                place = slice(part.start - columns.start, part.stop - columns.start)
                scores[:, place].masked_fill_(hidden, -torch.inf)
        return scores

    def append(self, query, key, value, *, past: int, memory: FromMemory | None = None) -> None:
        """Add the queries of new tokens, and the keys and values not yet stored.

        Args:
            query: ``(heads, new tokens, head_dim)``.
            key, value: ``(kv_heads, seen, head_dim)``, of the last ``seen`` tokens, the new ones
                included.
            past: tokens of the text before the new ones.
            memory: what the queries looked up outside the text.

        Raises:
            ValueError: if ``past`` is not a beginning of the text recorded so far, or a number
                is too large for float16.
        """
        new, seen = query.shape[1], key.shape[1]
        end = past + new
        self._reweighted.clear()
        if self.text_tokens == 0:
            self.start = self.tokens = self.memory_columns + past
            self._reserve(query, key, end)
            held = past - (seen - new)  # what a window has dropped before; no row here sees it
            self.keys[:, :held] = self.value_norms[:, :held] = 0
            self._store_keys(key[:, : seen - new], value[:, : seen - new], held)
        self._cut(past, key[:, -new - 1] if seen > new else None)
        self._reserve(query, key, end)
        row = self.memory_columns + past - self.start
        self.queries[:, row : row + new] = query
        self.lse[:, row : row + new] = torch.nan
        self._store_keys(key[:, -new:], value[:, -new:], past)
        self._store_memory(memory, row)
        stored = self.queries[:, row : row + new], self.keys[:, past:end]
        if any(part.abs().max() == torch.inf for part in stored):
            raise ValueError(
                "This model has queries or keys above 65504, the largest number of float16, in "
                "which they are kept; leave out the layer with layers=[...]."
            )
        self.tokens = self.memory_columns + end

    def _store_keys(self, key, value, position: int) -> None:
        end = position + key.shape[1]
        self.keys[:, position:end] = key
        self.value_norms[:, position:end] = value.float().norm(dim=-1)

    def _store_memory(self, memory: FromMemory | None, row: int) -> None:
        """Keep what the rows from ``row`` on looked up, and how long the values are."""
        if memory is None:
            return
        tokens, scores = memory.tokens.cpu(), memory.scores.float().cpu()
        self.memory_tokens = _appended(self.memory_tokens[:, :row], tokens, 0)
        self.memory_scores = _appended(self.memory_scores[:, :row], scores, -torch.inf)
        # Query heads in a row that share a KV head see the same values.
        of_kv_head = (x.reshape(len(self.keys), -1) for x in (tokens, memory.value_norms.cpu()))
        self.memory_norms.scatter_(1, *of_kv_head)

    def _cut(self, past: int, last_key) -> None:
        """Go back to the first ``past`` tokens, as a cache that was rolled back or forked."""
        same_text = past <= self.text_tokens
        if same_text and last_key is not None and past:
            kept = self.keys[:, past - 1].float()
            same_text = torch.allclose(kept, last_key.float().cpu(), rtol=1e-2, atol=1e-2)
        if not same_text:
            raise ValueError(
                "The model went on with another text than the one recorded; capture each context "
                "by itself."
            )
        self.tokens = self.memory_columns + past
        self.start = min(self.start, self.tokens)

    def _reserve(self, query, key, end: int) -> None:
        """Make room for ``end`` tokens; twice what there is when more is needed."""
        room = self.keys.shape[1] if hasattr(self, "keys") else 0
        first = self.start - self.memory_columns  # the first row, by its place in the text
        if end <= room and end - first <= self.queries.shape[1]:
            return
        room = room if end <= room else max(end, self.reserve, 2 * room)
        (heads, _, head_dim), kv_heads = query.shape, key.shape[0]
        rows = room - first
        self.queries = _grown(self, "queries", (heads, rows, head_dim), torch.float16)
        self.keys = _grown(self, "keys", (kv_heads, room, key.shape[2]), torch.float16)
        self.lse = _grown(self, "lse", (heads, rows), torch.float32)
        self.value_norms = _grown(self, "value_norms", (kv_heads, room), torch.float32)
        if not hasattr(self, "memory_norms"):
            self.memory_tokens = torch.empty(heads, 0, 0, dtype=torch.long)
            self.memory_scores = torch.empty(heads, 0, 0)
            self.memory_norms = torch.zeros(kv_heads, self.memory_columns)


def visible(rows: torch.Tensor, columns: torch.Tensor, *, window: int | None) -> torch.Tensor:
    """Return where a query sees a key: none that comes later, and none before its window.

    Args:
        rows, columns: positions, ``(rows,)`` and ``(columns,)``.

    Returns:
        True where attention is allowed, ``(rows, columns)``.
    """
    rows = rows[:, None]
    return columns <= rows if window is None else (columns <= rows) & (columns > rows - window)


def _softmax(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weights of whole rows and the log-sum-exps, ``(rows, columns)`` and ``(rows,)``.

    A row's largest weight is ``exp(largest score - log-sum-exp)``, which saves a second pass of
    exponentials.
    """
    weights, largest = scores.softmax(-1), scores.amax(-1)
    lse = largest - weights.amax(-1).log()
    nothing = largest == -torch.inf  # such as the first row without the sink
    if nothing.any():
        weights[nothing], lse[nothing] = 0, 0
    return weights, lse


def _grown(layer: LayerRecord, name: str, shape, dtype) -> torch.Tensor:
    """Return room of this shape, with what is stored under ``name`` at its beginning."""
    grown = torch.empty(shape, dtype=dtype)
    stored = getattr(layer, name, None)
    if stored is not None:
        grown[:, : stored.shape[1]] = stored
    return grown


def _appended(rows: torch.Tensor, new: torch.Tensor, nothing) -> torch.Tensor:
    """Return ``(heads, rows, k)`` with new rows at its end, the narrower of the two filled up."""
    widest = max(rows.shape[2], new.shape[2])
    parts = (F.pad(part, (0, widest - part.shape[2]), value=nothing) for part in (rows, new))
    return torch.cat([*parts], dim=1)


def _spaced(positions: range, count: int | None) -> torch.Tensor:
    """Return ``count`` evenly spaced positions, or all if there are no more."""
    if count is None or count >= len(positions):
        return torch.arange(positions.start, positions.stop)
    inside = (torch.arange(count) + 0.5) * len(positions) / count
    return positions.start + inside.long()


def _fold(columns: torch.Tensor, width: int, fill: float = 0) -> torch.Tensor:
    """Return ``(..., columns)`` as ``(..., cells, width)``, the last cell filled up."""
    filled = F.pad(columns, (0, -columns.shape[-1] % width), value=fill)
    return filled.unflatten(-1, (-1, width))


def _by_group(weights: torch.Tensor, groups: Sequence, pool: Callable) -> torch.Tensor:
    """Pool the rows of each group, ``(groups, columns)``; the last may have fewer than others."""
    tall = len(groups[0])
    whole = len(weights) // tall
    found = pool(weights[: whole * tall].unflatten(0, (whole, tall)), 1)
    if whole == len(groups):
        return found
    return torch.cat([found, pool(weights[whole * tall :], 0)[None]])


def _put(place: torch.Tensor, found: torch.Tensor) -> None:
    place[:, : found.shape[1]] = found
