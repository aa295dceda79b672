"""From a prompt to the words of an answer: read what is new, write greedily, keep the books.

What a context has read already is reused, and it is left as it was. Which prompt
is read belongs to the methods.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from longctx_edu.events import Progress, TokenDecoded
from longctx_edu.inference.cache import can_roll_back
from longctx_edu.inference.context import Context
from longctx_edu.inference.ledger import Ledger


def reading_events(context: Context, ids: Sequence[int], *, stage: str = "reading") -> Iterator:
    """Prefill ``ids``; yield a ``Progress`` before the first and after every chunk."""
    yield Progress(stage, 0, len(ids))
    for done in context.prefill(ids):
        yield Progress(stage, done, len(ids))


@dataclass(frozen=True)
class Written:
    """What the model wrote, the tokens it cost, and how sure it was.

    ``confidence`` is the geometric mean of the written tokens' probabilities, from 0 to 1; None
    where a server does not tell.
    """

    text: str
    ledger: Ledger
    confidence: float | None


def write(
    context: Context, prompt_ids: Sequence[int], *, max_new_tokens: int, stage: str = "answering"
) -> Iterator:
    """Continue ``prompt_ids`` on a branch of ``context``; yield events, return ``Written``.

    What ``context`` has read already is reused; it is left as it was.
    """
    shared = min(context.shared_length(prompt_ids), len(prompt_ids) - 1)
    if not can_roll_back(context.cache, shared):
        # A sliding window has forgotten what a shorter prefix needs: read all of it again.
        context, shared = Context(context.language_model), 0
    with context.branch(shared) as branch:
        yield from reading_events(branch, prompt_ids[shared:], stage=stage)
        words, log_probabilities = Words(context.language_model), []
        for token_id in branch.decode(max_new_tokens=max_new_tokens):
            log_probabilities.append(branch.log_probability(token_id))
            yield TokenDecoded(stage, words.add(token_id), token_id)
    confidence = math.exp(statistics.fmean(log_probabilities))
    return Written(words.text.strip(), branch.ledger, confidence)


class Words:
    """The text of the tokens written so far; characters come out when they are whole."""

    def __init__(self, model):
        self._model = model
        self._ids: list[int] = []
        self.text = ""

    def add(self, token_id: int) -> str:
        """Take one more token; return the text that it completes."""
        if token_id in self._model.end_ids:
            return ""
        self._ids.append(token_id)
        text = self._model.tokenizer.decode(
            self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        whole = text.rstrip("\ufffd")  # the first bytes of a character still to come
        added, self.text = whole[len(self.text) :], whole
        return added
