"""The registry of figures: every number that the project claims, and how it is measured.

A figure is a function in a module ``bench_NAME`` that returns one number and
has a target to meet. ``measure`` runs them, ``write_result`` records them.
Nothing here knows what any figure means.
"""

import contextlib
import importlib
import json
import math
import os
import pkgutil
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longctx_edu import evaluation
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.machine import machine, peak_rss_of, versions

__all__ = [
    "SCHEMA",
    "Figure",
    "Outcome",
    "Report",
    "Result",
    "Run",
    "Target",
    "bench_names",
    "figure",
    "figures_of",
    "interleaved_ratio",
    "measure",
    "median_seconds",
    "peak_rss_of",
    "read_result",
    "write_result",
]

SCHEMA = "longctx_edu/result/1"
_FIELDS = ("schema", "command", "versions", "seed", "machine", "rows")
_PREFIX = "bench_"


@dataclass(frozen=True)
class Target:
    """The bounds that a figure should keep to; both are allowed values themselves."""

    low: float = -math.inf
    high: float = math.inf

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read a target such as ``"<= 3"``, ``">= 0.8"`` or ``"1.8 to 2.1"``.

        Raises:
            ValueError: for any other form, or a range whose ends are swapped.
        """
        words = text.split()
        try:
            match words:
                case ["<=", high]:
                    return cls(high=float(high))
                case [">=", low]:
                    return cls(low=float(low))
                case [low, "to", high] if float(low) <= float(high):
                    return cls(low=float(low), high=float(high))
        except ValueError:
            pass  # not a number: the message below covers it
        raise ValueError(
            f"A target is written '<= 3', '>= 0.8' or '1.8 to 2.1', and {text!r} was given."
        )

    def is_met_by(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if self.low == -math.inf:
            return f"<= {self.high:g}"
        if self.high == math.inf:
            return f">= {self.low:g}"
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Run:
    """What a measurement is told, and where it puts tables that belong to its number.

    Attributes:
        quick: small sizes, at most two minutes for the whole bench, no verdict.
        record: the full sizes, however long they take; neither means the plain
            run, at most fifteen minutes for the whole bench.
        seed: seed for everything that is drawn at random.
        tables: the tables written so far, by name.
    """

    quick: bool = False
    record: bool = False
    seed: int = 0
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def choose(self, *, quick, plain, record=None):
        """Return the argument for this run's size; ``record`` is ``plain`` if left out."""
        if self.quick:
            return quick
        return record if self.record and record is not None else plain

    def table(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Keep a table beside the figures: rows of plain values (text, number, yes/no, None).

        Raises:
            ValueError: if the name is taken or a cell cannot be written as JSON.
        """
        if name in self.tables:
            raise ValueError(f"The table {name!r} was already written; give each table its own.")
        self.tables[name] = [{key: _plain(cell) for key, cell in row.items()} for row in rows]


@dataclass(frozen=True)
class Figure:
    """One registered measurement; call it with a ``Run`` to get its number."""

    id: str
    unit: str
    target: Target | None
    measurement: Callable[[Run], float]

    def __call__(self, run: Run) -> float:
        return self.measurement(run)


@dataclass(frozen=True)
class Outcome:
    """What came of one figure.

    Attributes:
        value: the number, or None if the measurement could not be made.
        ok: whether the target is met; None where there is no verdict.
        error: why there is no number, else None.
    """

    figure: Figure
    value: float | None
    ok: bool | None
    error: str | None = None

    def row(self) -> dict[str, Any]:
        target = self.figure.target
        return {
            "id": self.figure.id,
            "value": self.value,
            "unit": self.figure.unit,
            "target": None if target is None else str(target),
            "ok": self.ok,
        }


@dataclass(frozen=True)
class Report:
    """All outcomes of one run of a bench, with what they were taken on."""

    name: str
    outcomes: tuple[Outcome, ...]
    tables: dict[str, list[dict[str, Any]]]
    versions: dict[str, str]
    machine: dict[str, Any]
    seed: int

    @property
    def ok(self) -> bool:
        """Whether no figure missed its target or failed to run."""
        return all(outcome.ok is not False for outcome in self.outcomes)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as ``longctx bench NAME --json`` prints it."""
        return {
            "name": self.name,
            "figures": [outcome.row() for outcome in self.outcomes],
            "tables": self.tables,
            "versions": self.versions,
            "machine": self.machine,
        }


def figure(
    id: str, *, unit: str, target: str | None = None
) -> Callable[[Callable[[Run], float]], Figure]:
    """Register the decorated function of a ``bench_NAME`` module as the figure ``NAME.id``.

    Args:
        id: the figure's name within its bench.
        unit: the unit of the returned number; ``"ratio"``, ``"share"``, ``"yes/no"`` (1 or 0) ...
        target: the bounds to keep (see ``Target.parse``); None for a figure
            that is only reported.
    """

    def register(measurement: Callable[[Run], float]) -> Figure:
        bench = measurement.__module__.rpartition(".")[2].removeprefix(_PREFIX)
        bounds = None if target is None else Target.parse(target)
        return Figure(f"{bench}.{id}", unit, bounds, measurement)

    return register


def bench_names() -> list[str]:
    """Return the names of all benches: the ``bench_NAME`` modules of this folder."""
    found = (module.name for module in pkgutil.iter_modules(evaluation.__path__))
    return sorted(name.removeprefix(_PREFIX) for name in found if name.startswith(_PREFIX))


def figures_of(name: str, *, only: Sequence[str] = ()) -> tuple[Figure, ...]:
    """Return the figures of a bench in the order in which its module defines them.

    Args:
        name: one of ``bench_names()``.
        only: ids to keep, with or without the bench's name; all if empty.

    Raises:
        LongctxError: for an unknown bench or id, with the list of those there are.
    """
    if name not in bench_names():
        raise LongctxError(
            f"There is no bench named {name!r}; the benches are: {', '.join(bench_names())}."
        )
    module = importlib.import_module(f"{evaluation.__name__}.{_PREFIX}{name}")
    figures = {}
    for entry in vars(module).values():
        if not isinstance(entry, Figure) or not entry.id.startswith(f"{name}."):
            continue  # not a figure, or imported from another bench
        if figures.setdefault(entry.id, entry) is not entry:
            raise ValueError(f"{module.__name__} defines the figure {entry.id} twice.")
    wanted = [id if "." in id else f"{name}.{id}" for id in only]
    for id in wanted:
        if id not in figures:
            raise LongctxError(
                f"The bench {name!r} has no figure {id!r}; its figures are: {', '.join(figures)}."
            )
    return tuple(entry for id, entry in figures.items() if not wanted or id in wanted)


def measure(
    name: str,
    *,
    only: Sequence[str] = (),
    quick: bool = False,
    record: bool = False,
    seed: int = 0,
    announce: Callable[[Figure], None] | None = None,
) -> Report:
    """Run the figures of a bench, one after another.

    A figure that fails to run has no value and is not ok; the others still run.

    Args:
        name: one of ``bench_names()``.
        only: ids of the figures to run; all if empty.
        quick, record: the sizes to run at (see ``Run``); not both.
        seed: seed for everything that is drawn at random.
        announce: called with each figure before it runs.

    Raises:
        LongctxError: for an unknown bench or id.
        ValueError: if both ``quick`` and ``record`` are asked for.
    """
    if quick and record:
        raise ValueError("A run is either quick or recorded; a record needs the full sizes.")
    run = Run(quick=quick, record=record, seed=seed)
    outcomes = []
    for entry in figures_of(name, only=only):
        if announce is not None:
            announce(entry)
        outcomes.append(_outcome(entry, run))
    return Report(name, tuple(outcomes), run.tables, versions(), machine(), seed)


def median_seconds(task: Callable[[], object], *, repeats: int = 3) -> float:
    """Return the median wall-clock seconds of ``repeats`` calls, after one call to warm up."""
    _check_repeats(repeats)
    task()
    return statistics.median(_seconds(task) for _ in range(repeats))


def interleaved_ratio(
    a: Callable[[], object], b: Callable[[], object], *, repeats: int = 3
) -> float:
    """Return how many times as long as ``b`` the call ``a`` takes.

    Each is called once to warm up, then both in turn, and every second pair
    in reverse order, so that a machine that slows down or speeds up meanwhile
    touches both alike. The result is the median of the pairs' ratios.
    """
    _check_repeats(repeats)
    a(), b()
    ratios = []
    for pair in range(repeats):
        if pair % 2:
            seconds_b, seconds_a = _seconds(b), _seconds(a)
        else:
            seconds_a, seconds_b = _seconds(a), _seconds(b)
        ratios.append(seconds_a / seconds_b)
    return statistics.median(ratios)


@dataclass(frozen=True)
class Result:
    """A recorded result, read back.

    Attributes:
        command: the command that produced it.
        seed: the seed of what was drawn at random; None where nothing is.
        figures: the figures' rows (``id, value, unit, target, ok``) by id.
        tables: the tables' rows by the table's name.
    """

    command: str
    versions: dict[str, str]
    seed: int | None
    machine: dict[str, Any]
    figures: dict[str, dict[str, Any]]
    tables: dict[str, list[dict[str, Any]]]

    @classmethod
    def of(cls, report: Report, *, command: str) -> "Result":
        rows = [outcome.row() for outcome in report.outcomes]
        return cls(
            command=command,
            versions=report.versions,
            seed=report.seed,
            machine=report.machine,
            figures={row["id"]: row for row in rows},
            tables=report.tables,
        )

    def updated_by(self, other: "Result") -> "Result":
        """Return this result with the other's figures and tables put in place of its own.

        Raises:
            LongctxError: if the two were not taken on the same machine with
                the same versions and seed, and so must not stand in one file.
        """
        for name in ("versions", "machine", "seed"):
            mine, others = getattr(self, name), getattr(other, name)
            if mine != others:
                raise LongctxError(
                    f"The recorded result has another {name} ({mine}) than this run ({others}); "
                    f"record the whole bench again: {self.command}."
                )
        return Result(
            command=self.command,
            versions=self.versions,
            seed=self.seed,
            machine=self.machine,
            figures=self.figures | other.figures,
            tables=self.tables | other.tables,
        )


def write_result(path: str | os.PathLike, result: Result) -> None:
    """Write a result as JSON: ``schema, command, versions, seed, machine, rows``.

    A row is a figure, or ``{"table": name, "rows": [...]}``. The file appears
    whole or not at all.

    Raises:
        LongctxError: if the file cannot be written.
    """
    tables = [{"table": name, "rows": rows} for name, rows in result.tables.items()]
    content = {
        "schema": SCHEMA,
        "command": result.command,
        "versions": result.versions,
        "seed": result.seed,
        "machine": result.machine,
        "rows": [*result.figures.values(), *tables],
    }
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise LongctxError(
            f"The result could not be written to {path} ({error.strerror}); free the disk or "
            "make the folder writable and record again."
        ) from error


def read_result(path: str | os.PathLike, *, command: str | None = None) -> Result:
    """Read a recorded result.

    Args:
        command: what records it again; ``longctx bench NAME --record`` if left out.

    Raises:
        LongctxError: if the file is missing, damaged, or of another schema.
    """
    path = Path(path)
    again = f"record it again with '{command or f'longctx bench {path.stem} --record'}'"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LongctxError(f"There is no recorded result at {path}; {again}.") from error
    except ValueError as error:
        raise LongctxError(f"The recorded result {path} is damaged ({error}); {again}.") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise LongctxError(
            f"The recorded result {path} has the schema {schema!r}, and this version reads "
            f"{SCHEMA!r}; {again}."
        )
    try:
        rows = content["rows"]
        return Result(
            **{name: content[name] for name in _FIELDS if name not in ("schema", "rows")},
            figures={row["id"]: row for row in rows if "table" not in row},
            tables={row["table"]: row["rows"] for row in rows if "table" in row},
        )
    except (KeyError, TypeError) as error:
        raise LongctxError(
            f"The recorded result {path} is damaged (it lacks {error}); {again}."
        ) from error


def _outcome(entry: Figure, run: Run) -> Outcome:
    try:
        value = _number(entry(run))
    except Exception as error:  # one figure that cannot be taken must not lose the others
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome(entry, value=None, ok=False, error=reason)
    verdict = not run.quick and entry.target is not None
    return Outcome(entry, value, ok=entry.target.is_met_by(value) if verdict else None)


def _number(value) -> int | float:
    """Return a measured value as a plain number; yes/no become 1 and 0."""
    number = value.item() if hasattr(value, "item") else value
    if not isinstance(number, bool | int | float) or not math.isfinite(number):
        raise ValueError(f"A figure is one finite number, and {value!r} was returned.")
    return int(number) if isinstance(number, bool) else number


def _plain(cell):
    """Return a cell as JSON holds it; numbers of numpy and torch become Python's own."""
    if hasattr(cell, "item"):
        cell = cell.item()
    if cell is None or isinstance(cell, bool | int | str):
        return cell
    if isinstance(cell, float) and math.isfinite(cell):
        return cell
    if isinstance(cell, list | tuple):
        return [_plain(part) for part in cell]
    raise ValueError(f"A table's cell is text, a finite number, yes/no or None, not {cell!r}.")


def _seconds(task: Callable[[], object]) -> float:
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def _check_repeats(repeats: int) -> None:
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, and {repeats} was given.")
