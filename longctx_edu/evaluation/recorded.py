"""Recorded results: found in a checkout, or in the installed package."""

from pathlib import Path

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.figures import Result, read_result

_PACKAGE = Path(__file__).parents[1]


def recorded(name: str) -> Result:
    """Return what ``longctx bench NAME --record`` last wrote for this version of the course.

    Raises:
        LongctxError: if nothing was recorded under that name.
    """
    for folder in (_PACKAGE.parent / "notebooks" / "results", _PACKAGE / "results"):
        if (folder / f"{name}.json").exists():
            return read_result(folder / f"{name}.json")
    raise LongctxError(
        f"Nothing was recorded as {name!r}; in a checkout run: longctx bench {name} --record"
    )
