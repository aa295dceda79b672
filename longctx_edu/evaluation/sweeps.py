"""Run a sweep: over models, methods, tasks, lengths and depths, resumable, with full provenance.

Each finished cell is on the disk before the next one; when the last is done they become one
result, the same whatever was interrupted and whoever worked on it. The heat map is the idea of
Kamradt 2023 (needle in a haystack), with many depths asked of one reading and intervals drawn.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.figures import Result, read_result, write_result
from longctx_edu.evaluation.machine import machine, versions
from longctx_edu.evaluation.recorded import recorded
from longctx_edu.evaluation.sweep_engines import Dask, InProcess
from longctx_edu.evaluation.sweep_journal import Journal, alone
from longctx_edu.evaluation.sweep_scores import scored
from longctx_edu.evaluation.sweep_spec import Cell, Sweep, read_spec, sweep_of
from longctx_edu.events import Progress

__all__ = [
    "Cell",
    "CellFinished",
    "Dask",
    "InProcess",
    "Sweep",
    "SweepFinished",
    "read_spec",
    "recorded_sweep",
    "run_sweep",
    "spec_of",
    "sweep_of",
    "without_times",
]

RECORD = "sweep"
COMMAND = f"longctx sweep recorded --out notebooks/results/{RECORD}.json"
_TIMES = ("seconds", "read_seconds")


@dataclass(frozen=True)
class CellFinished:
    """What came of a cell, ``done`` of ``total``.

    Attributes:
        cell: the cell.
        answers: a row for each question, as in the table ``answers``.
        refused: why there are none; None if there are.
        was_kept: whether it was finished by an earlier run.
    """

    cell: Cell
    answers: tuple[dict[str, Any], ...]
    refused: str | None
    done: int
    total: int
    was_kept: bool


@dataclass(frozen=True)
class SweepFinished:
    """Last event of a sweep: the result, as it stands in the file."""

    result: Result
    path: Path


def run_sweep(
    sweep: Sweep,
    path: str | Path,
    *,
    engine: InProcess | Dask | None = None,
    command: str = "longctx_edu.evaluation.sweeps.run_sweep",
) -> Iterator:
    """Work on what is left of a sweep; yield events, last ``SweepFinished``.

    Finished cells stand in ``path`` with ``.cells`` after its name until the sweep is complete.
    The generator may be closed, and the process killed, at any moment: the same call goes on.

    Args:
        sweep: from ``read_spec``, or made by hand.
        path: the file for the result.
        engine: ``InProcess()`` by default, or ``Dask(...)``.
        command: what the result says it was made by.

    Yields:
        ``CellFinished`` for cells that were there already, then ``Progress`` and
        ``CellFinished`` in the order in which cells are finished.

    Raises:
        LongctxError: if the file holds another sweep or cannot be written, or as the engine does.
    """
    path, engine = Path(path), InProcess() if engine is None else engine
    if not path.name or not path.parent.is_dir():
        raise LongctxError(f"{path} is no file in a folder that exists; give another one.")
    with alone(path):
        result = _complete(path, sweep)
        if result is None:
            with Journal(path.with_name(f"{path.name}.cells"), sweep) as journal:
                yield from _work(sweep, journal, engine)
                result = _result(sweep, journal, command)
                write_result(path, result)
            journal.path.unlink()
        else:
            yield from _kept(sweep, _outcomes(result))
        yield SweepFinished(result, path)


def _complete(path: Path, sweep: Sweep) -> Result | None:
    """Return the finished result in the file; None if there is no such file.

    Raises:
        LongctxError: if the file holds something else.
    """
    if not path.exists():
        return None
    result = read_result(path, command="longctx sweep")
    if "spec" not in result.tables or spec_of(result) != sweep:
        raise LongctxError(
            f"{path} holds the result of another sweep; give another file, or remove this one."
        )
    return result


def _work(sweep: Sweep, journal: Journal, engine: InProcess | Dask) -> Iterator:
    total = len(sweep.cells)
    yield from _kept(sweep, journal.outcomes)
    done = journal.done
    left = [cell for cell in sweep.cells if cell not in done]
    if not left:
        return
    journal.begin({**engine.as_dict(), "cells_before": len(done), **machine()})
    yield Progress("sweep", len(done), total, "cells")
    with closing(engine.outcomes(sweep, left)) as outcomes:
        for number, outcome in enumerate(outcomes, len(done) + 1):
            journal.add(outcome)
            yield _finished(outcome, number, total, was_kept=False)
            yield Progress("sweep", number, total, "cells")


def _kept(sweep: Sweep, outcomes: Sequence[dict]) -> Iterator[CellFinished]:
    for number, outcome in enumerate(outcomes, 1):
        yield _finished(outcome, number, len(sweep.cells), was_kept=True)


def _finished(outcome: dict, done: int, total: int, *, was_kept: bool) -> CellFinished:
    return CellFinished(
        Cell(**outcome["cell"]),
        tuple(_answers(outcome)),
        outcome["refused"],
        done,
        total,
        was_kept,
    )


# --------------------------------------------------------------------------
# Results


def _result(sweep: Sweep, journal: Journal, command: str) -> Result:
    by_cell = {Cell(**outcome["cell"]): outcome for outcome in journal.outcomes}
    outcomes = [by_cell[cell] for cell in sweep.cells]
    answers = [row for outcome in outcomes for row in _answers(outcome)]
    models = {outcome["cell"]["model"]: outcome for outcome in outcomes}
    return Result(
        command=command,
        versions=versions(),
        seed=sweep.seed,
        machine=machine(),
        figures={},
        tables={
            "spec": [{"fingerprint": sweep.fingerprint, "json": json.dumps(sweep.as_dict())}],
            "models": [
                {"model": name, "fingerprint": one["fingerprint"], "window": one["window"]}
                for name, one in models.items()
            ],
            "sessions": journal.sessions,
            "scores": scored(answers, "model", "task", "length", "method"),
            "cells": [
                {
                    **outcome["cell"],
                    "questions": len(outcome["answers"]),
                    "read_tokens": outcome["read_tokens"],
                    "answer_tokens": sum(row["tokens_read"] for row in outcome["answers"]),
                    "read_seconds": outcome["read_seconds"],
                    "seconds": outcome["seconds"],
                    "refused": outcome["refused"],
                }
                for outcome in outcomes
            ],
            "answers": answers,
        },
    )


def _answers(outcome: dict) -> Iterator[dict[str, Any]]:
    """Yield the answers of a cell as rows that name it."""
    cell = {key: value for key, value in outcome["cell"].items() if key != "questions"}
    for row in outcome["answers"]:
        yield {**cell, **row}


def _outcomes(result: Result) -> list[dict]:
    """Return the cells of a result as the journal had them, as far as events tell."""
    sweep = spec_of(result)
    answers: dict[Cell, list[dict]] = {cell: [] for cell in sweep.cells}
    cells = {(c.model, c.method, c.task, c.length, c.document): c for c in sweep.cells}
    named = ("model", "method", "task", "length", "document")
    for row in result.tables["answers"]:
        said = {key: value for key, value in row.items() if key not in named}
        answers[cells[tuple(row[name] for name in named)]].append(said)
    return [
        {"cell": vars(cell), "answers": answers[cell], "refused": row["refused"]}
        for cell, row in zip(sweep.cells, result.tables["cells"], strict=True)
    ]


def spec_of(result: Result) -> Sweep:
    """Return the sweep that a result is of.

    Raises:
        LongctxError: if it is of none.
    """
    if "spec" not in result.tables:
        raise LongctxError("This result is not one of a sweep; make one with 'longctx sweep'.")
    return sweep_of(json.loads(result.tables["spec"][0]["json"]))


def recorded_sweep() -> Result:
    """Return the sweep that was recorded for this version of the course.

    Raises:
        LongctxError: if none was.
    """
    return recorded(RECORD, command=COMMAND)


def without_times(result: Result) -> dict[str, list[dict[str, Any]]]:
    """Return the tables of a sweep without times and without who worked on it, to be compared."""
    return {
        name: [{key: one for key, one in row.items() if key not in _TIMES} for row in rows]
        for name, rows in result.tables.items()
        if name != "sessions"
    }
