"""A button that takes files from the reader's own machine, and the documents that come of them.

The browser sends a file to the kernel and nowhere else. A message of the browser may have about
10 MB; a larger file is given by its path.
"""

import tempfile
from pathlib import Path

from longctx_edu.errors import DocumentError
from longctx_edu.text import Document, as_documents
from longctx_edu.text.documents import read_file
from longctx_edu.text.formats import READABLE


def upload_button():
    """Return a button for one file or several, of all formats that the readers take."""
    from ipywidgets import FileUpload

    return FileUpload(accept=",".join(READABLE.split()), multiple=True, description="Your document")


def uploaded(button) -> tuple[Document, ...]:
    """Return the documents that a button holds; none before anything was uploaded.

    Args:
        button: a ``FileUpload`` of ipywidgets 7 or 8, whose values differ.

    Raises:
        DocumentError: if a file cannot be read.
    """
    value = button.value
    files = [
        (name, one["content"])
        for name, one in (
            value.items() if isinstance(value, dict) else ((one["name"], one) for one in value)
        )
    ]
    return as_documents([_read(name, bytes(data)) for name, data in files]) if files else ()


def _read(name: str, data: bytes) -> Document:
    # The formats read files; the name is a stranger's, so it names no folder.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"document{Path(name).suffix.lower()}"
        path.write_bytes(data)
        own = Path(name.replace("\\", "/")).name or "document"
        try:
            return Document(own, read_file(path).text, source=f"uploaded {own}")
        except DocumentError as error:
            raise DocumentError(str(error).replace(str(path), own)) from None
