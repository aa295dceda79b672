"""Pictures of how attention is shared out: by parts of a prompt, by layers, against what is needed.

They draw numbers that were worked out elsewhere (``attention.by_part``, ``evaluation.looks``).
"""

from collections.abc import Mapping, Sequence

from longctx_edu.widgets.plots import METHOD_COLOURS, bare_bars, style

NOTE, SOURCE, OTHER = METHOD_COLOURS["margins"], METHOD_COLOURS["retrieval"], "#8C8C8C"
_COLOURS = {"right notes": NOTE, "source": SOURCE, "wrong notes": METHOD_COLOURS["truncated"]}


def shares_of_attention(shares: Mapping[str, float]):
    """Draw a bar for each part of a prompt, the largest on top.

    Args:
        shares: by the part's name, from 0 to 1.

    Returns:
        a matplotlib figure.
    """
    import matplotlib.pyplot as plt

    parts = sorted(shares, key=shares.get)
    with style():
        figure, axes = plt.subplots(figsize=(7.5, 0.9 + 0.38 * len(parts)))
        values = [100 * shares[part] for part in parts]
        bars = axes.barh(parts, values, color=[_COLOURS.get(part, OTHER) for part in parts])
        axes.bar_label(bars, [f"{value:.1f} %" for value in values], padding=4)
        axes.set(xlabel="share of the attention", xlim=(0, 1.2 * max(values)))
        bare_bars(axes)
    return figure


def shares_by_layer(lines: Mapping[str, Sequence[float]]):
    """Draw a line for each part of a prompt over the layers of a model.

    Args:
        lines: by the part's name, a share from 0 to 1 for each layer.

    Returns:
        a matplotlib figure.
    """
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(figsize=(7.5, 3.6))
        for (part, shares), mark in zip(lines.items(), "os^D", strict=False):
            values = [100 * float(share) for share in shares]
            axes.plot(values, mark, ls="-", ms=5, color=_COLOURS.get(part, OTHER), label=part)
        axes.set(xlabel="layer", ylabel="% of the attention", ylim=(0, None))
        figure.legend(*axes.get_legend_handles_labels(), ncols=4, loc="outside upper center")
    return figure


def shares_by_head(shares: Sequence[Sequence[float]], measured: str):
    """Draw a cell for each head of each layer, the darker the larger its share.

    Args:
        shares: from 0 to 1, ``(layers, heads)``.
        measured: what is shared out, for the scale.

    Returns:
        a matplotlib figure.
    """
    import matplotlib.pyplot as plt
    import numpy as np

    cells = np.asarray(shares, dtype=float).T
    with style():
        figure, axes = plt.subplots(figsize=(7.5, 3.2))
        image = axes.imshow(cells, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        figure.colorbar(image, label=measured)
        axes.set(xlabel="layer", ylabel="head")
        axes.set_yticks(range(0, len(cells), 2))
        axes.grid(visible=False)
    return figure


def needed_against_looked_at(points: Mapping[str, tuple[Sequence[float], Sequence[float]]]):
    """Draw what is lost without a part against the attention on it, a point for each question.

    Args:
        points: by the part's name, shares of the attention from 0 to 1, and nats lost.

    Returns:
        a matplotlib figure.
    """
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(figsize=(7.5, 4))
        for (part, (shares, lost)), mark in zip(points.items(), "os^D", strict=False):
            percent = [100 * share for share in shares]
            axes.plot(
                percent, lost, mark, ms=7, alpha=0.8, color=_COLOURS.get(part, OTHER), label=part
            )
        axes.axhline(0, color="#666666", linewidth=1)
        axes.set(xlabel="% of the attention", ylabel="nats lost when hidden", xlim=(0, None))
        figure.legend(*axes.get_legend_handles_labels(), ncols=4, loc="outside upper center")
    return figure
