"""Compress a document for a question, then read what is left by Writing in the Margins.

Both steps choose by attention, so what the first one misses the second never sees. In return the
text may have any length, and margins are written on fewer segments. Citations point to the
original documents.
"""

from dataclasses import replace

from longctx_edu.applications.compression import Compressed, ContextCompressor
from longctx_edu.applications.long_documents import SourcedAnswer, long_form_qa
from longctx_edu.applications.margin_tuning import MarginSettings
from longctx_edu.errors import LongctxError
from longctx_edu.text import Citation

_SETTINGS = MarginSettings()


class FutureWiMModel:
    """A compressor and tuned margins in a row, over documents that are read once.

    The name is that of a sketch of which no part was written; this is a working version of it.

    Attributes:
        compressor: holds the documents.
        settings: of the margins, as ``MarginOptimizer`` finds them.
        ratio: the share of the text that is left for margins.
        compressed: what the last question left of the documents.
    """

    def __init__(
        self,
        source,
        *,
        model=None,
        ratio: float = 0.5,
        settings: MarginSettings = _SETTINGS,
    ):
        """Read the documents into the compressor's memory.

        Args:
            source, model: as for ``ContextCompressor``.
            ratio: more than 0 and at most 1.
            settings: for the margins on what is left.

        Raises:
            LongctxError: as ``ContextCompressor``, or for a ratio out of range.
        """
        if not 0 < ratio <= 1:
            raise LongctxError(f"ratio is more than 0 and at most 1, got {ratio}.")
        self.compressor = ContextCompressor(source, model=model)
        self.settings, self.ratio = settings, ratio
        self.compressed: Compressed | None = None

    def process_input(
        self, question: str, *, answer_prefix: str = "", max_new_tokens: int = 64
    ) -> SourcedAnswer:
        """Answer a question from margins on what it leaves of the documents.

        The answer's trace is that of the margins, on the shorter text; its citations are places
        of the originals. What compressing cost is not in its ledger.

        Raises:
            LongctxError: for an empty question; ``DoesNotFit`` if what is left is too long.
        """
        compressor = self.compressor
        asked = f"{question} {answer_prefix}".strip() if question.strip() else question
        self.compressed = compressor.compress(asked, ratio=self.ratio)
        answer = long_form_qa(
            self.compressed.documents,
            question,
            method="margins",
            model=compressor.bank.model,
            answer_prefix=answer_prefix,
            max_new_tokens=max_new_tokens,
            **self.settings.options(),
        )
        cited = (place for one in answer.citations for place in self.compressed.in_original(one))
        before, after = self.compressed.tokens_before, self.compressed.tokens_after
        notice = f"Of {before:,} tokens {after:,} were left to read."
        notice = f"{notice} {answer.notice}".strip()
        return replace(answer, citations=_distinct(cited), notice=notice)


def _distinct(citations) -> tuple[Citation, ...]:
    """Return citations without those of a place that came before."""
    places: dict[tuple, Citation] = {}
    for one in citations:
        places.setdefault((one.document_id, one.start, one.end), one)
    return tuple(places.values())
