"""What a compressed text is worth: is the fact still there, and is it still found?

Items of ``tasks`` are compressed by the question's attention and, as controls, by chance and by
place; what is left is read in one prompt. Keeping a fact and answering from it are two things, so
both are reported, by ratio.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from longctx_edu.applications.compression import Compressed, ContextCompressor
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.metrics import recall
from longctx_edu.evaluation.scoring import answer_tokens
from longctx_edu.evaluation.tasks import Item, by_document
from longctx_edu.readers import read

WAYS = ("attention", "chance", "beginning")


@dataclass(frozen=True)
class CompressionRow:
    """What came of one item, compressed one way.

    Attributes:
        document: its ids.
        way: how sentences were chosen, one of ``WAYS``.
        ratio: the share of tokens asked for.
        left: the share of tokens that was left, marks of gaps included.
        kept: share of the needed places that were kept whole.
        recall: share of the gold strings in the answer to what was left; None if not asked.
        answer: the words of the model.
    """

    document: str
    way: str
    ratio: float
    left: float
    kept: float
    recall: float | None
    answer: str

    def as_dict(self) -> dict:
        """Return the row as plain values, for JSON."""
        return asdict(self)


def compression_rows(
    items: Sequence[Item],
    model,
    *,
    ratios: Sequence[float] = (0.1, 0.25, 0.5),
    ways: Sequence[str] = WAYS,
    ask: bool = True,
) -> list[CompressionRow]:
    """Compress items and ask about what is left; return a row for each item, way and ratio.

    Args:
        items: with ``gold_spans``, from ``tasks.generate``.
        model: a ``LanguageModel``.
        ratios: as for ``ContextCompressor.compress``.
        ways: how sentences are chosen: by the question's "attention"; by "chance", another draw
            for each item; or from the "beginning".
        ask: whether to answer from what is left, which takes most of the time.

    Raises:
        LongctxError: for no item, or an unknown way.
    """
    if not items:
        raise LongctxError("There is no item to compress; generate some with tasks.generate.")
    if unknown := [way for way in ways if way not in WAYS]:
        raise LongctxError(f"There is no way {unknown[0]!r}; choose among {', '.join(WAYS)}.")
    rows = []
    for group in by_document(items):
        compressor = ContextCompressor(group[0].documents, model=model)
        for item in group:
            for way in ways:
                order = _order(compressor, item, way)
                for ratio in ratios:
                    found = compressor.keeping(compressor.fitting(order, ratio=ratio))
                    rows.append(_row(item, way, ratio, found, model, ask=ask))
    return rows


def _order(compressor: ContextCompressor, item: Item, way: str) -> list[int]:
    """Return the numbers of all sentences, those to keep first."""
    order = list(range(len(compressor.sentences)))
    if way == "chance":
        random.Random(f"{item.document_ids} {item.question}").shuffle(order)
    elif way == "attention":
        scores = compressor.scores(f"{item.question} {item.answer_prefix}".strip())
        order.sort(key=lambda n: -scores[n])
    return order


def _row(item: Item, way: str, ratio: float, found: Compressed, model, *, ask: bool):
    kept = [found.holds(place) for place in item.gold_spans]
    said, share = "", None
    if ask:
        reading = read(found.documents, method="plain", model=model)
        answer = reading.ask(
            item.question,
            answer_prefix=item.answer_prefix,
            max_new_tokens=answer_tokens(item, model.tokenizer),
        )
        said, share = answer.text, recall(answer.text, item.gold)
    return CompressionRow(
        document=", ".join(item.document_ids),
        way=way,
        ratio=ratio,
        left=found.ratio,
        kept=sum(kept) / len(kept),
        recall=share,
        answer=said,
    )
