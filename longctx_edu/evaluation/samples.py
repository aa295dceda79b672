"""Samples of recorded results: what a test computes again to see that a record still holds.

A sample is a function in a module ``bench_NAME`` that takes a cheap piece of
what the bench measures anew: one figure, or some cells of one row of a table.
Nothing here measures a whole bench; ``figures.measure`` does.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from longctx_edu import evaluation
from longctx_edu.evaluation.figures import Result, Target

REL_TOL = 1e-6


@dataclass(frozen=True)
class Sample:
    """One registered sample.

    Attributes:
        of: the id of a figure such as ``start.retrieval``, or a table's name.
        needs_model: whether it takes the embedded model.
        measurement: returns the figure's number, or a mapping of cells that
            together stand in one row of the table.
    """

    of: str
    needs_model: bool
    measurement: Callable[[], float | Mapping[str, Any]]

    def fault(self, result: Result) -> str | None:
        """Take the sample and return how the record differs from it; None if it does not.

        A figure with a target, such as a time, must only get the same verdict; any
        other must have the same value. A table must have a row with all the cells.
        """
        again = self.measurement()
        if isinstance(again, Mapping):
            rows = result.tables.get(self.of, [])
            if any(_holds(row, again) for row in rows):
                return None
            return f"No row of the recorded table {self.of} holds {dict(again)}; {_RECORD}"
        if self.of not in result.figures:
            return f"There is no recorded figure {self.of}; {_RECORD}"
        row = result.figures[self.of]
        if row["target"] is None:
            agrees = _equal(row["value"], again)
        else:
            agrees = Target.parse(row["target"]).is_met_by(again) == row["ok"]
        if agrees:
            return None
        return f"{self.of} was recorded as {row['value']}, and is now {again}; {_RECORD}"


_RECORD = "mend the code, or record the bench again."


def sample(of: str, *, needs_model: bool = False) -> Callable[[Callable], Sample]:
    """Register the decorated function of a ``bench_NAME`` module as a sample of its record.

    Args:
        of: a figure's id, with the bench's name before it, or a table's name.
        needs_model: whether it takes the embedded model, which not every machine has.
    """
    return lambda measurement: Sample(of, needs_model, measurement)


def samples_of(name: str) -> tuple[Sample, ...]:
    """Return the samples of a bench in the order in which its module defines them."""
    module = importlib.import_module(f"{evaluation.__name__}.bench_{name}")
    return tuple(entry for entry in vars(module).values() if isinstance(entry, Sample))


def _holds(row: Mapping[str, Any], cells: Mapping[str, Any]) -> bool:
    return all(key in row and _equal(row[key], cell) for key, cell in cells.items())


def _equal(recorded: Any, again: Any) -> bool:
    if isinstance(recorded, float) or isinstance(again, float):
        return recorded is not None and math.isclose(recorded, again, rel_tol=REL_TOL)
    return recorded == again
