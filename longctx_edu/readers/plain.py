"""The whole text in the prompt: the measure of all other methods.

Reads every token once, keeps the cache, and answers each question from a branch
of it. A text that does not fit the window is refused.
"""

from collections.abc import Iterator

from longctx_edu.inference import Context, chat_prompt, reading_events, write
from longctx_edu.readers.interface import ANY_LENGTH
from longctx_edu.readers.joined import JoinedText
from longctx_edu.readers.prompting import assert_fits, prefix_of_all_questions
from longctx_edu.readers.reading import Answer, Reading


class PlainReading(Reading):
    """Documents in one prompt, read once."""

    def _prepare(self) -> Iterator:
        self._before_question = JoinedText(self.documents).text.strip() + "\n\n"
        prefix = prefix_of_all_questions(self.model, self._before_question)
        assert_fits(self.model, len(prefix), 1, any_length=ANY_LENGTH)
        self.context = Context(self.model, reserve=len(prefix) + 256)
        yield from reading_events(self.context, prefix)
        self.ledger = self.context.ledger

    def _answer(self, question, answer_prefix, max_new_tokens) -> Iterator:
        user = self._before_question + question
        prompt = chat_prompt(self.model, user, answer_prefix=answer_prefix)
        assert_fits(self.model, len(prompt.ids), max_new_tokens, any_length=ANY_LENGTH)
        written = yield from write(self.context, prompt.ids, max_new_tokens=max_new_tokens)
        return Answer(written.text, ledger=written.ledger, trace={"prompt_tokens": len(prompt.ids)})
