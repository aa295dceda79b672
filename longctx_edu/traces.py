"""Traces as files of JSON, and a check of their form, for all methods that record a question.

A trace is plain data that shows how an answer came about, so that it can be shown again without
a model. What the trace of a method holds is said beside the method; here is how any is kept.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longctx_edu.errors import TraceError


def write_trace(trace: Mapping, path) -> Path:
    """Write a trace to a file, in one step, and return its path.

    Raises:
        TraceError: if the file cannot be written.
    """
    path = Path(path)
    scratch = path.with_name(f".{path.name}.part")
    try:
        scratch.write_text(json.dumps(trace, ensure_ascii=False) + "\n", encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise TraceError(
            f"{path} could not be written ({error.strerror}); name a file in a folder that exists "
            "and that you may write to."
        ) from error
    return path


def read_trace(path):
    """Read what a file of JSON holds.

    Raises:
        TraceError: if the file is missing or no JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TraceError(f"{path} could not be read ({error.strerror}); check the path.") from error
    except (ValueError, RecursionError) as error:
        raise TraceError(
            f"{path} is damaged or no JSON ({error}); save the trace again with save_trace."
        ) from error


def first_fault(value, form, place: str = "") -> str | None:
    """Return where a value first departs from a form, None if it does not.

    Args:
        value: plain data.
        form: the types that it may have, in a tuple; or a mapping of names, which must all be
            there, to forms; or a list of the one form that each entry has.
        place: of the value in the whole.
    """
    if isinstance(form, dict):
        if not isinstance(value, Mapping):
            return place
        missing = (f"{place}.{name}".lstrip(".") for name in form if name not in value)
        inside = (
            first_fault(value[name], part, f"{place}.{name}".lstrip("."))
            for name, part in form.items()
            if name in value
        )
        return next(missing, None) or next(filter(None, inside), None)
    if isinstance(form, list):
        if not isinstance(value, list):
            return place
        inside = (first_fault(one, form[0], f"{place}[{n}]") for n, one in enumerate(value))
        return next(filter(None, inside), None)
    is_number_for_truth = isinstance(value, bool) and bool not in form
    return place if is_number_for_truth or not isinstance(value, form) else None


@dataclass(frozen=True)
class TraceKind:
    """What the traces of one method look like.

    Attributes:
        method: the method's name.
        schema, version: what every trace of it says of itself.
        form: what it holds, see ``first_fault``.
        fault_inside: returns the first fault of a trace that has this form, None if it is whole.
    """

    method: str
    schema: str
    version: int
    form: Mapping[str, Any]
    fault_inside: Callable[[Mapping], str | None]

    def checked(self, trace, name: str = "The trace") -> dict:
        """Return a trace if it is one of this kind, and whole; ``name`` is what errors call it.

        Raises:
            TraceError: saying what it is instead, or naming the first part that is missing or
                of the wrong kind.
        """
        if not isinstance(trace, Mapping) or trace.get("schema") != self.schema:
            raise TraceError(
                f"{name} is no trace of {self.method}: its schema is not {self.schema!r}; make one "
                f"with read(..., method={self.method!r}).ask(...).trace."
            )
        if trace.get("version") != self.version:
            raise TraceError(
                f"{name} has version {trace.get('version')!r}, and this program reads "
                f"{self.version}; update longctx_edu, or record the run again."
            )
        fault = first_fault(trace, self.form) or self.fault_inside(trace)
        if fault is not None:
            raise TraceError(f"{name} is damaged at {fault}; record the run again.")
        return dict(trace)

    def save(self, trace: Mapping, path) -> Path:
        """Write a trace to a file and return its path.

        Raises:
            TraceError: if it is not a trace of this kind, or the file cannot be written.
        """
        return write_trace(self.checked(trace), path)

    def load(self, path) -> dict:
        """Read a trace from a file.

        Raises:
            TraceError: if the file is missing, damaged, of another kind, or of a newer version.
        """
        return self.checked(read_trace(path), str(path))
