"""The figures of evaluation and of the course as a whole: slides, sweeps, time and memory.

What was recorded before is read and judged here and not measured again: the notebooks by
``measure --record``, the sweep by ``longctx sweep recorded``.
"""

import json
import random
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from operator import eq
from pathlib import Path
from statistics import fmean

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.figures import Run, figure, read_result
from longctx_edu.evaluation.recorded import recorded
from longctx_edu.evaluation.samples import sample
from longctx_edu.evaluation.sweep_engines import work_on
from longctx_edu.evaluation.sweeps import (
    Dask,
    InProcess,
    recorded_sweep,
    run_sweep,
    spec_of,
    sweep_of,
    without_times,
)

_NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
_SECONDS = 900  # that one process may take


# --- the course ---


@figure("slides", unit="share of names", target=">= 1")
def slides(run: Run) -> float:
    """Names of the slides that can be imported and stand in the code of their notebook.

    Of all names but those that are left out on purpose. Table: those that are not so.
    """
    from longctx_edu.teaching.slides import slides as all_slides

    if not _NOTEBOOKS.is_dir():
        raise LongctxError("The notebooks are needed, and these come with a checkout alone.")
    missing, count = [], 0
    for slide in all_slides():
        code = _code_of(slide.file)
        for name in slide.names:
            if name.path is None:
                continue
            count += 1
            if fault := _fault(name, code):
                missing.append({"slide": slide.id, "name": name.name, "fault": fault})
    run.table("slides", missing)
    return 1 - len(missing) / count


@sample("evaluation.slides")
def slides_again() -> float:
    return slides(Run(quick=True))


def _code_of(file: str) -> str | None:
    """Return the code of a notebook, or the text of another file; None if it is not there."""
    path = _NOTEBOOKS / file
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def _fault(name, code: str | None) -> str | None:
    try:
        name.resolve()
    except LongctxError as error:
        return str(error)
    if code is None:
        return "its notebook is not written"
    last = name.path.rpartition(".")[2]
    return None if re.search(rf"\b{re.escape(last)}\b", code) else f"no cell has {last}"


@figure("series_time", unit="minutes", target="<= 15")
def series_time(run: Run) -> float:
    """All notebooks one after another, as recorded."""
    return sum(row["seconds"] for row in _notebooks()) / 60


@figure("series_memory", unit="GB", target="<= 1.5")
def series_memory(run: Run) -> float:
    """Peak memory of the largest notebook, as recorded."""
    return max(row["peak_rss_bytes"] for row in _notebooks()) / 1e9


def _notebooks() -> list[dict]:
    rows = recorded("notebooks").tables["notebooks"]
    written = {path.stem for path in _NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")}
    if missing := sorted(written - {row["notebook"] for row in rows}):
        raise LongctxError(
            f"{', '.join(missing)} were not measured when the notebooks were recorded; run "
            "python -m longctx_edu.teaching.notebooks measure --record."
        )
    return rows


# --- sweeps ---


def _small_sweep(run: Run, folder: Path) -> dict:
    """Return a sweep of a minute, as plain values; a quick one by a tiny random model."""
    if not run.quick:
        part = {"tasks": ["facts", "kv-list"], "lengths": [512], "documents": 2, "questions": 2}
        return {"methods": ["plain", "retrieval", "margins"], "parts": [part]}
    from longctx_edu.models import tiny

    model = tiny("llama", window=2048)
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    part = {"tasks": ["common-words", "needle"], "lengths": [700, 1000], "documents": 2}
    return {"models": [str(folder)], "methods": ["plain", "retrieval"], "parts": [part]}


@figure("sweep_resume", unit="yes/no", target=">= 1")
def sweep_resume(run: Run) -> float:
    """Whether a sweep killed three times at random and resumed equals one that was not.

    Table: for each run the cells that were there when it began, and when it was killed.
    """
    draw, rows = random.Random(run.seed), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec, out, whole = (folder / name for name in ("spec.json", "out.json", "whole.json"))
        spec.write_text(json.dumps(_small_sweep(run, folder / "model")))
        for _ in range(3):
            before, killed = _finished_cells(out), _kill_on_the_way(spec, out, draw)
            rows.append({"cells_before": before, "cells_when_killed": killed})
        _sweep_to_the_end(spec, out)
        _sweep_to_the_end(spec, whole)
        results = [read_result(path) for path in (out, whole)]
    rows.append({"cells_before": killed, "cells_when_killed": None})
    run.table("sweep_resume", rows)
    found = [session["cells_before"] for session in results[0].tables["sessions"]]
    if len(found) != 4:
        raise LongctxError(f"A sweep killed three times has four sessions, not {len(found)}.")
    return float(without_times(results[0]) == without_times(results[1]))


def _command(spec: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "longctx_edu", "sweep", str(spec), "--out", str(out)]


def _finished_cells(out: Path) -> int:
    journal = out.with_name(f"{out.name}.cells")
    return journal.read_bytes().count(b'{"outcome"') if journal.exists() else 0


def _kill_on_the_way(spec: Path, out: Path, draw: random.Random) -> int:
    """Start the sweep, kill it at random after its next cell, and return how many it finished."""
    before, deadline = _finished_cells(out), time.monotonic() + _SECONDS
    process = subprocess.Popen(
        _command(spec, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while _finished_cells(out) <= before:
            if process.poll() is not None or time.monotonic() > deadline:
                raise LongctxError("The sweep ended before it could be killed.")
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.5))
        if process.poll() is not None:
            raise LongctxError("The sweep ended before it could be killed; it is too small.")
    finally:
        process.kill()
        process.wait()
    return _finished_cells(out)


def _sweep_to_the_end(spec: Path, out: Path) -> None:
    # The same words in both results, but for the file's name, which is no part of a table.
    subprocess.run(_command(spec, out), check=True, capture_output=True, timeout=_SECONDS)


@figure("dask_equal", unit="yes/no", target=">= 1")
def dask_equal(run: Run) -> float:
    """Whether two workers of Dask give the same answers, cell by cell, as one process.

    Each has one thread. Table: seconds of all, starting included, and with this process's threads.
    """
    import torch

    with tempfile.TemporaryDirectory() as name:
        folder, seconds, results = Path(name), {}, {}
        sweep = sweep_of(_small_sweep(run, folder / "model"))
        threads = torch.get_num_threads()
        ways = {
            "in-process, 1 thread": (InProcess(), 1),
            f"in-process, {threads} threads": (InProcess(), threads),
            "dask, 2 workers": (Dask(workers=2), threads),
        }
        for way, (engine, count) in ways.items():
            path, start = folder / f"{len(results)}.json", time.perf_counter()
            with _threads(count):
                results[way] = [*run_sweep(sweep, path, engine=engine)][-1].result
            seconds[way] = time.perf_counter() - start
    first = without_times(results["in-process, 1 thread"])
    run.table(
        "dask",
        [
            {
                "way": way,
                "cells": len(result.tables["cells"]),
                "answers": len(result.tables["answers"]),
                "seconds": round(seconds[way], 1),
                "equal": without_times(result) == first,
            }
            for way, result in results.items()
        ],
    )
    return float(without_times(results["dask, 2 workers"]) == first)


@contextmanager
def _threads(count: int):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- the recorded sweep ---


@figure("aggregation", unit="recall gained")
def aggregation(run: Run) -> float:
    """What margins gain over the plain prompt where no single place holds the answer.

    ``common-words`` at the longest text that both read. Table: every such length, with intervals.
    """
    from longctx_edu.evaluation.sweep_scores import gain

    answers = [row for row in recorded_sweep().tables["answers"] if row["task"] == "common-words"]
    rows = []
    for length in sorted({row["length"] for row in answers}):
        here = [row for row in answers if row["length"] == length]
        if {"plain", "margins"} <= {row["method"] for row in here}:
            rows.append({"length": length, **gain(here, "margins", "plain")})
    run.table("aggregation", rows)
    return rows[-1]["gain"]


@figure("recorded", unit="hours")
def recorded_hours(run: Run) -> float:
    """Working time of the recorded sweep. Table: cells and answers by method."""
    result = recorded_sweep()
    cells = result.tables["cells"]
    run.table(
        "recorded",
        [
            {
                "method": method,
                "cells": len(mine),
                "refused": sum(row["refused"] is not None for row in mine),
                "answers": sum(row["questions"] for row in mine),
                "hours": sum(row["seconds"] for row in mine) / 3600,
            }
            for method in spec_of(result).methods
            if (mine := [row for row in cells if row["method"] == method])
        ],
    )
    return sum(row["seconds"] for row in cells) / 3600


@figure("in_float32", unit="share of answers")
def in_float32(run: Run) -> float:
    """Answers of the recorded sweep that get the same recall from weights in float32.

    Asked are all cells of the shortest length and the first document. Table: what each method
    recalls with both.
    """
    from longctx_edu import models

    result = recorded_sweep()
    sweep = spec_of(result)
    model = models.load(sweep.models[0], dtype="float32")
    shortest = min(cell.length for cell in sweep.cells)
    cells = [cell for cell in sweep.cells if (cell.document, cell.length) == (0, shortest)]
    if run.quick:
        cells = cells[:2]
    kept = {
        tuple(row[name] for name in ("method", "task", "question")): row["recall"]
        for row in result.tables["answers"]
        if (row["document"], row["length"]) == (0, shortest)
    }
    pairs = [
        (cell.method, kept[cell.method, cell.task, row["question"]], row["recall"])
        for cell in cells
        for row in work_on(sweep, cell, model)["answers"]
    ]
    rows = []
    for method in dict.fromkeys(cell.method for cell in cells):
        before, now = zip(*[pair[1:] for pair in pairs if pair[0] == method], strict=True)
        same = sum(map(eq, before, now))
        told = {"method": method, "answers": len(before), "same": same}
        rows.append({**told, "recall": fmean(before), "recall_in_float32": fmean(now)})
    run.table("in_float32", rows)
    return sum(row["same"] for row in rows) / len(pairs)
