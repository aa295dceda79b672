"""The figures of evaluation: whether every name of the slides has its place, and the sweep.

The recorded sweep (``longctx sweep recorded``) is read and judged here and not made again.
"""

import json
import re
from operator import eq
from pathlib import Path
from statistics import fmean

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.figures import Run, figure
from longctx_edu.evaluation.samples import sample
from longctx_edu.evaluation.sweep_engines import work_on
from longctx_edu.evaluation.sweeps import recorded_sweep, spec_of

_NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


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
