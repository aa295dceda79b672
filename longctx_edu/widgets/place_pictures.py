"""Pictures of what position does: right answers by place, attention by tenth of a text.

What is drawn was measured or recorded; nothing here makes up a curve.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from longctx_edu.widgets.plots import style

PLACE_NAMES = {0.0: "first", 0.25: "¼", 0.5: "middle", 0.75: "¾", 1.0: "last"}


def curves_by_place(
    panels: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]],
    *,
    levels: Mapping[str, Mapping[str, float]] | None = None,
):
    """Draw the share of right answers over the place of the line that is asked for.

    Args:
        panels: by the panel's name, then by the line's name, a row for each place with ``place``,
            ``right`` and the ends of its interval, ``low`` and ``high``.
        levels: by the panel's name, then by their own, shares that know no place, such as a
            floor and a ceiling; broken lines.

    Returns:
        a matplotlib figure.
    """
    import matplotlib.pyplot as plt

    with style():
        size = (6.8, 4.0) if len(panels) == 1 else (4.8 * len(panels), 4.0)
        figure, row = plt.subplots(1, len(panels), figsize=size, squeeze=False, sharey=True)
        for axes, (title, lines) in zip(row[0], panels.items(), strict=True):
            for number, (name, rows) in enumerate(lines.items()):
                # A little to the side of one another, so that intervals do not cover each other.
                places = [row["place"] + 0.02 * (number - (len(lines) - 1) / 2) for row in rows]
                right = [row["right"] for row in rows]
                down = [row["right"] - row["low"] for row in rows]
                up = [row["high"] - row["right"] for row in rows]
                axes.errorbar(
                    places, right, yerr=(down, up), marker="os^D"[number % 4], capsize=4, label=name
                )
            for number, (name, share) in enumerate((levels or {}).get(title, {}).items()):
                dashes = (":", "--")[number % 2]
                axes.axhline(share, color="#666666", linestyle=dashes, linewidth=2, label=name)
            axes.set(
                title=title, xlabel="place of the line", xlim=(-0.08, 1.08), ylim=(-0.03, 1.03)
            )
            axes.set_xticks([*PLACE_NAMES], [*PLACE_NAMES.values()])
        row[0][0].set_ylabel("share right")
        handles, names = row[0][0].get_legend_handles_labels()
        if len(names) > 1:  # below, since curves may go anywhere
            figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure


def attention_by_tenth(
    summed: Sequence[float], typical: Sequence[float], *, ylabel: str = "share of attention"
):
    """Draw where the question looks: each tenth's sum, and what its typical token gets.

    Args:
        summed: attention on each part of the text.
        typical: the median over each part's tokens, times their number.

    Returns:
        a matplotlib figure.
    """
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(figsize=(7.6, 3.6))
        numbers = range(1, len(summed) + 1)
        axes.bar(numbers, summed, width=0.8, color="#B9D6EA", label="sum")
        axes.bar(numbers, typical, width=0.5, color="#0072B2", label="typical token × tokens")
        axes.set(xlabel="tenth of the text", ylabel=ylabel)
        axes.set_xticks([*numbers])
        axes.set_ylim(0, 1.35 * max(*summed, *typical))
        axes.grid(visible=False, axis="x")
        axes.legend(loc="upper center", ncols=2)
    return figure
