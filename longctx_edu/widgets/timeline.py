"""The cache as margins come and go: what it holds at each moment, from top to bottom.

Writing in the Margins reads, asks, writes and rolls back (Russak et al. 2024, algorithm 1); one
bar a moment shows that the text alone stays. What the numbers are is measured elsewhere.
"""

from collections.abc import Sequence
from typing import NamedTuple

from longctx_edu.widgets.plots import METHOD_COLOURS, style

_KINDS = {
    "text": METHOD_COLOURS["plain"],
    "request": "#999999",
    "margin": METHOD_COLOURS["margins"],
}


class Moment(NamedTuple):
    """What was done last, and the tokens that the cache holds of each kind after it."""

    done: str
    text: int
    request: int = 0
    margin: int = 0

    @property
    def tokens(self) -> int:
        """All tokens in the cache."""
        return self.text + self.request + self.margin


def cache_timeline(moments: Sequence[Moment]):
    """Draw a bar for each moment, the first on top, as long as the cache has tokens.

    Raises:
        ValueError: if there is no moment.
    """
    if not moments:
        raise ValueError("A timeline has one moment at least, and none was given.")
    import matplotlib.pyplot as plt

    places = range(len(moments))
    with style():
        figure, axes = plt.subplots(figsize=(8.4, 0.8 + 0.3 * len(moments)))
        start = [0] * len(moments)
        for kind, colour in _KINDS.items():
            sizes = [getattr(moment, kind) for moment in moments]
            axes.barh(places, sizes, left=start, color=colour, height=0.75, label=kind)
            start = [a + b for a, b in zip(start, sizes, strict=True)]
        for place, total in zip(places, start, strict=True):
            axes.annotate(f"{total:,}", (total, place), (5, 0), textcoords="offset points",
                          va="center")  # fmt: skip
        axes.set_yticks(places, [moment.done for moment in moments])
        axes.set_ylim(len(moments) - 0.4, -0.6)  # the first on top
        axes.set(xlabel="tokens in the cache", xlim=(0, 1.12 * max(start)))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper right", ncols=len(_KINDS))
    return figure
