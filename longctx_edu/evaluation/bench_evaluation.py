"""The figure of the course as a whole: whether every name of the slides stands where it should."""

import json
from pathlib import Path

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.figures import Run, figure
from longctx_edu.evaluation.samples import sample

_NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


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
    import re

    try:
        name.resolve()
    except LongctxError as error:
        return str(error)
    if code is None:
        return "its notebook is not written"
    last = name.path.rpartition(".")[2]
    return None if re.search(rf"\b{re.escape(last)}\b", code) else f"no cell has {last}"
