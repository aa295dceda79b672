"""A routing as a static picture: bands from senders to receivers, or cells, and the load.

The twin of ``static/routing.js`` for where nothing is alive.
"""

from collections.abc import Sequence

import numpy as np

from longctx_edu.widgets.matrix import MARK, draw_matrix, draw_scale, mark_cell, short
from longctx_edu.widgets.plots import bare_bars, style
from longctx_edu.widgets.sources import codes
from longctx_edu.widgets.units import percent

WIDTH = 8.6  # inches
WIDEST = 9  # points of the widest band
LEAST = 0.004
_BLUE, _LINE = "#0072B2", "#b5b5b5"


def draw(
    sent: np.ndarray,
    *,
    senders: Sequence[str],
    receivers: Sequence[str],
    title: str,
    form: str,
    scale: str,
    most: float,
    load: np.ndarray,
    selected: tuple[int, int],
):
    """Draw what a ``RoutingView`` shows, as a matplotlib figure.

    Args:
        sent: what each sends to each, ``(senders, receivers)``.
        title: which step it is, "" for the only one.
        form: "bands" or "cells".
        scale: of the cells' colours, as for ``matrix.shares``.
        most: what the widest band stands for.
        load: each receiver's share of all that is sent.
        selected: numbers of a sender and a receiver, -1 for none.
    """
    import matplotlib.pyplot as plt

    with style():
        rows = len(senders) * (0.28 if form == "bands" else 0.2)
        high = min(max(rows, len(receivers) * 0.36, 1.6), 8) + (0.5 if form == "bands" else 1.6)
        figure, (left, bars) = plt.subplots(
            1, 2, figsize=(WIDTH, high), width_ratios=(3, 1.5), squeeze=True
        )
        if form == "bands":
            _draw_bands(left, sent, senders, receivers, most, selected)
            order = _heights(len(receivers))
        else:
            found = codes(sent, sent > 0)
            draw_matrix(left, found, scale=scale, rows=senders, columns=receivers)
            draw_scale(figure, left, scale, unseen="nothing")
            mark_cell(left, found, row=selected[0], column=selected[1])
            order = -np.arange(len(receivers), dtype=float)
        _draw_load(bars, order, receivers, load, selected[1], named=form == "cells")
        left.set_title(title.capitalize(), parse_math=False)
    return figure


def _heights(count: int) -> np.ndarray:
    """Return where the middles of so many names stand, from the top, 1, to the bottom, 0."""
    return 1 - (np.arange(count) + 0.5) / count


def _draw_bands(axes, sent, senders, receivers, most, selected) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    froms, tos = _heights(len(senders)), _heights(len(receivers))
    for side, x, names, places in (
        ("right", -0.02, senders, froms),
        ("left", 1.02, receivers, tos),
    ):
        for number, (name, y) in enumerate(zip(names, places, strict=True)):
            own = number == selected[0 if side == "right" else 1]
            axes.text(
                x, y, short(name, 22), ha=side, va="center", size=10, parse_math=False,
                color=MARK if own else "#1b1b1b", weight="bold" if own else "normal",
            )  # fmt: skip
    wanted = [(n if n >= 0 else None) for n in selected]
    for (sender, receiver), weight in sorted(np.ndenumerate(sent), key=lambda pair: pair[1]):
        share = weight / most
        if share <= LEAST:
            continue
        y, z = froms[sender], tos[receiver]
        path = Path([(0, y), (0.5, y), (0.5, z), (1, z)], [Path.MOVETO] + [Path.CURVE4] * 3)
        pairs = zip(wanted, (sender, receiver), strict=True)
        own = wanted != [None, None] and all(one in (None, n) for one, n in pairs)
        pale = wanted != [None, None] and not own
        axes.add_patch(
            PathPatch(
                path,
                fill=False,
                lw=max(0.6, WIDEST * share),
                capstyle="butt",
                edgecolor=MARK if own else _LINE if pale else _BLUE,
                alpha=0.25 + 0.6 * share,
            )  # fmt: skip
        )


def _draw_load(axes, places, receivers, load, selected, *, named: bool) -> None:
    step = abs(places[0] - places[-1]) / max(len(places) - 1, 1) or 1
    colours = [MARK if n == selected else _BLUE for n in range(len(load))]
    bars = axes.barh(places, load, height=0.55 * step, color=colours)
    axes.bar_label(bars, [percent(share) for share in load], padding=4, fontsize=10)
    names = [short(name, 16) for name in receivers] if named else [""] * len(receivers)
    axes.set_yticks(places, names, fontsize=10)
    for tick in axes.get_yticklabels():
        tick.set_parse_math(False)
    if not named:
        axes.set_ylim(0, 1)
    axes.set(xlim=(0, 1.3 * max(load.max(), 1e-9)))
    axes.set_title("Load", fontsize=12)
    bare_bars(axes)
