"""How sure a score is: intervals and paired tests for right or wrong answers, by closed forms.

Wilson (1927) for a share, McNemar's exact test (1947) for two methods on the same questions, the
paired bootstrap (Efron 1979) for any difference. Questions on one document share its luck, so
documents, not questions, are drawn again and counted where clusters are given (Miller 2024,
arXiv 2411.00640).
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from statistics import NormalDist, fmean
from typing import NamedTuple

import numpy as np

from longctx_edu.errors import LongctxError


class Interval(NamedTuple):
    """The two ends of a confidence interval."""

    low: float
    high: float


def wilson(successes: float, n: float, *, level: float = 0.95) -> Interval:
    """Return the score interval of a share (Wilson 1927), which stays within 0 and 1.

    With partial credit ``successes`` is a sum of shares; then the interval is too wide rather
    than too narrow, since a share varies less than yes or no with the same mean. ``n`` counts
    independent questions: ``effective_n`` says how many those of shared documents are worth.

    >>> wilson(15, 20)  # doctest: +ELLIPSIS
    Interval(low=0.531..., high=0.888...)

    Raises:
        LongctxError: unless 0 <= successes <= n, n > 0 and 0 < level < 1.
    """
    _check_level(level)
    if not 0 <= successes <= n or n <= 0:
        raise LongctxError(
            f"A share needs n > 0 and 0 to n successes, but {successes} of {n} were given."
        )
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, weight = successes / n, z * z / n
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / n + weight / (4 * n)) / (1 + weight)
    low = 0.0 if successes == 0 else middle - half  # rounding must not leave a share outside
    return Interval(low, 1.0 if successes == n else middle + half)


def effective_n(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Return how many independent values these are worth, given the documents they belong to.

    The number divided by the design effect (Kish 1965): the variance of the mean
    with whole clusters as units, over the variance if all were independent. Never more than the
    values there are; all of them where every value is alike and nothing can be told; and 1 for a
    single document, which says nothing about others.

    Raises:
        LongctxError: as ``by_cluster``.
    """
    groups = by_cluster(values, clusters)
    mean, n = fmean(values), len(values)
    independent = sum((value - mean) ** 2 for value in values)
    if len(groups) < 2:
        return 1.0
    if independent == 0:
        return float(n)
    between = sum(sum(value - mean for value in group) ** 2 for group in groups)
    clustered = between * len(groups) / (len(groups) - 1)
    return n / max(1.0, clustered / (independent * n / (n - 1)))


def paired_bootstrap(
    a: Sequence[float],
    b: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the percentile bootstrap interval of ``mean(a) - mean(b)`` on the same questions.

    Args:
        a, b: scores of two methods, question by question.
        clusters: the document of each question; whole documents are drawn again. None where
            every question has a document of its own.
        draws: how often the questions are drawn again.
        seed: seed of the drawing.

    Raises:
        LongctxError: if the lengths differ, nothing or a single document was given, or an
            option is out of range.
    """
    differences = _differences(a, b)
    return _ratio_of_sums(differences, [1.0] * len(differences), clusters, level, draws, seed)


def ratio_bootstrap(
    a: Sequence[float],
    b: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the percentile bootstrap interval of ``mean(a) / mean(b)`` on the same questions.

    Arguments and errors as in ``paired_bootstrap``; ``b`` is never negative. Draws in which all
    of ``b`` is 0 have no ratio and are left out.

    >>> ratio_bootstrap([1, 2, 3], [2, 4, 6])
    Interval(low=0.5, high=0.5)

    Raises:
        LongctxError: also if all of ``b`` is 0.
    """
    _differences(a, b)  # lengths that differ are told there
    if not any(b):
        raise LongctxError("There is no ratio to a mean of 0.")
    return _ratio_of_sums(a, b, clusters, level, draws, seed)


def _ratio_of_sums(a, b, clusters, level: float, draws: int, seed: int) -> Interval:
    """Return the bootstrap interval of ``sum(a) / sum(b)``, whole clusters drawn again."""
    _check_level(level)
    if draws < 1:
        raise LongctxError(f"draws is at least 1, but {draws} was given.")
    tops, bottoms = (
        np.array([sum(group) for group in by_cluster(values, clusters)]) for values in (a, b)
    )
    if len(tops) < 2:
        raise LongctxError(
            "One document says nothing about how much documents differ; ask about two or more."
        )
    random = np.random.default_rng(seed)
    chosen = random.integers(len(tops), size=(draws, len(tops)))  # (draws, clusters)
    below = bottoms[chosen].sum(1)
    ratios = tops[chosen].sum(1)[below > 0] / below[below > 0]
    low, high = np.quantile(ratios, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high))


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Return the two-sided p-value of McNemar's test in its exact, binomial form.

    Only the questions that one method alone answers count: were the methods equally good, each
    of these would fall to either with probability one half. The questions must be independent,
    one a document; for shared documents use ``sign_flip``.

    >>> mcnemar([True] * 6 + [False], [False] * 6 + [False])
    0.03125

    Raises:
        LongctxError: if the lengths differ or nothing was given.
    """
    differences = _differences(list(map(bool, a)), list(map(bool, b)))
    won, lost = differences.count(1), differences.count(-1)
    tail = sum(math.comb(won + lost, k) for k in range(min(won, lost) + 1))
    return min(1.0, 2 * tail / 2 ** (won + lost))


def sign_flip(
    a: Sequence[float],
    b: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """Return the two-sided p-value of the paired permutation test (Fisher 1935, section 21).

    Were the methods equally good, the difference of each document could as well have the other
    sign. Up to 2**14 ways to set the signs are all counted (exact), beyond that ``draws`` of
    them are drawn and the observed one is added (Phipson and Smyth 2010).

    Args:
        clusters: the document of each question; the questions of one change sign together.

    Raises:
        LongctxError: if the lengths differ or nothing was given, or draws < 1.
    """
    if draws < 1:
        raise LongctxError(f"draws is at least 1, but {draws} was given.")
    groups = by_cluster(_differences(a, b), clusters)
    sums = np.array([total for group in groups if (total := sum(group))])
    if sums.size <= 14:
        every = np.arange(2**sums.size)[:, None] >> np.arange(sums.size) & 1  # (ways, clusters)
        extra = 0
    else:
        every = np.random.default_rng(seed).integers(2, size=(draws, sums.size))
        extra = 1
    totals = np.abs((2 * every - 1) @ sums)
    as_far = int((totals >= abs(sums.sum()) - 1e-9).sum())
    return (as_far + extra) / (len(every) + extra)


def by_cluster(values: Sequence[float], clusters: Sequence[Hashable] | None) -> list[list[float]]:
    """Group values by their clusters, in order; without clusters each value is one.

    Raises:
        LongctxError: if nothing was given, or there is not one cluster for each value.
    """
    labels: Iterable[Hashable] = range(len(values)) if clusters is None else clusters
    if not len(values) or (clusters is not None and len(clusters) != len(values)):
        raise LongctxError(
            "There is at least one value and a cluster for each, but "
            f"{len(values)} values and {len(list(labels))} clusters were given."
        )
    groups: dict[Hashable, list[float]] = {}
    for value, label in zip(values, labels, strict=True):
        groups.setdefault(label, []).append(value)
    return list(groups.values())


def _differences(a: Sequence[float], b: Sequence[float]) -> list[float]:
    if len(a) != len(b) or not len(a):
        raise LongctxError(
            "A paired comparison takes two scores for each question and at least one question, "
            f"but {len(a)} and {len(b)} scores were given; score the same items by both methods."
        )
    return [float(x) - float(y) for x, y in zip(a, b, strict=True)]


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise LongctxError(f"level is a share between 0 and 1 such as 0.95, got {level}.")
