"""What chance alone does to scores: leads between equal methods, and intervals that miss.

Questions are drawn, no model is asked. Why questions on one document are worth fewer than they
are: Miller 2024 (arXiv 2411.00640), section 2.2. Intervals for real answers are in ``intervals``.
"""

import random
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.intervals import effective_n, wilson


def share_of_leads(
    lead: int, questions: int, *, share: float = 0.7, rounds: int = 2000, seed: int = 0
) -> float:
    """Return how often one of two equally good methods is ahead, each asked its own questions.

    Args:
        lead: right answers more, at least, that count as ahead.
        questions: that each method is asked.
        share: of questions that either method answers, in the long run.
        rounds: comparisons that are drawn.
        seed: of the drawing.

    Returns:
        a share of the rounds, from 0 to 1.

    Raises:
        LongctxError: for a share outside 0 to 1, or a count below 1.
    """
    _check_shares([share])
    _check_counts(lead=lead, questions=questions, rounds=rounds)
    draw = random.Random(seed)
    ahead = 0
    for _ in range(rounds):
        one, other = (sum(draw.random() < share for _ in range(questions)) for _ in range(2))
        ahead += abs(one - other) >= lead
    return ahead / rounds


def half_width(share: float, questions: int) -> float:
    """Return half of Wilson's 95 % interval where ``share`` of independent questions is right.

    >>> round(half_width(0.5, 100), 2), round(half_width(0.5, 400), 2)
    (0.1, 0.05)

    Raises:
        LongctxError: for a share outside 0 to 1, or a count below 1.
    """
    _check_shares([share])
    _check_counts(questions=questions)
    low, high = wilson(share * questions, questions)
    return (high - low) / 2


class Misses(NamedTuple):
    """Shares of 95 % intervals that do not hold the true share, from 0 to 1; 0.05 is promised.

    Attributes:
        by_questions: every question counted as independent.
        by_documents: as many as ``intervals.effective_n`` says they are worth.
    """

    by_questions: float
    by_documents: float


def interval_misses(
    documents: int,
    questions: int,
    *,
    shares: Sequence[float] = (0.5, 0.9),
    rounds: int = 400,
    seed: int = 0,
) -> Misses:
    """Return how often Wilson's interval misses the truth where questions share documents.

    Every document is of one of several kinds, each as frequent, and its questions are answered
    with the share of its kind; the truth is the mean of the shares.

    Args:
        documents: in each round.
        questions: on each document.
        shares: of right answers, for each kind of document.
        rounds: samples that are drawn.
        seed: of the drawing.

    Raises:
        LongctxError: for a share outside 0 to 1, or a count below 1.
    """
    _check_shares(shares)
    _check_counts(documents=documents, questions=questions, rounds=rounds)
    draw, truth = random.Random(seed), fmean(shares)
    missed = [0, 0]
    for _ in range(rounds):
        kinds = [draw.choice(shares) for _ in range(documents)]
        hits = [float(draw.random() < kind) for kind in kinds for _ in range(questions)]
        clusters = [number for number in range(documents) for _ in range(questions)]
        for way, n in enumerate((len(hits), effective_n(hits, clusters))):
            low, high = wilson(min(fmean(hits), 1.0) * n, n)
            missed[way] += not low <= truth <= high
    return Misses(*(count / rounds for count in missed))


def _check_shares(shares: Sequence[float]) -> None:
    if not shares or not all(0 <= share <= 1 for share in shares):
        raise LongctxError(f"Shares of right answers are between 0 and 1, got {list(shares)}.")


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise LongctxError(f"{name} is at least 1, but {count} was given.")
