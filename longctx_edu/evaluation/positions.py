"""Does position matter? The same questions with their lines at five places of a text.

The design of Liu et al. 2023, section 2: only the place changes, so that places are compared
question by question, and beside them stand a floor (the text without the line), a ceiling (the
line alone) and the question asked before the text as well as after it. Which shape comes out is
measured, not assumed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.intervals import (
    Interval,
    effective_n,
    paired_bootstrap,
    sign_flip,
    wilson,
)
from longctx_edu.evaluation.metrics import answer_likelihoods, answered, rank
from longctx_edu.evaluation.scoring import ceiling_of, floor_of
from longctx_edu.evaluation.tasks import DEPTHS, Item, Places, difficulty_of, generate
from longctx_edu.models import LanguageModel

CONTROLS = {"floor": floor_of, "ceiling": ceiling_of}
ORDERS = ("after", "around")
"""Where the question stands: after the text, or before it and after it."""

_DIFFICULTIES: Mapping[str, Mapping[str, Any]] = {
    "kv-list": {"pairs": 18, "questions": 10},
    "facts": {"facts": 10},
}
TASKS = tuple(_DIFFICULTIES)


@dataclass(frozen=True)
class Placed:
    """What came of one question with its line at one place.

    Attributes:
        document, question: which one; the same at every place.
        place: share of the way from the first line to the last; of a control None.
        right: whether the right value is what greedy decoding writes.
        log_probability: of the right value, for each of its tokens, in nats.
        rank: place of the right value among the candidates, 1 is best.
    """

    document: int
    question: int
    place: float | None
    right: bool
    log_probability: float
    rank: int


def items_at_places(
    task: str, length_tokens: int, documents: int, seed: int, tokenizer, *, turn: int = 0
) -> list[list[Item]]:
    """Return the questions of each document, their lines at the places of ``turn``.

    Over the turns 0 to 4 each question's line stands at every place once. Question, answer and
    candidates stay the same, and so do all lines that are not asked for and the text around.

    Args:
        task: one of ``TASKS``.
        length_tokens: tokens of a document.
        documents: how many of them.

    Raises:
        LongctxError: for another task, or as ``tasks.generate``.
    """
    if task not in TASKS:
        raise LongctxError(f"Positions are measured with {' or '.join(TASKS)}, not {task!r}.")
    places = Places(turn=turn)
    difficulty = difficulty_of(task)(**_DIFFICULTIES[task], places=places)
    n = documents * places.questions
    items = generate(task, length_tokens, n, seed, tokenizer, difficulty=difficulty)
    return [items[start : start + places.questions] for start in range(0, n, places.questions)]


def user_turn(item: Item, order: str = "after") -> str:
    """Return what the user says: the text and the question, which may come first as well.

    Raises:
        LongctxError: for an unknown order.
    """
    if order not in ORDERS:
        raise LongctxError(f"A question is asked {' or '.join(ORDERS)}, not {order!r}.")
    text = f"{item.documents[0].text}\n\n{item.question}"
    return text if order == "after" else f"{item.question}\n\n{text}"


def measure(
    task: str,
    model: LanguageModel,
    *,
    length_tokens: int,
    documents: int,
    seed: int = 0,
    order: str = "after",
    questions: Sequence[int] | None = None,
    turns: Iterable[int] = range(len(DEPTHS)),
) -> list[Placed]:
    """Ask every question with its line at every place.

    Args:
        task: one of ``TASKS``.
        documents: how many texts; each has ten questions.
        order: one of ``ORDERS``.
        questions: numbers of the questions to ask of each text; all if None.
        turns: with fewer turns, each question is asked at fewer places.

    Raises:
        LongctxError: as ``items_at_places`` and ``user_turn``.
    """
    rows = []
    for turn in turns:
        places = Places(turn=turn)
        found = items_at_places(task, length_tokens, documents, seed, model.tokenizer, turn=turn)
        for document, items in enumerate(found):
            asked = range(len(items)) if questions is None else questions
            scores = _scores([items[n] for n in asked], model, order)
            rows += [
                Placed(document, n, places.depth(n), *score)
                for n, score in zip(asked, scores, strict=True)
            ]
    return rows


def measure_control(
    control: str,
    task: str,
    model: LanguageModel,
    *,
    length_tokens: int,
    documents: int,
    seed: int = 0,
) -> list[Placed]:
    """Ask the same questions of the text without their lines, or of their line alone.

    Args:
        control: ``"floor"`` or ``"ceiling"``.
    """
    rows = []
    found = items_at_places(task, length_tokens, documents, seed, model.tokenizer)
    for document, items in enumerate(found):
        controls = CONTROLS[control](items)
        rows += [
            Placed(document, n, None, *score)
            for n, score in enumerate(_scores(controls, model, "after"))
        ]
    return rows


def _scores(items: Sequence[Item], model, order: str) -> list[tuple[bool, float, int]]:
    """Return right, log-probability per token and rank of each item; shared text is read once."""
    from longctx_edu.inference import Context

    context, scores = Context(model), []
    for item in items:
        if order == "after":
            context = having_read(item, context)
        user = user_turn(item, order)
        prompts, start = answered(model, user, item.answer_prefix, item.candidates)
        found = answer_likelihoods(context, prompts, start)
        right = item.candidates.index(item.gold[0])
        scores.append((found[right].greedy, found[right].per_token, rank(found, right)))
    return scores


def having_read(item: Item, context):
    """Return a context that has read the item's text: this one if it has, or else a new one.

    It has read what the prompts of all questions about the text have in common.
    """
    from longctx_edu.inference import Context
    from longctx_edu.readers.prompting import prefix_of_all_questions

    model = context.language_model
    prefix = prefix_of_all_questions(model, f"{item.documents[0].text}\n\n")
    if context.ids != prefix:
        context = Context(model, reserve=len(prefix) + 128)
        list(context.prefill(prefix))
    return context


@dataclass(frozen=True)
class Score:
    """How often the questions of a place were answered rightly, and how surely.

    Attributes:
        place: as in ``Placed``.
        right: share of right answers.
        interval: 95 % interval of the share, for as many independent questions as those of
            shared documents are worth.
        log_probability: mean of the right values' nats a token.
        rank: mean rank.
        n: questions.
    """

    place: float | None
    right: float
    interval: Interval
    log_probability: float
    rank: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for a table."""
        return {
            "place": self.place,
            "right": self.right,
            "low": self.interval.low,
            "high": self.interval.high,
            "log_probability": self.log_probability,
            "rank": self.rank,
            "n": self.n,
        }


def curve(rows: Sequence[Placed]) -> list[Score]:
    """Return a score for each place, first to last; a control has one."""
    places = sorted({row.place for row in rows}, key=lambda place: (place is None, place))
    return [_score(place, [row for row in rows if row.place == place]) for place in places]


def _score(place: float | None, rows: Sequence[Placed]) -> Score:
    right = [float(row.right) for row in rows]
    independent = effective_n(right, [row.document for row in rows])
    share = fmean(right)
    return Score(
        place=place,
        right=share,
        interval=wilson(share * independent, independent),
        log_probability=fmean(row.log_probability for row in rows),
        rank=fmean(row.rank for row in rows),
        n=len(rows),
    )


@dataclass(frozen=True)
class Difference:
    """By how much one choice of places is better than another, on the same questions.

    Attributes:
        mean: the difference.
        interval: its 95 % interval, whole documents drawn again (paired bootstrap).
        p: two-sided p-value of the sign-flip test, whole documents changing sign.
    """

    mean: float
    interval: Interval
    p: float


def compare(
    rows: Sequence[Placed],
    places: Sequence[float],
    others: Sequence[float],
    *,
    of: str = "right",
) -> Difference:
    """Return how much better questions do at ``places`` than at ``others``, in pairs.

    ``compare(rows, [0.5], [0, 1])`` is the middle against the mean of both ends.

    Args:
        rows: every question at every place, as ``measure`` returns them.
        of: ``"right"`` or ``"log_probability"``.

    Raises:
        LongctxError: if a question was not asked at one of the places, or there is one document.
    """
    values = {(row.document, row.question, row.place): float(getattr(row, of)) for row in rows}
    asked = sorted({key[:2] for key in values})
    try:
        a, b = (
            [fmean(values[*key, place] for place in chosen) for key in asked]
            for chosen in (places, others)
        )
    except KeyError as error:
        raise LongctxError(
            "A comparison in pairs needs every question at every place, and there is none at "
            f"(document, question, place) {error}."
        ) from error
    clusters = [document for document, _ in asked]
    return Difference(
        fmean(a) - fmean(b),
        paired_bootstrap(a, b, clusters=clusters),
        sign_flip(a, b, clusters=clusters),
    )
