"""Methods side by side: all metrics over the same items, and what the same answers cost.

Quality: ``evaluate_wim_model`` puts the same questions to margins and to a method without them.
Cost: ``compare_performance`` takes the methods in turn, so that a machine that slows down meanwhile
slows all of them, and tells medians and the token ledger, which no machine changes. Nothing here is
compared with nothing, or timed once without warming up.
"""

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.intervals import Interval, effective_n, paired_bootstrap, wilson
from longctx_edu.evaluation.metrics import exact_match
from longctx_edu.evaluation.overlap import bleu, named_in, rouge_l, set_overlap, token_f1
from longctx_edu.evaluation.scoring import Row, score
from longctx_edu.evaluation.tasks import Item
from longctx_edu.inference.ledger import Ledger

_SENTENCE_WORDS = 4  # a shorter gold answer has no run of four words for BLEU


@dataclass(frozen=True)
class Evaluation:
    """All metrics of one method over some items; shares from 0 to 1.

    Attributes:
        method: the method.
        rows: what came of each item.
        recall: mean share of the gold strings that an answer holds.
        interval: Wilson's 95 % interval of it, for as many independent questions as those of
            shared documents are worth.
        exact_match: share of answers that are gold and nothing else.
        precision: mean share of right ones among the candidates that an answer names.
        token_f1: mean F1 of the words.
        rouge_l: mean F1 of the longest common run of words.
        bleu: of all answers together; None where a gold answer has less than four words.
        perplexity: of the gold answers' tokens, one answer as good as another; None for a method
            that does not answer from one prompt with the whole text.
        ranked_first: share of items whose gold is the most probable candidate; None likewise.
        tokens_read: mean tokens read and written for a question alone.
        seconds: median time for a question alone.
    """

    method: str
    rows: tuple[Row, ...]
    recall: float
    interval: Interval
    exact_match: float
    precision: float
    token_f1: float
    rouge_l: float
    bleu: float | None
    perplexity: float | None
    ranked_first: float | None
    tokens_read: float
    seconds: float

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Evaluation":
        """Work out the metrics of one method's rows, as ``scoring.score`` returns them.

        Raises:
            LongctxError: if there is no row, or rows of several methods.
        """
        methods = {row.method for row in rows}
        if len(methods) != 1:
            raise LongctxError(
                f"An evaluation is of one method's rows, but these are of {sorted(methods)}; "
                "sort them by method first."
            )
        answers, golds = [row.answer for row in rows], [_written(row.item) for row in rows]
        recalls = [row.recall for row in rows]
        independent = effective_n(recalls, [row.cluster for row in rows])
        pairs = list(zip(answers, golds, strict=True))
        nats = [row.log_probability_per_token for row in rows]
        ranks = [row.rank for row in rows]
        return cls(
            method=methods.pop(),
            rows=tuple(rows),
            recall=fmean(recalls),
            interval=wilson(fmean(recalls) * independent, independent),
            exact_match=fmean(exact_match(*pair) for pair in pairs),
            precision=fmean(map(_precision, rows)),
            token_f1=fmean(token_f1(*pair) for pair in pairs),
            rouge_l=fmean(rouge_l(*pair).f1 for pair in pairs),
            bleu=None if any(map(_short, golds)) else bleu(answers, golds),
            perplexity=None if None in nats else math.exp(-fmean(nats)),
            ranked_first=None if None in ranks else fmean(place == 1 for place in ranks),
            tokens_read=fmean(row.tokens_read for row in rows),
            seconds=statistics.median(row.seconds for row in rows),
        )

    def as_dict(self) -> dict:
        """Return the metrics as plain values, for a table."""
        named = {name: value for name, value in vars(self).items() if name not in _NOT_NUMBERS}
        return {"method": self.method, "n": len(self.rows), **named, **self.interval._asdict()}


_NOT_NUMBERS = ("method", "rows", "interval")


def _written(item: Item) -> str:
    """Return the right answer in words."""
    return " and ".join(item.gold)


def _short(text: str) -> bool:
    return len(text.split()) < _SENTENCE_WORDS


def _precision(row: Row) -> float:
    """Return how much of what an answer names is right; an answer that names nothing has none."""
    named = named_in(row.answer, {*row.item.gold, *row.item.candidates})
    return set_overlap(named, row.item.gold).precision


def evaluate_wim_model(
    items: Sequence[Item], model, *, method: str = "margins", baseline: str = "plain", **options
) -> tuple[Evaluation, Evaluation]:
    """Put the same questions to Writing in the Margins and to a baseline; return all metrics.

    Which of them to read: ``recall`` for answers of a few words, whose every other metric punishes
    one word too many; ``rouge_l`` and ``bleu`` for answers of sentences; ``perplexity`` where every
    answer is right or every one wrong. ``difference`` says how sure the better one is better.

    Args:
        items: from ``tasks.generate``.
        model: a ``LanguageModel``.
        method: the method; one of ``readers.METHOD_NAMES``.
        baseline: what it is compared with; likewise.
        options: of ``method``.

    Returns:
        the evaluation of the method, and that of the baseline.

    Raises:
        LongctxError: as ``scoring.score``.
    """
    return (
        Evaluation.of(score(method, items, model, **options)),
        Evaluation.of(score(baseline, items, model)),
    )


def difference(one: Evaluation, other: Evaluation, *, metric: str = "recall") -> Interval:
    """Return the paired bootstrap interval of ``one``'s metric less ``other``'s, same items.

    Args:
        metric: an attribute of ``scoring.Row`` with a number: recall, tokens_read, seconds.

    Raises:
        LongctxError: if the items differ, or all are of one document.
    """
    if [row.item for row in one.rows] != [row.item for row in other.rows]:
        raise LongctxError("A difference needs the same items in the same order for both methods.")
    values = ([float(getattr(row, metric)) for row in each.rows] for each in (one, other))
    return paired_bootstrap(*values, clusters=[row.cluster for row in one.rows])


def by_turn(rows: Sequence[Row]) -> list[Evaluation]:
    """Evaluate the first questions on all documents, then the second ones, and so on.

    What a second question costs, and whether it is still answered, says what a method kept of a
    document that the first did not ask for (task ``second-question``).

    Args:
        rows: of one method, as ``scoring.score`` returns them, in the order in which they were
            asked.

    Raises:
        LongctxError: as ``Evaluation.of``.
    """
    turns: list[list[Row]] = []
    asked: Counter = Counter()
    for row in rows:
        turn = asked[row.cluster]
        asked[row.cluster] += 1
        turns += [[]] if turn == len(turns) else []
        turns[turn].append(row)
    return [Evaluation.of(turn) for turn in turns]


def standard_inference(
    documents,
    question: str,
    *,
    model=None,
    answer_prefix: str = "",
    max_new_tokens: int = 64,
):
    """Answer a question the plain way: the whole text and the question in one prompt.

    The other thing that Writing in the Margins is compared with (``margins.wim_inference``), from
    reading to the answer. Whoever has a second question keeps the reading of ``read`` instead.

    Args:
        documents, model: as in ``read``.
        question: in words.
        answer_prefix: the answer's first words; the model continues them.
        max_new_tokens: the most tokens that the answer may have.

    Returns:
        the ``Answer``; its ledger and seconds are those of the question alone.
    """
    from longctx_edu.readers import read

    reading = read(documents, method="plain", model=model)
    return reading.ask(question, answer_prefix=answer_prefix, max_new_tokens=max_new_tokens)


def measure_inference_time(
    way: Callable[[], object], *, repeats: int = 3
) -> tuple[float, float, float]:
    """Return the shortest, median and longest seconds of a call, after one call to warm up.

    For two ways use ``compare_performance``: times taken one after another, on a machine that does
    other things too, differ by what else it did.

    Args:
        way: takes nothing, such as ``lambda: standard_inference(document, question)``.
        repeats: calls that count, at least 1.

    Raises:
        LongctxError: for less than one repeat.
    """
    _check_repeats(repeats)
    way()
    seconds = sorted(_timed(way)[0] for _ in range(repeats))
    return seconds[0], statistics.median(seconds), seconds[-1]


@dataclass(frozen=True)
class Performance:
    """What one method took to read some documents and answer some questions, several times over.

    Attributes:
        method: the method.
        reading_seconds: of each round, for the work that needs no question.
        asking_seconds: of each round, for all questions.
        reading: tokens of the work that needs no question.
        asking: tokens of all questions.
        answers: what it said, question by question.
        times: how many times as long as the first method; median of the rounds' ratios.
    """

    method: str
    reading_seconds: tuple[float, ...]
    asking_seconds: tuple[float, ...]
    reading: Ledger
    asking: Ledger
    answers: tuple[str, ...]
    times: float = 1.0

    @property
    def seconds(self) -> tuple[float, ...]:
        """Of each round, reading and asking."""
        return tuple(map(sum, zip(self.reading_seconds, self.asking_seconds, strict=True)))

    def as_dict(self) -> dict:
        """Return the performance as plain values, for a table; tokens are those of both."""
        return {
            "method": self.method,
            "reading_seconds": statistics.median(self.reading_seconds),
            "asking_seconds": statistics.median(self.asking_seconds),
            "seconds": statistics.median(self.seconds),
            "fastest": min(self.seconds),
            "slowest": max(self.seconds),
            "times": self.times,
            **vars(self.reading + self.asking),
            "answers": list(self.answers),
        }


def compare_performance(
    documents,
    questions: Sequence[str],
    *,
    model=None,
    methods: Sequence[str] | Mapping[str, Mapping] = ("plain", "margins"),
    repeats: int = 3,
    max_new_tokens: int = 32,
) -> list[Performance]:
    """Read and answer by several methods in turn; tell the time and the tokens of each.

    Each method goes once to warm up. Then all go round by round, every second round in reverse
    order; ratios are taken within the rounds. Tokens are the same in every round.

    Args:
        documents, model: as in ``read``.
        questions: one or more, asked of one reading one after another.
        methods: of ``readers.METHOD_NAMES``, or a mapping from these to their options. The first is
            what the others are compared with.
        repeats: rounds that count, at least 1.
        max_new_tokens: the most tokens that an answer may have.

    Returns:
        For each method its performance, in the order given.

    Raises:
        LongctxError: if there is no method, no question or less than one repeat, or as ``read``.
    """
    _check_repeats(repeats)
    if isinstance(methods, str) or isinstance(questions, str) or not methods or not questions:
        raise LongctxError(
            "There is a list of one method at least and of one question at least, but "
            f"methods={methods!r} and questions={questions!r} were given."
        )
    from longctx_edu.readers import read

    options = methods if isinstance(methods, Mapping) else dict.fromkeys(methods, {})
    rounds: dict[str, list[Performance]] = {name: [] for name in options}
    for number in range(repeats + 1):
        for name in [*options] if number % 2 else [*options][::-1]:
            took, reading = _timed(
                lambda name=name: read(documents, method=name, model=model, **options[name])
            )
            asked, answers = _timed(
                lambda reading=reading: [
                    reading.ask(question, max_new_tokens=max_new_tokens) for question in questions
                ]
            )
            rounds[name].append(
                Performance(
                    name,
                    (took,),
                    (asked,),
                    reading.ledger,
                    sum((answer.ledger for answer in answers), Ledger()),
                    tuple(answer.text for answer in answers),
                )
            )
    counted = {name: row[1:] for name, row in rounds.items()}  # the first warmed up
    first = next(iter(counted.values()))
    return [
        replace(
            row[-1],
            reading_seconds=tuple(one.reading_seconds[0] for one in row),
            asking_seconds=tuple(one.asking_seconds[0] for one in row),
            times=statistics.median(
                one.seconds[0] / other.seconds[0] for one, other in zip(row, first, strict=True)
            ),
        )
        for row in counted.values()
    ]


def _timed(call: Callable[[], object]):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _check_repeats(repeats: int) -> None:
    if repeats < 1:
        raise LongctxError(f"repeats is at least 1, but {repeats} was given.")
