"""What all methods share: from a prompt to the words of an answer, with the books kept."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from longctx_edu.errors import DoesNotFit
from longctx_edu.events import Progress, TokenDecoded
from longctx_edu.inference import Context, Ledger, can_roll_back, chat_prompt

# Questions that begin differently: what their prompts share is safe to read before any question.
_PROBES = ("A", "1", "(", "é")


def prefix_of_all_questions(model, user_start: str) -> list[int]:
    """Return the token ids with which every prompt ``user_start + question`` begins."""
    prompts = [chat_prompt(model, user_start + probe).ids for probe in _PROBES]
    length = next(n for n, column in enumerate(zip(*prompts, strict=False)) if len({*column}) > 1)
    return prompts[0][:length]


def reading_events(context: Context, ids: Sequence[int], *, stage: str = "reading") -> Iterator:
    """Prefill ``ids``; yield a ``Progress`` before the first and after every chunk."""
    yield Progress(stage, 0, len(ids))
    for done in context.prefill(ids):
        yield Progress(stage, done, len(ids))


def assert_fits(model, prompt_tokens: int, max_new_tokens: int, *, any_length: Sequence[str]):
    """Raise ``DoesNotFit``, naming the methods that can, if prompt and answer exceed the window."""
    if prompt_tokens + max_new_tokens > model.window:
        raise DoesNotFit(
            f"The prompt has {prompt_tokens} tokens and the answer may take {max_new_tokens}, but "
            f"the model's window holds {model.window}. Methods that take any length: "
            f"{', '.join(any_length)}."
        )


@dataclass(frozen=True)
class Written:
    """What the model wrote, the tokens it cost, and how sure it was.

    ``confidence`` is the geometric mean of the written tokens' probabilities, from 0 to 1.
    """

    text: str
    ledger: Ledger
    confidence: float


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


def total(ledgers: Sequence[Ledger]) -> Ledger:
    """Return the sum of ledgers."""
    return sum(ledgers, Ledger())
