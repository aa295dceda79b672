"""Which notes count: verdicts by the model's words, attention or confidence, or by a person.

A small model asked about a text that says nothing on the matter makes something up. The paper
goes by the first token of the note (Russak et al. 2024, section 4), its published code by a
second question to the model; the other verdicts are ours. Each gives every note a score, and a
note counts if its score reaches the ``threshold``. ``longctx bench margins`` compares them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from longctx_edu.errors import LongctxError
from longctx_edu.inference import Context, Ledger, chat_prompt
from longctx_edu.margins.engine import Margin, lead_of, words_for
from longctx_edu.margins.notes import PERSON, say_something_new
from longctx_edu.text import tokenize

_NOTHING = Ledger()


@dataclass(frozen=True)
class Case:
    """What a verdict may look at.

    Attributes:
        model: the ``LanguageModel``, or the server, that wrote the margins.
        question: in words.
        notes: the text of each note, "" if there was nothing to note.
        margins: as they were written, in the same order.
        segments: the tokens of each segment in ``context``.
        context: what was read; None where the cache is out of reach.
    """

    model: object
    question: str
    notes: Sequence[str]
    margins: Sequence[Margin]
    segments: Sequence[range]
    context: Context | None


@dataclass(frozen=True)
class Judgement:
    """The score of each note, which of them count, and what it cost to say so."""

    scores: tuple[float | None, ...]
    kept: tuple[bool, ...]
    ledger: Ledger = Ledger()


class Verdict(Protocol):
    """A way to choose the notes that count.

    Attributes:
        name: under which it is chosen.
        looks_at_cache: whether it needs the context that the margins were written in.
    """

    name: str
    looks_at_cache: bool

    def judge(self, case: Case) -> Judgement:
        """Judge every note."""

    def most_tokens(self, model, question: str, notes: int, note_tokens: int, runs: int) -> int:
        """Return how many tokens it prefills at most to judge so many notes."""


class _Free:
    """A verdict that reads nothing."""

    def most_tokens(self, model, question: str, notes: int, note_tokens: int, runs: int) -> int:
        return 0


class _ByQuestion:
    """A verdict that reads the question once in each run."""

    def most_tokens(self, model, question: str, notes: int, note_tokens: int, runs: int) -> int:
        return runs * len(_question_ids(model, question))


@dataclass(frozen=True)
class KeepAll(_Free):
    """Every note that says something new counts."""

    name: ClassVar[str] = "all"
    looks_at_cache: ClassVar[bool] = False

    def judge(self, case: Case) -> Judgement:
        return Judgement((None,) * len(case.notes), tuple(say_something_new(case.notes)))


@dataclass(frozen=True)
class Surest(_Free):
    """Notes written about as surely as the surest one count.

    The score is the geometric mean of the probabilities of a note's tokens, as a share of the
    largest: words that are copied are more probable than words that are made up. Comparing with
    the surest note of the same question needs no threshold for each model.
    """

    threshold: float = 0.75
    name: ClassVar[str] = "surest"
    looks_at_cache: ClassVar[bool] = False

    def judge(self, case: Case) -> Judgement:
        confidences = [margin.confidence for margin in case.margins]
        if None in confidences:
            raise LongctxError(
                "The verdict by confidence needs the probabilities of what was written, which this "
                "server does not tell; choose another verdict, such as 'all'."
            )
        return surest_notes(case.notes, confidences, self.threshold)


@dataclass(frozen=True)
class FirstToken(_Free):
    """Notes that begin with YES rather than NO count; the score is the lead of YES, in nats.

    Free of cost, but only for a prompt that asks for YES or NO.
    """

    threshold: float = 0.0
    name: ClassVar[str] = "first_token"
    looks_at_cache: ClassVar[bool] = False

    def judge(self, case: Case) -> Judgement:
        leads = [margin.yes_lead for margin in case.margins]
        if None in leads:
            raise LongctxError(
                "The verdict by the first token needs a prompt that asks for YES or NO and a model "
                "whose scores can be read; choose prompt='yes_no', or another verdict."
            )
        return _reaching(self.threshold, leads, say_something_new(case.notes))


@dataclass(frozen=True)
class SeparateClassifier:
    """A second question about question and note alone decides; the score is the lead of YES.

    Another model may be asked, a smaller one for instance.
    """

    threshold: float = 0.0
    classifier: object = None
    name: ClassVar[str] = "classifier"
    looks_at_cache: ClassVar[bool] = False

    def judge(self, case: Case) -> Judgement:
        model = self.classifier or case.model
        if not hasattr(model, "model"):
            raise LongctxError(
                "The verdict by a separate classifier needs a model whose scores can be read; "
                "give it one, SeparateClassifier(classifier=models.load()), or choose another."
            )
        new = say_something_new(case.notes)
        yes, no = words_for(model.tokenizer, "YES"), words_for(model.tokenizer, "NO")
        scores, ledger = [], Ledger()
        for note, says in zip(case.notes, new, strict=True):
            if not says:
                scores.append(None)
                continue
            context = Context(model)
            for _ in context.prefill(chat_prompt(model, _asks_whether(case.question, note)).ids):
                pass
            scores.append(lead_of(context.next_logits, yes, no))
            ledger += Ledger(prefilled=len(context), discarded=len(context))
        return _reaching(self.threshold, scores, new, ledger)

    def most_tokens(self, model, question: str, notes: int, note_tokens: int, runs: int) -> int:
        asked = chat_prompt(self.classifier or model, _asks_whether(question, "")).ids
        return notes * (len(asked) + note_tokens)


@dataclass(frozen=True)
class AttentionMass(_ByQuestion):
    """Notes on segments that the question looks at count; nothing has to be written for it.

    The score is the attention mass that the question puts on a segment
    (``attention.question_mass``), as a share of the largest.
    """

    threshold: float = 0.6
    name: ClassVar[str] = "attention"
    looks_at_cache: ClassVar[bool] = True

    def judge(self, case: Case) -> Judgement:
        from longctx_edu.attention.block_mass import question_mass

        if case.context is None:
            raise LongctxError(
                "The verdict by attention needs the model's keys, which a server keeps to itself; "
                "choose another verdict, such as 'surest'."
            )
        ids = _question_ids(case.model, case.question)
        masses = question_mass(case.context, ids, segments=case.segments)
        scores = (masses / masses.max()).tolist()
        ledger = Ledger(len(case.context), len(ids), 0, len(ids))
        return _reaching(self.threshold, scores, say_something_new(case.notes), ledger)


@dataclass(frozen=True)
class SureAndSeen(_ByQuestion):
    """Notes written surely on segments that the question looks at count.

    The score is the confidence times the square root of the attention mass, as a share of the
    largest. The two err in different places: confidence is fooled by a fact that later margins
    repeat, attention by words that are alike.
    """

    threshold: float = 0.7
    name: ClassVar[str] = "sure_and_seen"
    looks_at_cache: ClassVar[bool] = True

    def judge(self, case: Case) -> Judgement:
        sure, seen = Surest().judge(case), AttentionMass().judge(case)
        scores = [a * math.sqrt(b) for a, b in zip(sure.scores, seen.scores, strict=True)]
        new = say_something_new(case.notes)
        most = max((one for one, says in zip(scores, new, strict=True) if says), default=1.0)
        return _reaching(self.threshold, [one / most for one in scores], new, seen.ledger)


@dataclass(frozen=True)
class ByPerson(_Free):
    """A person decides: ``decide(case)`` returns for each note whether it counts."""

    decide: Callable[[Case], Sequence[bool]]
    name: ClassVar[str] = PERSON
    looks_at_cache: ClassVar[bool] = False

    def judge(self, case: Case) -> Judgement:
        kept = tuple(map(bool, self.decide(case)))
        if len(kept) != len(case.notes):
            raise LongctxError(
                f"A person decides on every note: {len(case.notes)} were written and {len(kept)} "
                "decisions given."
            )
        return Judgement((None,) * len(kept), kept)


VERDICTS: dict[str, type] = {
    kind.name: kind
    for kind in (KeepAll, Surest, FirstToken, SeparateClassifier, AttentionMass, SureAndSeen)
}


def surest_notes(notes: Sequence[str], confidences: Sequence[float], threshold: float) -> Judgement:
    """Judge notes by the confidence in them, as a share of the largest; see ``Surest``.

    >>> surest_notes(["a boat", "", "a ship", "a boat"], [0.7, 0.9, 0.3, 0.6], 0.75).kept
    (True, False, False, False)
    """
    new = say_something_new(notes)
    most = max((one for one, says in zip(confidences, new, strict=True) if says), default=1.0)
    return _reaching(threshold, [one / most for one in confidences], new)


def _question_ids(model, question: str) -> list[int]:
    return tokenize(model.tokenizer, f"\n\n{question}").ids


def _asks_whether(question: str, note: str) -> str:
    return (
        f"Question: {question}\nNote: {note}\n"
        "Does this note help to answer the question? Write YES or NO."
    )


def _reaching(
    threshold: float, scores, new: Sequence[bool], ledger: Ledger = _NOTHING
) -> Judgement:
    kept = (
        says and score is not None and score >= threshold
        for score, says in zip(scores, new, strict=True)
    )
    return Judgement(tuple(scores), tuple(kept), ledger)
