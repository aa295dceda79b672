"""Finished cells of a sweep in a file that only grows, so that an end at any moment costs none.

One line of JSON for each, on the disk before the next cell is begun. The last line may be torn by
the end of a process; it is taken off, and its cell done again. Which cells there are to do is not
here.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.machine import versions
from longctx_edu.evaluation.sweep_spec import Cell, Sweep

SCHEMA = "longctx_edu/sweep/1"


class Journal:
    """What is finished of a sweep, and where it is kept.

    Attributes:
        path: the file.
        outcomes: what came of the finished cells, in the order in which they were finished.
        sessions: facts on each run that worked on the sweep, the present one last.
    """

    def __init__(self, path: str | os.PathLike, sweep: Sweep):
        """Open a journal, or begin one.

        Raises:
            LongctxError: if the file belongs to another sweep or to other versions of the
                libraries, is damaged within, or cannot be written.
        """
        self.path = Path(path)
        self.outcomes: list[dict[str, Any]] = []
        self.sessions: list[dict[str, Any]] = []
        self._fingerprints: dict[str, str] = {}
        header = {"schema": SCHEMA, "sweep": sweep.as_dict(), "versions": versions()}
        try:
            lines = self._repaired()
            self._file = self.path.open("ab")
        except OSError as error:
            raise self._unwritable(error, "give another file") from error
        self._versions = header["versions"]
        if not lines:
            self._write(header)
            return
        if lines[0].get("schema") != SCHEMA or lines[0].get("sweep") != header["sweep"]:
            self.close()
            raise LongctxError(
                f"{self.path} holds finished cells of another sweep; give another file, or remove "
                "this one."
            )
        if changed := _changed(lines[0]["versions"], header["versions"]):
            self.close()
            raise LongctxError(
                f"The finished cells in {self.path} were made with other versions ({changed}); "
                "use the same ones, or give another file."
            )
        for line in lines[1:]:
            if "session" in line:
                self.sessions.append(line["session"])
            else:
                self._remember(line["outcome"])

    def begin(self, session: Mapping[str, Any]) -> None:
        """Note who works on the sweep from now on, and on what."""
        self.sessions.append(dict(session))
        self._write({"session": self.sessions[-1]})

    def add(self, outcome: Mapping[str, Any]) -> None:
        """Keep what came of a cell; when this returns it is on the disk.

        Raises:
            LongctxError: if it comes from other weights under the same name, or from other
                versions of the libraries, than what is there.
        """
        if changed := _changed(self._versions, outcome["versions"]):
            raise LongctxError(
                f"A worker has other versions than this process ({changed}); install the same "
                "ones there."
            )
        model, found = outcome["cell"]["model"], outcome["fingerprint"]
        if self._fingerprints.get(model, found) != found:
            raise LongctxError(
                f"The model {model!r} is another one now ({found}) than the one in {self.path} "
                f"({self._fingerprints[model]}); give another file."
            )
        self._remember(outcome)
        self._write({"outcome": outcome})

    def _remember(self, outcome: Mapping[str, Any]) -> None:
        self._fingerprints[outcome["cell"]["model"]] = outcome["fingerprint"]
        self.outcomes.append(dict(outcome))

    @property
    def done(self) -> set[Cell]:
        """The finished cells."""
        return {Cell(**outcome["cell"]) for outcome in self.outcomes}

    def close(self) -> None:
        """Close the file; what is in it stays."""
        with contextlib.suppress(OSError):  # what could not be written was told already
            self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            advice = "free the disk and start the same sweep again: what is finished is kept"
            raise self._unwritable(error, advice) from error

    def _unwritable(self, error: OSError, advice: str) -> LongctxError:
        return LongctxError(f"{self.path} cannot be written ({error.strerror}); {advice}.")

    def _repaired(self) -> list[dict[str, Any]]:
        """Return the lines that are there; take the last one off the file if it is torn."""
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        found = []
        for number, line in enumerate(whole, 1):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                if number < len(whole):
                    raise LongctxError(
                        f"{self.path} is damaged in line {number}; remove that line, and its cell "
                        "is done again."
                    ) from error
                whole.pop()
        if (length := sum(map(len, whole))) < len(content):
            os.truncate(self.path, length)
        return found


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say which versions differ; nothing if none does."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} {before.get(name)} and now {now.get(name)}" for name in names)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep every other process from sweeping into the same file meanwhile.

    Raises:
        LongctxError: if one does.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(f"{path}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise LongctxError(
            f"Another sweep is writing into {path} now; wait for its end, or give another file."
        ) from error
    except OSError as error:
        raise LongctxError(
            f"{path} cannot be written ({error.strerror}); give another file."
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
