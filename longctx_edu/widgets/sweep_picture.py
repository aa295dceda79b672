"""The heat map of a sweep: what is found by each method, or at each depth, as the text grows.

Kamradt's picture (needle in a haystack, 2023) with two things that it lacks: several tasks, and
an interval in every square, since a few questions say little. The same picture is drawn of a
recorded sweep and, in place, of one that is under way. Nothing here measures.
"""

import base64
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.sweep_scores import DEPTHS, scored
from longctx_edu.evaluation.sweep_spec import Sweep
from longctx_edu.widgets.plots import legible, png, style

Row = Mapping[str, Any]
PANELS = ("task", "method", "model")
DOWN = ("method", "task", "depth", "model")
_COLUMNS = 3  # panels beside one another


def sweep_picture(
    cells: Sequence[Row],
    answers: Sequence[Row],
    *,
    panels: str = "task",
    down: str = "method",
):
    """Draw the mean recall over the length, a square for each group of questions.

    A square holds its mean and its 95 % interval. It is hatched where the text does not fit the
    method, and empty where nothing has been asked yet.

    Args:
        cells: with ``model``, ``method``, ``task``, ``length`` and ``refused``, as in the table
            ``cells`` of a sweep; those that are still to come too.
        answers: as in the table ``answers``.
        panels: what each panel is of, one of ``PANELS``.
        down: what its lines are, one of ``DOWN``.

    Returns:
        a matplotlib figure.

    Raises:
        LongctxError: if a square would hold several models, methods or tasks, or there is no cell.
    """
    import matplotlib.pyplot as plt

    _assert_one_each(cells, panels, down)
    names = [*dict.fromkeys(row[panels] for row in cells)]
    lengths = sorted({row["length"] for row in cells})
    lines = [*DEPTHS] if down == "depth" else [*dict.fromkeys(row[down] for row in cells)]
    found = {
        (row[panels], row[down], row["length"]): row
        for row in scored(answers, panels, down, "length")
    }
    refused = _refused(cells, panels, down, lines)
    wide, high = min(_COLUMNS, len(names)), ceil(len(names) / _COLUMNS)
    size = (
        wide * max(0.4 + 0.85 * len(lengths), 1.9) + 1.3,  # the title of a panel has its room
        high * (0.8 + 0.55 * len(lines)) + 0.4,
    )
    with style():
        figure, grid = plt.subplots(
            high, wide, figsize=size, squeeze=False, sharey=True, sharex=True
        )
        for axes, name in zip(grid.flat, names, strict=False):
            for y, line in enumerate(lines):
                for x, length in enumerate(lengths):
                    key = (name, line, length)
                    _square(axes, x, y, found.get(key), is_refused=key in refused)
            axes.set_title(legible(str(name)), parse_math=False)
            axes.set(xlim=(-0.5, len(lengths) - 0.5), ylim=(len(lines) - 0.5, -0.5))
            axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
            axes.set_yticks(range(len(lines)), [_line_name(line, down) for line in lines])
            axes.tick_params(length=0, labelbottom=True)
            axes.grid(visible=False)
            for spine in axes.spines.values():
                spine.set_visible(False)
        for axes in [*grid.flat][len(names) :]:
            axes.set_axis_off()
        figure.supxlabel("tokens of the text", fontsize=13)
    return figure


def describe_sweep(cells: Sequence[Row], answers: Sequence[Row]) -> str:
    """Say in one line how much of a sweep there is, and which method found most at each length."""
    done = len({(r["model"], r["method"], r["task"], r["length"], r["document"]) for r in answers})
    refused = sum(row["refused"] is not None for row in cells)
    best = []
    for length in sorted({row["length"] for row in answers}):
        tasks = [row for row in answers if row["length"] == length]
        rows = scored(tasks, "task", "method", "model")
        most: dict[str, list[float]] = {}
        for row in rows:
            most.setdefault(row["task"], []).append(row["recall"])
        highest = {
            (row["method"], row["task"])
            for row in rows
            if row["recall"] == max(most[row["task"]]) > 0
        }
        wins = Counter(method for method, _ in highest)
        top = max(wins.values(), default=0)
        leaders = " and ".join(sorted(name for name in wins if wins[name] == top)) or "none"
        best.append(f"at {length:,} tokens highest on {top} of {len(most)} tasks: {leaders}")
    told = "; ".join([f"{done + refused} of {len(cells)} cells, {len(answers)} answers", *best])
    return f"{told}; {refused} cells do not fit" if refused else told


class LiveSweep:
    """The heat map of a sweep that is under way, drawn in place in a notebook.

    Attributes:
        cells: all cells of the sweep, as rows.
        answers: those so far, as rows.

    Example:
        >>> from longctx_edu.evaluation import Sweep
        >>> from longctx_edu.evaluation.sweep_spec import Part
        >>> live = LiveSweep(Sweep("one", (Part(("facts",), (512,), 1),)))
        >>> live.describe()
        '0 of 6 cells, 0 answers'
    """

    def __init__(
        self, sweep: Sweep, *, panels: str = "task", down: str = "method", seconds: float = 2.0
    ):
        """Arguments as in ``sweep_picture``; drawn anew after ``seconds`` at the earliest."""
        self.cells = [{**vars(cell), "refused": None} for cell in sweep.cells]
        _assert_one_each(self.cells, panels, down)
        self.answers: list[Row] = []
        self._places = {cell: place for place, cell in enumerate(sweep.cells)}
        self._panels, self._down, self._seconds = panels, down, seconds
        self._display, self._drawn = None, -seconds

    def see(self, event) -> None:
        """Take in an event of ``run_sweep``, and draw if it is time or the end."""
        if hasattr(event, "cell"):
            self.answers += event.answers
            self.cells[self._places[event.cell]]["refused"] = event.refused
        at_end = hasattr(event, "result")
        if at_end or time.monotonic() - self._drawn >= self._seconds:
            self.draw()

    def picture(self):
        """Return what there is as a matplotlib figure."""
        return sweep_picture(self.cells, self.answers, panels=self._panels, down=self._down)

    def describe(self) -> str:
        """Say in one line what there is."""
        return describe_sweep(self.cells, self.answers)

    def draw(self) -> None:
        """Show the picture, in the place of the last one; outside a notebook nothing."""
        from IPython import get_ipython

        if get_ipython() is None:
            return
        from IPython.display import display
        from matplotlib import pyplot

        figure, said = self.picture(), self.describe()
        content = {
            "image/png": base64.b64encode(png(figure)).decode("ascii"),
            "text/plain": said,
        }
        pyplot.close(figure)
        about = {"image/png": {"alt": said}}
        if self._display is None:
            self._display = display(content, metadata=about, raw=True, display_id=True)
        else:
            self._display.update(content, metadata=about, raw=True)
        self._drawn = time.monotonic()


def _assert_one_each(cells: Sequence[Row], panels: str, down: str) -> None:
    if panels not in PANELS or down not in DOWN or panels == down:
        raise LongctxError(
            f"panels is one of {', '.join(PANELS)} and down another of {', '.join(DOWN)}, but "
            f"{panels!r} and {down!r} were given."
        )
    if not cells:
        raise LongctxError("There is no cell to draw; sweep over at least one.")
    for name in {"model", "method", "task"} - {panels, down}:
        several = [*dict.fromkeys(str(row[name]) for row in cells)]
        if len(several) > 1:
            raise LongctxError(
                f"A square would hold several {name}s ({', '.join(several)}); keep the rows of "
                f"one, or give {name!r} as panels or down."
            )


def _refused(cells: Sequence[Row], panels: str, down: str, lines: Sequence) -> set[tuple]:
    """Return the squares in which nothing fitted."""
    return {
        (row[panels], line, row["length"])
        for row in cells
        if row["refused"] is not None
        for line in (lines if down == "depth" else [row[down]])
    }


def _square(axes, x: int, y: int, row: Row | None, *, is_refused: bool) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    place = dict(xy=(x - 0.48, y - 0.47), width=0.96, height=0.94, linewidth=0)
    if row is None:
        hatch = "////" if is_refused else None
        axes.add_patch(Rectangle(**place, facecolor="#F2F2F2", edgecolor="#BBBBBB", hatch=hatch))
        return
    axes.add_patch(Rectangle(**place, facecolor=colormaps["cividis"](row["recall"])))
    ink = "black" if row["recall"] > 0.55 else "white"
    axes.text(x, y - 0.14, f"{row['recall']:.2f}", ha="center", va="center", color=ink)
    interval = f"{row['low']:.2f}–{row['high']:.2f}"
    axes.text(x, y + 0.24, interval, ha="center", va="center", color=ink, fontsize=8)


def _line_name(line, down: str) -> str:
    return f"{line:.0%} deep" if down == "depth" else legible(str(line))
