"""Code that a model wrote, run in a process of its own: never in the kernel that asks for it.

A Python without site packages, in an empty folder, with limits on time, memory, files and
processes, without a network. What a process may do to itself is in ``confined``. It keeps accidents
away, such as an endless loop or a deleted file; it is no prison for code that wants to get out.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from longctx_edu.errors import LongctxError

_PROGRAM = Path(__file__).with_name("confined.py")
_SHOWN = 4000  # characters of what the code printed


@dataclass(frozen=True)
class Limits:
    """What generated code may use.

    Attributes:
        seconds: of wall-clock time.
        cpu_seconds: of processor time, in whole seconds.
        memory_bytes: of address space.
        file_bytes: that a file may have, what it prints included.
        files: that may be open at once.
    """

    seconds: float = 10.0
    cpu_seconds: int = 5
    memory_bytes: int = 512 * 2**20
    file_bytes: int = 2**20
    files: int = 32

    def __post_init__(self):
        if min(vars(self).values()) <= 0:
            raise LongctxError(f"Limits are more than 0, but these are {self}.")

    def as_resources(self) -> dict[str, int]:
        """Return the limits by the names that the system gives them (``man setrlimit``)."""
        return {
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": self.files,
            "RLIMIT_NPROC": 0,  # beside the one that it is
            "RLIMIT_CORE": 0,
        }


@dataclass(frozen=True)
class Ran:
    """How a run of some code ended.

    Attributes:
        ended: "finished", "raised" (an exception), "exited" (it left before its end), "timed out",
            or "killed" (by the system, at a limit).
        error: what was raised, or which signal it was; "" if it finished.
        line: of the code where that was; None where nobody knows.
        output: what it printed, the last 4,000 characters.
        seconds: wall-clock time, the start of Python included.
        without: the limits that do not hold here, such as "RLIMIT_NPROC", which root does not
            have. Known, as what follows, only of what was not killed and did not time out.
        no_network: whether the process had no network at all; where it is False, asking for one
            is refused.
    """

    ended: str
    error: str = ""
    line: int | None = None
    output: str = ""
    seconds: float = 0.0
    without: tuple[str, ...] = ()
    no_network: bool = False

    @property
    def finished(self) -> bool:
        """Whether it came to its end: with checks at the end, whether they held."""
        return self.ended == "finished"

    def __str__(self) -> str:
        where = f" in line {self.line}" if self.line else ""
        return f"{self.ended}{where}" + (f": {self.error}" if self.error else "")


_DEFAULT = Limits()


def run_python(code: str, *, limits: Limits = _DEFAULT) -> Ran:
    """Run some code in a process of its own; return how it ended.

    It sees the standard library and an empty folder, which is deleted afterwards. It finds no
    environment variables and nothing to read on its standard input.

    Args:
        code: any text; what is no Python ends in "raised".
        limits: what it may use. On Windows there is the limit of wall-clock time alone.

    >>> str(run_python("print(1 / 0)"))
    'raised in line 1: ZeroDivisionError: division by zero'
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        room, report = Path(folder, "room"), Path(folder, "report.json")
        room.mkdir()
        started = time.perf_counter()
        with open(Path(folder, "output"), "w+b") as output:
            with _started(room, report, limits, output) as child:
                try:
                    child.communicate(code.encode(errors="replace"), timeout=limits.seconds)
                    late = False
                except subprocess.TimeoutExpired:
                    late = True
            seconds = time.perf_counter() - started
            output.seek(0)
            printed = output.read().decode(errors="replace")[-_SHOWN:]
        told = dict(output=printed, seconds=seconds)
        if late:
            return Ran("timed out", f"More than {limits.seconds:g} seconds.", **told)
        if not (report.exists() and (said := report.read_text(encoding="utf-8"))):
            return Ran("killed", _cause_of_death(child.returncode), **told)
    try:
        found = json.loads(said)
    except ValueError:
        return Ran("killed", "Its report did not fit the limit of a file.", **told)
    told |= dict(without=tuple(found.pop("missing")), no_network=found.pop("no_network"))
    return Ran(**found, **told)


@contextmanager
def _started(room: Path, report: Path, limits: Limits, output):
    """Start the process; whatever happens meanwhile, it is gone afterwards."""
    kept = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}  # Windows
    command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", str(_PROGRAM)]
    child = subprocess.Popen(
        [*command, json.dumps(limits.as_resources()), str(report)],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=room,
        env=kept,
        start_new_session=True,  # an interrupt of the kernel is for the kernel
    )
    try:
        yield child
    finally:
        if hasattr(os, "killpg"):  # and what it has started
            with suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
        if child.poll() is None:
            child.kill()
        child.stdin.close()
        child.wait()


def _cause_of_death(code: int) -> str:
    if code >= 0:
        return f"It ended itself with code {code}."
    return f"Signal {signal.Signals(-code).name}."
