"""The tables of notebooks in README.md and INSTRUCTOR.md: question, minutes, time, memory.

They are made of what the notebooks say and of what was recorded when they were
measured, so that no number in them is typed by hand.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from longctx_edu.errors import LongctxError
from longctx_edu.teaching import badges, canonical, structure
from longctx_edu.teaching.canonical import Notebook

RECORD = Path("results", "notebooks.json")
BEGIN, END = "<!-- notebooks:begin -->", "<!-- notebooks:end -->"


@dataclass(frozen=True)
class Measured:
    """What one run of a notebook took: seconds from kernel start to end, and peak memory."""

    notebook: str
    seconds: float
    peak_rss_bytes: int


def course_notebooks(folder: Path) -> list[Path]:
    """Return the notebooks in the folder in the order of the course."""
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def render_tables(root: Path) -> dict[Path, str]:
    """Return the texts of README.md and INSTRUCTOR.md with their tables of notebooks renewed.

    The tables stand between ``<!-- notebooks:begin -->`` and
    ``<!-- notebooks:end -->``. They hold what the notebooks say (question,
    minutes, badges) and what ``measure --record`` recorded. A file that does not
    exist is left out.

    Raises:
        LongctxError: if one of the files lacks the markers.
    """
    root = Path(root)
    folder = root / "notebooks"
    record_file = folder / RECORD
    rows = {}
    if record_file.exists():
        recorded = json.loads(record_file.read_text(encoding="utf-8"))["rows"]
        rows = {row["notebook"]: Measured(**row) for row in recorded}
    notebooks = [(path, canonical.load(path)) for path in course_notebooks(folder)]
    tables = {
        root / "README.md": _reader_table(notebooks, rows),
        folder / "INSTRUCTOR.md": _instructor_table(notebooks, rows),
    }
    return {path: _with_table(path, table) for path, table in tables.items() if path.exists()}


def write_tables(root: Path) -> list[Path]:
    """Renew the tables of notebooks; return the files that changed."""
    texts = render_tables(root)
    return [path for path, text in texts.items() if canonical.write_text(path, text)]


def _reader_table(notebooks: list[tuple[Path, Notebook]], rows: dict[str, Measured]) -> str:
    published = any(_badges(notebook) for _, notebook in notebooks)
    header = ["Notebook", "Question", "Minutes", "Run time", "Memory"]
    lines = [
        [
            f"[{path.stem}](notebooks/{path.name})",
            structure.title(notebook).replace("|", "\\|"),
            _minutes(notebook),
            *_taken(rows.get(path.stem)),
            *([_badges(notebook)] if published else []),
        ]
        for path, notebook in notebooks
    ]
    return _table([*header, *(["Open"] if published else [])], lines)


def _instructor_table(notebooks: list[tuple[Path, Notebook]], rows: dict[str, Measured]) -> str:
    header = ["Notebook", "Minutes alone", "Minutes in class", "Exercises", "Run time", "Memory"]
    lines = []
    for path, notebook in notebooks:
        alone = structure.minutes(notebook)
        in_class = "" if alone is None else str(-(-alone * 13 // 10))  # rounded up
        exercises = structure.exercise_minutes(notebook)
        lines.append(
            [
                f"[{path.stem}]({path.name})",
                _minutes(notebook),
                in_class,
                ", ".join(f"{name} {minutes} min" for name, minutes in exercises.items()),
                *_taken(rows.get(path.stem)),
            ]
        )
    return _table(header, lines)


def _minutes(notebook: Notebook) -> str:
    found = structure.minutes(notebook)
    return "" if found is None else str(found)


def _taken(measured: Measured | None) -> tuple[str, str]:
    if measured is None:
        return "not measured", "not measured"
    return f"{measured.seconds:.0f} s", gigabytes(measured.peak_rss_bytes)


def _badges(notebook: Notebook) -> str:
    return badges.badge_line(notebook["cells"][0]["source"]) or ""


def gigabytes(count: int) -> str:
    """Return bytes as text in units of 10^9, to one digit."""
    return f"{count / 1e9:.1f} GB"


def _table(header: list[str], lines: list[list[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _with_table(path: Path, table: str) -> str:
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise LongctxError(
            f"{path} needs the lines {BEGIN} and {END}; the table goes between them."
        )
    return f"{before}{BEGIN}\n{table}\n{END}{after}"
