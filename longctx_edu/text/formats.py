"""Text out of files: plain text, notebooks, HTML, PDF, EPUB and Word.

One function per format, from the file's bytes to its text. Each uses a well-kept library, imported
when first needed. Layout, pictures and recognition of scanned pages are out of scope.
"""

import codecs
import json
import logging
import re
import warnings
from contextlib import contextmanager, suppress
from importlib import import_module
from io import BytesIO
from pathlib import Path

from longctx_edu.errors import DocumentError

READABLE = ".txt .md .py .ipynb .html .pdf .epub .docx"

_LINE_END = re.compile(r"\r\n?")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def extract_text(path: Path, data: bytes) -> str:
    """Return the text in ``data``, the bytes of the file at ``path``; its suffix names the format.

    Line ends become ``"\\n"``. Half characters (lone surrogates), which some PDF files and
    notebooks hold and no tokenizer takes, become U+FFFD.

    Raises:
        DocumentError: see ``read_file``.
    """
    if not data:
        raise DocumentError(f"{path} is empty (0 bytes); give a file with text in it.")
    extract = _EXTRACTORS.get(path.suffix.lower(), _plain)
    text = _LONE_SURROGATE.sub("\ufffd", _LINE_END.sub("\n", extract(path, data)))
    if not text.strip():
        hint = ""
        if extract is _pdf:
            hint = " If its pages are scanned pictures, run text recognition (OCR) on it first."
        raise DocumentError(f"{path} has no text that can be extracted.{hint}")
    return text


def _plain(path: Path, data: bytes) -> str:
    return _decode(path, data)


def _notebook(path: Path, data: bytes) -> str:
    written = _decode(path, data)
    try:
        cells = json.loads(written)["cells"]
        sources = [
            "".join(cell["source"]) for cell in cells if cell["cell_type"] in ("markdown", "code")
        ]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise DocumentError(
            f"{path} is not a Jupyter notebook of format 4; open it in JupyterLab and save it anew."
        ) from None
    return "\n\n".join(source.strip("\n") for source in sources if source.strip())


def _html(path: Path, data: bytes) -> str:
    bs4 = _library("bs4", "beautifulsoup4", path)
    with _one_sentence(path, "an HTML page"):
        declared = bs4.dammit.EncodingDetector.find_declared_encoding(data, is_html=True)
        return _html_to_text(bs4, _decode(path, data, declared))


def _pdf(path: Path, data: bytes) -> str:
    pypdf = _library("pypdf", "pypdf", path)
    with _one_sentence(path, "a PDF file"):
        try:
            # Files locked with an empty password open by themselves.
            pages = pypdf.PdfReader(BytesIO(data)).pages
            return "\n\n".join(page.extract_text().strip("\n") for page in pages)
        except (pypdf.errors.FileNotDecryptedError, pypdf.errors.DependencyError):
            raise DocumentError(
                f"{path} is encrypted; save a copy without a password and give that."
            ) from None


def _epub(path: Path, data: bytes) -> str:
    epub = _library("ebooklib.epub", "EbookLib", path)
    bs4 = _library("bs4", "beautifulsoup4", path)
    with _one_sentence(path, "an EPUB book"):
        book = epub.read_epub(str(path), options={"ignore_ncx": True})
        # The spine is the order of reading; the order inside the archive means nothing.
        items = [book.get_item_with_id(name) for name, *_ in book.spine]
        chapters = [item.content for item in items if isinstance(item, epub.EpubHtml)]
        pages = [_html_to_text(bs4, chapter.decode(_encoding(chapter))) for chapter in chapters]
    return "\n\n".join(page for page in pages if page)


def _docx(path: Path, data: bytes) -> str:
    docx = _library("docx", "python-docx", path)
    with _one_sentence(path, "a Word .docx file"):
        return "\n\n".join(_word_blocks(docx.Document(BytesIO(data))))


_EXTRACTORS = {
    ".ipynb": _notebook,
    ".html": _html,
    ".htm": _html,
    ".xhtml": _html,
    ".pdf": _pdf,
    ".epub": _epub,
    ".docx": _docx,
}


def _decode(path: Path, data: bytes, declared: str | None = None) -> str:
    """The text in UTF-8, in UTF-16 with a byte-order mark, or in what an HTML page declares."""
    encoding = _encoding(data)
    if encoding == "utf-8-sig" and b"\0" in data:
        raise DocumentError(f"{path} is binary, not text; this package reads {READABLE} files.")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        wrong = error
    with suppress(LookupError, UnicodeDecodeError):
        if declared:
            return data.decode(declared)
    raise DocumentError(
        f"{path} is not {encoding.removesuffix('-sig').upper()} text: byte "
        f"{data[wrong.start]:#04x} at offset {wrong.start} cannot be decoded; if it is text, "
        f"convert it, for example with iconv -f latin1 -t utf-8 {path.name} > utf8-{path.name}"
    )


def _encoding(data: bytes) -> str:
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if utf16 else "utf-8-sig"


def _library(module: str, package: str, path: Path):
    try:
        return import_module(module)
    except ImportError:
        raise DocumentError(
            f"Reading {path} needs the library {package}; "
            'install it with: pip install "longctx-edu[documents]".'
        ) from None


@contextmanager
def _one_sentence(path: Path, what: str):
    """Keep the libraries quiet, and turn whatever goes wrong in them into one sentence.

    A damaged file can raise nearly anything inside a parser (KeyError, struct.error, ...), so this
    is the one place that catches every Exception.
    """
    log = logging.getLogger("pypdf")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (DocumentError, MemoryError):
        raise
    except Exception:
        raise DocumentError(
            f"{path} cannot be read as {what}: it is damaged, encrypted or of another format; "
            "open it in its own program and save it again, without a password."
        ) from None
    finally:
        log.setLevel(level)


_PARAGRAPHS = (
    "address article aside blockquote body dl fieldset figure footer form h1 h2 h3 h4 h5 h6 header "
    "hr main nav ol p pre section table ul"
)
_LINES = "caption dd div dt figcaption legend li option summary tr"
# Elements that stand apart from what surrounds them, with the line ends around them.
_APART = dict.fromkeys(_PARAGRAPHS.split(), 2) | dict.fromkeys(_LINES.split(), 1)
_UNSEEN = {"script", "style", "template", "title"}
_HTML_SPACE = re.compile(r"[ \t\r\n\f]+")


def _html_to_text(bs4, markup: str) -> str:
    """The text of a page, a line for each block, a blank line between paragraphs."""
    texts = (bs4.element.NavigableString, bs4.element.CData)  # not comments, not declarations
    blocks, line, apart = [], [], 0

    def end_line(line_ends, *, verbatim=None):
        nonlocal apart
        text = verbatim or _HTML_SPACE.sub(" ", "".join(line)).strip(" ")
        line.clear()
        if text:
            blocks.append("\n" * min(apart, 2) * bool(blocks) + text)
            apart = 0
        apart = max(apart, line_ends)

    # A stack, not recursion: pages are nested deeper than Python's call stack is. A number on it
    # is the line ends after an element.
    waiting = [bs4.BeautifulSoup(markup, "html.parser")]
    while waiting:
        node = waiting.pop()
        if isinstance(node, int):
            end_line(node)
        elif type(node) in texts:
            line.append(node)
        elif not isinstance(node, bs4.Tag) or node.name in _UNSEEN:
            continue
        elif node.name == "br":
            end_line(1 if any(map(str.strip, line)) else apart + 1)
        elif node.name == "pre":
            end_line(2)
            inside = (n for n in node.descendants if type(n) in texts or n.name == "br")
            end_line(2, verbatim="".join(n if n.name is None else "\n" for n in inside).strip("\n"))
        else:
            if node.name in _APART:
                end_line(_APART[node.name])
                waiting.append(_APART[node.name])
            elif node.name in ("td", "th") and any(map(str.strip, line)):
                line.append(" | ")
            waiting.extend(reversed(node.contents))
    end_line(0)
    return "".join(blocks)


def _word_blocks(container):
    """Paragraphs and table rows of a Word document or table cell, in reading order."""
    for block in container.iter_inner_content():
        if not hasattr(block, "rows"):
            if block.text.strip():
                yield block.text
            continue
        rows = []
        for row in block.rows:
            # A merged cell comes once for every column it spans.
            cells = {cell._tc: cell for cell in row.cells}.values()
            rows.append(" | ".join(" ".join(_word_blocks(cell)) for cell in cells))
        yield "\n".join(rows)
