"""README's comparison of the methods: which one finds most where, how sure that is, and its cost.

Made of a recorded sweep alone. A method that leads by chance is not called the best: beside it
stand all others that the same questions do not tell apart from it.
"""

from collections.abc import Sequence

from longctx_edu.evaluation.figures import Result
from longctx_edu.evaluation.sweep_scores import Row, costs, gain, scored
from longctx_edu.evaluation.sweeps import spec_of

LEVEL = 0.05
"""A difference with a smaller p-value than this tells two methods apart."""


def method_table(result: Result) -> str:
    """Return the comparison as Markdown: the best by task and length, then the costs.

    Args:
        result: of a sweep; of several models the first is shown.
    """
    model = spec_of(result).models[0]
    answers, cells = (
        [row for row in result.tables[name] if row["model"] == model]
        for name in ("answers", "cells")
    )
    lengths = sorted({row["length"] for row in cells})
    header = [f"{length:,} tokens" for length in lengths]
    tasks = dict.fromkeys(row["task"] for row in cells)
    best = [[task, *(_best(answers, task, length) for length in lengths)] for task in tasks]
    found = {(row["method"], row["length"]): row for row in costs(cells, "method", "length")}
    planned = {(row["method"], row["length"]) for row in cells}
    methods = dict.fromkeys(row["method"] for row in cells)
    paid = [
        [f"`{method}`", *(_cost(found.get(key), key in planned) for key in _keys(method, lengths))]
        for method in methods
    ]
    hours = sum(row["seconds"] for row in cells) / 3600
    return (
        f"Recorded by `{result.command}` in {hours:.1f} hours: {len(answers):,} answers. Each cell "
        "has the method with the highest mean recall, its 95 % interval, and the methods that the "
        f"same questions do not tell apart from it (paired sign-flip test over documents, p ≥ "
        f"{LEVEL}).\n\n{markdown_table(['Task', *header], best)}\n\n"
        "What a question costs, its share of reading the text included: tokens worked on and "
        f"seconds.\n\n{markdown_table(['Method', *header], paid)}"
    )


def _keys(method: str, lengths: Sequence[int]) -> list[tuple[str, int]]:
    return [(method, length) for length in lengths]


def _best(answers: Sequence[Row], task: str, length: int) -> str:
    here = [row for row in answers if (row["task"], row["length"]) == (task, length)]
    if not here:
        return ""
    scores = sorted(scored(here, "method"), key=lambda row: -row["recall"])
    first = scores[0]
    if first["recall"] == 0:
        return "none finds anything"
    alike = [
        f"`{row['method']}`"
        for row in scores[1:]
        if gain(here, first["method"], row["method"])["p"] >= LEVEL
    ]
    told = f"`{first['method']}` {first['recall']:.2f} ({first['low']:.2f} to {first['high']:.2f})"
    return told + (f"; not told apart: {', '.join(alike)}" if alike else "")


def _cost(row: Row | None, is_planned: bool) -> str:
    if row is None:
        return "does not fit" if is_planned else ""
    return f"{row['tokens']:,.0f} tokens, {row['seconds']:.1f} s"


def markdown_table(header: list[str], lines: list[list[str]]) -> str:
    """Return a table in Markdown."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
