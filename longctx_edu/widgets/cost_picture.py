"""The static twin of ``CostExplorer``: work over the length, beside the least time to read.

It draws what ``longctx_edu.cost`` counts; times are bounds from below.
"""

from collections.abc import Mapping, Sequence
from math import inf

from longctx_edu.cost import Bounds, Estimate
from longctx_edu.widgets.plots import bare_bars, style
from longctx_edu.widgets.units import amount, duration

# As in the view: blue for the linear layers, orange for attention, grey for the rest.
LINES = (
    ("linear", "linear layers", "#0a5fd6", "-"),
    ("attention", "attention", "#c2410c", "--"),
    ("lm_head", "LM head", "#5c5c5c", ":"),
)


def draw_costs(
    estimates: Sequence[Estimate],
    *,
    now: Estimate,
    crossover: int | float,
    bounds: Mapping[str, Bounds],
    title: str,
):
    """Draw FLOPs over the length on two logarithmic axes, and bars of the least seconds.

    Args:
        estimates: one for each length of the curve.
        now: at the length that is shown.
        crossover: tokens from which on attention costs more than the linear layers.
        bounds: at the length that is shown, by the hardware's name.
        title: which model it is.

    Returns:
        a matplotlib figure.
    """
    import matplotlib.pyplot as plt

    with style():
        figure, (work, times) = plt.subplots(1, 2, figsize=(11.6, 4.6), width_ratios=(3, 2))
        lengths = [one.tokens for one in estimates]
        for part, name, colour, dash in LINES:
            amounts = [getattr(one.prefill, part) for one in estimates]
            work.plot(lengths, amounts, color=colour, linestyle=dash, label=name)
        work.axvline(now.tokens, color="#999999", linewidth=1.5)
        if crossover < inf and lengths[0] <= crossover <= lengths[-1]:
            height = _between(lengths, [one.prefill.attention for one in estimates], crossover)
            work.plot([crossover], [height], "o", color="black")
            work.annotate(
                f"{crossover:,.0f} tokens",
                (crossover, height),
                xytext=(8, -16),
                textcoords="offset points",
            )
        work.set(xscale="log", yscale="log", xlabel="tokens of the text", ylabel="FLOPs to read it")
        shown = lengths[::5]
        work.set_xticks(shown, [f"{length:,}" for length in shown])
        work.set_xticks([], minor=True)
        work.set_title(title, parse_math=False)
        work.legend()
        _draw_times(times, now, bounds)
    return figure


def _draw_times(axes, now: Estimate, bounds: Mapping[str, Bounds]) -> None:
    names = [name if one.holds else f"{name}\n(does not fit)" for name, one in bounds.items()]
    seconds = [one.prefill for one in bounds.values()]
    bars = axes.barh(names, seconds, color="#5c5c5c")
    axes.bar_label(bars, [f"≥ {duration(one)}" for one in seconds], padding=4)
    least, most = min(seconds), max(seconds)
    axes.set(xscale="log", xlim=(least / 10, most * 30))
    axes.set_xticks([], minor=True)
    axes.invert_yaxis()
    bare_bars(axes)
    work = amount(now.prefill.total, "FLOP")
    axes.set_title(f"Least time to read {now.tokens:,} tokens\n({work}; logarithmic bars)")


def _between(numbers: Sequence[int], amounts: Sequence[int], number: float) -> float:
    """Return the height of the drawn line at a number, straight between its neighbours."""
    import numpy as np

    return float(np.exp(np.interp(np.log(number), np.log(numbers), np.log(amounts))))
