"""The static twin of ``AttentionView``: the matrix in view, its layer's heads, a row's bars.

It draws pooled cells only, so that a text of eight thousand tokens takes no memory worth naming,
where a matrix of all its weights takes gigabytes.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from longctx_edu.widgets.background import on_one_core
from longctx_edu.widgets.matrix import MEANING, colours, draw_matrix, mark_cell, paint_scale, short
from longctx_edu.widgets.plots import style

CELLS = 512
_FEW = 40


def attention_picture(view, *, cells: int = CELLS):
    """Return a matplotlib figure of what an ``AttentionView`` shows now.

    Args:
        cells: of the matrix, a side at most.
    """
    # Loading matplotlib and working out the cells take about as long: both at once.
    with ThreadPoolExecutor(1, initializer=on_one_core) as beside:
        cut = beside.submit(_stretch, view, cells)
        heads = beside.submit(_heads, view)
        import matplotlib.pyplot as plt

        with style():
            # All places are given: to find them by trial takes longer than the drawing.
            figure = plt.figure(figsize=(10.4, 6.4), layout="none")
            _draw_heads(figure.add_axes((0.74, 0.56, 0.25, 0.36)), view, heads.result())
            bars = figure.add_axes((0.8, 0.06, 0.18, 0.38))
            view._draw_row(bars)
            _draw_stretch(figure, figure.add_axes((0.08, 0.16, 0.55, 0.72)), view, cut.result())
    return figure


def _stretch(view, cells: int):
    first = view._first_query
    left, top, right, bottom = (round(edge) for edge in view.view)
    rows = range(top - first, max(bottom, top + 1) - first)
    columns = range(left, max(right, left + 1))
    how = dict(cells=cells, pooling=view.pooling, **view._counted)
    return view._pyramid.cut(view.layer, view.head, rows, columns, **how)


def _heads(view) -> list[np.ndarray]:
    heads, how = range(view._source.shape[1]), dict(pooling=view.pooling, **view._counted)
    return [view._pyramid.thumbnail(view.layer, head, **how) for head in heads]


def _lengths(view, start: int, count: int, side: float) -> np.ndarray:
    """Return how many keys rows of cells see from query ``start`` on, as their middles do.

    No window hides a memory; ``length`` of ``static/attention.js`` is the same rule.
    """
    queries = start + (np.arange(count) + 0.5) * side - 0.5
    memory, windows = view.offers["memory"], view.offers["windows"]
    window = windows[view.layer] if windows else None
    return memory + np.minimum(queries + 1 - memory, window or np.inf)


def _draw_stretch(figure, axes, view, cut) -> None:
    codes, row, column, side = cut
    first = view._first_query
    lengths = _lengths(view, row + first, len(codes), side)
    few = max(codes.shape) <= _FEW and side == 1
    names = [
        [short(view._name(start + n)) if few else "" for n in range(count)]
        for start, count in zip((row + first, column), codes.shape, strict=True)
    ]
    draw_matrix(axes, codes, scale=view._colours, rows=names[0], columns=names[1], lengths=lengths)
    if not few:
        for axis, start, count in (
            (axes.yaxis, row + first, len(codes)),
            (axes.xaxis, column, codes.shape[1]),
        ):
            places = _round_places(start, start + count * side)
            labels = [f"{place:,}" for place in places]
            axis.set_ticks([(place - start) / side for place in places], labels, rotation=0)
    if view.query >= 0:
        at = (view.query - first - row) // side
        over = (view.key - column) // side if view.key >= column else -1
        if 0 <= at < len(codes):
            mark_cell(axes, codes, row=at, column=over if over < codes.shape[1] else -1)
    memory = view.offers["memory"]
    if column < memory < column + codes.shape[1] * side:
        edge = (memory - column) / side - 0.5
        axes.axvline(edge, color="black", linewidth=1.5)
        axes.text(edge, 0, "memory ", va="top", ha="right", size=10)
    how = "" if side == 1 else f", {view.pooling} of {side} × {side}"
    how += ", sink hidden" * view.hide_sink + ", by value norm" * view.by_value_norm
    axes.set_title(f"Layer {view.layer}, head {view.head}{how}")
    axes.set(ylabel="query", xlabel="key")
    axes.xaxis.set_label_position("top")
    bar = figure.add_axes((0.08, 0.1, 0.55, 0.03))
    paint_scale(bar, view._colours)
    bar.tick_params(length=0, labelsize=11)
    bar.set_xlabel(f"{MEANING[view._colours]}; hatched: masked", fontsize=11)


def _round_places(start: int, stop: int) -> list[int]:
    """Return about six round numbers from ``start`` up to, and without, ``stop``."""
    step = 10 ** np.floor(np.log10(max((stop - start) / 6, 1)))
    step = int(
        next(step * times for times in (1, 2, 5, 10) if (stop - start) / (step * times) <= 8)
    )
    return list(range(-(-start // step) * step, stop, step))


def _draw_heads(axes, view, pictures: list[np.ndarray]) -> None:
    """Draw all heads of the layer side by side, the chosen one framed."""
    from matplotlib.patches import Rectangle

    across = int(np.ceil(np.sqrt(len(pictures))))
    (high, wide), gap = pictures[0].shape, max(2, pictures[0].shape[1] // 16)
    down = -(-len(pictures) // across)
    sheet = np.zeros((down * (high + gap) - gap, across * (wide + gap) - gap, 4), np.uint8)
    side = view._source.shape[3] / wide
    lengths = _lengths(view, view._first_query, high, side)
    axes.set_axis_off()
    for head, codes in enumerate(pictures):
        y, x = head // across * (high + gap), head % across * (wide + gap)
        sheet[y : y + high, x : x + wide] = colours(codes, view._colours, lengths)
        if head == view.head:
            box = (x - 0.5 - gap / 2, y - 0.5 - gap / 2)
            frame = Rectangle(box, wide + gap, high + gap, fill=False, edgecolor="#D55E00")
            frame.set(linewidth=2.5, clip_on=False, zorder=3)
            axes.add_patch(frame)
        axes.text(x + wide - 1, y, str(head), ha="right", va="top", size=10, color="#1b1b1b")
    axes.imshow(sheet, interpolation="nearest")
    axes.set_title(f"Heads of layer {view.layer}")
