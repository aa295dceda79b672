"""Where attention weights come from: a source gives tiles and rows, and never needs all at once.

``ArraySource`` holds small arrays; ``RecordSource`` is what a run of a real model left, and
computes any tile from queries and keys. The browser gets one byte for each weight (``codes``) and
exact numbers for the row that a reader looks at. Nothing here draws.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from longctx_edu.errors import LongctxError

OCTAVES = 20
"""Codes reach from 2 to the power of -20 up to 1; what is smaller looks the same."""

MASKED = 0
"""The code of a cell that a query must not see; no weight has it."""

MOST_KEYS = 1024
"""So many of a row's largest weights are sent at most."""


class Row(NamedTuple):
    """One query's weights (keys,), and its largest: keys (k,) with their weights (k,)."""

    weights: np.ndarray
    keys: np.ndarray
    values: np.ndarray


@runtime_checkable
class WeightsSource(Protocol):
    """Attention weights of a text, by layer and head; rows are queries and columns are keys."""

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Layers, heads, queries, keys."""

    def tile(self, layer: int, head: int, rows: range, columns: range) -> np.ndarray:
        """Weights (rows, columns), from 0 to 1; each whole row adds up to 1."""

    def visible(self, layer: int, rows: range, columns: range) -> np.ndarray:
        """Say (rows, columns) which keys a query may see."""

    def row(self, layer: int, head: int, query: int, *, top_k: int) -> Row:
        """All weights of one query and its ``top_k`` largest."""


@runtime_checkable
class CellsSource(WeightsSource, Protocol):
    """A source that gives cells of many weights as well, so that a long text fits on a screen."""

    def pooled(
        self,
        layer: int,
        head: int,
        rows: range,
        columns: range,
        *,
        per_cell: int,
        pooling: str = "max",
        sampled_rows: int | None = None,
        **counted: bool,
    ) -> np.ndarray:
        """Return cells of ``per_cell`` weights a side; the last of a row or column has fewer.

        Args:
            pooling: ``max`` for the largest weight of a cell, or ``mean``, masked ones being 0.
            sampled_rows: look at so many rows of each cell only; a source may look at all.
            counted: ``by_value_norm``, ``hide_sink``: see ``attention.record.Weighting``.

        Returns:
            float32, (cell rows, cell columns).
        """

    def visible_cells(self, layer: int, rows: range, columns: range, per_cell: int) -> np.ndarray:
        """Say (cell rows, cell columns) which cells hold a key that one of their queries sees."""


class ArraySource:
    """Weights that lie in one array.

    Args:
        weights: (layers, heads, queries, keys), or fewer axes where there is one layer or
            one layer and head; an array, or a tensor on any device.
        visible: (queries, keys) of yes and no: which keys a query may see. Without it a
            query sees itself and what came before, the last query being the last key's.
            A query may see no key at all, as one of padding.

    Raises:
        LongctxError: for other shapes, for weights below 0 or above 1 or not a number, and
            for weight on a key that the query must not see.
    """

    def __init__(self, weights, *, visible=None):
        self._weights = _four_axes(_numbers(weights))
        queries, keys = self._weights.shape[2:]
        if visible is None:
            visible = np.tri(queries, keys, keys - queries, dtype=bool)
        self._visible = np.asarray(visible, dtype=bool)
        if self._visible.shape != (queries, keys):
            raise LongctxError(
                f"visible has the shape {self._visible.shape}; for these weights it is "
                f"(queries, keys) = {(queries, keys)}."
            )
        self._assert_weights()

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self._weights.shape

    def tile(self, layer: int, head: int, rows: range, columns: range) -> np.ndarray:
        return self._weights[layer, head, _cut(rows), _cut(columns)]

    def pooled(
        self,
        layer: int,
        head: int,
        rows: range,
        columns: range,
        *,
        per_cell: int,
        pooling: str = "max",
        sampled_rows: int | None = None,
        **counted: bool,
    ) -> np.ndarray:
        found = self._reweighted(self._weights[layer, head, _cut(rows)], **counted)
        found = found[:, _cut(columns)]
        return pool(found, per_cell, getattr(np, pooling))

    def visible(self, layer: int, rows: range, columns: range) -> np.ndarray:
        return self._visible[_cut(rows), _cut(columns)]

    def visible_cells(self, layer: int, rows: range, columns: range, per_cell: int) -> np.ndarray:
        return pool(self.visible(layer, rows, columns), per_cell, np.max)

    def row(self, layer: int, head: int, query: int, *, top_k: int, **counted: bool) -> Row:
        found = self._reweighted(self._weights[layer, head, query], **counted)
        return largest(found, self._visible[query], top_k)

    def _reweighted(
        self, rows: np.ndarray, *, by_value_norm: bool = False, hide_sink: bool = False
    ) -> np.ndarray:
        if by_value_norm:
            raise LongctxError(
                "Weights alone do not tell the lengths of the values; give what "
                "longctx_edu.attention.capture recorded."
            )
        if not hide_sink:
            return rows
        rest = rows.copy()
        rest[..., 0] = 0
        return rest / np.maximum(rest.sum(-1, keepdims=True), np.finfo(np.float32).tiny)

    def _assert_weights(self) -> None:
        found = self._weights
        if not np.isfinite(found).all() or found.min(initial=0) < 0 or found.max(initial=0) > 1.001:
            raise LongctxError(
                "Attention weights are numbers from 0 to 1; these are not. Give what comes "
                "after the softmax."
            )
        hidden = np.argwhere((found != 0).any(axis=(0, 1)) & ~self._visible)
        if len(hidden):
            query, key = map(int, hidden[0])
            raise LongctxError(
                f"Query {query} puts weight on key {key}, which it must not see. Where every "
                "query sees every key, give WeightsView visible=np.ones((queries, keys), bool)."
            )


@runtime_checkable
class Recorded(Protocol):
    """What ``RecordSource`` needs of a record, as ``longctx_edu.attention`` makes it."""

    layers: Sequence[int]
    heads: int
    tokens: int
    start: int

    def tile(self, layer: int, head: int, rows: range, columns: range): ...

    def row(self, layer: int, head: int, query: int, *, top_k: int): ...

    def pooled(self, layer: int, head: int, rows: range, columns: range): ...

    def window(self, layer: int) -> int | None: ...


class RecordSource:
    """The recorded run of a model as a source.

    Layers are counted among those recorded, queries from the first recorded.
    """

    def __init__(self, record: Recorded):
        self._record = record

    @property
    def record(self) -> Recorded:
        return self._record

    @property
    def memory_columns(self) -> int:
        """How many of the first keys are tokens of a memory."""
        return getattr(self._record, "memory_columns", 0)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        record = self._record
        return len(record.layers), record.heads, record.tokens - record.start, record.tokens

    def tile(self, layer: int, head: int, rows: range, columns: range) -> np.ndarray:
        positions = self._positions(rows)
        return self._record.tile(self._record.layers[layer], head, positions, columns).numpy()

    def visible(self, layer: int, rows: range, columns: range) -> np.ndarray:
        distance = np.array(self._positions(rows))[:, None] - np.array(columns)
        window = self._record.window(self._record.layers[layer])
        of_memory = np.array(columns) < self.memory_columns  # which no window hides
        return (distance >= 0) & ((distance < (window or np.inf)) | of_memory)

    def row(self, layer: int, head: int, query: int, *, top_k: int, **counted: bool) -> Row:
        layer, place, how = self._record.layers[layer], query + self._record.start, _how(counted)
        found = self._record.row(layer, head, place, top_k=top_k, **how)
        # A record's row ends with the query itself; what comes later is masked.
        weights = np.zeros(self._record.tokens, np.float32)
        weights[: len(found.weights)] = found.weights.numpy()
        return Row(weights, found.top_indices.numpy().astype(np.int32), found.top_weights.numpy())

    def pooled(
        self,
        layer: int,
        head: int,
        rows: range,
        columns: range,
        *,
        per_cell: int,
        pooling: str = "max",
        sampled_rows: int | None = None,
        **counted: bool,
    ) -> np.ndarray:
        found = self._record.pooled(
            self._record.layers[layer],
            head,
            self._positions(rows),
            columns,
            per_cell=per_cell,
            sampled_rows=sampled_rows,
            pools=(pooling,),
            **_how(counted),
        )
        return getattr(found, pooling).numpy()

    def visible_cells(self, layer: int, rows: range, columns: range, per_cell: int) -> np.ndarray:
        window = self._record.window(self._record.layers[layer]) or np.inf
        tops, lefts = (np.array(side[::per_cell]) for side in (self._positions(rows), columns))
        lows = np.minimum(tops + per_cell, rows.stop + self._record.start) - 1
        rights = np.minimum(lefts + per_cell, columns.stop) - 1
        # The distances in a cell are all whole numbers from the least to the greatest.
        greatest, least = lows[:, None] - lefts, tops[:, None] - rights
        return (greatest >= 0) & ((least < window) | (lefts < self.memory_columns))

    def _positions(self, rows: range) -> range:
        return range(rows.start + self._record.start, rows.stop + self._record.start)


def largest(weights: np.ndarray, visible: np.ndarray, top_k: int) -> Row:
    """Return a row with the ``top_k`` largest weights that the query may see, largest first.

    Args:
        weights: (keys,), of one query.
        visible: (keys,), which of them it may see.
        top_k: how many; fewer are returned where it sees fewer.
    """
    seen = np.flatnonzero(visible)
    order = np.argsort(-weights[seen], kind="stable")[:top_k]
    keys = seen[order].astype(np.int32)
    return Row(weights.astype(np.float32), keys, weights[keys].astype(np.float32))


def source_of(weights, visible=None) -> WeightsSource:
    """Return weights, what was recorded, or a source as a source.

    Raises:
        LongctxError: if ``visible`` is given for what knows it.
    """
    recorded = isinstance(weights, Recorded)
    if not recorded and not isinstance(weights, WeightsSource):
        return ArraySource(weights, visible=visible)
    if visible is not None:
        raise LongctxError("A source knows what is visible; leave out visible.")
    return RecordSource(weights) if recorded else weights


def pool(numbers: np.ndarray, per_cell: int, how) -> np.ndarray:
    """Return cells of ``per_cell`` numbers a side, (cell rows, cell columns).

    Args:
        numbers: (rows, columns), from 0; a cell that reaches beyond them is filled up with 0.
        how: such as ``np.max``, told the axis.
    """
    high, wide = (-(-length // per_cell) for length in numbers.shape)
    margins = [
        (0, count * per_cell - length)
        for count, length in zip((high, wide), numbers.shape, strict=True)
    ]
    cells = np.pad(numbers, margins).reshape(high, per_cell, wide, per_cell)
    if how is not np.mean:
        return how(cells, axis=(1, 3))
    inside = np.pad(np.ones(numbers.shape, np.float32), margins).reshape(cells.shape)
    return cells.sum(axis=(1, 3)) / inside.sum(axis=(1, 3))


def codes(weights: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Turn weights into one byte each: 0 masked, 1 to 255 even steps of log2 from -20 to 0.

    A step is 20/254 octaves, so a code gives its weight back to within 3 %. A change of
    colour scale is another table of 256 colours, and sends nothing again.

    Args:
        weights: of any shape, from 0 to 1.
        visible: of the same shape; where it says no, the code is ``MASKED``.
    """
    with np.errstate(divide="ignore"):
        octaves = np.log2(weights, dtype=np.float64)
    steps = np.rint((np.clip(octaves, -OCTAVES, 0) + OCTAVES) * (254 / OCTAVES))
    return np.where(visible, steps + 1, MASKED).astype(np.uint8)


def answer(source: WeightsSource, ask: dict) -> tuple[dict, list[bytes]]:
    """Answer what a browser asks of a source, as numbers in little-endian order.

    ``{op: "row", layer, head, query, top_k}`` gives three buffers: weights as float32 (keys,),
    the largest keys as int32 (top_k,), their weights as float32 (top_k,).
    ``{op: "tile", layer, head, rows: [start, stop], columns: [start, stop]}`` gives one: codes
    (rows, columns). A row may name how weights are counted, see ``counted``.

    Raises:
        LongctxError: for another question, or one about places that there are not.
    """
    layers, heads, queries, keys = source.shape
    where = _place(ask, "layer", layers), _place(ask, "head", heads)
    if ask.get("op") == "row":
        query, top_k = _place(ask, "query", queries), _place(ask, "top_k", MOST_KEYS + 1, least=1)
        row = source.row(*where, query, top_k=top_k, **counted(ask))
        kinds = zip(row, ("<f4", "<i4", "<f4"), strict=True)
        return {}, [np.asarray(part).astype(kind).tobytes() for part, kind in kinds]
    if ask.get("op") == "tile":
        rows, columns = _stretch(ask, "rows", queries), _stretch(ask, "columns", keys)
        found = source.tile(*where, rows, columns), source.visible(where[0], rows, columns)
        return {}, [codes(*map(np.asarray, found)).tobytes()]
    raise LongctxError(f"A browser asks for a row or a tile, not for {ask.get('op')!r}.")


def _how(counted: dict[str, bool]) -> dict:
    if not any(counted.values()):
        return {}
    from longctx_edu.attention.record import Weighting

    return {"weighting": Weighting(**counted)}


def counted(ask: dict) -> dict[str, bool]:
    """Return how weights are counted in an answer, ``by_value_norm`` or ``hide_sink``, if at all.

    A source that knows one way only is not asked for another.
    """
    return {name: True for name in ("by_value_norm", "hide_sink") if ask.get(name) is True}


def _place(ask: dict, name: str, count: int, *, least: int = 0) -> int:
    value = ask.get(name)
    if type(value) is not int or not least <= value < count:
        raise LongctxError(
            f"{name} is {value!r}; it is a whole number from {least} to {count - 1}."
        )
    return value


def _stretch(ask: dict, name: str, count: int) -> range:
    ends = ask.get(name)
    two = isinstance(ends, list) and [type(end) for end in ends] == [int, int]
    if not two or not 0 <= ends[0] < ends[1] <= count:
        raise LongctxError(f"{name} is {ends!r}; it is [start, stop] within 0 to {count}.")
    return range(*ends)


def _cut(places: range) -> slice:
    return slice(places.start, places.stop)


def _numbers(weights) -> np.ndarray:
    if hasattr(weights, "detach"):  # a tensor, perhaps half precision, perhaps on a GPU
        weights = weights.detach().float().cpu().numpy()
    return np.asarray(weights, dtype=np.float32)


def _four_axes(weights: np.ndarray) -> np.ndarray:
    if not 2 <= weights.ndim <= 4 or 0 in weights.shape:
        raise LongctxError(
            f"Weights have the shape (layers, heads, queries, keys), not {weights.shape}; the "
            "first axes may be left out where there is one layer or one head. From a batch, "
            "take the first entry."
        )
    return weights.reshape((1,) * (4 - weights.ndim) + weights.shape)
