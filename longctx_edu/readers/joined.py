"""Several documents as one text whose every character knows its document."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from longctx_edu.text import Citation, Document


class JoinedText:
    """One text out of documents; several are told apart by a line with their names."""

    def __init__(self, documents: Sequence[Document]):
        self._documents = list(documents)
        self._starts: list[int] = []
        pieces: list[str] = []
        length = 0
        for document in documents:
            title = f"Document {document.id}:\n\n" if len(self._documents) > 1 else ""
            self._starts.append(length + len(title))
            pieces.append(title + document.text)
            length += len(pieces[-1]) + 2
        self.text = "\n\n".join(pieces)

    def places(self) -> list[dict]:
        """Return for each document its name, its source, and where its text stands in ``text``."""
        return [
            {
                "id": document.id,
                "source": document.source,
                "start": start,
                "end": start + len(document.text),
            }
            for document, start in zip(self._documents, self._starts, strict=True)
        ]

    def citations(
        self, start: int, end: int, *, weight: float | None, kind: str
    ) -> Iterator[Citation]:
        """Yield the parts of ``text[start:end]`` as citations of the documents they come from."""
        first = max(bisect_right(self._starts, start) - 1, 0)
        for document, offset in list(zip(self._documents, self._starts, strict=True))[first:]:
            low = max(start - offset, 0)
            high = min(end - offset, len(document.text))
            if high <= low:
                continue
            yield Citation(document.id, low, high, document.text[low:high], weight, kind)
