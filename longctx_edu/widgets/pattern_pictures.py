"""Pictures of patterns: which keys a query may see, and what a model makes of it.

They draw masks and numbers that were worked out elsewhere (``attention.patterns``,
``evaluation.pattern_quality``), and know nothing of models.
"""

from collections.abc import Mapping, Sequence

from longctx_edu.widgets.plots import METHOD_COLOURS, bare_bars, style

ALLOWED, LATER = METHOD_COLOURS["plain"], "#E6E6E6"
_IN_A_ROW = 4


def masks(patterns: Mapping[str, Sequence[Sequence[bool]]]):
    """Draw each pattern as a square: a row for each query, a column for each key.

    Blue is seen, white is left out, and grey comes later, which no language model sees.

    Args:
        patterns: by name, true where the query may see the key, ``(tokens, tokens)``.

    Returns:
        a matplotlib figure; over each square the share of the earlier keys that is seen.
    """
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.colors import ListedColormap

    tall = -(-len(patterns) // _IN_A_ROW)
    wide = -(-len(patterns) // tall)
    with style():
        figure, grid = plt.subplots(tall, wide, figsize=(2.4 * wide, 2.7 * tall), squeeze=False)
        for axes in grid.flat[len(patterns) :]:
            axes.remove()
        for axes, (name, allowed) in zip(grid.flat, patterns.items(), strict=False):
            seen = np.asarray(allowed, dtype=bool)
            earlier = np.tri(len(seen), dtype=bool)
            cells = np.where(earlier, 1, 0) + (seen & earlier)
            axes.imshow(cells, cmap=ListedColormap([LATER, "white", ALLOWED]), vmin=0, vmax=2)
            share = (seen & earlier).sum() / earlier.sum()
            axes.set_title(f"{name}\n{share:.0%} of the pairs", fontsize=12)
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
            axes.spines[["right", "top"]].set_visible(True)
        grid[0, 0].set(xlabel="key", ylabel="query")
    return figure


def bars_by_rule(panels: Mapping[str, Mapping[str, float]], *, whole: str):
    """Draw a bar for each rule of attention, once for each thing that was measured.

    Args:
        panels: by what was measured, then by the rule's name; the same rules in each.
        whole: the rule that leaves nothing out, in another colour.

    Returns:
        a matplotlib figure, the first rule on top.
    """
    import matplotlib.pyplot as plt

    rules = list(reversed(next(iter(panels.values()))))
    colours = [METHOD_COLOURS["truncated"] if rule == whole else ALLOWED for rule in rules]
    with style():
        size = (4.8 * len(panels), 0.9 + 0.36 * len(rules))
        figure, row = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
        for axes, (measured, values) in zip(row[0], panels.items(), strict=True):
            bars = axes.barh(rules, [values[rule] for rule in rules], color=colours)
            axes.bar_label(bars, [f"{values[rule]:.3g}" for rule in rules], padding=4)
            axes.set(title=measured, xlim=(0, 1.25 * max(values.values())))
            bare_bars(axes)
    return figure
