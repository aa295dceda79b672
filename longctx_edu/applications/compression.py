"""A shorter text for one question: the sentences that the question's attention falls on.

The text is read once into a memory; what is kept are whole sentences, in their order, best ones
first until a share of the tokens is full. Where a question looks: ``attention.block_mass`` (after
Xiao et al. 2024, InfLLM, section 3). The model is not told what is missing, and a sentence whose
pronoun points at one that went is kept without it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from longctx_edu.applications.long_documents import process_long_document
from longctx_edu.errors import LongctxError
from longctx_edu.memory import MemoryBank, Storage, choose
from longctx_edu.text import Citation, Document, tokenize

_GAP = "\n...\n"


@dataclass(frozen=True)
class Piece:
    """A stretch that was kept: its place in the document, and where it begins in the shorter one.

    ``start`` and ``end`` are characters of the document, ``begin`` one of the shorter document.
    """

    document_id: str
    start: int
    end: int
    begin: int


@dataclass(frozen=True)
class Compressed:
    """Shorter documents, and where everything in them comes from.

    Attributes:
        documents: by the same ids, in the same order; those of which nothing was kept are gone.
        pieces: what was kept, in order.
        tokens_before, tokens_after: of the documents, and of the shorter ones.
        scores: for each sentence of the documents how much more the question looks at it than any
            would; those of ``kept`` were kept.
        kept: numbers of sentences, in order.
    """

    documents: tuple[Document, ...]
    pieces: tuple[Piece, ...]
    tokens_before: int
    tokens_after: int
    scores: tuple[float, ...]
    kept: tuple[int, ...]

    @property
    def ratio(self) -> float:
        """Tokens that are left, the marks of gaps included, for each token before."""
        return self.tokens_after / self.tokens_before

    def in_original(self, citation: Citation) -> list[Citation]:
        """Return the places of the original documents that a place of a shorter one comes from.

        The marks of gaps come from nowhere.
        """
        found, texts = [], {one.id: one.text for one in self.documents}
        for piece in self.pieces:
            if piece.document_id != citation.document_id:
                continue
            low = max(citation.start, piece.begin)
            high = min(citation.end, piece.begin + piece.end - piece.start)
            if low < high:
                text, shift = texts[piece.document_id][low:high], piece.start - piece.begin
                place = (low + shift, high + shift)
                found.append(replace(citation, start=place[0], end=place[1], text=text))
        return found

    def holds(self, citation: Citation) -> bool:
        """Say whether all characters of a place in the original documents were kept."""
        return any(
            piece.document_id == citation.document_id
            and piece.start <= citation.start
            and citation.end <= piece.end
            for piece in self.pieces
        )


class ContextCompressor:
    """Documents in a memory, from which each question gets a shorter text of its own.

    Attributes:
        bank: the memory.
        sentences: of all documents, as ranges of the memory's tokens.
    """

    def __init__(self, source, *, model=None):
        """Read the documents, of any length, once for all questions.

        Args:
            source: documents as ``longctx_edu.read`` takes them, or a ``MemoryBank``.
            model: as for ``process_long_document``; a memory has its own.

        Raises:
            LongctxError: as ``process_long_document``, or for a memory that holds no document.
        """
        if isinstance(source, MemoryBank):
            if not source.held:
                raise LongctxError("The memory holds no document; add one before compressing.")
            self.bank = source
        else:
            storage = Storage(holds="choosing_keys")
            self.bank = process_long_document(source, model=model, storage=storage)
        self.sentences = [one for held in self.bank.held for one in held.sentences]

    def compress(self, question: str, *, ratio: float = 0.25) -> Compressed:
        """Return what is worth reading for a question.

        Args:
            question: in words; the beginning of the answer may follow it.
            ratio: the most tokens of kept sentences for each token of the documents, more than 0
                and at most 1. The marks of gaps come on top; the best sentence is kept however
                long it is.

        Raises:
            LongctxError: for an empty question, or a ratio out of range.
        """
        if not question.strip():
            raise LongctxError("The question is empty; a text is compressed for a question.")
        scores = self.scores(question)
        best = sorted(range(len(scores)), key=lambda n: -scores[n])
        return self.keeping(self.fitting(best, ratio=ratio), scores=scores)

    def scores(self, question: str) -> list[float]:
        """Return for each sentence how much more the question looks at it than any would."""
        ids = tokenize(self.bank.model.tokenizer, f"\n\nQuestion: {question.strip()}\nAnswer:").ids
        every = len(self.sentences)
        found = choose(self.bank, ids, blocks=len(self.bank), passages=every)
        by_place = dict(zip(found.passages, found.passage_scores, strict=True))
        return [by_place[sentence] for sentence in self.sentences]

    def fitting(self, order: Sequence[int], *, ratio: float) -> list[int]:
        """Return the first sentences of an order that fit a share of all tokens; at least one.

        A sentence that does not fit is passed over for a shorter one after it.

        Raises:
            LongctxError: for a ratio out of range.
        """
        if not 0 < ratio <= 1:
            raise LongctxError(f"ratio is more than 0 and at most 1, got {ratio}.")
        left, kept = round(ratio * len(self.bank)), []
        for number in order:
            if not kept or len(self.sentences[number]) <= left:
                kept.append(number)
                left -= len(self.sentences[number])
        return sorted(kept)

    def keeping(self, kept: Sequence[int], *, scores: Sequence[float] = ()) -> Compressed:
        """Return the documents with these sentences alone; a control can choose them its own way.

        Args:
            kept: numbers of sentences, at least one.
            scores: what goes along as ``Compressed.scores``.

        Raises:
            LongctxError: for no sentence.
        """
        kept = sorted({*kept})
        if not kept:
            raise LongctxError("Nothing would be kept; give the number of at least one sentence.")
        documents, pieces = [], []
        for held in self.bank.held:
            own = [n for n in kept if self.sentences[n].start in held.tokens]
            text = ""
            for start, end in self._stretches(own):
                start, end = _without_space(held.document.text, start, end)
                text += _GAP if text else ""
                pieces.append(Piece(held.document.id, start, end, len(text)))
                text += held.document.text[start:end]
            if text:
                documents.append(Document(held.document.id, text, held.document.source))
        tokenizer = self.bank.model.tokenizer
        after = sum(len(tokenize(tokenizer, one.text)) for one in documents)
        return Compressed(
            tuple(documents), tuple(pieces), len(self.bank), after, tuple(scores), tuple(kept)
        )

    def _stretches(self, numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield the characters of a document's sentences, neighbours as one stretch."""
        cuts = [0, *(n for n, (a, b) in enumerate(pairwise(numbers), 1) if b != a + 1)]
        for first, after in pairwise([*cuts, len(numbers)]):
            if first < after:
                tokens = range(
                    self.sentences[numbers[first]].start, self.sentences[numbers[after - 1]].stop
                )
                ((_, start, end),) = self.bank.citations(tokens)
                yield start, end


def _without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a stretch without the white space around it, unless it is nothing else."""
    stretch = text[start:end]
    if not stretch.strip():
        return start, end
    start += len(stretch) - len(stretch.lstrip())
    return start, start + len(stretch.strip())
