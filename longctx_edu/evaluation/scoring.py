"""Items through a method: one reading for each document, one row for each question.

Every method is asked in the same words with the same room for its answer; whether the answer is
right is decided by ``metrics``. The rows are plain values, for a table or a data frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.metrics import answer_likelihoods, answered, rank, recall
from longctx_edu.evaluation.tasks import Item, by_document
from longctx_edu.models import LanguageModel
from longctx_edu.text import tokenize

_ROOM = 4  # tokens that an answer may have beyond those of the gold strings


@dataclass(frozen=True)
class Row:
    """What came of one item.

    Attributes:
        item: the item.
        method: the method that read its documents.
        answer: the words that the model wrote.
        recall: share of the gold strings in the answer.
        log_probability_per_token: of ``gold[0]`` after the prompt, in nats; None for a method
            that does not answer from one prompt with the whole text.
        rank: place of ``gold[0]`` among the candidates, 1 is best; None likewise.
        tokens_read: tokens read and written for this question alone.
        seconds: time for this question alone.
    """

    item: Item
    method: str
    answer: str
    recall: float
    log_probability_per_token: float | None
    rank: int | None
    tokens_read: int
    seconds: float

    @property
    def right(self) -> bool:
        """Whether the answer holds every gold string."""
        return self.recall == 1

    @property
    def cluster(self) -> tuple[str, ...]:
        """The documents; rows that share them are not independent (see ``intervals``)."""
        return self.item.document_ids

    def as_dict(self) -> dict:
        """Return the row as plain values, for JSON."""
        return {
            "task": self.item.task,
            "document": ", ".join(self.item.document_ids),
            "method": self.method,
            "question": self.item.question,
            "gold": list(self.item.gold),
            "answer": self.answer,
            "right": self.right,
            "recall": self.recall,
            "log_probability_per_token": self.log_probability_per_token,
            "rank": self.rank,
            "tokens_read": self.tokens_read,
            "seconds": round(self.seconds, 2),
        }


def score(
    method: str,
    items: Sequence[Item],
    model: LanguageModel,
    *,
    likelihood: bool = True,
    **options,
) -> list[Row]:
    """Ask every item by one method, with one reading for items that share their documents.

    An answer has as many tokens as the gold strings and a few more, so that no method is right by
    naming everything there is.

    Args:
        method: one of ``readers.METHOD_NAMES``.
        items: from ``tasks.generate``.
        model: a ``LanguageModel``.
        likelihood: also measure the gold answer's log-probability and its rank among the
            candidates (about as long again); only the method "plain" has them.
        options: the method's own options.

    Returns:
        A row for each item, in the order of the items.

    Raises:
        LongctxError: if there is no item, or as ``readers.prepare`` does.
    """
    from longctx_edu.readers import read

    if not items:
        raise LongctxError("There is no item to score; generate some with tasks.generate.")
    rows = {}
    for group in by_document(items):
        reading = read(group[0].documents, method=method, model=model, **options)
        for row in score_reading(reading, group, likelihood=likelihood):
            rows[id(row.item)] = row
    return [rows[id(item)] for item in items]


def score_reading(reading, items: Sequence[Item], *, likelihood: bool = True) -> list[Row]:
    """Ask a reading every item about its documents; options and rows as in ``score``."""
    return [_row(reading, item, likelihood=likelihood) for item in items]


def _row(reading, item: Item, *, likelihood: bool) -> Row:
    answer = reading.ask(
        item.question,
        answer_prefix=item.answer_prefix,
        max_new_tokens=answer_tokens(item, reading.model.tokenizer),
    )
    log_probability = place = None
    if likelihood and reading.method == "plain":
        log_probability, place = _likelihood(reading, item)
    return Row(
        item=item,
        method=reading.method,
        answer=answer.text,
        recall=recall(answer.text, item.gold),
        log_probability_per_token=log_probability,
        rank=place,
        tokens_read=answer.ledger.prefilled + answer.ledger.decoded,
        seconds=answer.seconds,
    )


def answer_tokens(item: Item, tokenizer) -> int:
    """Return how many tokens an answer to ``item`` may have."""
    return len(tokenize(tokenizer, " " + " and ".join(item.gold))) + _ROOM


def _likelihood(reading, item: Item) -> tuple[float, int]:
    from longctx_edu.readers.joined import JoinedText

    user = f"{JoinedText(item.documents).text.strip()}\n\n{item.question}"
    prompts, start = answered(reading.model, user, item.answer_prefix, item.candidates)
    likelihoods = answer_likelihoods(reading.context, prompts, start)
    right = item.candidates.index(item.gold[0])
    return likelihoods[right].per_token, rank(likelihoods, right)


def floor_of(items: Sequence[Item]) -> list[Item]:
    """Return the same questions on texts that do not hold their answers."""
    return [replace(item, documents=item.controls.floor, gold_spans=()) for item in items]


def ceiling_of(items: Sequence[Item]) -> list[Item]:
    """Return the same questions on texts that hold only what they need."""
    return [replace(item, documents=item.controls.ceiling, gold_spans=()) for item in items]


def mean_recall(rows: Sequence[Row]) -> float:
    """Return the score of a task: the mean recall of its rows, from 0 to 1."""
    return fmean(row.recall for row in rows)
