"""The rules that every notebook of the course keeps, as one list of sentences.

``structure_faults`` reads a saved notebook and says what breaks a rule: order of
sections, sizes of cells, predictions and exercises, described figures, outputs
of one fresh run. It runs no cell; whether the outputs are right is nbval's task.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from longctx_edu.errors import LongctxError
from longctx_edu.teaching import badges, lessons, slides
from longctx_edu.teaching.canonical import (
    Cell,
    Notebook,
    has_picture,
    is_unchecked,
    load,
    notebook_number,
    output_text,
)

OBJECTIVES = "What you will be able to do"
CLOSING = ("Quiz", "Take-away", "Words to keep", "Further reading")
FIGURE = "Figure: "

CODE_LINES = 25
CLASS_LINES = 40
CODE_COLUMNS = 79
MARKDOWN_WORDS = 120
CELLS = 60
ALL_CODE_LINES = 250
FILE_BYTES = 1_000_000
CODE_CELLS_IN_A_ROW = 2
CHECKED_CELLS = 3
AT_LEAST = {"predict": 2, "check": 2, "quiz": 3}

_HEADING = re.compile(r"^(#{1,6}) +(.+?) *$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)[^)]*\)")
_MAGIC = re.compile(r"^( *)[%!].*$", re.MULTILINE)
_KIT = ("predict", "reveal", "check", "quiz", "hint", "solution")
_WEB_MODULES = {"aiohttp", "ftplib", "httpx", "requests", "urllib3"}
_OUR_PATHS = re.compile(r"(?<![\w./:])(?:/(?:home|root|tmp|Users|usr|var|opt|mnt|srv)/|[A-Z]:\\)")


def structure_faults(path: Path) -> list[str]:
    """Return what breaks the rules of the course, one sentence a fault; [] if nothing does.

    Args:
        path: a saved notebook. Links to other files are looked up beside it.
    """
    path = Path(path)
    try:
        number = notebook_number(path)
        notebook = load(path)
    except LongctxError as error:
        return [str(error)]
    faults = notebook_faults(notebook, number)
    if path.stat().st_size >= FILE_BYTES:
        faults.append(f"The file has {path.stat().st_size:,} bytes; keep it under {FILE_BYTES:,}.")
    faults += [
        f"Cell {position} links to {target}, which does not exist."
        for position, target in _relative_links(notebook)
        if not (path.parent / target).exists()
    ]
    return faults


def notebook_faults(notebook: Notebook, number: str) -> list[str]:
    """Return the faults that show without the file's folder; see ``structure_faults``.

    Args:
        notebook: as ``canonical.load`` returns it.
        number: its two digits, such as "00".
    """
    cells = notebook["cells"]
    if not cells:
        return ["The notebook has no cells; make it with the command `new`."]
    rules = (
        _title_faults(cells, int(number)),
        _section_faults(cells),
        _opening_faults(cells),
        _closing_faults(cells),
        _kit_faults(cells, int(number)),
        _slide_faults(cells, int(number)),
        _size_faults(cells),
        _source_faults(cells),
        _picture_faults(cells),
        _run_faults(cells, number),
    )
    return [fault for faults in rules for fault in faults]


def title(notebook: Notebook) -> str:
    """Return the first heading without its number: the question that the notebook answers."""
    text = next((text for level, text, _ in _headings(notebook["cells"]) if level == 1), "")
    return re.sub(r"^\d+\. ", "", text)


def minutes(notebook: Notebook) -> int | None:
    """Return the minutes that the notebook asks for, or None where it does not say."""
    found = re.search(r"(\d+) minutes", _section(notebook["cells"], OBJECTIVES))
    return int(found[1]) if found else None


def exercise_minutes(notebook: Notebook) -> dict[str, int]:
    """Return the minutes of each exercise that its heading states, by the exercise's id."""
    found = re.compile(r"Exercise (\d+\.\d+)\b.*?(\d+) min")
    headings = (found.search(text) for _, text, _ in _headings(notebook["cells"]))
    return {match[1]: int(match[2]) for match in headings if match}


def _title_faults(cells: list[Cell], number: int) -> Iterator[str]:
    headings = list(_headings(cells))
    tops = [text for level, text, _ in headings if level == 1]
    if not re.match(rf"# {number}\. \S", cells[0]["source"]):
        yield f"The first cell must begin with the title `# {number}. Question?`."
    if len(tops) != 1:
        yield f"There must be one heading of level 1, not {len(tops)}."
    if badges.badge_line(cells[0]["source"]) is None:
        yield f"The first cell has no line for the badges; add the line {badges.MARKER}."
    level_before = 0
    for level, text, position in headings:
        if level > level_before + 1:
            yield f"Cell {position}: the heading {text!r} skips a level."
        level_before = level


def _section_faults(cells: list[Cell]) -> Iterator[str]:
    sections = [text for level, text, _ in _headings(cells) if level == 2]
    expected = [OBJECTIVES, *CLOSING]
    for name in expected:
        if sections.count(name) != 1:
            yield f"There must be one section `## {name}`, not {sections.count(name)}."
    if [name for name in sections if name in expected] != expected:
        yield "The fixed sections must stand in this order: " + ", ".join(expected) + "."
    elif sections[0] != OBJECTIVES or sections[-len(CLOSING) :] != list(CLOSING):
        yield f"`## {OBJECTIVES}` opens the notebook, and these close it: {', '.join(CLOSING)}."
    inner = len(sections) - len(expected)
    if inner < 3:
        yield f"Between the objectives and the quiz there must be 3 or more sections, not {inner}."


def _opening_faults(cells: list[Cell]) -> Iterator[str]:
    objectives = _section(cells, OBJECTIVES)
    if not re.search(r"\d+ minutes", objectives):
        yield f"`## {OBJECTIVES}` must say how many minutes the notebook takes."
    if not re.search(r"prerequisite", objectives, re.IGNORECASE):
        yield f"`## {OBJECTIVES}` must name the prerequisites."
    if len(re.findall(r"^- ", objectives, re.MULTILINE)) < 3:
        yield f"`## {OBJECTIVES}` must list three or more things, each a line with `- `."
    code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    if not code or not badges.is_colab_cell(code[0]):
        yield "The first code cell must be the Colab cell of the course, unchanged."
    if sum("google.colab" in source for source in code) != 1:
        yield "There must be one Colab cell."
    if len(code) < 2 or not any(_imports(code[1])):
        yield "The second code cell must hold the imports."
    for position, cell in _code_cells(cells)[2:]:
        if any(_imports(cell["source"])):
            yield f"Cell {position} imports something; all imports stand in the imports cell."


def _closing_faults(cells: list[Cell]) -> Iterator[str]:
    last = cells[-1]
    if last["cell_type"] != "markdown" or not last["source"].startswith("**Next:**"):
        yield "The last cell must begin with `**Next:**` and link to what follows."
    elif not any(_LINK.finditer(last["source"])):
        yield "The last cell must hold a link to what follows."


def _kit_faults(cells: list[Cell], number: int) -> Iterator[str]:
    calls: dict[str, list[tuple[str, int]]] = {name: [] for name in _KIT}
    for position, cell in _code_cells(cells):
        for name, item in _kit_calls(cell["source"]):
            calls[name].append((item, position))
    for name, least in AT_LEAST.items():
        found = {item for item, _ in calls[name]}
        if len(found) < least:
            yield f"There must be {least} or more calls of {name}(), not {len(found)}."
    for item, position in calls["predict"]:
        if not any(at > position for other, at in calls["reveal"] if other == item):
            yield f"Prediction {item} needs reveal({item!r}) in a later cell."
    for item in sorted({item for item, _ in calls["check"]}):
        yield from _exercise_faults(cells, item)
    for name in ("hint", "solution"):
        for item, position in calls[name]:
            yield f"Cell {position} runs {name}({item!r}), which gives the answer away."
    yield from _lesson_faults(calls, number)


def _exercise_faults(cells: list[Cell], item: str) -> Iterator[str]:
    heading = re.compile(rf"^### Exercise {re.escape(item)}\b.*$", re.MULTILINE)
    text = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    found = heading.search(text)
    if found is None:
        yield f"Exercise {item} needs a heading `### Exercise {item} - what to do (about 8 min)`."
    elif not re.search(r"\d+ min", found[0]):
        yield f"The heading of exercise {item} must say how many minutes it takes."
    if f'hint("{item}")' not in text:
        yield f'The text of exercise {item} must mention hint("{item}").'


def _lesson_faults(calls: dict[str, list[tuple[str, int]]], number: int) -> Iterator[str]:
    lesson = lessons.find(number)
    if lesson is None:
        yield f"There is no lessons/lesson_{number:02d}.py with the notebook's questions."
        return
    for name, known in (
        ("predict", lesson.predictions),
        ("reveal", lesson.predictions),
        ("check", lesson.exercises),
        ("quiz", lesson.questions),
    ):
        used = {item for item, _ in calls[name]}
        for item in sorted(used - set(known)):
            yield f"{name}({item!r}) is not in lessons/lesson_{number:02d}.py."
        for item in sorted(set(known) - used):
            yield f"lessons/lesson_{number:02d}.py has an unused item: {name}({item!r})."


def _slide_faults(cells: list[Cell], number: int) -> Iterator[str]:
    boxes = [text for _, text, _ in _headings(cells) if text.startswith(slides.BOX)]
    for slide in slides.slides_of(number):
        if slide.wrong and not any(re.search(rf"\b{slide.id}\b", text) for text in boxes):
            yield f"Slide {slide.id} needs its box: a heading `### {slides.BOX} ({slide.id})`."


def _size_faults(cells: list[Cell]) -> Iterator[str]:
    if len(cells) > CELLS:
        yield f"The notebook has {len(cells)} cells; keep it to {CELLS}."
    lines = sum(cell["source"].count("\n") + 1 for _, cell in _code_cells(cells))
    if lines > ALL_CODE_LINES:
        yield f"The notebook has {lines} lines of code; keep it to {ALL_CODE_LINES}."
    in_a_row = 0
    for position, cell in enumerate(cells):
        in_a_row = in_a_row + 1 if cell["cell_type"] == "code" else 0
        if in_a_row == CODE_CELLS_IN_A_ROW + 1:
            yield f"Cell {position} is the third code cell in a row; put a sentence before it."
        if cell["cell_type"] == "markdown":
            words = _words(cell["source"])
            if words > MARKDOWN_WORDS:
                yield f"Cell {position} has {words} words; keep a text to {MARKDOWN_WORDS}."
        elif cell["cell_type"] == "code":
            yield from _code_size_faults(position, cell["source"])


def _code_size_faults(position: int, source: str) -> Iterator[str]:
    lines = source.split("\n")
    holds_class = any(isinstance(node, ast.ClassDef) for node in _nodes(source))
    limit = CLASS_LINES if holds_class else CODE_LINES
    if not source.strip():
        yield f"Cell {position} is an empty code cell; remove it."
    if len(lines) > limit:
        yield f"Cell {position} has {len(lines)} lines of code; keep it to {limit}."
    longest = max(len(line) for line in lines)
    if longest > CODE_COLUMNS and not badges.is_colab_cell(source):  # its address may be long
        yield f"Cell {position} has a line of {longest} columns; keep code to {CODE_COLUMNS}."


def _source_faults(cells: list[Cell]) -> Iterator[str]:
    for position, cell in _code_cells(cells):
        source = cell["source"]
        if badges.is_colab_cell(source):
            continue
        if re.search(r"^\s*!|^\s*%pip\b", source, re.MULTILINE):
            yield f"Cell {position} calls a shell or pip; only the Colab cell installs anything."
        if re.search(r";\s*$", source, re.MULTILINE):
            yield f"Cell {position} ends a line with `;`; assign the value to `_` instead."
        if _tree(source) is None:
            yield f"Cell {position} is not valid Python."
        if _asks_the_web(source):
            yield f"Cell {position} asks the web; the course works offline."
        texts = [source, *(output_text(output) for output in cell["outputs"])]
        if any(_OUR_PATHS.search(text) for text in texts):
            yield f"Cell {position} holds an absolute path, which no other machine has."


def _picture_faults(cells: list[Cell]) -> Iterator[str]:
    for position, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            pictures = sum(has_picture(output) for output in cell["outputs"])
            printed = "\n".join(output_text(output) for output in cell["outputs"])
            described = len(re.findall(rf"^{FIGURE}\S", printed, re.MULTILINE))
            if pictures > described:
                yield (
                    f"Cell {position} shows a picture without words; "
                    "show it by plots.show(figure, description)."
                )
        else:
            for mark, words, target in _LINK.findall(badges_removed(cell["source"])):
                if mark and not words.strip():
                    yield f"Cell {position} has the picture {target} without a description."
                if mark and "://" in target:
                    yield f"Cell {position} takes a picture from the web; keep it in images/."


def _run_faults(cells: list[Cell], number: str) -> Iterator[str]:
    code = _code_cells(cells)
    if [cell["execution_count"] for _, cell in code] != list(range(1, len(code) + 1)):
        yield "The code cells were not all run once from top to bottom; use the command `run`."
    if [cell.get("id") for cell in cells] != [f"n{number}-{n:03d}" for n in range(len(cells))]:
        yield "The cell ids are not the ones of the course; use the command `run`."
    checked = 0
    for position, cell in code:
        texts = [output_text(output) for output in cell["outputs"]]
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            yield f"Cell {position} ends in an error."
        if any(output.get("name") == "stderr" for output in cell["outputs"]):
            yield f"Cell {position} prints to stderr, such as a warning or a progress bar."
        if not is_unchecked(cell):
            checked += any(text.strip() for text in texts)
            if any("0x…" in text for text in texts):
                yield f"Cell {position} shows an address, which differs from run to run."
    if checked < CHECKED_CELLS:
        yield f"Outputs of {CHECKED_CELLS} or more cells must be compared, not of {checked}."


def badges_removed(text: str) -> str:
    """Return the text without its badges, whose pictures do come from the web."""
    return text.replace(badges.badge_line(text) or "\0", "")


def _headings(cells: list[Cell]) -> Iterator[tuple[int, str, int]]:
    for position, cell in enumerate(cells):
        if cell["cell_type"] == "markdown":
            for marks, text in _HEADING.findall(_FENCE.sub("", cell["source"])):
                yield len(marks), text, position


def _section(cells: list[Cell], name: str) -> str:
    """Return the markdown from the section's heading to the next heading of its level or above."""
    text = "\n\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    found = re.search(rf"^## {re.escape(name)} *$(.*?)(?=^##? |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def _code_cells(cells: list[Cell]) -> list[tuple[int, Cell]]:
    return [(n, cell) for n, cell in enumerate(cells) if cell["cell_type"] == "code"]


def _relative_links(notebook: Notebook) -> Iterator[tuple[int, str]]:
    for position, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            for _, _, target in _LINK.findall(cell["source"]):
                if "://" not in target and not target.startswith(("#", "mailto:", "attachment:")):
                    yield position, target.partition("#")[0]


def _words(markdown: str) -> int:
    text = _LINK.sub(r"\2", _COMMENT.sub("", badges_removed(markdown)))
    return sum(any(letter.isalnum() for letter in word) for word in text.split())


def _tree(source: str) -> ast.Module | None:
    try:
        return ast.parse(_MAGIC.sub(r"\1pass", source))
    except (SyntaxError, ValueError):
        return None


def _nodes(source: str) -> Iterable[ast.AST]:
    tree = _tree(source)
    return ast.walk(tree) if tree else ()


def _imports(source: str) -> Iterator[str]:
    for node in _nodes(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def _asks_the_web(source: str) -> bool:
    modules = {name.partition(".")[0] for name in _imports(source)}
    modules |= {"requests" for name in _imports(source) if name == "urllib.request"}
    strings = [
        node.value
        for node in _nodes(source)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    asked = any(re.search(r"\b(?:https?|ftp)://", text) for text in strings)
    return asked or bool(modules & _WEB_MODULES)


def _kit_calls(source: str) -> Iterator[tuple[str, str]]:
    for node in _nodes(source):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name in _KIT:
                yield name, str(node.args[0].value)
