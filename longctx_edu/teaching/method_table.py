"""README's comparison of the methods: what each gains where, how sure that is, and its cost.

Made of a recorded sweep alone. A square of a task and a length has too few questions to tell
methods apart, so the highest mean stands there with its interval; who wins is told over lengths.
"""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from longctx_edu.evaluation.figures import Result
from longctx_edu.evaluation.sweep_scores import Row, costs, gain, question_of, scored
from longctx_edu.evaluation.sweeps import spec_of

LEVEL = 0.05
"""A difference with a smaller p-value than this is a win or a loss."""
_DOCUMENTS = 6
"""The fewest documents with which a sign-flip test can get below ``LEVEL``: 2 / 2 ** 6 is 0.03."""


def method_table(result: Result) -> str:
    """Return the comparison as Markdown: gains by task, the highest by length, and the costs.

    Args:
        result: of a sweep; of several models the first is shown.
    """
    sweep = spec_of(result)
    model = sweep.models[0]
    answers, cells = (
        [row for row in result.tables[name] if row["model"] == model]
        for name in ("answers", "cells")
    )
    lengths = sorted({row["length"] for row in cells})
    methods = list(dict.fromkeys(row["method"] for row in cells))
    hours = sum(row["seconds"] for row in cells) / 3600
    sentences = [
        f"Recorded by `{result.command}`{_weights(sweep.dtype)}: {len(answers):,} answers, "
        f"{hours:.1f} hours of work in {_workers(result.tables['sessions'][-1])}."
    ]
    for base, those in _bases(answers, lengths):
        asked = {_place(row) for row in answers if row["method"] == base}
        mine = [row for row in answers if row["length"] in those and _place(row) in asked]
        at = ", ".join(f"{length:,}" for length in those)
        sentences += [
            f"**Against `{base}`**, at {at} tokens: what a method recalls more on the questions "
            "that both were asked (n, of d documents), and the 95 % interval of that (paired "
            "bootstrap over documents). "
            f"Bold are wins and losses (sign-flip test, p < {LEVEL}); with fewer than "
            f"{_DOCUMENTS} documents no test can tell, and the interval is too narrow.",
            _gains(mine, base, methods),
        ]
    sentences += [
        "**By length**, the method with the highest mean recall and its interval; with so few "
        "questions in a square others may be as good.",
        _highest(answers, cells, lengths),
        "**What a question costs**, its share of reading the text included: tokens worked on, and "
        f"seconds. By length, {_sharing(cells, lengths)} questions share a text.",
        _costs(cells, methods, lengths),
    ]
    return "\n\n".join(sentences)


def _weights(dtype: str | None) -> str:
    return f" with weights in {dtype}" if dtype else ""


def _workers(session: Row) -> str:
    if session["engine"] == "dask":
        return f"{session['workers'] or 'several'} processes of one thread each"
    return "one process"


def _bases(answers: Sequence[Row], lengths: Sequence[int]) -> list[tuple[str, list[int]]]:
    """Return whom to compare with at which lengths: the whole text in the prompt, where it fits."""
    fits = {row["length"] for row in answers if row["method"] == "plain"}
    cut = {row["length"] for row in answers if row["method"] == "truncated"} - fits
    found = [("plain", fits), ("truncated", cut)]
    return [(base, [one for one in lengths if one in those]) for base, those in found if those]


def _gains(answers: Sequence[Row], base: str, methods: Sequence[str]) -> str:
    present = {row["method"] for row in answers} - {base}
    shown = [method for method in methods if method in present]
    lines = []
    for task in dict.fromkeys(row["task"] for row in answers):
        mine = [row for row in answers if row["task"] == task]
        alone = scored([row for row in mine if row["method"] == base], "method")[0]
        told = f"{alone['recall']:.2f} (n={alone['n']}, d={alone['documents']})"
        lines.append([task, told, *(_gain(mine, method, base) for method in shown)])
    return markdown_table(["Task", f"`{base}`", *(f"`{method}`" for method in shown)], lines)


def _gain(answers: Sequence[Row], method: str, base: str) -> str:
    if not any(row["method"] == method for row in answers):
        return ""
    found = gain(answers, method, base)
    all_of_base = sum(row["method"] == base for row in answers)
    some = "" if found["n"] == all_of_base else f" (n={found['n']}, d={found['documents']})"
    if found["gain"] == found["low"] == found["high"] == 0:
        return f"0{some}"
    told = f"{found['gain']:+.2f}"
    if found["low"] is not None:
        told += f" ({found['low']:+.2f} to {found['high']:+.2f})"
    return (f"**{told}**" if found["p"] < LEVEL else told) + some


def _highest(answers: Sequence[Row], cells: Sequence[Row], lengths: Sequence[int]) -> str:
    lines = [
        [task, *(_first(answers, task, length) for length in lengths)]
        for task in dict.fromkeys(row["task"] for row in cells)
    ]
    return markdown_table(["Task", *(f"{length:,} tokens" for length in lengths)], lines)


def _first(answers: Sequence[Row], task: str, length: int) -> str:
    here = [row for row in answers if (row["task"], row["length"]) == (task, length)]
    if not here:
        return ""
    # Only what every method here was asked: no easy document makes one of them the highest.
    asked = Counter(map(question_of, here))
    most = len({row["method"] for row in here})
    scores = scored([row for row in here if asked[question_of(row)] == most] or here, "method")
    first = max(scores, key=lambda row: row["recall"])
    if first["recall"] == 0:
        return "none finds anything"
    best = [row for row in scores if row["recall"] == first["recall"]]
    alike = len(best) == len(scores) > 1
    names = "all" if alike else ", ".join(f"`{row['method']}`" for row in best)
    low, high = min(row["low"] for row in best), max(row["high"] for row in best)
    return f"{names} {first['recall']:.2f} ({low:.2f} to {high:.2f})"


def _place(row: Row) -> tuple:
    return row["task"], row["length"], row["document"]


def _sharing(cells: Sequence[Row], lengths: Sequence[int]) -> str:
    asked = [row for row in cells if row["questions"]]
    return ", ".join(
        f"{fmean(shared):.1f}"
        for length in lengths
        if (shared := [row["questions"] for row in asked if row["length"] == length])
    )


def _costs(cells: Sequence[Row], methods: Sequence[str], lengths: Sequence[int]) -> str:
    found = {(row["method"], row["length"]): row for row in costs(cells, "method", "length")}
    planned = {(row["method"], row["length"]) for row in cells}
    keys = {method: [(method, length) for length in lengths] for method in methods}
    lines = [
        [f"`{method}`", *(_cost(found.get(key), key in planned) for key in keys[method])]
        for method in methods
    ]
    return markdown_table(["Method", *(f"{length:,} tokens" for length in lengths)], lines)


def _cost(row: Row | None, is_planned: bool) -> str:
    if row is None:
        return "does not fit" if is_planned else ""
    return f"{row['tokens']:,.0f}; {row['seconds']:.1f} s"


def markdown_table(header: list[str], lines: list[list[str]]) -> str:
    """Return a table in Markdown."""
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
