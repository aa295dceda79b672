"""Pictures of results, for notebooks and for README: bars of methods, lines over lengths.

``python -m longctx_edu.widgets.pictures`` draws README's picture anew; a test
holds the saved one equal to what the record says.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from longctx_edu.evaluation.figures import Result
from longctx_edu.evaluation.recorded import recorded
from longctx_edu.widgets.plots import METHOD_COLOURS, bare_bars, png, style

README_PICTURE = Path("notebooks", "images", "start.png")


def right_and_read(result: Result):
    """Draw, for every method of ``longctx bench start``, right answers and tokens read.

    Returns a matplotlib figure: bars of right answers, with the tokens that one
    question takes beside them.
    """
    import matplotlib.pyplot as plt

    rows = list(reversed(_methods(result)))
    with style():
        figure, (right, read) = plt.subplots(1, 2, figsize=(9.6, 4.0), sharey=True)
        names = [f"{row['method']}\n{row['text']}" for row in rows]
        colours = [METHOD_COLOURS[row["method"]] for row in rows]
        counts = [round(row["right"] * row["questions"]) for row in rows]
        bars = right.barh(names, counts, color=colours)
        right.bar_label(
            bars,
            [f"{n} of {row['questions']}" for n, row in zip(counts, rows, strict=True)],
            padding=4,
        )
        right.set(title="Right answers", xlim=(0, max(row["questions"] for row in rows) * 1.3))
        tokens = [_tokens(row) for row in rows]
        bars = read.barh(names, tokens, color=colours)
        read.bar_label(bars, [f"{n:,.0f}" for n in tokens], padding=4)
        read.set(title="Tokens worked on for a question", xlim=(0, max(tokens) * 1.3))
        bare_bars(right)
        bare_bars(read)
    return figure


def describe(result: Result) -> str:
    """Say in one line what ``right_and_read`` shows."""
    parts = [
        f"{row['method']} ({row['text']}) {round(row['right'] * row['questions'])} of "
        f"{row['questions']} right with {_tokens(row):,.0f} tokens a question"
        for row in _methods(result)
    ]
    return "; ".join(parts)


def lines_by_length(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    *,
    log: bool = False,
    marks: Mapping[str, float] | None = None,
):
    """Draw lines over the length of a text; each panel's name is what its lines measure.

    Args:
        panels: by what is measured, then by the line's name, ``(tokens, values)``.
        log: whether both axes are logarithmic, where a power of the length is a straight
            line; else values begin at 0.
        marks: lengths to mark by an upright line in every panel, by name.

    Returns:
        a matplotlib figure.
    """
    import matplotlib.pyplot as plt

    with style():
        size = (6.8, 3.6) if len(panels) == 1 else (4.8 * len(panels), 3.4)
        figure, row = plt.subplots(1, len(panels), figsize=size, squeeze=False)
        for axes, (measured, lines) in zip(row[0], panels.items(), strict=True):
            for (name, (tokens, values)), mark in zip(lines.items(), "osD^v", strict=False):
                axes.plot(tokens, values, marker=mark, markersize=6, label=name)
            for name, length in (marks or {}).items():
                axes.axvline(length, color="#666666", linestyle="--", label=name)
            axes.set(xlabel="tokens of the text", ylabel=measured)
            if log:
                axes.set(xscale="log", yscale="log")
            else:
                axes.set_ylim(0, 1.1 * max(max(values) for _, values in lines.values()))
            lengths = sorted({length for tokens, _ in lines.values() for length in tokens})
            shown = lengths[:: -max(1, -(-len(lengths) // 5))]  # the longest for certain
            axes.set_xticks(shown, [f"{length:,.0f}" for length in shown])
            axes.set_xticks([], minor=True)
            if len(lines) > 1 or marks:
                axes.legend()
    return figure


def _methods(result: Result) -> list[dict]:
    return [table[0] for name, table in result.tables.items() if name.startswith("method.")]


def _tokens(row: dict) -> float:
    """Tokens worked on for one question, with its share of what was read before any."""
    return row["tokens_to_prepare"] / row["questions"] + row["tokens_a_question"]


def draw(root: Path = Path()) -> Path:
    """Write README's picture; return its path."""
    path = root / README_PICTURE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(right_and_read(recorded("start"))))
    return path


if __name__ == "__main__":
    print(draw())
