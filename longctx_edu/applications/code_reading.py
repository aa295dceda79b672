"""Python code as a document: its files, its definitions, and answers that cite file and line.

Files of a package are documents like others; what is special about code is that a place in it has
a line and stands in a definition (``ast``). Nothing of what is read is imported or run. A text
model reads code as text: it follows no call and no import.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from importlib.machinery import PathFinder
from pathlib import Path

from longctx_edu.applications.long_documents import SourcedAnswer, long_form_qa
from longctx_edu.errors import DocumentError
from longctx_edu.memory import MemoryBank
from longctx_edu.readers.reading import Reading
from longctx_edu.text import Citation, Document, as_documents, read_file


@dataclass(frozen=True)
class Definition:
    """A class, a function or a method as it stands in a file.

    Attributes:
        file: id of the document.
        name: with the classes and functions around it, such as ``"JSONDecoder.decode"``.
        kind: "class" or "function".
        line, last_line: counted from 1, decorators included.
        start, end: the characters from the first line's beginning to the last line's end.
        parameters: names in order; of a function.
        defaults: for parameters that have one, its source text.
    """

    file: str
    name: str
    kind: str
    line: int
    last_line: int
    start: int
    end: int
    parameters: tuple[str, ...] = ()
    defaults: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class CodePlace:
    """A cited place in code: ``str`` of it is what editors and tracebacks call it.

    Attributes:
        file: id of the document.
        line, last_line: counted from 1.
        inside: the innermost definition around its first character, "" at the file's own level.
        citation: the characters.
    """

    file: str
    line: int
    last_line: int
    inside: str
    citation: Citation

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f" in {self.inside}" if self.inside else "")


@dataclass(frozen=True)
class CodeAnswer(SourcedAnswer):
    """An answer about code; ``places`` are its citations as files and lines, best first."""

    places: tuple[CodePlace, ...] = ()

    def __str__(self) -> str:
        lines = [self.said, "", "Sources:"]
        for number, place in enumerate(self.places, start=1):
            first = place.citation.text.strip().partition("\n")[0].strip()
            lines += [f"[{number}] {place}", f"    {first}"]
        if not self.places:
            lines[-1] = "Sources: none are known."
        return "\n".join([*lines, self.notice] if self.notice else lines)


def source_files(package: str | Path) -> tuple[Document, ...]:
    """Return the Python files of a module or package, as documents; nothing is imported.

    A document's id is the file's path as seen from beside the package, ``"json/decoder.py"``.

    Args:
        package: the name of a module that Python would find (``"json"``, ``"json.decoder"``), or
            the path of a file or folder.

    >>> [one.id for one in source_files("json")][:2]
    ['json/__init__.py', 'json/decoder.py']

    Raises:
        DocumentError: if there is no such module, file or folder, or none with Python source.
    """
    root = package.expanduser().resolve() if isinstance(package, Path) else _found(package)
    if not root.exists():
        raise DocumentError(f"{root} does not exist; give a module's name, a file or a folder.")
    above = len(root.parts) - 1
    if not isinstance(package, Path):
        # A module inside a package is named from beside the package.
        above -= package.count(".")
    paths = sorted(root.rglob("*.py")) if root.is_dir() else [root]
    files = [
        replace(read_file(path), id=Path(*path.parts[above:]).as_posix())
        for path in paths
        if path.read_bytes().strip()
    ]
    if not files:
        raise DocumentError(f"There is no Python source in {root}; choose another package.")
    return tuple(files)


def _found(name: str) -> Path:
    """Return the file or folder of a module, found as Python finds it, but without importing it."""
    where = None
    for part in (parts := name.split(".")):
        spec = PathFinder.find_spec(part, where)
        if spec is None:
            break
        where = spec.submodule_search_locations
        if where is None and part is not parts[-1]:
            spec = None
            break
    if spec is None or not (where or (spec.origin or "").endswith(".py")):
        raise DocumentError(
            f"Python finds no module {name!r} with source code; give the name of one, such as "
            "'json', or the Path of a file or folder."
        )
    return Path(list(where)[0]) if where else Path(spec.origin)


def definitions(document: Document) -> list[Definition]:
    """Return the definitions of a file, in the order of their lines.

    Raises:
        DocumentError: if the text is no Python.

    >>> code = Document("a.py", "class A:\\n    def f(self, x=1):\\n        return x\\n")
    >>> [(one.name, one.line, one.parameters) for one in definitions(code)]
    [('A', 1, ()), ('A.f', 2, ('self', 'x'))]
    """
    try:
        tree = ast.parse(document.text)
    except (SyntaxError, ValueError) as error:
        raise DocumentError(
            f"{document.id} cannot be parsed as Python: {error}; give Python source."
        ) from None
    found = _defined_in(tree, document.id, "", _line_starts(document.text))
    return sorted(found, key=lambda one: (one.line, -one.last_line))


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _defined_in(node, file: str, around: str, starts: Sequence[int]) -> Iterator[Definition]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            continue  # it holds no definition, and may be nested deeper than Python recurses
        if not isinstance(child, (*_FUNCTIONS, ast.ClassDef)):
            yield from _defined_in(child, file, around, starts)
            continue
        name = f"{around}.{child.name}" if around else child.name
        line = min([child.lineno, *(one.lineno for one in child.decorator_list)])
        place = (line, child.end_lineno, starts[line - 1], starts[child.end_lineno])
        if isinstance(child, ast.ClassDef):
            yield Definition(file, name, "class", *place)
        else:
            yield Definition(file, name, "function", *place, *_parameters(child.args))
        yield from _defined_in(child, file, name, starts)


def _parameters(args: ast.arguments) -> tuple[tuple, tuple]:
    positional = [*args.posonlyargs, *args.args]
    pairs = [*zip(reversed(positional), reversed(args.defaults), strict=False)][::-1]
    pairs += [pair for pair in zip(args.kwonlyargs, args.kw_defaults, strict=True) if pair[1]]
    names = tuple(one.arg for one in (*positional, *args.kwonlyargs))
    return names, tuple((one.arg, ast.unparse(default)) for one, default in pairs)


def _line_starts(text: str) -> list[int]:
    """Return where each line begins, and at the end the text's length."""
    return [0, *(end.end() for end in re.finditer(r"\r\n?|\n", text)), len(text)]


def code_place(document: Document, citation: Citation) -> CodePlace:
    """Return a citation of a file as lines, with the definition that it stands in.

    White space at its beginning does not count. A text that is no Python has lines all the same.
    """
    start = citation.start + len(citation.text) - len(citation.text.lstrip())
    if start >= citation.end:
        start = citation.start
    line = document.text.count("\n", 0, start) + 1
    last = line + document.text.count("\n", start, start + len(citation.text.strip()))
    try:
        around = [one for one in definitions(document) if one.start <= start < one.end]
    except DocumentError:
        around = []
    return CodePlace(document.id, line, last, around[-1].name if around else "", citation)


def analyze_code(
    source,
    question: str,
    *,
    method: str | None = None,
    model=None,
    answer_prefix: str = "",
    max_new_tokens: int = 64,
    **options,
) -> CodeAnswer:
    """Answer a question about code, and say in which file and line the answer stands.

    Args:
        source: the name of a module or package of this Python, such as ``"json"``; a ``Path``;
            documents, one for each file; or a ``MemoryBank`` or reading of such documents.
        question: in words.
        method: how the code is read; "memory" by default, which takes any length.
        model, answer_prefix, max_new_tokens, options: as for ``long_form_qa``. For code a good
            prefix is the beginning of the line that is sought.

    Raises:
        DocumentError: for a name or path without Python source.
        LongctxError: as ``long_form_qa``.
    """
    if isinstance(source, str | Path):
        source = source_files(source)
    answer = long_form_qa(
        source,
        question,
        method=method,
        model=model,
        answer_prefix=answer_prefix,
        max_new_tokens=max_new_tokens,
        **options,
    )
    files = {one.id: one for one in _documents_of(source)}
    told = {field.name: getattr(answer, field.name) for field in fields(SourcedAnswer)}
    places = tuple(code_place(files[one.document_id], one) for one in answer.citations)
    return CodeAnswer(**told, places=places)


def _documents_of(source) -> tuple[Document, ...]:
    if isinstance(source, MemoryBank):
        return tuple(held.document for held in source.held)
    if isinstance(source, Reading):
        return source.documents
    return as_documents(source)
