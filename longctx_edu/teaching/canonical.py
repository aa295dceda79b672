"""The one form in which a notebook is saved, so that two runs give the same bytes.

Fixed cell ids, no timings, no widget state, no addresses; the comparison of a
notebook with its earlier self then shows real changes only. Plain JSON in and
out: it runs no cell and needs neither nbformat nor a kernel.
"""

import copy
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from longctx_edu.errors import LongctxError

Notebook = dict[str, Any]
Cell = dict[str, Any]
Output = dict[str, Any]

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
UNCHECKED_TAG = "nbval-ignore-output"

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
_PICTURE_METADATA = ("alt", "height", "width")
_NAME = re.compile(r"(\d\d)_[a-z0-9]+(_[a-z0-9]+)*\.ipynb")
_CHANGING = (
    (re.compile(r"\bat 0x[0-9a-fA-F]+"), "at 0x…"),
    (re.compile(r"\bipykernel_\d+"), "ipykernel_…"),
)
_QUANTITY = re.compile(
    r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?(?:\s*(?:ns|µs|us|ms|s|min|B|[kKMG]i?B)\b)?|[\s─━=|+:-]+"
)


def notebook_number(path: Path) -> str:
    """Return the two digits that open the file name, such as "00".

    Raises:
        LongctxError: if the file is not called ``NN_snake_case.ipynb``.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise LongctxError(
            f"A notebook is called NN_snake_case.ipynb, such as 00_start_here.ipynb; "
            f"{path.name!r} is not: rename it."
        )
    return match[1]


def load(path: Path) -> Notebook:
    """Read a notebook; all of its many-line texts become single strings.

    Raises:
        LongctxError: if the file is missing or is no notebook of format 4.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LongctxError(f"There is no file {path}; name an existing notebook.") from None
    except ValueError as error:
        raise LongctxError(f"{path} cannot be read as a notebook: {error}.") from None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        raise LongctxError(f"{path} is no notebook of format 4; save it anew in JupyterLab.")
    for cell in notebook["cells"]:
        cell["source"] = _joined(cell["source"])
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = _joined(output["text"])
            if "data" in output:
                output["data"] = {
                    kind: _joined(value) if _is_text(kind) else value
                    for kind, value in output["data"].items()
                }
    return notebook


def to_text(notebook: Notebook) -> str:
    """Return the text of the file: sorted keys, an indent of 1, a newline at the end."""
    written = copy.deepcopy(notebook)
    for cell in written["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
        for output in cell.get("outputs", []):
            if "text" in output:
                output["text"] = output["text"].splitlines(keepends=True)
            for kind, value in output.get("data", {}).items():
                if _is_text(kind):
                    output["data"][kind] = value.splitlines(keepends=True)
    return json.dumps(written, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def save(notebook: Notebook, path: Path) -> bool:
    """Write the notebook in one step, if its text changed; return whether it did."""
    return write_text(path, to_text(notebook))


def write_text(path: Path, text: str) -> bool:
    """Replace the file's text in one step, if it differs; return whether it did."""
    if path.exists() and path.read_bytes() == text.encode():
        return False
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
        os.chmod(scratch, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise
    return True


def canonical(notebook: Notebook, number: str, previous: Notebook | None = None) -> Notebook:
    """Return the notebook in the form that is kept; the argument stays as it is.

    Cell ids are ``n00-003``, the kernel is ``python3`` without its patch
    version, code cells are counted 1..n in order, and of all metadata only tags,
    ``slideshow``, ``source_hidden`` and a picture's description stay. A live
    widget leaves its static picture, or its text.

    Args:
        notebook: as ``load`` returns it.
        number: the two digits of the notebook, for the cell ids.
        previous: the same notebook as it was saved before. A cell tagged
            ``nbval-ignore-output`` may hold timings. Where its source is
            unchanged and its outputs differ from the earlier ones in nothing
            but numbers, the earlier texts stay, so that a run changes the
            file only where something else than a measured number changed.
            Pictures are always the new ones.
    """
    earlier = _unchecked_outputs(previous)
    counted = 0
    cells = []
    for position, cell in enumerate(notebook["cells"]):
        kept = {
            "cell_type": cell["cell_type"],
            "id": f"n{number}-{position:03d}",
            "metadata": _cell_metadata(cell.get("metadata", {})),
            "source": cell["source"].strip("\n"),
        }
        if cell["cell_type"] == "code":
            counted += 1
            kept["execution_count"] = counted
            kept["outputs"] = _outputs(cell["outputs"], counted)
            before = earlier.get(kept["source"], [])
            if is_unchecked(kept) and before:
                kept["outputs"] = _with_earlier_text(kept["outputs"], before.pop(0))
        cells.append(kept)
    return {
        "cells": cells,
        "metadata": {"kernelspec": dict(KERNELSPEC), "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def is_unchecked(cell: Cell) -> bool:
    """Say whether the cell's outputs are not compared when the notebook is tested."""
    return UNCHECKED_TAG in cell.get("metadata", {}).get("tags", [])


def output_text(output: Output) -> str:
    """Return what an output says in words: printed text, or the plain form of what is shown."""
    if output["output_type"] == "stream":
        return output["text"]
    return output.get("data", {}).get("text/plain", "")


def has_picture(output: Output) -> bool:
    """Say whether the output holds a picture."""
    return any(kind in output.get("data", {}) for kind in _PICTURES)


def _outputs(outputs: list[Output], count: int) -> list[Output]:
    kept = []
    for output in outputs:
        kind = output["output_type"]
        if kind == "stream":
            text = _scrubbed(output["text"])
            if kept and kept[-1]["output_type"] == "stream" and kept[-1]["name"] == output["name"]:
                kept[-1]["text"] += text  # where the kernel cut the stream depends on its timing
            else:
                kept.append({"name": output["name"], "output_type": kind, "text": text})
        elif kind == "error":
            kept.append(output)
        else:
            shown = {
                "data": _data(output["data"]),
                "metadata": _picture_metadata(output.get("metadata", {})),
                "output_type": kind,
            }
            if kind == "execute_result":
                shown["execution_count"] = count
            kept.append(shown)
    return kept


def _data(data: dict[str, Any]) -> dict[str, Any]:
    kept = {kind: _scrubbed(value) for kind, value in data.items() if kind != _WIDGET_VIEW}
    if not kept:
        kept["text/plain"] = "A live view: run the cell to see it."
    return kept


def _picture_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    kept = {
        kind: {key: metadata[kind][key] for key in _PICTURE_METADATA if key in metadata[kind]}
        for kind in _PICTURES
        if isinstance(metadata.get(kind), dict)
    }
    return {kind: facts for kind, facts in kept.items() if facts}


def _cell_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    kept = {key: metadata[key] for key in ("slideshow", "tags") if metadata.get(key)}
    if metadata.get("jupyter", {}).get("source_hidden"):
        kept["jupyter"] = {"source_hidden": True}
    return kept


def _unchecked_outputs(notebook: Notebook | None) -> dict[str, list[list[Output]]]:
    """Return the outputs of unchecked cells by source, in order of appearance."""
    found: dict[str, list[list[Output]]] = {}
    for cell in notebook["cells"] if notebook else ():
        if cell["cell_type"] == "code" and cell["outputs"] and is_unchecked(cell):
            found.setdefault(cell["source"], []).append(cell["outputs"])
    return found


def _with_earlier_text(outputs: list[Output], earlier: list[Output]) -> list[Output]:
    if [_wording(output) for output in outputs] != [_wording(output) for output in earlier]:
        return outputs
    kept = []
    for output, before in zip(outputs, earlier, strict=True):
        output = copy.deepcopy(output)
        if "text" in output:
            output["text"] = before["text"]
        for kind in output.get("data", {}):
            if kind.startswith("text/"):
                output["data"][kind] = before["data"][kind]
        kept.append(output)
    return kept


def _wording(output: Output) -> tuple:
    """Return what stays equal when only measured numbers (and a table's width) change."""
    data = output.get("data", {})
    return (
        output["output_type"],
        output.get("name"),
        sorted(data),
        _QUANTITY.sub(" ", output.get("text", "")),
        [_QUANTITY.sub(" ", data[kind]) for kind in sorted(data) if kind.startswith("text/")],
    )


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        for pattern, constant in _CHANGING:
            value = pattern.sub(constant, value)
    return value


def _is_text(kind: str) -> bool:
    return kind.startswith("text/") or kind in ("application/javascript", "image/svg+xml")


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
