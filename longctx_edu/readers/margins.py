"""Writing in the Margins as a method: read once, note at every segment, answer from text and notes.

The method of Russak et al. 2024, section 3: the whole text must fit the window,
and margins are written for each question anew, all in one batch where the model's
cache allows it. The notes that count are chosen by the model's confidence in them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from longctx_edu.errors import LongctxError
from longctx_edu.events import NoteWritten, Progress
from longctx_edu.inference import Context, chat_prompt, continue_turn
from longctx_edu.inference.continuations import served
from longctx_edu.margins import (
    Margin,
    extraction_request,
    surest_notes,
    write_margins,
    write_margins_together,
)
from longctx_edu.readers.interface import ANY_LENGTH
from longctx_edu.readers.joined import JoinedText
from longctx_edu.readers.prompting import assert_fits, prefix_of_all_questions, total, write
from longctx_edu.readers.reading import Answer, Reading
from longctx_edu.text import Tokens, character_span, segment_tokens, token_range


class MarginsReading(Reading):
    """Documents in one prompt, read once, with the place of every segment's end kept."""

    @dataclass(frozen=True)
    class Options:
        """``segment_tokens``: size of a segment; ``margin_tokens``: the longest margin;
        ``share``: how sure a margin must be, as a share of the surest one's confidence."""

        segment_tokens: int = 512
        margin_tokens: int = 32
        share: float = 0.75

        def __post_init__(self):
            if min(self.segment_tokens, self.margin_tokens) < 1 or not 0 <= self.share <= 1:
                raise LongctxError(
                    "margins needs segment_tokens >= 1, margin_tokens >= 1 and a share from 0 to "
                    f"1, got {self.segment_tokens}, {self.margin_tokens} and {self.share}."
                )

    def _prepare(self) -> Iterator:
        self._joined = JoinedText(self.documents)
        text = self._joined.text.strip()
        self._before_question = text + "\n\n"
        prefix = prefix_of_all_questions(self.model, self._before_question)
        assert_fits(self.model, len(prefix), 1, any_length=ANY_LENGTH)
        prompt = chat_prompt(self.model, self._before_question)
        tokens, first = _tokens_of_user(prompt, text)
        ranges = segment_tokens(tokens, text, self.options.segment_tokens)
        indent = len(self._joined.text) - len(self._joined.text.lstrip())
        spans = [character_span(tokens, *chosen) for chosen in ranges]
        self._segments = [(start + indent, end + indent) for start, end in spans]

        self.context = Context(self.model, reserve=len(prefix) + 256)
        self._boundaries: list[Context] = []
        yield Progress("reading", 0, len(prefix))
        for _, stop in ranges:
            for _ in self.context.prefill(prefix[len(self.context) : first + stop]):
                yield Progress("reading", len(self.context), len(prefix))
            self._boundaries.append(self.context.fork())
        for _ in self.context.prefill(prefix[len(self.context) :]):
            yield Progress("reading", len(prefix), len(prefix))
        self.ledger = self.context.ledger

    def _answer(self, question, answer_prefix, max_new_tokens) -> Iterator:
        request = continue_turn(self.model, "\n\n" + extraction_request(question))
        longest = len(self.context) + len(request) + self.options.margin_tokens
        assert_fits(self.model, longest, 0, any_length=ANY_LENGTH)
        margins = []
        for event in self._write_margins(request):
            if isinstance(event, Margin):
                margins.append(event)
                note = self._words(event)
                yield NoteWritten(event.segment, len(self._segments), note, event.confidence)
            else:
                yield event
        margins.sort(key=lambda margin: margin.segment)
        notes = [self._words(margin) for margin in margins]
        confidences = [margin.confidence for margin in margins]
        kept = surest_notes(notes, confidences, self.options.share)
        user = self._before_question + _labelled([notes[n] for n in kept]) + question
        prompt = chat_prompt(self.model, user, answer_prefix=answer_prefix)
        assert_fits(self.model, len(prompt.ids), max_new_tokens, any_length=ANY_LENGTH)
        written = yield from write(self.context, prompt.ids, max_new_tokens=max_new_tokens)
        citations = [
            citation
            for n in sorted(kept, key=lambda n: -confidences[n])
            for citation in self._joined.citations(
                *self._segments[n], weight=confidences[n], kind="margin"
            )
        ]
        trace = {
            "prompt_tokens": len(prompt.ids),
            "notes": [
                {"segment": n, "text": note, "confidence": confidences[n]}
                for n, note in enumerate(notes)
            ],
            "kept": kept,
        }
        ledger = total([margin.ledger for margin in margins] + [written.ledger])
        return Answer(written.text, tuple(citations), ledger, trace=trace)

    def _write_margins(self, request: list[int]) -> Iterator:
        longest = self.options.margin_tokens
        if served(self.context):
            ends = [len(boundary) for boundary in self._boundaries]
            return write_margins_together(self.context, ends, request, max_tokens=longest)
        return write_margins(self._boundaries, request, max_tokens=longest)

    def _words(self, margin: Margin) -> str:
        return self.model.tokenizer.decode(margin.ids, skip_special_tokens=True).strip()


def _tokens_of_user(prompt, text: str) -> tuple[Tokens, int]:
    """Return the tokens of the user's text, with spans in that text, and the first one's number."""
    begin, end = prompt.user_start, prompt.user_start + len(text)
    first, last = token_range(prompt.tokens, begin, end)
    # A token may hold a stop and the line break after it: only its part in the text counts.
    spans = [
        (max(start, begin) - begin, min(stop, end) - begin)
        for start, stop in prompt.tokens.spans[first:last]
    ]
    return Tokens(prompt.ids[first:last], spans), first


def _labelled(notes: list[str]) -> str:
    if not notes:
        return ""
    return "Notes taken while reading:\n" + "\n".join(f"- {note}" for note in notes) + "\n\n"
