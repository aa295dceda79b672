"""The middle cut out: the baseline that every long-context method must beat.

Head and tail are kept since most texts say what matters there (LongBench, Bai
et al. 2023, truncates so). What was dropped is said in the prompt, in an event
and in the trace.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from longctx_edu.errors import DoesNotFit, LongctxError
from longctx_edu.events import Dropped
from longctx_edu.inference import Context, chat_prompt, reading_events, write
from longctx_edu.readers.joined import JoinedText
from longctx_edu.readers.prompting import prefix_of_all_questions
from longctx_edu.readers.reading import Answer, Reading
from longctx_edu.text import character_span, tokenize

_QUESTION_RESERVE = 96  # tokens kept free for question and answer prefix before they are known


class TruncatedReading(Reading):
    """Documents with the middle cut out, so that the prompt has a set length."""

    @dataclass(frozen=True)
    class Options:
        """``max_prompt_tokens``: the most tokens of a whole prompt; the window by default."""

        max_prompt_tokens: int | None = None

        def __post_init__(self):
            if self.max_prompt_tokens is not None and self.max_prompt_tokens < 1:
                raise LongctxError(
                    f"max_prompt_tokens must be at least 1, got {self.max_prompt_tokens}."
                )

    def _prepare(self) -> Iterator:
        self._text = JoinedText(self.documents).text.strip()
        self._tokens = tokenize(self.model.tokenizer, self._text)
        self._keep = self._fitting(self._prompt_limit(64) - _QUESTION_RESERVE)
        self.dropped = self._dropped(self._keep)
        yield Dropped(*self.dropped, total=len(self._tokens.ids))
        prefix = prefix_of_all_questions(self.model, self._cut(self._keep) + "\n\n")
        self.context = Context(self.model, reserve=len(prefix) + 256)
        yield from reading_events(self.context, prefix)
        self.ledger = self.context.ledger

    def _answer(self, question, answer_prefix, max_new_tokens) -> Iterator:
        limit = self._prompt_limit(max_new_tokens)
        keep = self._keep
        prompt = self._prompt(keep, question, answer_prefix)
        while len(prompt.ids) > limit and keep:
            keep = max(0, keep - (len(prompt.ids) - limit))
            prompt = self._prompt(keep, question, answer_prefix)
        if len(prompt.ids) > limit:
            raise DoesNotFit(
                f"The question alone makes a prompt of {len(prompt.ids)} tokens, and {limit} are "
                "allowed; shorten it, or raise max_prompt_tokens."
            )
        written = yield from write(self.context, prompt.ids, max_new_tokens=max_new_tokens)
        tokens, start, end = self._dropped(keep)
        dropped = {"tokens": tokens, "start": start, "end": end}
        trace = {"prompt_tokens": len(prompt.ids), "dropped": dropped}
        return Answer(written.text, ledger=written.ledger, trace=trace)

    def _prompt(self, keep: int, question: str, answer_prefix: str):
        user = self._cut(keep) + "\n\n" + question
        return chat_prompt(self.model, user, answer_prefix=answer_prefix)

    def _prompt_limit(self, max_new_tokens: int) -> int:
        return min(
            self.options.max_prompt_tokens or self.model.window, self.model.window - max_new_tokens
        )

    def _fitting(self, limit: int) -> int:
        """Return how many of the text's tokens fit a prompt of ``limit`` tokens."""
        whole = len(self._tokens.ids)
        excess = len(chat_prompt(self.model, self._cut(whole) + "\n\n").ids) - limit
        if excess <= 0:
            return whole
        cut = len(chat_prompt(self.model, self._cut(0) + "\n\n").ids)
        return min(max(limit - cut, 0), whole)

    def _cut(self, keep: int) -> str:
        """Return the text with all but ``keep`` tokens replaced by a note, from the middle."""
        tokens, start, end = self._dropped(keep)
        if not tokens:
            return self._text
        note = f"[... {tokens} of {len(self._tokens.ids)} tokens left out here ...]"
        return f"{self._text[:start].rstrip()}\n\n{note}\n\n{self._text[end:].lstrip()}".strip()

    def _dropped(self, keep: int) -> tuple[int, int, int]:
        """Return tokens dropped and the characters (start, end) between which they lay."""
        count = len(self._tokens.ids)
        if keep >= count:
            return 0, 0, 0
        head = (keep + 1) // 2
        span = character_span(self._tokens, head, count - (keep - head))
        return count - keep, *span
