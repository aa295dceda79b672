"""The tables of notebooks, slides and other views in README.md and INSTRUCTOR.md.

They are made of what the notebooks say, of what was recorded when they and other views of
attention were measured, and of the map of the slides, so that nothing in them is typed by hand.
"""

from dataclasses import dataclass
from pathlib import Path

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation import sweeps
from longctx_edu.evaluation.figures import read_result
from longctx_edu.teaching import badges, canonical, slides, structure
from longctx_edu.teaching.canonical import Notebook
from longctx_edu.teaching.method_table import markdown_table, method_table

RECORD = Path("results", "notebooks.json")
COMMAND = "python -m longctx_edu.teaching.notebooks measure --record"
PEERS = Path("results", "peers.json")
PEERS_COMMAND = "python tests/peers.py --record"
SWEEP = Path("results", f"{sweeps.RECORD}.json")


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
    """Return the texts of README.md and INSTRUCTOR.md with their tables renewed.

    A table of notebooks stands between ``<!-- notebooks:begin -->`` and
    ``<!-- notebooks:end -->``. It holds what the notebooks say (question,
    minutes, badges) and what ``measure --record`` recorded. README.md has tables of
    peers and of methods as well, once they were recorded, and INSTRUCTOR.md one of slides,
    between ``<!-- slides:begin -->`` and its end. A file that does not exist is left out.

    Raises:
        LongctxError: if one of the files lacks the markers.
    """
    root = Path(root)
    folder = root / "notebooks"
    rows = {}
    if (folder / RECORD).exists():
        recorded = read_result(folder / RECORD, command=COMMAND).tables["notebooks"]
        rows = {row["notebook"]: Measured(**row) for row in recorded}
    notebooks = [(path, canonical.load(path)) for path in course_notebooks(folder)]
    tables = {
        root / "README.md": {"notebooks": _reader_table(notebooks, rows)},
        folder / "INSTRUCTOR.md": {
            "notebooks": _instructor_table(notebooks, rows),
            "slides": _slide_table(folder),
        },
    }
    if (folder / PEERS).exists():
        peers = read_result(folder / PEERS, command=PEERS_COMMAND).tables["peers"]
        tables[root / "README.md"]["peers"] = _peer_table(peers)
    if (folder / SWEEP).exists():
        result = read_result(folder / SWEEP, command=sweeps.COMMAND)
        tables[root / "README.md"]["methods"] = method_table(result)
    return {path: _with_tables(path, these) for path, these in tables.items() if path.exists()}


def write_tables(root: Path) -> list[Path]:
    """Renew the tables; return the files that changed."""
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
    return markdown_table([*header, *(["Open"] if published else [])], lines)


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
    return markdown_table(header, lines)


def _peer_table(rows: list[dict]) -> str:
    """One row for each view; of a length that was tried twice, the second try stands."""
    lengths = sorted({row["tokens"] for row in rows})
    cells = {(row["view"], row["tokens"]): row for row in rows}
    views = dict.fromkeys(row["view"] for row in rows)
    lines = [[view, *(_peer_cell(cells.get((view, n)), rows) for n in lengths)] for view in views]
    table = markdown_table(["View", *(f"{length:,} tokens" for length in lengths)], lines)
    return (
        "Attention of the embedded model over the same text, here and in other views: seconds to "
        "the first drawing in Chromium, size of the page, Python's peak memory, and how long "
        f"pointing at it takes (`{PEERS_COMMAND}`). The other views' pages hold every weight; a "
        "saved page of `AttentionView` holds one layer, pooled, and the rest comes from a "
        f"kernel.\n\n{table}"
    )


def _peer_cell(row: dict | None, rows: list[dict]) -> str:
    if row is None:
        return ""
    if row["none"] is not None:
        return row["none"]
    everything = max(other["layers"] for other in rows)
    parts = [f"{row['seconds']:.1f} s", f"{row['page_bytes'] / 1e6:.1f} MB"]
    parts.append(gigabytes(row["peak_rss_bytes"]))
    if row["hover_seconds"] is not None:
        parts.append(f"{1000 * row['hover_seconds']:.0f} ms")
    fewer = f" ({row['layers']} of {everything} layers)" if row["layers"] < everything else ""
    return ", ".join(parts) + fewer


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


def _slide_table(folder: Path) -> str:
    lines = [
        [slide.id, _place(slide, folder), slide.wrong or "", "<br>".join(map(_became, slide.names))]
        for slide in slides.slides()
    ]
    return markdown_table(
        ["Slide", "Notebook", slides.BOX, "Names on it and what became of them"], lines
    )


def _place(slide: slides.Slide, folder: Path) -> str:
    there = (folder / slide.file).exists()
    return f"[{slide.place}]({slide.file})" if there else f"{slide.place} (planned)"


def _became(name: slides.SlideName) -> str:
    if name.dropped:
        return f"`{name.name}`: left out, {name.dropped}"
    return f"`{name.name}`: {'' if name.home else 'absorbed by '}`{name.path}`"


def _with_tables(path: Path, tables: dict[str, str]) -> str:
    text = path.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, found_begin, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found_begin or not found_end:
            raise LongctxError(f"{path} needs the lines {begin} and {end}; a table goes between.")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text
