"""A matrix of attention weights as a static picture: the twin of ``static/heat.js``.

Colours come from the same codes by the same scales as in the browser (cividis, Nuñez,
Anderton and Renslow 2018), so that picture and live view never disagree. It knows axes
and labels, and nothing of models.
"""

from collections.abc import Sequence

import numpy as np

from longctx_edu.errors import LongctxError
from longctx_edu.widgets.plots import legible
from longctx_edu.widgets.sources import MASKED, OCTAVES

RELATIVE_OCTAVES = {"relative": 6, "wide": 10}
MASS_OCTAVES = 12

TICKS = {
    "relative": ("1/64", "1/8", "even", "×8", "×64"),
    "log": ("2⁻²⁰", "2⁻¹⁵", "2⁻¹⁰", "2⁻⁵", "1"),
    "linear": ("0", "0.25", "0.5", "0.75", "1"),
    "mass": ("0.0002", "0.002", "0.016", "0.12", "1"),
    "wide": ("1/1024", "1/32", "even", "×32", "×1024"),
}
"""What stands at five even places of each scale."""

MEANING = {
    "relative": "weight ÷ even share",
    "wide": "weight ÷ even share",
    "log": "weight, each step the same ratio",
    "linear": "weight",
    "mass": "share of the attention",
}

MARK = "#D55E00"


def weights_of(codes: np.ndarray) -> np.ndarray:
    """Return the weights that codes stand for, to within 3 %; 0 where masked."""
    weights = 2.0 ** ((codes.astype(np.float64) - 1) * (OCTAVES / 254) - OCTAVES)
    return np.where(codes == MASKED, 0.0, weights)


def shares(weights: np.ndarray, scale: str, lengths: np.ndarray) -> np.ndarray:
    """Say how far up a colour scale weights stand, from 0 to 1.

    Args:
        weights: of any shape.
        scale: ``log`` (2 to the -20 up to 1), ``mass`` (2 to the -12 up to 1, for sums over
            many keys), ``linear`` (0 to 1), or ``relative``: the weight against 1/length,
            attention spread evenly, which is the middle; ``wide`` is the same for long texts,
            up to 1,024 times as much.
        lengths: how many keys each row may see, in a shape that broadcasts to the weights.

    Raises:
        LongctxError: for another scale.
    """
    if scale not in TICKS:
        raise LongctxError(f"A colour scale is one of {', '.join(TICKS)}, not {scale!r}.")
    if scale == "linear":
        return np.clip(weights, 0, 1)
    with np.errstate(divide="ignore"):
        if octaves := RELATIVE_OCTAVES.get(scale):
            return np.clip((np.log2(weights * lengths) / octaves + 1) / 2, 0, 1)
        octaves = MASS_OCTAVES if scale == "mass" else OCTAVES
        return np.clip((np.log2(weights) + octaves) / octaves, 0, 1)


def colours(codes: np.ndarray, scale: str, lengths: np.ndarray | None = None) -> np.ndarray:
    """Return the colours of a whole matrix of codes, (rows, columns, 4) bytes; masked is clear.

    Args:
        codes: (rows, columns).
        scale: as for ``shares``.
        lengths: how many keys each row may see, (rows,); without it, as many as are not masked.
    """
    import matplotlib as mpl

    if lengths is None:
        lengths = (codes != MASKED).sum(axis=1)
    lengths = np.asarray(lengths)[:, None]
    place = np.floor(shares(weights_of(codes), scale, lengths) * 255 + 0.5).astype(int)
    palette = np.rint(np.array(mpl.colormaps["cividis"].colors) * 255).astype(np.uint8)
    clear = np.where(codes == MASKED, 0, 255).astype(np.uint8)
    return np.concatenate([palette[place], clear[..., None]], axis=-1)


def draw_matrix(
    axes,
    codes: np.ndarray,
    *,
    scale: str,
    rows: Sequence[str],
    columns: Sequence[str],
    lengths: np.ndarray | None = None,
):
    """Draw a matrix with as many labels as fit, a pattern for masked cells, and its scale.

    Args:
        axes: matplotlib axes inside a figure of its final size.
        codes: (rows, columns).
        scale: as for ``shares``.
        rows: the label of each row.
        columns: the label of each column.
        lengths: as for ``colours``.
    """
    height, width = codes.shape
    axes.set_facecolor("white")
    axes.add_patch(_pattern(width, height))
    axes.imshow(colours(codes, scale, lengths), interpolation="nearest", aspect="auto", zorder=2)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    axes.grid(visible=False)
    inches = axes.figure.get_size_inches()
    _label(axes.yaxis, rows, inches[1] * 4.4, rotation=0)
    _label(axes.xaxis, columns, inches[0] * 3, rotation=90)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=10)
    axes.spines[["right", "top"]].set_visible(True)


def draw_scale(figure, axes, scale: str, *, unseen: str = "masked") -> None:
    """Draw the colour scale under the axes, with what its places and the pattern mean."""
    from matplotlib.colorbar import make_axes

    bar, _ = make_axes(axes, location="bottom", fraction=0.05, pad=0.02, aspect=36)
    paint_scale(bar, scale)
    bar.tick_params(labelsize=11)
    bar.spines[:].set_visible(True)
    bar.set_xlabel(f"{MEANING[scale]}; hatched: {unseen}", fontsize=11)


def paint_scale(axes, scale: str) -> None:
    """Fill axes with a colour scale, from left to right, and say what its five places mean."""
    axes.imshow(np.arange(256)[None], cmap="cividis", aspect="auto", extent=(0, 1, 0, 1))
    axes.set_xticks(np.linspace(0, 1, 5), TICKS[scale])
    axes.set_yticks([])
    axes.grid(visible=False)


def mark_cell(axes, codes: np.ndarray, *, row: int = -1, column: int = -1) -> None:
    """Draw a frame around a row and, if one is given, around its cell."""
    from matplotlib.patches import Rectangle

    if row < 0:
        return
    # The frame lies around its cells, so that it hides none of a thin row.
    across, along = axes.figure.get_size_inches() * axes.figure.dpi / codes.shape[::-1]
    wide, high = 5 / across, 5 / along
    boxes = [(-0.5, codes.shape[1], "white", 1)]
    if column >= 0:
        boxes.append((column - 0.5, 1, MARK, 2.5))
    for left, width, colour, line in boxes:
        # Dark under light shows on every colour of the scale.
        for edge, extra in (("black", 2), (colour, 0)):
            corner = (left - wide / 2, row - 0.5 - high / 2)
            frame = Rectangle(corner, width + wide, 1 + high, fill=False, edgecolor=edge)
            frame.set(linewidth=line + extra, zorder=3, clip_on=False)
            axes.add_patch(frame)


def _pattern(width: int, height: int):
    from matplotlib.patches import Rectangle

    return Rectangle(
        (-0.5, -0.5), width, height, facecolor="white", edgecolor="#b5b5b5", hatch="///", zorder=1
    )


def _label(axis, labels: Sequence[str], room: float, *, rotation: int) -> None:
    step = max(1, int(np.ceil(len(labels) / max(room, 1))))
    places = range(0, len(labels), step)
    axis.set_ticks(list(places), [short(labels[place]) for place in places], rotation=rotation)
    for tick in axis.get_ticklabels():
        tick.set_parse_math(False)


def written(weight: float) -> str:
    """Return a weight with three decimals, or two significant digits where it is small.

    ``static/colours.js`` writes the same.
    """
    if weight == 0:
        return "0"
    return f"{weight:.3f}" if weight >= 0.01 else f"{weight:#.2g}".replace("e-0", "e-")


def short(text: str, length: int = 12) -> str:
    """Return a label that a figure can write, cut to a length."""
    text = legible(text)
    return text if len(text) <= length else f"{text[: length - 1]}…"
