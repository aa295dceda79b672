"""Pictures of what ``longctx bench margins`` recorded: verdicts against chance, gains over plain.

An ROC curve shows a verdict at every threshold (Fawcett 2006, section 2); a gain is drawn with
its interval, so that what may be chance can be seen. Nothing is measured here.
"""

from collections.abc import Sequence

from longctx_edu.evaluation.figures import Result
from longctx_edu.widgets.plots import METHOD_COLOURS, style

_GREY = "#666666"


def roc_curves(result: Result, *, task: str = "facts"):
    """Draw the ROC curve of each verdict that scores notes; return a matplotlib figure.

    Args:
        result: with the tables ``roc`` and ``verdicts``.
        task: whose areas stand in the legend.
    """
    import matplotlib.pyplot as plt

    areas = {row["verdict"]: row["auc"] for row in _rows(result, "verdicts", task)}
    with style():
        figure, axes = plt.subplots(figsize=(6.8, 4.2))
        scored = [name for name, area in areas.items() if area is not None]
        for name in sorted(scored, key=areas.get, reverse=True):
            points = [row for row in result.tables["roc"] if row["verdict"] == name]
            axes.plot(
                [row["false_positives"] for row in points],
                [row["true_positives"] for row in points],
                label=f"{name}, {areas[name]:.2f}",
            )
        chance = dict(color=_GREY, linestyle="--", linewidth=1.5, label="guessing, 0.50")
        axes.plot([0, 1], [0, 1], **chance)
        axes.set(
            xlabel="of other segments, share kept",
            ylabel="of relevant segments, share kept",
            aspect="equal",
        )
        figure.legend(loc="outside right upper", title="verdict, AUC")
    return figure


def describe_roc(result: Result, *, task: str = "facts") -> str:
    """Say in one line how well the verdicts rank relevant segments before others."""
    rows = [row for row in _rows(result, "verdicts", task) if row["auc"] is not None]
    rows.sort(key=lambda row: -row["auc"])
    areas = ", ".join(f"{row['verdict']} {row['auc']:.2f}" for row in rows)
    return f"area under the curve by verdict, where 0.50 is guessing: {areas}"


def gains_over_plain(result: Result, ways: Sequence[str] = ()):
    """Draw for each task what each way gains over the plain prompt, with its 95 % interval.

    Args:
        result: with the table ``quality``.
        ways: which ones, from the top; all but the plain prompt if none is named.

    Returns:
        a matplotlib figure.
    """
    import matplotlib.pyplot as plt

    tasks = list(dict.fromkeys(row["task"] for row in result.tables["quality"]))
    shown = list(ways) or _ways(result)
    with style():
        size = (2.6 + 2.9 * len(tasks), 1.2 + 0.36 * len(shown))
        figure, row = plt.subplots(
            1, len(tasks), figsize=size, sharex=True, sharey=True, squeeze=False
        )
        for axes, task in zip(row[0], tasks, strict=True):
            by_way = {one["way"]: one for one in _rows(result, "quality", task)}
            for n, one in enumerate(map(by_way.get, shown)):
                if one is None:
                    continue
                colour = METHOD_COLOURS["margins" if one["way"] == "margins" else "plain"]
                axes.plot([one["gain_low"], one["gain_high"]], [n, n], color=colour)
                axes.plot([one["gain"]], [n], marker="o", color=colour)
            axes.axvline(0, color=_GREY, linewidth=1.5)
            axes.set(title=f"{task}, n = {next(iter(by_way.values()))['n']}")
            axes.set_yticks(range(len(shown)), shown)
            axes.grid(visible=False, axis="y")
        row[0][0].invert_yaxis()
        figure.supxlabel("share of right answers, more than by the plain prompt", fontsize=13)
    return figure


def describe_gains(result: Result, way: str = "margins") -> str:
    """Say in one line what a way gains over the plain prompt in each task."""
    parts = [
        f"{row['task']} {row['gain']:+.2f} ({row['gain_low']:+.2f} to {row['gain_high']:+.2f})"
        for row in result.tables["quality"]
        if row["way"] == way
    ]
    return f"gain of {way} over the plain prompt: {'; '.join(parts)}"


def _ways(result: Result) -> list[str]:
    ways = dict.fromkeys(row["way"] for row in result.tables["quality"])
    return [way for way in ways if way != "plain"]


def _rows(result: Result, table: str, task: str) -> list[dict]:
    return [row for row in result.tables[table] if row["task"] == task]
