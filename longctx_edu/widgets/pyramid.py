"""A matrix of attention in tiles, each level half as fine as the one below, worked out on demand.

Level 0 has a cell for each weight; a cell of level n stands for 2**n weights a side, by their
largest or their mean. A tile is at most 256 cells a side, one byte each (``sources.codes``), and
of a long text only those in view are ever worked out. It knows no model and draws nothing.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from longctx_edu.errors import LongctxError
from longctx_edu.widgets.sources import CellsSource, codes

TILE = 256
THUMBNAIL = 64
KEPT_BYTES = 64 * 2**20
POOLINGS = ("max", "mean")

_ROUGH_ROWS = 1
_THUMBNAIL_ROWS = 2


@dataclass(frozen=True)
class Tile:
    """Which part of which matrix, and how weights are counted in it.

    Attributes:
        layer, head: of the matrix.
        level: 2**level weights a side make a cell.
        row, column: of the tile among those of its level.
        pooling: ``max`` or ``mean`` of the weights of a cell.
        rough: whether only some rows of each cell are looked at, which is quick.
        by_value_norm, hide_sink: see ``attention.record.Weighting``.
    """

    layer: int
    head: int
    level: int
    row: int = 0
    column: int = 0
    pooling: str = "max"
    rough: bool = False
    by_value_norm: bool = False
    hide_sink: bool = False

    @property
    def counted(self) -> dict[str, bool]:
        return dict(by_value_norm=self.by_value_norm, hide_sink=self.hide_sink)


class Pyramid:
    """The tiles of a source, kept while there is room for them.

    Args:
        source: of the weights.
        kept_bytes: of the tiles looked at last.
    """

    def __init__(self, source: CellsSource, *, kept_bytes: int = KEPT_BYTES):
        self._source = source
        self._kept: OrderedDict[Tile, np.ndarray] = OrderedDict()
        self._kept_bytes, self._room = 0, kept_bytes
        self._lock = threading.Lock()

    @property
    def top(self) -> int:
        """The level at which the whole matrix is one tile."""
        return self.level_of(TILE)

    def level_of(self, cells: int) -> int:
        """Return the finest level at which the whole matrix has at most so many cells a side."""
        longest = max(self._source.shape[2:])
        return max(0, int(np.ceil(np.log2(longest / cells))))

    def tiles_of(self, level: int) -> tuple[int, int]:
        """Return how many tiles a level has down and across."""
        return tuple(-(-length // (TILE << level)) for length in self._source.shape[2:])

    def codes(self, tile: Tile) -> np.ndarray:
        """Return a tile's codes, uint8, (cell rows, cell columns); 0 where nothing is seen.

        Raises:
            LongctxError: for a tile that there is not.
        """
        with self._lock:
            if tile in self._kept:
                self._kept.move_to_end(tile)
                return self._kept[tile]
        found = self._worked_out(tile, _ROUGH_ROWS if tile.rough else None)
        with self._lock:
            if tile not in self._kept:
                self._kept[tile] = found
                self._kept_bytes += found.nbytes
            while self._kept_bytes > self._room:
                _, gone = self._kept.popitem(last=False)
                self._kept_bytes -= gone.nbytes
        return found

    def thumbnail(self, layer: int, head: int, **counted) -> np.ndarray:
        """Return a whole matrix in at most 64 cells a side, from some rows of each cell.

        Args:
            counted: as for ``Tile``: ``pooling``, ``by_value_norm``, ``hide_sink``.
        """
        tile = Tile(layer, head, self.level_of(THUMBNAIL), **counted)
        return self._worked_out(tile, _THUMBNAIL_ROWS)

    def cut(self, layer: int, head: int, rows: range, columns: range, *, cells: int, **counted):
        """Return a stretch of a matrix in about ``cells`` cells a side at most.

        Args:
            counted: as for ``Tile``: ``pooling``, ``by_value_norm``, ``hide_sink``.

        Returns:
            codes (cell rows, cell columns), the row and the column at which they begin, and the
            weights on either side of a cell.
        """
        level = max(0, int(np.ceil(np.log2(max(len(rows), len(columns)) / cells))))
        level = min(level, self.top)
        side = TILE << level
        down, across = (range(a.start // side, -(-a.stop // side)) for a in (rows, columns))
        whole = np.block(
            [[self.codes(Tile(layer, head, level, y, x, **counted)) for x in across] for y in down]
        )
        top, left = down.start * side, across.start * side
        first, last = (
            [(a - b) >> level for a, b in zip(ends, (top, left), strict=True)]
            for ends in ((rows.start, columns.start), (rows.stop - 1, columns.stop - 1))
        )
        found = whole[first[0] : last[0] + 1, first[1] : last[1] + 1]
        return found, top + (first[0] << level), left + (first[1] << level), 1 << level

    def _worked_out(self, tile: Tile, sampled_rows: int | None) -> np.ndarray:
        rows, columns = self._places(tile)
        cell = dict(per_cell=1 << tile.level)
        visible = self._source.visible_cells(tile.layer, rows, columns, **cell)
        if not visible.any():
            return np.zeros(visible.shape, np.uint8)
        weights = self._source.pooled(
            *(tile.layer, tile.head, rows, columns),
            **cell,
            pooling=tile.pooling,
            sampled_rows=sampled_rows,
            **tile.counted,
        )
        return codes(weights, visible)

    def _places(self, tile: Tile) -> tuple[range, range]:
        layers, heads, *lengths = self._source.shape
        coarsest = self.level_of(1)
        counts = dict(layer=layers, head=heads, level=coarsest + 1)
        high, wide = self.tiles_of(tile.level) if 0 <= tile.level <= coarsest else (0, 0)
        counts |= dict(row=high, column=wide)
        for name, count in counts.items():
            value = getattr(tile, name)
            if type(value) is not int or not 0 <= value < count:
                raise LongctxError(
                    f"{name} is {value!r}; it is a whole number from 0 to {count - 1}."
                )
        if tile.pooling not in POOLINGS:
            raise LongctxError(f"pooling is one of {', '.join(POOLINGS)}, not {tile.pooling!r}.")
        side = TILE << tile.level
        places = zip((tile.row, tile.column), lengths, strict=True)
        return tuple(range(at * side, min((at + 1) * side, length)) for at, length in places)
