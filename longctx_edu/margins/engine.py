"""Margins on a text that has been read once: one after another, or all in one batch.

The cache at the end of segment i is a prefix of the whole cache, since attention
is causal. So a margin is written on a branch cut at the segment's end, and the
branch is dropped: the document is read once and its cache never changes (Russak
et al. 2024, section 3 and algorithm 1). For the same reason all margins can be
written at once, each after its own prefix of the shared cache.
"""

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from longctx_edu.events import MarginToken, Progress, RolledBack
from longctx_edu.inference import Context, Continuations, Ledger, Words, continue_turn, write
from longctx_edu.inference.cache import GrowingLayer

CLOSE_CALL = 1e-3
"""Two best logits nearer than this may change places when sums are added up another way."""


@dataclass(frozen=True)
class Request:
    """What is asked at the end of every segment.

    Attributes:
        ids: tokens of the request and the assistant's header.
        max_tokens: the longest margin.
        says: token ids that begin a YES and a NO, if the prompt asks for one.
        is_over: whether the words so far are a whole margin already; that ends it.
        is_enough: asked between two tokens; once true, margins end as they are.
    """

    ids: Sequence[int]
    max_tokens: int
    says: tuple[Sequence[int], Sequence[int]] | None = None
    is_over: Callable[[str], bool] = lambda written: False
    is_enough: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Margin:
    """What was written on one segment, and what it cost.

    Attributes:
        segment: its number, from 0.
        ids: the tokens, the end token left out.
        text: their words.
        confidence: geometric mean of the probabilities of all tokens, the end token included;
            None where a server does not tell.
        ledger: tokens that this margin alone cost.
        close_calls: tokens whose logit was less than ``CLOSE_CALL`` above the next best.
        yes_lead: by how much YES led NO before the first token, in nats; None if not asked.
        finished: whether it was written to its end.
    """

    segment: int
    ids: tuple[int, ...]
    text: str
    confidence: float | None
    ledger: Ledger
    close_calls: int = 0
    yes_lead: float | None = None
    finished: bool = True


def request_for(
    model, question: str, prompt, *, max_tokens: int, is_enough: Callable[[], bool] | None = None
) -> Request:
    """Return the request of an extraction prompt, as it stands right after a segment.

    Args:
        model: the ``LanguageModel``, or the server, that is asked.
        question: in words.
        prompt: an ``ExtractionPrompt``.
        max_tokens: the longest margin.
        is_enough: as in ``Request``; by default margins are written to their end.
    """
    return Request(
        continue_turn(model, "\n\n" + prompt.request(question)),
        max_tokens,
        says=prompt.says and tuple(words_for(model.tokenizer, word) for word in prompt.says),
        is_over=prompt.is_over,
        is_enough=is_enough or (lambda: False),
    )


class LocalEngine:
    """A model of this machine: reads once, writes margins beside what it read, answers.

    Attributes:
        context: what was read.
        boundaries: the context at the end of each segment.
    """

    def __init__(self, model, *, reserve: int = 0):
        self.model = model
        self.context = Context(model, reserve=reserve)
        self.boundaries: list[Context] = []

    @property
    def ledger(self) -> Ledger:
        """What reading cost."""
        return self.context.ledger

    def read(self, ids: Sequence[int], stops: Sequence[tuple[int, object]]) -> Iterator:
        """Prefill ``ids``; keep the place of every stop.

        Args:
            stops: for each segment, the number of tokens up to its end and the event to yield.
        """
        yield Progress("reading", 0, len(ids))
        waiting = deque(stops)
        whole = all(type(layer) is GrowingLayer for layer in self.context.cache.layers)
        # A cache that keeps all can be cut later; another one only at the place it has reached.
        for end in (len(ids),) if whole else (*(end for end, _ in stops), len(ids)):
            for _ in self.context.prefill(ids[len(self.context) : end]):
                yield Progress("reading", len(self.context), len(ids))
                while waiting and waiting[0][0] <= len(self.context):
                    place, event = waiting.popleft()
                    self.boundaries.append(self.context.fork(place))
                    yield event

    def write(self, request: Request, *, together: bool) -> Iterator:
        """Write the margins; all in one batch if that is wanted and the cache allows it."""
        from longctx_edu.inference.continuations import served

        if together and served(self.context):
            ends = [len(boundary) for boundary in self.boundaries]
            return write_margins_together(self.context, ends, request)
        return write_margins(self.boundaries, request)

    def capture(self, request: Request, margin: Margin):
        """Return what a margin attended to, as an ``AttentionRecord`` of the text before it.

        The margins of a batch share the text and not a row: each is captured as a text of its
        own, which reads request and margin again after the same keys and leaves no trace.
        """
        from longctx_edu.attention.recording import capture

        return capture(self.boundaries[margin.segment], [*request.ids, *margin.ids])

    def answer(self, ids: Sequence[int], *, max_new_tokens: int) -> Iterator:
        """Continue a prompt, of which what was read is reused; yield events, return ``Written``."""
        return write(self.context, ids, max_new_tokens=max_new_tokens)


def write_margins(boundaries: Sequence[Context], request: Request) -> Iterator:
    """Write a margin at each boundary, one after another.

    Yields:
        ``MarginToken`` after each token, ``Margin`` when one is done, ``RolledBack`` after that.

    Args:
        boundaries: for each segment, the context of all text up to its end.
    """
    for number, boundary in enumerate(boundaries):
        if request.is_enough():
            return
        draft = _Draft(boundary.language_model, number)
        with boundary.branch() as branch:
            for _ in branch.prefill(request.ids):
                pass
            draft.listen(branch.next_logits, request.says)
            for token_id in branch.decode(max_new_tokens=request.max_tokens):
                lead = -branch.next_logits.topk(2).values.diff().item()
                yield draft.add(token_id, branch.log_probability(token_id), lead)
                if draft.is_done(request) or request.is_enough():
                    break
        yield draft.margin(request, branch.ledger)
        yield RolledBack(number, branch.ledger.discarded, len(boundary))


def write_margins_together(context: Context, ends: Sequence[int], request: Request) -> Iterator:
    """Write all margins as one batch over the context's cache.

    The margins are those of ``write_margins``, except where the model's two best tokens are as
    good as equal. The one that ends first comes first. Between two steps comes a ``Progress``.

    Yields:
        as ``write_margins``, tokens of several margins by turns.

    Args:
        context: what has been read, at least to the end of the last segment.
        ends: for each segment, the tokens of the context up to its end.

    Raises:
        CacheError: for a model whose cache drops old tokens.
    """
    yield Progress("noting", 0, request.max_tokens, "steps")
    rows = Continuations(context, ends, reserve=len(request.ids) + request.max_tokens)
    rows.prefill(request.ids)
    drafts = {row: _Draft(context.language_model, row) for row in rows.rows}
    for row, logits in zip(rows.rows, rows.next_logits, strict=True):
        drafts[row].listen(logits, request.says)
    for number, step in enumerate(rows.decode(max_new_tokens=request.max_tokens), 1):
        for token in step:
            yield drafts[token.row].add(token.id, token.log_probability, token.lead)
        enough = request.is_enough()
        done = [t.row for t in step if enough or drafts[t.row].is_done(request)]
        rows.drop(done)
        for row in done:
            ledger = rows.ledger(row)
            yield drafts[row].margin(request, ledger)
            yield RolledBack(row, ledger.discarded, ends[row])
        yield Progress("noting", number, request.max_tokens, "steps")


class _Draft:
    """A margin under way."""

    def __init__(self, model, segment: int):
        self.segment = segment
        self._ends = model.end_ids
        self._words = Words(model)
        self._ids: list[int] = []
        self._log_probabilities: list[float] = []
        self._close_calls = 0
        self._yes_lead: float | None = None

    def listen(self, logits: torch.Tensor, says) -> None:
        """Take down whether the model is about to say yes or no."""
        if says is not None:
            self._yes_lead = lead_of(logits, *says)

    def add(self, token_id: int, log_probability: float, lead: float) -> MarginToken:
        self._ids.append(token_id)
        self._log_probabilities.append(log_probability)
        self._close_calls += lead < CLOSE_CALL
        return MarginToken(self.segment, self._words.add(token_id), token_id)

    def is_done(self, request: Request) -> bool:
        return (
            self._ids[-1] in self._ends
            or len(self._ids) == request.max_tokens
            or request.is_over(self._words.text)
        )

    def margin(self, request: Request, ledger: Ledger) -> Margin:
        return Margin(
            segment=self.segment,
            ids=tuple(token_id for token_id in self._ids if token_id not in self._ends),
            text=self._words.text.strip(),
            confidence=math.exp(statistics.fmean(self._log_probabilities)),
            ledger=ledger,
            close_calls=self._close_calls,
            yes_lead=self._yes_lead,
            finished=self.is_done(request),
        )


def words_for(tokenizer, word: str) -> list[int]:
    """Return the ids of the tokens that begin ``word``, in capitals or not, after a space or not.

    A token counts that is the whole word or, in a small vocabulary, its first part.
    """
    forms = {space + form for form in (word, word.title(), word.lower()) for space in ("", " ")}
    return sorted({tokenizer.encode(form, add_special_tokens=False)[0] for form in forms})


def lead_of(logits: torch.Tensor, yes: Sequence[int], no: Sequence[int]) -> float:
    """Return log P(yes) - log P(no), each the sum over its tokens; ``logits`` is ``(vocabulary,)``.

    A token that both may begin with, such as a lone space, says nothing and is left out.
    """
    shared = {*yes} & {*no}
    sums = [
        logits[[i for i in ids if i not in shared] or list(ids)].logsumexp(0) for ids in (yes, no)
    ]
    return float(sums[0] - sums[1])
