"""Which verdict tells relevant segments from others? Every verdict on the same margins.

A segment is relevant to a question if it holds what the question needs, which is known by
construction. A margin sees all text up to its segment's end, so that one on a later segment may
well repeat the fact: whether a kept note holds the answer is counted beside it. Nothing is
answered here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

from longctx_edu import read
from longctx_edu.evaluation.metrics import holds
from longctx_edu.evaluation.tasks import Item, by_document
from longctx_edu.margins.verdicts import VERDICTS

# Which prompt the notes are asked for with, where the verdict needs one of its own.
_PROMPTS = {"first_token": "yes_no"}


@dataclass(frozen=True)
class Judged:
    """One note under one verdict.

    Attributes:
        question: number of the item.
        verdict: the verdict's name.
        segment: number of the segment.
        score: the verdict's score, None if it has none.
        kept: whether the verdict keeps the note.
        relevant: whether the segment holds what the question needs.
        holds_answer: whether the note holds every gold string.
        document: id of the document.
    """

    question: int
    verdict: str
    segment: int
    score: float | None
    kept: bool
    relevant: bool
    holds_answer: bool
    document: str


def judge_all(
    items: Sequence[Item], model, *, verdicts: Sequence[str] = tuple(VERDICTS), **options
) -> list[Judged]:
    """Write the margins of every item once for each prompt, and put them before every verdict.

    Args:
        items: of one document each, from ``tasks.generate``.
        model: a ``LanguageModel``.
        verdicts: names of ``VERDICTS``.
        options: of the method "margins".
    """
    found, number = [], 0
    for group in by_document(items):
        reading = read(group[0].documents, method="margins", model=model, **options)
        for item in group:
            for prompt in sorted({_PROMPTS.get(name, "copy") for name in verdicts}):
                names = [name for name in verdicts if _PROMPTS.get(name, "copy") == prompt]
                for name, notes in _verdicts_on(reading, item.question, prompt, names).items():
                    found += [_judged(number, name, note, item, reading) for note in notes]
            number += 1
    return found


def _verdicts_on(reading, question: str, prompt: str, names: Sequence[str]) -> dict:
    """Return the notes under each verdict; they are written once."""
    kinds = [VERDICTS[name]() for name in names]
    return {
        kind.name: notes
        for kind, notes in zip(kinds, reading.judge(question, kinds, prompt=prompt), strict=True)
    }


def _judged(number: int, name: str, note, item: Item, reading) -> Judged:
    start, end = reading.segments[note.segment]
    return Judged(
        question=number,
        verdict=name,
        segment=note.segment,
        score=note.score,
        kept=note.kept,
        relevant=any(gold.start < end and gold.end > start for gold in item.gold_spans),
        holds_answer=all(holds(note.text, gold) for gold in item.gold),
        document=item.document_ids[0],
    )


def summary(judged: Sequence[Judged]) -> dict:
    """Return the verdict's precision, recall and area under the ROC curve on segments.

    Besides: ``answer_kept``, the share of questions of which a kept note holds the answer,
    ``notes_kept``, how many are kept for a question, and ``right_notes``, the share of kept notes
    that hold the answer.
    """
    questions = {one.question for one in judged}
    kept = [one for one in judged if one.kept]
    hits = sum(one.relevant for one in kept)
    with_answer = {one.question for one in kept if one.holds_answer}
    return {
        "verdict": judged[0].verdict,
        "precision": hits / max(1, len(kept)),
        "recall": hits / max(1, sum(one.relevant for one in judged)),
        "auc": area_under_roc(
            [one.score for one in judged if one.score is not None],
            [one.relevant for one in judged if one.score is not None],
        ),
        "answer_kept": len(with_answer) / len(questions),
        "notes_kept": len(kept) / len(questions),
        "right_notes": fmean(one.holds_answer for one in kept) if kept else 0.0,
        "questions": len(questions),
        "segments": len(judged),
    }


def area_under_roc(scores: Sequence[float], relevant: Sequence[bool]) -> float | None:
    """Return how probable a relevant one scores higher than another, ties counted by half.

    None without a score on either side (Fawcett 2006, section 7).

    >>> area_under_roc([0.9, 0.5, 0.5, 0.1], [True, True, False, False])
    0.875
    """
    inside = [score for score, is_one in zip(scores, relevant, strict=True) if is_one]
    outside = [score for score, is_one in zip(scores, relevant, strict=True) if not is_one]
    if not inside or not outside:
        return None
    wins = sum((a > b) + (a == b) / 2 for a in inside for b in outside)
    return wins / (len(inside) * len(outside))


def roc(judged: Sequence[Judged]) -> list[dict]:
    """Return the verdict's rates of false and true positives at every threshold, from 0 to 1.

    Empty for a verdict without scores.
    """
    scored = [one for one in judged if one.score is not None]
    positives = sum(one.relevant for one in scored)
    negatives = len(scored) - positives
    if not positives or not negatives:
        return []
    points, kept = [(0.0, 0.0)], []
    for _, tied in groupby(sorted(scored, key=_score, reverse=True), key=_score):
        kept += tied
        hits = sum(one.relevant for one in kept)
        points.append(((len(kept) - hits) / negatives, hits / positives))
    return [
        {"verdict": judged[0].verdict, "false_positives": x, "true_positives": y} for x, y in points
    ]


def _score(judged: Judged) -> float:
    return judged.score
