"""The browser's side of the views: small files of JavaScript and CSS, joined in Python.

A file names the parts that it builds on in its first line (``// needs: dom, colours``).
``module`` puts them in order into one text without imports, which the browser runs as it
is. No bundler, no network, no framework.
"""

import re
from functools import cache
from importlib import resources

_NEEDS = re.compile(r"\A// needs: ([a-z0-9_, -]+)\n")
_DECLARED = re.compile(r"^(?:async )?(?:function\*?|class|const|let|var) +([A-Za-z_$][\w$]*)", re.M)
_UNNAMED = re.compile(r"^(?:const|let|var) *[\[{]", re.M)
_JOINING = re.compile(r"^\s*(?:import|export)\b|\bimport *\(", re.M)
_COMMENT_LINES = re.compile(r"^[ \t]*//.*\n", re.M)
_COMMENT_BEHIND = re.compile(r"  // [^\"'`]*$")
_STRINGS = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_BLANKS = re.compile(r" *([{}()\[\];,:?=<>*&|!]) *|(?<![+-]) ([+-]) (?![+-])")


@cache
def read_part(name: str, kind: str = "js") -> str:
    """Return the file of a part, or nothing where a part has no style sheet.

    Args:
        name: such as ``"heat"``.
        kind: ``"js"`` or ``"css"``.

    Raises:
        ValueError: if there is no such part.
    """
    file = resources.files("longctx_edu.widgets") / "static" / f"{name}.{kind}"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    if kind == "css" and name in part_names():
        return ""
    raise ValueError(
        f"There is no part {name!r} of the views; there are {', '.join(part_names())}."
    )


@cache
def part_names() -> tuple[str, ...]:
    """Return the names of all parts, sorted."""
    files = (resources.files("longctx_edu.widgets") / "static").iterdir()
    return tuple(sorted(file.name[:-3] for file in files if file.name.endswith(".js")))


def in_order(*names: str, read=read_part) -> list[str]:
    """Return parts and all that they build on, each once and after what it needs.

    Args:
        names: of the parts, in the order wanted.
        read: gives the text of a part by its name.

    Raises:
        ValueError: if parts need each other in a circle.
    """
    found: list[str] = []

    def visit(part: str, path: tuple[str, ...]) -> None:
        if part in path:
            circle = " needs ".join((*path[path.index(part) :], part))
            raise ValueError(f"Parts of a view must not need each other: {circle}.")
        if part not in found:
            for needed in _needed(read(part)):
                visit(needed, (*path, part))
            found.append(part)

    for name in names:
        visit(name, ())
    return found


def script(*names: str, read=read_part) -> str:
    """Join parts and all that they need into one text of JavaScript.

    What is for readers only, comments and most blanks, is left out; names and lines stay, so
    that an error in a browser still says where.

    Raises:
        ValueError: if two parts declare the same name, or one imports, exports, takes names
            apart at its top level, or has a template over several lines, which this way of
            joining cannot see through.
    """
    homes: dict[str, str] = {}
    texts = []
    for part in in_order(*names, read=read):
        text = read(part)
        if _JOINING.search(text) or _UNNAMED.search(text):
            raise ValueError(
                f"The part {part!r} has an import, an export, or a declaration like "
                "`const { a } = b` at its top level; write plain declarations and `// needs:`."
            )
        for declared in _DECLARED.findall(text):
            if declared in homes:
                raise ValueError(
                    f"The parts {homes[declared]!r} and {part!r} both declare `{declared}`; "
                    "rename one of them."
                )
            homes[declared] = part
        lines = _COMMENT_LINES.sub("", text).split("\n")
        if any(line.count("`") % 2 for line in lines):
            raise ValueError(f"The part {part!r} has a template over several lines; end it on one.")
        texts += filter(None, map(_without_blanks, lines))
    return "\n".join(texts) + "\n"


def _without_blanks(line: str) -> str:
    """Return a line without blanks that mean nothing; one with a template or a / as it is."""
    line = _COMMENT_BEHIND.sub("", line).strip()
    if "`" in line or "/" in line:
        return line
    pieces = _STRINGS.split(line)  # code and strings in turn
    pieces[::2] = (_BLANKS.sub(lambda found: found[1] or found[2], one) for one in pieces[::2])
    return "".join(pieces)


def module(name: str) -> str:
    """Return a view as the one module that anywidget loads; its part declares ``render``."""
    return f"{script(name)}export default {{ render }};\n"


def style_sheet(name: str) -> str:
    """Join the style sheets of a view and of all parts that it needs, in the same order."""
    texts = (read_part(part, "css").strip() for part in in_order(name))
    return "\n".join(text for text in texts if text) + "\n"


def _needed(text: str) -> list[str]:
    first = _NEEDS.match(text)
    return [name.strip() for name in first[1].split(",")] if first else []
