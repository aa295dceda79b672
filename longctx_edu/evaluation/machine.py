"""What a number was measured on: versions, cores, memory, and the memory a process used.

A container's limit counts as the machine's memory, since the kernel of a
notebook dies at that limit and not at the size of the host. Nothing here
tells the name of the host, of the user, or of a folder.
"""

import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import longctx_edu
from longctx_edu.models.memory import memory_limit, positive

GIB = 2**30

# A launcher of a few megabytes stands between the measuring process and the
# measured one: Linux hands the peak of the process that calls exec on to the
# new program, so a child of a Jupyter kernel would report at least the
# kernel's own peak.
_LAUNCHER = """
import json, os, sys, time
began = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
status, usage = os.wait4(child, 0)[1:]
with open(sys.argv[1], "w") as report:
    json.dump([usage.ru_maxrss, time.perf_counter() - began, status], report)
"""


def versions() -> dict[str, str]:
    """Return the versions that decide a result, by package name; "missing" where not installed."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "transformers", "numpy")},
        "longctx_edu": longctx_edu.__version__,
    }


def machine() -> dict[str, str | int | float]:
    """Return the machine's shape: ``cores``, ``memory_gib``, ``cpu`` and ``os``."""
    return {
        "cores": usable_cores(),
        "memory_gib": round(total_memory() / GIB, 1),
        "cpu": _cpu_model(),
        "os": f"{platform.system()} {platform.machine()}",
    }


def usable_cores() -> int:
    """Return the number of cores this process may use (JupyterHub's ``CPU_LIMIT`` included)."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    limit = positive(os.environ.get("CPU_LIMIT"))
    return cores if limit is None else max(1, min(cores, int(limit)))


def total_memory() -> int:
    """Return the bytes of memory of the machine, or of the container's limit if that is less."""
    import psutil

    limit = memory_limit()
    installed = psutil.virtual_memory().total
    return installed if limit is None else min(installed, limit)


def peak_rss_bytes() -> int:
    """Return the largest resident memory, in bytes, that this process has had.

    Linux counts the peak of a program's parent into ``getrusage`` (see
    ``_LAUNCHER``), so there the high-water mark of the address space is read.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    return _maxrss_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def peak_rss_of(
    argv: Sequence[str],
    env: Mapping[str, str] | None = None,
    *,
    timeout: float | None = None,
    cwd: str | os.PathLike | None = None,
) -> tuple[int, float, subprocess.CompletedProcess]:
    """Run a program and return its peak memory, its seconds, and the completed process.

    Args:
        argv: the program and its arguments.
        env: its whole environment; None passes this process's on.
        timeout: seconds after which the program and all it started are killed.
        cwd: the folder to run in.

    Returns:
        Bytes of resident memory at the peak (of the largest single process
        if the program starts and awaits others), seconds from start to end,
        and ``CompletedProcess`` with ``stdout`` and ``stderr`` as text. The
        exit code is not checked.

    Raises:
        FileNotFoundError: the program cannot be started.
        subprocess.TimeoutExpired: the time ran out.
        OSError: on Windows, which keeps no such count for a finished process.
    """
    import json

    if not hasattr(os, "wait4"):
        raise OSError("The peak memory of another program can be measured on Linux and macOS only.")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "usage.json")
        launcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(report), *map(str, argv)],
            env=None if env is None else dict(env),
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # one group, so that a time-out ends all of it
        )
        try:
            output, errors = launcher.communicate(timeout=timeout)
        except BaseException:
            os.killpg(launcher.pid, signal.SIGKILL)
            launcher.communicate()
            raise
        if not report.exists():
            raise FileNotFoundError(f"{argv[0]} could not be started: {errors.strip()[-300:]}")
        maxrss, seconds, status = json.loads(report.read_text())
    completed = subprocess.CompletedProcess(
        list(argv), os.waitstatus_to_exitcode(status), output, errors
    )
    return _maxrss_bytes(maxrss), seconds, completed


def _maxrss_bytes(maxrss: int) -> int:
    return maxrss if sys.platform == "darwin" else maxrss * 1024  # Linux counts in KiB


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        named = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
        )
        return named.stdout.strip() or platform.machine()
    return platform.processor() or platform.machine()
