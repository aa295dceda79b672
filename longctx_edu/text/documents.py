"""Documents and citations: the text that is read, and the places in it that an answer points to.

A document's text never changes once it is read, so an offset (in code points) stays valid all
the way from the file to a highlighted cell. How text comes out of a file is in ``formats``.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from longctx_edu.errors import DocumentError, LongctxError
from longctx_edu.text.formats import extract_text


@dataclass(frozen=True, repr=False)
class Document:
    """A text with a name, and where it came from.

    >>> Document("notes.txt", "The lamp was lit at dusk.", source="/home/ada/notes.txt")
    Document('notes.txt', 25 characters: 'The lamp was lit at dusk.')
    """

    id: str
    text: str
    source: str = "text"

    def __post_init__(self):
        if not isinstance(self.id, str) or not isinstance(self.text, str):
            kinds = f"{type(self.id).__name__} and {type(self.text).__name__}"
            raise TypeError(f"A document's id and text are strings, but these are {kinds}.")
        if not self.id:
            raise LongctxError("A document's id is empty; give it a name that citations can use.")

    def __repr__(self):
        start = self.text if len(self.text) <= 40 else self.text[:39] + "…"
        return f"Document({self.id!r}, {len(self.text):,} characters: {start!r})"


@dataclass(frozen=True)
class Citation:
    """A stretch of a document that supports an answer.

    ``start`` and ``end`` are code points of ``Document.text`` (``end`` is not included).
    ``weight`` says how strongly the method relied on it, from 0 to 1, or is None where the
    method has no such number. ``kind`` names what was cited, for example "span".

    >>> log = Document("log", "The lamp was lit.")
    >>> cited = Citation("log", 4, 8, "lamp", weight=0.5)
    >>> log.text[cited.start : cited.end]
    'lamp'
    """

    document_id: str
    start: int
    end: int
    text: str
    weight: float | None = None
    kind: str = "span"

    def __post_init__(self):
        if not 0 <= self.start < self.end:
            raise LongctxError(
                "A citation runs from 0 <= start to end > start, "
                f"but this one has start={self.start} and end={self.end}."
            )
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise LongctxError(
                f"A citation's weight lies between 0 and 1, or is None, but this is {self.weight}."
            )


def read_file(path: str | PathLike) -> Document:
    """Read one file; its name becomes the document's id.

    Takes .txt, .md, .py and any other UTF-8 text, .ipynb (markdown and code cells), .html, .pdf,
    .epub and .docx. Line ends become ``"\\n"``. The libraries for the last four come with
    ``pip install "longctx-edu[documents]"``.

    Raises:
        DocumentError: if the file is missing, empty, binary, damaged, encrypted, not UTF-8, or
            holds no text (a scanned PDF, for example).
    """
    path = Path(os.path.expanduser(path))
    try:
        if path.is_dir():
            raise DocumentError(f"{path} is a folder; give the path of one file in it.")
        if not path.exists():
            raise DocumentError(f"{path} does not exist; check the path (from {Path.cwd()}).")
        if not path.is_file():
            raise DocumentError(f"{path} is not an ordinary file; give the path of a document.")
        data = path.read_bytes()
    except OSError as error:
        raise DocumentError(f"{path} cannot be opened: {error.strerror or error}.") from None
    return Document(path.name, extract_text(path, data), source=str(path))


def as_documents(
    given: str | PathLike | Document | Sequence[str | PathLike | Document],
) -> tuple[Document, ...]:
    """Turn whatever was given into documents with ids that differ.

    A string is text, a path is a file, and a document stays as it is. A text is called
    ``document-`` and its place in the sequence; a repeated name gets ``-2``, ``-3``, ...

    >>> [d.id for d in as_documents(["One text.", "Another.", Document("document-1", "A third.")])]
    ['document-1', 'document-2', 'document-1-2']

    Raises:
        DocumentError: if nothing was given, a text is blank, or a file cannot be read.
        TypeError: if something is neither text, path nor document.
    """
    many = [given] if isinstance(given, str | PathLike | Document) else given
    if not isinstance(many, Sequence) or isinstance(many, bytes | bytearray):
        raise TypeError(
            "Documents are a str (text), a Path (file), a Document or a sequence of these, "
            f"but this is a {type(given).__name__}."
        )
    if not many:
        raise DocumentError("No document was given; give a text, a path or a Document.")
    documents, ids = [], set()
    for place, one in enumerate(many, start=1):
        document = _as_document(one, f"document-{place}")
        unused = _unused(document.id, ids)
        ids.add(unused)
        documents.append(document if unused == document.id else replace(document, id=unused))
    return tuple(documents)


def _as_document(one, name: str) -> Document:
    if isinstance(one, PathLike):
        return read_file(one)
    if isinstance(one, str):
        _warn_about_a_path_given_as_text(one)
        one = Document(name, one)
    if not isinstance(one, Document):
        raise TypeError(
            "Each document is a str (text), a Path (file) or a Document, "
            f"but number {name.removeprefix('document-')} is a {type(one).__name__}."
        )
    if not one.text.strip():
        raise DocumentError(f"The document {one.id!r} is blank; give it some text to read.")
    return one


def _warn_about_a_path_given_as_text(text: str) -> None:
    if "\n" not in text and os.path.isfile(text):
        warnings.warn(
            f"{text!r} is the name of a file but was given as a str, so these {len(text)} "
            f"characters are the text; to read the file give Path({text!r}).",
            stacklevel=4,
        )


def _unused(name: str, ids: set[str]) -> str:
    candidate, number = name, 1
    while candidate in ids:
        number += 1
        candidate = f"{name}-{number}"
    return candidate
