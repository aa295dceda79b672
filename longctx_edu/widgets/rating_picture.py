"""The static twin of ``RatingView``: how often each rating was given.

One row of bars for each method, or for all together while a person is still rating blind.
"""

from collections.abc import Mapping, Sequence

from longctx_edu.widgets.plots import bare_bars, legible, style


def draw_ratings(given: Mapping[str, Sequence[int]], names: Mapping[int, str], *, title: str):
    """Draw bars of how often each rating was given, one field for each method.

    Args:
        given: the ratings of each method, or of any other group.
        names: of the ratings, in the order of the bars.
        title: one line.

    Returns:
        a matplotlib figure.
    """
    import matplotlib.pyplot as plt

    with style():
        figure, fields = plt.subplots(
            1,
            len(given),
            figsize=(max(6.0, 3.4 * len(given)), 1.6 + 0.4 * len(names)),
            sharex=True,
            sharey=True,
            squeeze=False,
        )
        for axes, (group, ratings) in zip(fields[0], given.items(), strict=True):
            counts = [ratings.count(number) for number in names]
            bars = axes.barh(list(names.values()), counts, color="#0a5fd6")
            axes.bar_label(bars, [str(count) for count in counts], padding=4)
            axes.set_xlim(0, max(1, *map(len, given.values())) * 1.15)
            axes.set_title(legible(group), parse_math=False)
            bare_bars(axes)
        fields[0][0].invert_yaxis()  # shared: once turns all of them
        figure.suptitle(title, parse_math=False)
    return figure
