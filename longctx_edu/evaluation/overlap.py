"""How much of an answer's words are those of a reference: F1, sets of names, ROUGE-L, BLEU.

Token F1 of SQuAD (Rajpurkar et al. 2016, section 6.1), ROUGE-L (Lin 2004, section 3.1), BLEU
(Papineni et al. 2002, section 2.3) as sacrebleu counts it. All of them see words, none sees
whether an answer is true: a wrong number in a right sentence costs a word. For short answers use
``metrics.recall``.
"""

import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.metrics import exact_match, holds, normalised, recall

_ARTICLES = frozenset({"a", "an", "the"})
_BLEU_WORDS = 4  # BLEU counts runs of up to four words


@dataclass(frozen=True)
class Overlap:
    """What two collections share, as shares from 0 to 1.

    Attributes:
        precision: of what was said, how much is right.
        recall: of what is right, how much was said.
    """

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of both, 0 if either is."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def _overlap(shared: int, said: int, right: int) -> Overlap:
    return Overlap(shared / said if said else 0.0, shared / right)


def words_of(text: str) -> list[str]:
    """Return the words and numbers of a text, ``normalised``, without signs between them.

    >>> words_of("The Keeper's fee: 12,345 crowns.")
    ['the', 'keeper', 's', 'fee', '12345', 'crowns']
    """
    return re.findall(r"\w+", normalised(text))


def token_f1(answer: str, gold: str) -> float:
    """Return the F1 of the words of an answer, in any order and without articles, from 0 to 1.

    >>> round(token_f1("It is the grey petrel", "the Grey Petrel"), 3)
    0.667

    Raises:
        LongctxError: if ``gold`` has no words but articles.
    """
    said, right = (
        Counter(w for w in words_of(text) if w not in _ARTICLES) for text in (answer, gold)
    )
    _check_words(right, gold)
    return _overlap((said & right).total(), said.total(), right.total()).f1


def set_overlap(said: Collection[str], gold: Collection[str]) -> Overlap:
    """Return the precision and recall of a set of names or numbers that an answer gives.

    Recall alone is perfect for an answer that lists everything there is; precision tells.

    >>> set_overlap({"tiger", "camel", "walrus"}, {"tiger"}).precision  # doctest: +ELLIPSIS
    0.333...

    Raises:
        LongctxError: if there is no gold.
    """
    if isinstance(said, str) or isinstance(gold, str) or not gold:
        raise LongctxError(
            f"Both are collections of strings, gold of one at least, but {said!r} and {gold!r} "
            "were given."
        )
    left, right = ({normalised(one) for one in some} for some in (said, gold))
    return _overlap(len(left & right), len(left), len(right))


def named_in(answer: str, among: Iterable[str]) -> set[str]:
    """Return which of some names or numbers an answer holds: the set for ``set_overlap``.

    Args:
        among: the right ones and the wrong ones, such as an item's ``gold`` and ``candidates``.
    """
    return {one for one in among if holds(answer, one)}


def rouge_l(answer: str, gold: str) -> Overlap:
    """Return ROUGE-L: how much of both is the longest run of common words in their order.

    Words may stand between those of the run (a longest common subsequence). No stemming, as in
    rouge-score's default; its words are ASCII letters and digits, these are those of any script.

    >>> rouge_l("the boat came back", "the grey boat came").recall
    0.75

    Raises:
        LongctxError: if ``gold`` has no words.
    """
    said, right = words_of(answer), words_of(gold)
    _check_words(right, gold)
    return _overlap(_common_subsequence(said, right), len(said), len(right))


def _common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence, row by row of its table."""
    row = [0] * (len(other) + 1)  # row[j]: of the words of `one` so far and other[:j]
    for word in one:
        before = row
        row = [0]
        for place, wanted in enumerate(other):
            row.append(before[place] + 1 if word == wanted else max(before[place + 1], row[place]))
    return row[-1]


def bleu(answers: Sequence[str], references: Sequence[str]) -> float:
    """Return the BLEU of all answers together, from 0 to 1, one reference for each.

    BLEU is the precision of runs of one to four words, and was made for translations. A reference
    of less than four words has no such run: a perfect answer to it scores 0. That is warned of.

    Raises:
        LongctxError: if there is not one reference for each answer, or none at all.
    """
    if isinstance(answers, str) or len(answers) != len(references) or not references:
        raise LongctxError(
            "BLEU takes a list of answers and a reference for each, but "
            f"{len(answers)} answers and {len(references)} references were given."
        )
    short = sum(len(one.split()) < _BLEU_WORDS for one in references)
    if short:
        warnings.warn(
            f"{short} of {len(references)} references have less than {_BLEU_WORDS} words, and BLEU "
            f"counts runs of {_BLEU_WORDS}: it says nothing about them. Use metrics.recall or "
            "overlap.token_f1 for short answers.",
            stacklevel=2,
        )
    from sacrebleu.metrics import BLEU

    score = BLEU().corpus_score([*answers], [[*references]]).score
    return min(score / 100, 1.0)  # rounding must not make more than all


def marks(answer: str, gold: Sequence[str]) -> dict[str, float]:
    """Return what five metrics say of one answer, each from 0 to 1, to see how they disagree.

    >>> {name: round(mark, 2) for name, mark in marks("It was in May.", ["May"]).items()}
    {'exact match': 0.0, 'recall': 1.0, 'F1': 0.4, 'ROUGE-L': 0.4, 'BLEU': 0.11}

    Args:
        gold: the strings of a right answer; for all metrics but recall they are joined by "and".

    Raises:
        LongctxError: if there is no gold, or a blank one.
    """
    held, right = recall(answer, gold), " and ".join(gold)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it says nothing of short answers is the point here
        common_runs = bleu([answer], [right])
    return {
        "exact match": float(exact_match(answer, right)),
        "recall": held,
        "F1": token_f1(answer, right),
        "ROUGE-L": rouge_l(answer, right).f1,
        "BLEU": common_runs,
    }


def _check_words(words: Collection[str], gold: str) -> None:
    if not words:
        raise LongctxError(f"The reference {gold!r} has no words; give the right answer.")
