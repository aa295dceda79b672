"""The pre-flight check: does this machine hold everything that the course needs?

Each check looks at one thing and, where it fails, says what to do. All of them
run with network access switched off, as in a room without wireless. Nothing is
installed, fetched or changed.
"""

import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import longctx_edu
from longctx_edu.evaluation.machine import machine, memory_limit, usable_cores, versions

OLDEST_PYTHON = (3, 11)
MEMORY_NEEDED = 1_500_000_000  # bytes: the largest notebook's kernel
DISK_NEEDED = 850_000_000  # bytes: download, conversion and the converted model
DISK_LEFT = 50_000_000  # bytes: notes and progress, once the model is there
KERNEL_SECONDS = 60

_WIDGET_FILE = re.compile(r"""["']([\w./-]+\.(?:js|css))["']""")


@dataclass(frozen=True)
class Check:
    """What one check found; ``advice`` says what to do where ``ok`` is false."""

    name: str
    ok: bool
    found: str
    advice: str = ""

    def __str__(self) -> str:
        if self.ok:
            return f"[OK]   {self.name}: {self.found}"
        return f"[FAIL] {self.name}: {self.found} -> {self.advice}"


def run_checks(*, quick: bool = False) -> Iterator[Check]:
    """Run the checks one after another; each is yielded as soon as it is done.

    Args:
        quick: leave out what takes more than a moment: loading the model and
            starting a kernel.
    """
    for name, look, slow in _CHECKS:
        if not (quick and slow):
            yield attempt(name, look)
    yield attempt("network", check_network)


def summary(checks: list[Check]) -> str:
    """Return the one line that an attendee sends back to the instructor."""
    shape, found = machine(), versions()
    failed = [check.name for check in checks if not check.ok]
    verdict = f"FAIL: {', '.join(failed)}" if failed else f"all {len(checks)} checks OK"
    return " | ".join(
        [
            f"longctx_edu {found['longctx_edu']}",
            f"Python {found['python']}",
            f"torch {found['torch']}",
            f"transformers {found['transformers']}",
            shape["os"],
            f"{shape['cores']} cores",
            f"{shape['memory_gib']} GiB",
            verdict,
        ]
    )


def check_python() -> Check:
    """Compare the running Python with the oldest one that the package supports."""
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Check(
        "python",
        sys.version_info >= OLDEST_PYTHON,
        versions()["python"],
        f"install Python {oldest} or newer and set the course up again with it",
    )


def check_packages(distribution: str = "longctx_edu") -> Check:
    """Compare the installed packages with the lower bounds that the distribution states."""
    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(text) for text in metadata.requires(distribution) or ()]
    except metadata.PackageNotFoundError:
        return Check(
            "packages",
            False,
            f"{distribution} is not installed in {sys.executable}",
            "run 'make lab', or 'python -m pip install .' in the course's folder",
        )
    needed = [
        requirement
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    ]
    wrong = {need: reason for need in needed if (reason := _too_old_or_missing(need))}
    command = [Path(sys.executable).name, "-m pip install --upgrade"]
    if any(need.name == "torch" for need in wrong):  # elsewhere Linux gets gigabytes of CUDA
        command.append("--extra-index-url https://download.pytorch.org/whl/cpu")
    command += [f"'{need.name}{need.specifier}'" for need in wrong]
    return Check(
        "packages",
        not wrong,
        "; ".join(wrong.values()) or f"{len(needed)} as new as needed",
        f"run: {' '.join(command)}",
    )


def check_cores() -> Check:
    """Count the cores; one is enough, only slower."""
    cores = usable_cores()
    note = " (the lessons' times are for 2; expect about twice as long)" if cores == 1 else ""
    return Check("cores", True, f"{cores}{note}")


def check_memory(needed: int = MEMORY_NEEDED) -> Check:
    """Compare the free memory, within a container's limit, with the largest notebook's need."""
    from longctx_edu.models.memory import free_memory_bytes

    free, limit = free_memory_bytes(), memory_limit()
    within = "" if limit is None else f" within the container's limit of {_gigabytes(limit)}"
    return Check(
        "memory",
        free >= needed,
        f"{_gigabytes(free)} free{within}",
        f"close other programs and other notebooks' kernels until {_gigabytes(needed)} are free",
    )


def check_disk() -> Check:
    """Look for room in the cache folder, and for the right to write there."""
    from longctx_edu.models import cache_folder, is_fetched

    folder = cache_folder()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent  # not made yet: what counts is where it will be made
    free = shutil.disk_usage(folder).free
    needed = DISK_LEFT if is_fetched() else DISK_NEEDED
    writable = os.access(folder, os.W_OK)
    return Check(
        "disk",
        writable and free >= needed,
        f"{_gigabytes(free)} free in {folder}{'' if writable else ', which cannot be written to'}",
        f"make {_gigabytes(needed)} of room there, or set LONGCTX_EDU_CACHE to another folder",
    )


def check_model_files() -> Check:
    """Look for the embedded model in the cache folder, by the recorded hashes."""
    from longctx_edu.models import EMBEDDED, cache_folder, is_fetched

    if is_fetched(thorough=True):
        return Check("model", True, f"{EMBEDDED} lies whole in {cache_folder()}")
    return Check(
        "model",
        False,
        f"{EMBEDDED} is missing from {cache_folder()} or damaged",
        "run 'longctx fetch' once while this machine is online",
    )


def check_model_loads() -> Check:
    """Load the embedded model and let it predict one token."""
    from longctx_edu.models import is_fetched

    if not is_fetched():  # loading it would start a download
        return Check("model loads", False, "there is no model to load", "run 'longctx fetch' first")
    import torch

    from longctx_edu.models import load

    began = time.perf_counter()
    language_model = load()
    ids = language_model.tokenizer("The Moon goes around the", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logits = language_model.model(ids.to(language_model.device)).logits  # (1, tokens, vocab)
    return Check(
        "model loads",
        bool(logits.isfinite().all()),
        f"it predicted a token after {time.perf_counter() - began:.1f} s",
        "run 'longctx fetch' again; if this stays, reinstall torch and transformers",
    )


def check_computation() -> Check:
    """Compute a small attention twice, by torch's fused kernel and by its definition."""
    import torch

    query, key, value = torch.linspace(-1, 1, 3 * 8 * 4).reshape(3, 1, 1, 8, 4)
    fused = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    by_definition = (query @ key.mT / 4**0.5).softmax(-1) @ value
    error = (fused - by_definition).abs().max().item()
    return Check(
        "computation",
        error < 1e-5,
        f"attention computed two ways differs by {error:.0e}",
        "reinstall torch; this build computes wrongly on this processor",
    )


def check_kernel(seconds: float = KERNEL_SECONDS) -> Check:
    """Start a Jupyter kernel, as a notebook does, and let it import the package."""
    import subprocess

    from jupyter_client.manager import start_new_kernel

    printed = []

    def keep(message):
        if message["msg_type"] == "stream":
            printed.append(message["content"]["text"])

    manager, client = start_new_kernel(
        startup_timeout=seconds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        reply = client.execute_interactive(
            "import longctx_edu; print(1 + 1, longctx_edu.__version__)",
            timeout=seconds,
            output_hook=keep,
        )["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    answer = "".join(printed).strip()
    if reply["status"] != "ok":
        answer = f"{reply['ename']}: {reply['evalue']}"
    return Check(
        "kernel", answer == f"2 {longctx_edu.__version__}", f"answered {answer!r}", _KERNEL_ADVICE
    )


def check_widgets(folder: Path | None = None) -> Check:
    """See that every script and style sheet of the widgets was installed and is not empty.

    Args:
        folder: the folder of the widgets' modules; the installed package's by default.
    """
    import anywidget

    folder = folder or Path(longctx_edu.__file__).parent / "widgets"
    files = {path.name: path for kind in ("js", "css") for path in folder.rglob(f"*.{kind}")}
    # A file that was left out of the installation can only be missed by those who name it.
    named = {
        Path(match).name
        for module in folder.rglob("*.py")
        for match in _WIDGET_FILE.findall(module.read_text(encoding="utf-8"))
    }
    wrong = [f"{name} is missing" for name in sorted(named - files.keys())]
    wrong += [f"{name} is empty" for name, path in sorted(files.items()) if not path.stat().st_size]
    return Check(
        "widgets",
        not wrong,
        "; ".join(wrong) or f"{len(files)} files present, anywidget {anywidget.__version__}",
        "install the course again: python -m pip install --force-reinstall --no-deps .",
    )


def check_network() -> Check:
    """See that the network really was off: a connection to the outside is refused at once."""
    import socket

    try:
        socket.create_connection(("192.0.2.1", 80), timeout=2).close()  # an address for examples
    except TimeoutError:
        pass  # the guard let it out, and nobody answered
    except OSError:
        return Check("network", True, "not needed; it was switched off for all checks above")
    return Check(
        "network", False, "it was not switched off during the checks", "report this as a fault"
    )


_KERNEL_ADVICE = "run: python -m pip install --upgrade ipykernel jupyter_client"

_CHECKS: tuple[tuple[str, Callable[[], Check], bool], ...] = (  # name, check, slow
    ("python", check_python, False),
    ("packages", check_packages, False),
    ("cores", check_cores, False),
    ("memory", check_memory, False),
    ("disk", check_disk, False),
    ("model", check_model_files, False),
    ("model loads", check_model_loads, True),
    ("computation", check_computation, False),
    ("kernel", check_kernel, True),
    ("widgets", check_widgets, False),
)


def attempt(name: str, look: Callable[[], Check]) -> Check:
    """Run one check offline; whatever it raises is a failure with its reason."""
    from longctx_edu.teaching.offline import no_network

    try:
        with no_network():
            return look()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return Check(name, False, reason, _advice_for(name, error))


def _advice_for(name: str, error: Exception) -> str:
    if name == "kernel":
        return _KERNEL_ADVICE
    if isinstance(error, ImportError):
        return "set the course up again: 'make lab', or 'python -m pip install .' in its folder"
    return "send this line to your instructor"


def _too_old_or_missing(requirement) -> str | None:
    try:
        installed = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    return f"{requirement.name} is {installed}, needed is {requirement.specifier}"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2g} GB" if count < 1e9 else f"{count / 1e9:.1f} GB"
