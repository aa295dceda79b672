"""Pictures drawn from recorded results, for notebooks and for README.

``python -m longctx_edu.widgets.pictures`` draws README's picture anew; a test
holds the saved one equal to what the record says.
"""

from pathlib import Path

from longctx_edu.evaluation.figures import Result
from longctx_edu.evaluation.recorded import recorded
from longctx_edu.widgets.plots import METHOD_COLOURS, png, style

README_PICTURE = Path("notebooks", "images", "start.png")


def right_and_read(result: Result):
    """Draw, for every method of ``longctx bench start``, right answers and tokens read.

    Returns a matplotlib figure: bars of right answers, with the tokens that one
    question takes beside them.
    """
    import matplotlib.pyplot as plt

    rows = list(reversed(_methods(result)))
    with style():
        figure, (right, read) = plt.subplots(1, 2, figsize=(9.6, 3.4), sharey=True)
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
        right.set_xticks([])
        tokens = [_tokens(row) for row in rows]
        bars = read.barh(names, tokens, color=colours)
        read.bar_label(bars, [f"{n:,.0f}" for n in tokens], padding=4)
        read.set(title="Tokens worked on for a question", xlim=(0, max(tokens) * 1.3))
        read.set_xticks([])
        for axes in (right, read):
            axes.grid(visible=False)
            axes.tick_params(axis="y", length=0)
            axes.spines["bottom"].set_visible(False)
    return figure


def describe(result: Result) -> str:
    """Say in one line what ``right_and_read`` shows."""
    parts = [
        f"{row['method']} ({row['text']}) {round(row['right'] * row['questions'])} of "
        f"{row['questions']} right with {_tokens(row):,.0f} tokens a question"
        for row in _methods(result)
    ]
    return "; ".join(parts)


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
