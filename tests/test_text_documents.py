"""Every kind of file gives its text, and everything else gives one sentence."""

import json
import logging
import os
import sys
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx_edu.errors import DocumentError, LongctxError
from longctx_edu.text import Citation, Document, as_documents, read_file

# --- one small file of every kind, built on the spot -------------------------------------------


def pdf_bytes(*pages):
    """A PDF by hand: a catalogue, a page tree, one font, and a content stream per page."""
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
        objects.append(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] "
            f"/Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * i} 0 R >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    data += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}".encode()
    size, start = len(objects) + 1, data.index(b"xref\n0 ")
    return data + f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()


def write_epub(path, *chapters):
    from ebooklib import epub

    book = epub.EpubBook()
    book.set_identifier("lamp")
    book.set_title("The Lamp")
    items = []
    for number, content in enumerate(chapters):
        item = epub.EpubHtml(title=f"Chapter {number}", file_name=f"c{number}.xhtml")
        item.content = content
        book.add_item(item)
        items.append(item)
    book.add_item(epub.EpubNcx())
    book.add_item(epub.EpubNav())
    book.spine = items[::-1]  # not the order inside the archive
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        epub.write_epub(str(path), book)


def write_docx(path):
    import docx

    document = docx.Document()
    document.add_heading("The Lamp", level=1)
    document.add_paragraph("It burns oil.")
    table = document.add_table(rows=2, cols=3)
    for row, words in zip(table.rows, [("oil", "wick", "glass"), ("3", "both", "")], strict=True):
        for cell, word in zip(row.cells, words, strict=True):
            cell.text = word
    table.cell(1, 1).merge(table.cell(1, 2))
    document.add_paragraph("It is lit at dusk.")
    document.save(str(path))


def write_notebook(path, cells):
    written = [{"cell_type": kind, "source": source, "metadata": {}} for kind, source in cells]
    path.write_text(json.dumps({"cells": written, "nbformat": 4, "nbformat_minor": 5}))


def text_of(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_file(path).text


# --- what can be read --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["log.txt", "log.md", "log.py", "log.TXT", "log.rst", "log"])
def test_plain_text_is_read_whatever_its_suffix(tmp_path, name):
    path = tmp_path / name
    path.write_text("Zoë lit the lamp 🔥.\n", encoding="utf-8")
    assert read_file(path) == Document(name, "Zoë lit the lamp 🔥.\n", source=str(path))


def test_byte_order_marks_are_taken_off(tmp_path):
    assert text_of(tmp_path / "a.txt", "\ufeffZoë".encode()) == "Zoë"
    assert text_of(tmp_path / "b.txt", "Zoë".encode("utf-16")) == "Zoë"


def test_all_line_ends_become_newlines(tmp_path):
    assert text_of(tmp_path / "a.txt", b"one\r\ntwo\rthree\n\r\n") == "one\ntwo\nthree\n\n"


def test_a_notebook_gives_its_markdown_and_code(tmp_path):
    path = tmp_path / "lesson.ipynb"
    cells = [
        ("markdown", "# The lamp"),
        ("raw", "no"),
        ("code", ["x = 1\n", "x"]),
        ("code", ""),
        ("code", "half \ud83d"),
    ]
    write_notebook(path, cells)
    assert read_file(path).text == "# The lamp\n\nx = 1\nx\n\nhalf \ufffd"


def test_a_page_gives_its_text_in_lines_and_paragraphs(tmp_path):
    page = """<!doctype html><html><head><title>The  Lamp</title><style>p {color: red}</style>
    <script>var no = "no";</script></head><body><!-- no --><h1>It <b>burn</b>s
    oil</h1><p>One &amp; two<br>three<br> <br>four<p>Unclosed
    <ul><li>wick<li>glass</ul><div>a<div>b</div></div>
    <table><tr><th>oil</th><th>wick</th></tr><tr><td>3</td><td>2</td></tr></table>
    <pre>def f():
        return  1</pre>end</body></html>"""
    assert text_of(tmp_path / "page.html", page) == (
        "It burns oil\n\nOne & two\nthree\n\nfour\n\nUnclosed\n\nwick\nglass\n\n"
        "a\nb\n\noil | wick\n3 | 2\n\ndef f():\n        return  1\n\nend"
    )


def test_a_page_may_declare_its_encoding(tmp_path):
    page = '<meta charset="latin-1"><p>Zoë'.encode("latin-1")
    assert text_of(tmp_path / "page.htm", page) == "Zoë"
    with pytest.raises(DocumentError, match="not UTF-8"):
        text_of(tmp_path / "page.htm", page.replace(b"latin-1", b"no-such"))


def test_deeply_nested_and_long_pages_are_read(tmp_path):
    assert text_of(tmp_path / "a.html", "<div>" * 3000 + "deep") == "deep"
    assert text_of(tmp_path / "b.html", "<p>x" * 20_000).count("x") == 20_000


def test_a_pdf_gives_its_pages(tmp_path):
    data = pdf_bytes("The lamp was lit.", "It burned.")
    assert text_of(tmp_path / "log.pdf", data) == "The lamp was lit.\n\nIt burned."


def test_an_epub_gives_its_chapters_in_reading_order(tmp_path):
    path = tmp_path / "book.epub"
    write_epub(path, "<h1>Second</h1><p>Dusk.</p>", "<h1>First</h1><p>Dawn.</p>")
    assert read_file(path).text == "First\n\nDawn.\n\nSecond\n\nDusk."


def test_a_word_file_gives_paragraphs_and_tables_in_order(tmp_path):
    path = tmp_path / "log.docx"
    write_docx(path)
    assert read_file(path).text == (
        "The Lamp\n\nIt burns oil.\n\noil | wick | glass\n3 | both\n\nIt is lit at dusk."
    )


def test_home_folders_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "log.txt").write_text("The lamp.")
    assert read_file("~/log.txt").text == "The lamp."
    (tmp_path / "~$log.txt").write_text("A file that only looks like a home folder.")
    monkeypatch.chdir(tmp_path)
    assert read_file("~$log.txt").id == "~$log.txt"


# --- what cannot -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.txt", b"", r"a\.txt is empty \(0 bytes\)"),
        ("a.txt", b" \n\t\n", "has no text that can be extracted"),
        ("a.txt", b"caf\xe9 au lait", r"not UTF-8 text: byte 0xe9 at offset 3 .* iconv -f latin1"),
        ("a.txt", b"\xff\xfea", "not UTF-16 text"),
        ("a.txt", b"ELF\0\1\2", r"is binary, not text; this package reads \.txt \.md"),
        ("photo.png", b"\x89PNG\r\n\0\0", "is binary"),
        ("a.xyz", b"\xff\xd8\xff", "not UTF-8"),
        ("a.ipynb", b"{not json", "is not a Jupyter notebook"),
        ("a.ipynb", b'{"worksheets": []}', "is not a Jupyter notebook"),
        ("a.ipynb", b'{"cells": [1]}', "is not a Jupyter notebook"),
        ("a.ipynb", b"[" * 100_000, "is not a Jupyter notebook"),
        ("a.ipynb", b'{"cells": []}', "has no text"),
        ("a.html", b"<script>var x = 1</script>", "has no text"),
        ("a.pdf", b"not a pdf", "cannot be read as a PDF file: it is damaged, encrypted or"),
        ("a.pdf", pdf_bytes("lamp")[:200], "cannot be read as a PDF"),
        ("a.pdf", pdf_bytes(""), r"has no text .* scanned pictures, run text recognition \(OCR\)"),
        ("a.epub", b"not an epub", "cannot be read as an EPUB book"),
        ("a.docx", b"PK\3\4 damaged", r"cannot be read as a Word \.docx file"),
        ("a.docx", b"\xd0\xcf\x11\xe0 encrypted", r"cannot be read as a Word \.docx file"),
    ],
)
def test_what_cannot_be_read_gives_one_sentence(tmp_path, capfd, name, data, sentence):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DocumentError, match=sentence) as caught:
        read_file(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert capfd.readouterr() == ("", "")


def test_missing_files_and_folders_give_one_sentence(tmp_path):
    with pytest.raises(DocumentError, match="does not exist; check the path"):
        read_file(tmp_path / "none.txt")
    with pytest.raises(DocumentError, match="cannot be opened: File name too long"):
        read_file("a" * 5000)
    with pytest.raises(DocumentError, match="is a folder; give the path of one file"):
        read_file(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DocumentError, match="is not an ordinary file"):
        read_file(tmp_path / "pipe")


def test_a_file_that_may_not_be_opened_gives_one_sentence(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "log.txt").write_text("The lamp.")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DocumentError, match=r"cannot be opened: Permission denied\."):
        read_file(tmp_path / "log.txt")


def test_an_encrypted_pdf_says_so(tmp_path):
    from pypdf import PdfReader, PdfWriter

    (tmp_path / "open.pdf").write_bytes(pdf_bytes("The lamp."))
    writer = PdfWriter(clone_from=PdfReader(tmp_path / "open.pdf"))
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "locked.pdf")
    with pytest.raises(DocumentError, match=r"locked\.pdf is encrypted; save a copy without a"):
        read_file(tmp_path / "locked.pdf")


def test_an_encrypted_epub_is_not_read_as_noise(tmp_path):
    path = tmp_path / "book.epub"
    write_epub(path, "<p>Dawn.</p>")
    with zipfile.ZipFile(path) as book:
        members = {name: book.read(name) for name in book.namelist()}
    with zipfile.ZipFile(path, "w") as book:
        for name, data in members.items():
            book.writestr(name, bytes(range(256)) if name.endswith("c0.xhtml") else data)
    with pytest.raises(DocumentError, match="cannot be read as an EPUB book"):
        read_file(path)


@pytest.mark.parametrize("cut", range(0, 100, 10))
def test_a_cut_off_book_never_raises_anything_else(tmp_path, cut):
    write_docx(tmp_path / "log.docx")
    write_epub(tmp_path / "log.epub", "<p>Dawn.</p>")
    (tmp_path / "log.pdf").write_bytes(pdf_bytes("The lamp."))
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * cut // 100])
        with suppress(DocumentError):  # what matters is that nothing else comes out
            assert read_file(path).text


def test_the_libraries_own_complaints_are_not_printed_and_logging_is_left_as_it_was(
    tmp_path, capfd, recwarn
):
    broken_table = pdf_bytes("The lamp.").replace(b"startxref\n", b"startxref\n1")
    before = logging.getLogger("pypdf").level
    assert text_of(tmp_path / "log.pdf", broken_table) == "The lamp."
    write_epub(tmp_path / "log.epub", "<p>Dawn.</p>")
    read_file(tmp_path / "log.epub")
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert logging.getLogger("pypdf").level == before


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("a.html", "bs4", "beautifulsoup4"),
        ("a.pdf", "pypdf", "pypdf"),
        ("a.epub", "ebooklib.epub", "EbookLib"),
        ("a.docx", "docx", "python-docx"),
    ],
)
def test_a_missing_library_is_named_with_the_line_that_installs_it(
    tmp_path, monkeypatch, name, module, package
):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / name).write_text("anything")
    with pytest.raises(DocumentError, match=rf'{package}.* pip install "longctx-edu\[documents\]"'):
        read_file(tmp_path / name)


# --- documents and citations -------------------------------------------------------------------


def test_text_paths_and_documents_become_documents(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("The lamp.")
    mine = Document("mine", "My text.")
    assert as_documents("Some text.") == (Document("document-1", "Some text."),)
    assert as_documents(path) == (read_file(path),)
    assert as_documents(mine) == (mine,)
    assert [d.id for d in as_documents(["One.", path, mine, path, path, "Two."])] == [
        "document-1",
        "log.txt",
        "mine",
        "log.txt-2",
        "log.txt-3",
        "document-6",
    ]


@given(st.lists(st.sampled_from(["a", "a-2", "a-3", "document-1", "b"]), min_size=1))
def test_ids_are_always_unique_and_texts_stay_in_order(names):
    documents = as_documents([Document(name, f"text {i}") for i, name in enumerate(names)])
    assert len({document.id for document in documents}) == len(names)
    assert [document.text for document in documents] == [f"text {i}" for i in range(len(names))]


def test_the_text_of_a_string_is_kept_as_it_is():
    assert as_documents(" One.\r\n")[0].text == " One.\r\n"


@pytest.mark.parametrize("blank", ["", " \n", [Document("mine", "\t")]])
def test_a_blank_text_is_refused(blank):
    with pytest.raises(DocumentError, match="is blank"):
        as_documents(blank)


def test_nothing_and_other_things_are_refused():
    with pytest.raises(DocumentError, match="No document was given"):
        as_documents([])
    with pytest.raises(TypeError, match="but this is a int"):
        as_documents(3)
    with pytest.raises(TypeError, match="but this is a bytes"):
        as_documents(b"lamp")
    with pytest.raises(TypeError, match="number 2 is a NoneType"):
        as_documents(["One.", None])


def test_a_file_name_given_as_text_is_warned_about(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("log.txt").write_text("The lamp.")
    with pytest.warns(UserWarning, match=r"to read the file give Path\('log.txt'\)"):
        assert as_documents("log.txt")[0].text == "log.txt"


@pytest.mark.parametrize("text", ["灯" * 5000, "half \ud83d", "nul \0"])
def test_a_text_that_cannot_be_a_file_name_is_just_text(text):
    assert as_documents(text)[0].text == text


def test_a_long_document_shows_itself_in_one_line():
    shown = repr(Document("log", "The lamp.\n" * 10_000))
    assert shown.startswith("Document('log', 100,000 characters: 'The lamp.")
    assert len(shown) < 100
    assert "\n" not in shown


def test_documents_and_citations_cannot_be_changed():
    for frozen in (Document("a", "text"), Citation("a", 0, 4, "text")):
        with pytest.raises(AttributeError):
            frozen.text = "other"


def test_documents_hold_strings():
    with pytest.raises(TypeError, match="str and bytes"):
        Document("a", b"text")
    with pytest.raises(LongctxError, match="id is empty"):
        Document("", "text")


@pytest.mark.parametrize(("start", "end"), [(-1, 3), (3, 3), (4, 3)])
def test_a_citation_without_extent_is_refused(start, end):
    with pytest.raises(LongctxError, match=f"start={start} and end={end}"):
        Citation("a", start, end, "text")


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_citations_weight_lies_between_0_and_1(weight):
    with pytest.raises(LongctxError, match="between 0 and 1, or is None"):
        Citation("a", 0, 4, "text", weight=weight)
    assert Citation("a", 0, 4, "text", weight=1).kind == "span"
