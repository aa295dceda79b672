"""From the answers of a sweep to scores with intervals, to costs, and to gains in pairs.

Documents, not questions, are the independent units (see ``intervals``); those of one number ask
the same questions at every length, and so count as one. Rows are those of the
tables ``answers`` and ``cells`` of a recorded sweep. Nothing here averages over tasks: what one
task measures says little of another (HELMET, Yen et al. 2024, section 4).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.intervals import effective_n, paired_bootstrap, sign_flip, wilson

Row = Mapping[str, Any]
DEPTHS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""The middles of the fifths of a text, by which answers are sorted."""


def scored(answers: Sequence[Row], *by: str) -> list[dict[str, Any]]:
    """Return the mean recall of each group of answers, with its 95 % interval.

    Args:
        answers: with ``model``, ``method``, ``task``, ``length``, ``document``, ``depth`` and
            ``recall``.
        by: which of the first four, or ``depth``, tell groups apart. Depths are sorted into
            fifths of the text; answers that need several places have none and are left out.

    Returns:
        a row for each group, in the order of first sight: the names in ``by``, ``recall``,
        ``low``, ``high``, ``n`` questions and ``documents``.
    """
    if "depth" in by:
        answers = [
            {**row, "depth": fifth(row["depth"])} for row in answers if row["depth"] is not None
        ]
    return [
        {**dict(zip(by, key, strict=True)), **_score(rows)}
        for key, rows in _grouped(answers, lambda row: tuple(row[name] for name in by)).items()
    ]


def fifth(depth: float) -> float:
    """Return the middle of the fifth of the text in which a depth lies.

    >>> fifth(0.0), fifth(0.5), fifth(1.0)
    (0.1, 0.5, 0.9)
    """
    return DEPTHS[min(int(depth * 5), 4)]


def _score(rows: Sequence[Row]) -> dict[str, Any]:
    recalls, clusters = [row["recall"] for row in rows], [_document(row) for row in rows]
    mean, independent = fmean(recalls), effective_n(recalls, clusters)
    interval = wilson(min(mean, 1.0) * independent, independent)
    return {
        "recall": mean,
        "low": interval.low,
        "high": interval.high,
        "n": len(rows),
        "documents": len({*clusters}),
    }


def costs(cells: Sequence[Row], *by: str) -> list[dict[str, Any]]:
    """Return what a question cost in each group of cells, its share of reading included.

    Args:
        cells: with ``questions``, ``read_tokens``, ``answer_tokens`` and ``seconds``; refused
            ones, which have no questions, are left out.
        by: names that tell groups apart.

    Returns:
        a row for each group: the names in ``by``, ``tokens`` and ``seconds`` a question, and
        ``read_tokens`` for a document.
    """
    asked = [row for row in cells if row["questions"]]
    table = []
    for key, rows in _grouped(asked, lambda row: tuple(row[name] for name in by)).items():
        questions = sum(row["questions"] for row in rows)
        tokens = sum(row["read_tokens"] + row["answer_tokens"] for row in rows)
        table.append(
            {
                **dict(zip(by, key, strict=True)),
                "tokens": tokens / questions,
                "seconds": sum(row["seconds"] for row in rows) / questions,
                "read_tokens": fmean(row["read_tokens"] for row in rows),
            }
        )
    return table


def gain(answers: Sequence[Row], method: str, other: str) -> dict[str, Any]:
    """Return how much more ``method`` recalls than ``other`` on the questions that both answered.

    Args:
        answers: those of one model.

    Returns:
        ``gain``, its paired bootstrap interval ``low`` and ``high`` (None for one document),
        ``p`` of the sign-flip test by documents, ``n`` questions and ``documents``.

    Raises:
        LongctxError: if there is no question that both answered.
    """
    mine, others = (
        {question_of(row): row for row in answers if row["method"] == name}
        for name in (method, other)
    )
    shared = [key for key in mine if key in others]
    if not shared:
        raise LongctxError(
            f"There is no question that both {method} and {other} answered; sweep both over the "
            "same tasks and lengths."
        )
    a, b = ([rows[key]["recall"] for key in shared] for rows in (mine, others))
    clusters = [_document(mine[key]) for key in shared]
    several = len({*clusters}) > 1
    interval = paired_bootstrap(a, b, clusters=clusters) if several else None
    return {
        "gain": fmean(a) - fmean(b),
        "low": interval and interval.low,
        "high": interval and interval.high,
        "p": sign_flip(a, b, clusters=clusters),
        "n": len(shared),
        "documents": len({*clusters}),
    }


def _document(row: Row) -> tuple:
    return row["task"], row["document"]


def question_of(row: Row) -> tuple:
    """Return what tells a question apart from all others, whichever method answered it."""
    return (*_document(row), row["length"], row["question"], tuple(row["gold"]))


def _grouped(rows: Iterable[Row], key: Callable[[Row], tuple]) -> dict[tuple, list[Row]]:
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups
