"""Static figures: one colour a method, one way to show a figure with its description.

Notebooks read on GitHub have no live views, and a picture says nothing to a
screen reader, so every figure is a small PNG with a sentence beside it. Nothing
here changes matplotlib's settings outside ``style``.
"""

import base64
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100

# Okabe and Ito's palette, which stays distinct for colour-blind readers; the two
# blues also differ in lightness.
METHOD_COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "plain": "#0072B2",
        "truncated": "#D55E00",
        "retrieval": "#009E73",
        "map_reduce": "#CC79A7",
        "margins": "#E69F00",
        "memory": "#56B4E9",
    }
)
"""The colour of each method, the same in every figure of the course."""


@contextmanager
def style() -> Iterator[None]:
    """Draw readably on a projector: large type, thick lines, no frame; for figures made inside."""
    import matplotlib as mpl
    from cycler import cycler

    settings = {
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.labelsize": 13,
        "axes.prop_cycle": cycler(color=list(METHOD_COLOURS.values())),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 14,
        "figure.constrained_layout.use": True,
        "figure.figsize": (6.5, 3.6),
        "font.family": "DejaVu Sans",  # comes with matplotlib, so the same everywhere
        "font.size": 12,
        "grid.alpha": 0.3,
        "legend.fontsize": 12,
        "legend.frameon": False,
        "lines.linewidth": 2.5,
        "lines.markersize": 8,
        "xtick.labelsize": 12,
        "ytick.labelsize": 12,
    }
    with mpl.rc_context(settings):
        yield


def bare_bars(axes) -> None:
    """Leave lying bars without ticks, grid or a lower line, for their labels tell the numbers."""
    axes.set_xticks([])
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["bottom"].set_visible(False)


def png(figure: "Figure") -> bytes:
    """Return the figure as PNG at 100 dots an inch; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    # Without the entry for the software no version of matplotlib stands in the file.
    # A figure that says where everything stands need not be drawn twice to find its edges.
    edges = None if figure.get_layout_engine() is None else "tight"
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches=edges, metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: "Figure") -> bytes:
    """Return the figure as SVG, its letters as shapes; the same figure gives the same bytes."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    # The salt takes the place of chance in the names inside the file.
    with mpl.rc_context({"svg.hashsalt": "longctx_edu", "svg.fonttype": "path"}):
        facts = {"Date": None, "Creator": None}
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata=facts)
    return buffer.getvalue()


def legible(text: str) -> str:
    """Return a token's text as a figure can write it: one line, every character in its font.

    Line ends, tabs and spaces alone become signs; what DejaVu Sans lacks (Chinese, most
    emoji) becomes a square; nothing at all becomes a small one. Write it with
    ``parse_math=False``, or two dollar signs would make a formula of it.
    """
    if text and not text.strip(" "):
        text = text.replace(" ", "␣")
    text = text.replace("\r\n", "\n").translate({10: "⏎", 13: "⏎", 9: "⇥"})
    known = _characters_of_the_font()
    shown = "".join(one if ord(one) in known and ord(one) >= 32 else "□" for one in text)
    return shown or "▫"


@cache
def _characters_of_the_font() -> frozenset[int]:
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())


def show(figure: "Figure", description: str) -> None:
    """Display a figure once, print what there is to see in it, and close it.

    The description is also the picture's alternative text. Outside a notebook
    only the description is printed.

    Args:
        figure: a matplotlib figure.
        description: one line that tells what a reader sees, not what was drawn:
            "memory stays flat while the plain prompt grows with the text".

    Raises:
        ValueError: if the description is empty or has several lines.
    """
    if not isinstance(description, str) or not description.strip() or "\n" in description.strip():
        raise ValueError(
            f"A figure is shown with one line that says what there is to see, not {description!r}."
        )
    description = description.strip()
    from IPython import get_ipython

    if get_ipython() is not None:
        from IPython.display import display

        display(
            {
                "image/png": base64.b64encode(png(figure)).decode("ascii"),
                "text/plain": description,
            },
            metadata={"image/png": {"alt": description}},
            raw=True,
        )
    print(f"Figure: {description}")
    _close(figure)


def _close(figure: "Figure") -> None:
    # An open pyplot figure would be shown a second time at the end of the cell.
    import matplotlib.pyplot as plt

    plt.close(figure)
