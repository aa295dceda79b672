"""Recorded results: found in a checkout, or in the installed package."""

from pathlib import Path

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.figures import Result, read_result

_PACKAGE = Path(__file__).parents[1]


def recorded(name: str, *, command: str | None = None) -> Result:
    """Return what was last recorded under a name for this version of the course.

    Args:
        command: what records it; ``longctx bench NAME --record`` if left out.

    Raises:
        LongctxError: if nothing was recorded under that name.
    """
    for folder in (_PACKAGE.parent / "notebooks" / "results", _PACKAGE / "results"):
        if (folder / f"{name}.json").exists():
            return read_result(folder / f"{name}.json", command=command)
    again = command or f"longctx bench {name} --record"
    raise LongctxError(f"Nothing was recorded as {name!r}; in a checkout run: {again}")
