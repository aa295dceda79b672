"""Run, check, measure and start the notebooks of the course.

    python -m longctx_edu.teaching.notebooks run|check|measure [NAME ...]
    python -m longctx_edu.teaching.notebooks tables
    python -m longctx_edu.teaching.notebooks new NN_name

``run`` executes top to bottom in a fresh kernel and saves the canonical form (see
``canonical``); ``check`` applies the rules of ``structure``. Whether outputs are
still the same is not asked here: that is what ``pytest --nbval`` compares.
"""

import argparse
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.figures import Result, read_result, write_result
from longctx_edu.evaluation.machine import machine, versions
from longctx_edu.teaching import badges, canonical, template
from longctx_edu.teaching.canonical import Notebook
from longctx_edu.teaching.offline import no_network
from longctx_edu.teaching.structure import structure_faults
from longctx_edu.teaching.tables import (
    COMMAND,
    RECORD,
    Measured,
    course_notebooks,
    gigabytes,
    render_tables,
    write_tables,
)

__all__ = [
    "QUIET",
    "Measured",
    "faults",
    "faults_between",
    "find_notebooks",
    "main",
    "measure",
    "new",
    "record",
    "render_tables",
    "run",
    "structure_faults",
    "write_tables",
]

FOLDER = Path("notebooks")
CELL_TIMEOUT = 120  # seconds
BUDGET_SECONDS = 90
BUDGET_BYTES = 1_500_000_000

# What a library says about its progress or its version belongs in no saved notebook,
# and sets are to be printed in the same order on every run. Whatever compares
# outputs with saved ones sets the same variables.
QUIET = {
    "COLUMNS": "79",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NO_COLOR": "1",
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
_SAMPLE_SECONDS = 0.05


def find_notebooks(names: Sequence[str] = (), folder: Path = FOLDER) -> list[Path]:
    """Return the notebooks that are named, or all in the folder, in the order of the course.

    Args:
        names: such as "00", "00_start_here", "00_start_here.ipynb", or a path.
        folder: where they lie.

    Raises:
        LongctxError: if a name fits no notebook.
    """
    known = course_notebooks(folder)
    if not names:
        return known
    chosen = []
    for name in names:
        stem = Path(name).name.removesuffix(".ipynb")
        found = [path for path in known if stem in (path.stem, path.stem[:2])]
        if Path(name).suffix == ".ipynb" and Path(name).is_file():
            found = [Path(name)]
        if not found:
            listed = ", ".join(path.stem for path in known) or "none yet"
            raise LongctxError(f"There is no notebook {name!r} in {folder}; there are: {listed}.")
        chosen += found
    return chosen


def run(path: Path, *, timeout: int = CELL_TIMEOUT, fresh: bool = False) -> bool:
    """Execute a notebook, offline, and save it in canonical form.

    Args:
        path: the notebook; its folder is where the kernel runs.
        timeout: seconds that one cell may take.
        fresh: also renew the measured numbers in cells tagged
            ``nbval-ignore-output``, which otherwise stay as long as nothing but
            numbers changed (see ``canonical.canonical``).

    Returns:
        Whether the file changed.

    Raises:
        LongctxError: if a cell fails, takes too long, or prints to stderr. The
            file is then left as it was.
    """
    number = canonical.notebook_number(path)
    before = canonical.load(path)
    executed = _execute(before, path, timeout=timeout)
    kept = canonical.canonical(executed, number, previous=None if fresh else before)
    for position, cell in enumerate(kept["cells"]):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                raise LongctxError(f"{path.name}: cell {position} ends in an error; mend the cell.")
            if output.get("name") == "stderr":
                first = output["text"].strip().partition("\n")[0]
                raise LongctxError(
                    f"{path.name}: cell {position} prints to stderr ({first}); "
                    "remove the cause, since a reader would see it and a test fails on it."
                )
    return canonical.save(kept, path)


def faults(path: Path) -> list[str]:
    """Return what is wrong with a saved notebook: its structure, and its form."""
    found = structure_faults(path)
    try:
        notebook = canonical.load(path)
        kept = canonical.canonical(notebook, canonical.notebook_number(path), previous=notebook)
    except LongctxError:
        return found  # it could not be read, which the structure rules said
    if canonical.to_text(kept).encode() != path.read_bytes():
        found.append("The file is not in canonical form; use the command `run`.")
    return found


def faults_between(paths: Sequence[Path]) -> list[str]:
    """Return what is wrong across notebooks: Colab cells that differ."""
    cells = {
        cell["source"]
        for path in paths
        for cell in canonical.load(path)["cells"]
        if badges.is_colab_cell(cell["source"])
    }
    if len(cells) > 1:
        return ["The Colab cells differ between notebooks; write them by `longctx badges`."]
    return []


def measure(path: Path, *, timeout: int = CELL_TIMEOUT) -> Measured:
    """Execute a notebook, offline, for its time and memory; the file stays as it is.

    The memory is the largest resident size of the kernel and all processes it
    started, sampled 20 times a second; on Linux the kernel's own high-water mark
    counts too, so that no short peak is missed.

    Raises:
        LongctxError: if a cell fails or takes too long.
    """
    notebook = canonical.load(path)
    watch = _MemoryWatch()
    began = time.perf_counter()
    try:
        _execute(notebook, path, timeout=timeout, on_start=watch.start)
        seconds = time.perf_counter() - began
    finally:
        watch.stop()
    return Measured(path.stem, round(seconds, 1), watch.peak)


def record(measured: Sequence[Measured], folder: Path = FOLDER) -> Path:
    """Write the recorded result of the notebooks, ``results/notebooks.json``.

    Rows of notebooks that were not measured now stay only where versions and
    machine are the same, since one record describes one machine.

    Raises:
        LongctxError: if the file there is damaged or not a recorded result.
    """
    path = folder / RECORD
    rows = {one.notebook: asdict(one) for one in measured}
    result = Result(COMMAND, versions(), seed=None, machine=machine(), figures={}, tables={})
    if path.exists():
        try:
            former = read_result(path, command=COMMAND)
        except LongctxError as error:
            raise LongctxError(f"{error} Nothing was recorded; remove the file first.") from error
        if (former.versions, former.machine) == (result.versions, result.machine):
            rows = {row["notebook"]: row for row in former.tables["notebooks"]} | rows
    kept = [rows[name] for name in sorted(rows) if (folder / f"{name}.ipynb").exists()]
    write_result(path, replace(result, tables={"notebooks": kept}))
    return path


def new(name: str, folder: Path = FOLDER) -> Path:
    """Write a notebook with all sections in their order, to be filled in.

    Raises:
        LongctxError: if the name is not like ``07_long_documents``, or is taken.
    """
    path = folder / f"{name.removesuffix('.ipynb')}.ipynb"
    number = canonical.notebook_number(path)
    taken = [other.name for other in folder.glob(f"{number}_*.ipynb")]
    if taken:
        raise LongctxError(f"{folder} already holds {taken[0]}; choose another number.")
    canonical.save(template.new_notebook(number), path)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 1 where a notebook breaks a rule, or 2 for an error."""
    options = _parser().parse_args(argv)
    try:
        return options.command(options)
    except LongctxError as error:
        print(error, file=sys.stderr)
        return 2


def _run_command(options: argparse.Namespace) -> int:
    for path in find_notebooks(options.names, options.folder):
        began = time.perf_counter()
        changed = run(path, timeout=options.timeout, fresh=options.fresh)
        state = "changed" if changed else "unchanged"
        print(f"{path.name}: {state}, {time.perf_counter() - began:.0f} s", flush=True)
    return 0


def _check_command(options: argparse.Namespace) -> int:
    paths = find_notebooks(options.names, options.folder)
    found = [f"{path.name}: {fault}" for path in paths for fault in faults(path)]
    if not found:
        found = faults_between(paths)
    for fault in found:
        print(fault)
    if not found:
        print(f"{len(paths)} notebooks keep all rules.")
    return 1 if found else 0


def _measure_command(options: argparse.Namespace) -> int:
    measured = []
    over = []
    for path in find_notebooks(options.names, options.folder):
        one = measure(path, timeout=options.timeout)
        print(f"{one.notebook}: {one.seconds:.0f} s, {gigabytes(one.peak_rss_bytes)}", flush=True)
        if one.seconds > BUDGET_SECONDS:
            over.append(f"{one.notebook} takes more than {BUDGET_SECONDS} s.")
        if one.peak_rss_bytes > BUDGET_BYTES:
            over.append(f"{one.notebook} needs more than {gigabytes(BUDGET_BYTES)}.")
        measured.append(one)
    if options.record:
        print(f"recorded in {record(measured, options.folder)}")
        _tables_command(options)
    for sentence in over:
        print(sentence)
    return 1 if over else 0


def _tables_command(options: argparse.Namespace) -> int:
    for path in write_tables(options.folder.resolve().parent):
        print(f"tables renewed in {path.name}")
    return 0


def _new_command(options: argparse.Namespace) -> int:
    print(f"wrote {new(options.name, options.folder)}; `check` says what it still lacks")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m longctx_edu.teaching.notebooks", description=__doc__.partition("\n")[0]
    )
    commands = parser.add_subparsers(required=True, metavar="run|check|measure|tables|new")
    for name, command, about in (
        ("run", _run_command, "execute and save in canonical form"),
        ("check", _check_command, "say which rules a notebook breaks"),
        ("measure", _measure_command, "execute for seconds and peak memory"),
        ("tables", _tables_command, "renew the tables of README.md and INSTRUCTOR.md"),
        ("new", _new_command, "start a notebook from the template"),
    ):
        sub = commands.add_parser(name, help=about, description=about)
        sub.set_defaults(command=command)
        sub.add_argument("--folder", type=Path, default=FOLDER, help="where the notebooks lie")
        if name == "new":
            sub.add_argument("name", help="such as 07_long_documents")
        elif name != "tables":
            sub.add_argument("names", nargs="*", help="such as 00; all notebooks if none is named")
        if name in ("run", "measure"):
            sub.add_argument("--timeout", type=int, default=CELL_TIMEOUT, help="seconds a cell")
        if name == "run":
            sub.add_argument("--fresh", action="store_true", help="renew measured numbers as well")
        if name == "measure":
            sub.add_argument("--record", action="store_true", help="save, and renew the tables")
    return parser


def _execute(
    notebook: Notebook,
    path: Path,
    *,
    timeout: int,
    on_start: Callable[[int], None] | None = None,
) -> Notebook:
    """Return the notebook with the outputs of a fresh kernel; ``on_start`` gets its process id."""
    import nbformat
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    class Client(NotebookClient):
        def create_kernel_manager(self):
            # Without folders to search, "python3" is this very interpreter and not
            # one that another environment has registered under that name.
            specs = KernelSpecManager(kernel_dirs=[])
            self.km = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)
            return self.km

        async def async_start_new_kernel(self, **options):
            await super().async_start_new_kernel(**options)
            if on_start is not None:
                on_start(self.km.provisioner.pid)

    node = nbformat.from_dict(notebook)
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = Client(
        node,
        timeout=timeout,
        record_timing=False,
        store_widget_state=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # no remark on each start
        resources={"metadata": {"path": str(path.resolve().parent)}},
    )
    # Offline, since the course is; this also hides the IPython settings of the person here.
    with no_network(), tempfile.TemporaryDirectory() as scratch:
        try:
            client.execute(env=_kernel_environment(Path(scratch)))
        except CellTimeoutError:
            raise LongctxError(
                f"{path.name}: a cell did not finish in {timeout} s; make it shorter."
            ) from None
        except CellExecutionError as error:
            failed = [n for n, cell in enumerate(node.cells) if _ends_in_error(cell)]
            raise LongctxError(
                f"{path.name}: cell {failed[-1] if failed else '?'} raised "
                f"{error.ename}: {error.evalue}"
            ) from None
        except DeadKernelError:
            raise LongctxError(
                f"{path.name}: the kernel died, most often because memory ran out; "
                "run the notebook in JupyterLab to see where."
            ) from None
    return json.loads(json.dumps(node))


def _kernel_environment(scratch: Path) -> dict[str, str]:
    # With MPLBACKEND set the kernel would not show figures at all; the progress of
    # the person at this machine must not show in a saved notebook.
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    return {**kept, **QUIET, "LONGCTX_EDU_PROGRESS": str(scratch / "progress.json")}


def _ends_in_error(cell: canonical.Cell) -> bool:
    return any(output["output_type"] == "error" for output in cell.get("outputs", []))


class _MemoryWatch:
    """Samples the resident memory of a process and its children in a thread."""

    def __init__(self):
        self.peak = 0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, pid: int) -> None:
        self._thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, pid: int) -> None:
        import psutil

        try:
            kernel = psutil.Process(pid)
            while not self._stopped.wait(_SAMPLE_SECONDS):
                together = sum(_resident(one) for one in [kernel, *kernel.children(recursive=True)])
                self.peak = max(self.peak, together, _high_water(pid))
        except psutil.NoSuchProcess:
            pass  # the kernel ended


def _resident(process) -> int:
    import psutil

    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def _high_water(pid: int) -> int:
    """Return the largest resident size the process ever had, in bytes; 0 where it is not told."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    sys.exit(main())
