"""A conversation about a long document that is read once.

Every message is a question to one reading. So that "and who repaired it?" can be understood, the
turns before are put in front of it; by memory they also take part in what is looked up. The model
keeps nothing else: what is not among the turns remembered is forgotten.
"""

import html
from collections.abc import Iterator
from dataclasses import dataclass

from longctx_edu.applications.long_documents import reading_for
from longctx_edu.applications.markup import as_markdown, place_of, shortened
from longctx_edu.errors import LongctxError
from longctx_edu.events import Answered
from longctx_edu.readers import Answer
from longctx_edu.text import Citation

_SHOWN = 160  # characters of a source


@dataclass(frozen=True)
class Turn:
    """A message and what came back.

    Attributes:
        message: as it was typed.
        asked: what the reading was asked for it.
        said: the answer, its given beginning included.
        answer: the same with its sources and what it cost.
    """

    message: str
    asked: str
    said: str
    answer: Answer


class DocumentChat:
    """A conversation about documents, which are read once.

    Attributes:
        reading: what answers.
        turns: all turns so far, oldest first.
        remembers: how many of the last turns go with a message.

    >>> from longctx_edu import models
    >>> chat = DocumentChat("The boat is green.", model=models.tiny())
    >>> _ = chat.say("What colour is it?", max_new_tokens=2)
    >>> [turn.message for turn in chat.turns]
    ['What colour is it?']
    """

    def __init__(
        self, source, *, method: str | None = None, model=None, remembers: int = 1, **options
    ):
        """Read the documents.

        Args:
            source: documents, a ``MemoryBank`` or a reading, as for ``long_form_qa``.
            method: "memory" by default.
            model: as for ``long_form_qa``.
            remembers: turns that go with a message, 0 for none. A small model mixes up what it is
                told of more than one or two.
            options: those of the method; of a memory or a reading, what a question may change.

        Raises:
            LongctxError: as ``long_form_qa``, or for less than no turn.
        """
        if remembers < 0:
            raise LongctxError(f"remembers is at least 0 turns, got {remembers}.")
        self.reading, self._options = reading_for(source, method=method, model=model, **options)
        self.remembers = remembers
        self.turns: list[Turn] = []

    def say(self, message: str, *, answer_prefix: str = "", max_new_tokens: int = 64) -> Answer:
        """Return the answer to a message; arguments as for ``Reading.ask``.

        Raises:
            LongctxError: for an empty message, or a prompt that does not fit.
        """
        asked = dict(answer_prefix=answer_prefix, max_new_tokens=max_new_tokens)
        for event in self.events(message, **asked):
            if isinstance(event, Answered):
                return event.answer
        raise AssertionError("events end in Answered")

    def events(
        self, message: str, *, answer_prefix: str = "", max_new_tokens: int = 64
    ) -> Iterator:
        """Answer as ``say``; yield events, last ``Answered``. Closed before that, nothing was said.

        Raises:
            LongctxError: for an empty message.
        """
        message = message.strip()
        if not message:
            raise LongctxError("The message is empty; ask something.")
        asked = self.asked_for(message)
        told = dict(answer_prefix=answer_prefix, max_new_tokens=max_new_tokens)
        for event in self.reading.events(asked, **told, **self._options):
            if isinstance(event, Answered):
                said = f"{answer_prefix} {event.answer.text}".strip()
                self.turns.append(Turn(message, asked, said, event.answer))
            yield event

    def asked_for(self, message: str) -> str:
        """Return what the reading is asked: the turns remembered, and the message at the end."""
        turns = self.turns[-self.remembers :] if self.remembers else []
        lines = [f"Question: {turn.message}\nAnswer: {turn.said}\n" for turn in turns]
        return "".join(lines) + (f"Question: {message}" if lines else message)

    def forget(self) -> None:
        """Begin a new conversation about the same documents; nothing is read again."""
        self.turns.clear()

    def markdown(self) -> str:
        """Return the conversation as Markdown, with the places that each answer rests on."""
        lines = []
        for turn in self.turns:
            lines += [f"**You:** {as_markdown(turn.message)}", ""]
            lines += [f"**Answer:** {as_markdown(turn.said)}", ""]
            lines += [
                f"- {as_markdown(_place(one))}: {as_markdown(shortened(one.text, _SHOWN))}"
                for one in turn.answer.citations
            ]
            lines += ["", as_markdown(turn.answer.notice), ""] if turn.answer.notice else [""]
        return "\n".join(lines).rstrip() + "\n"

    def _repr_html_(self) -> str:
        return "".join(map(_turn_html, self.turns)) or "<p>Nothing was said yet.</p>"


def _place(citation: Citation) -> str:
    return place_of(citation.document_id, citation.start, citation.end)


def _turn_html(turn: Turn) -> str:
    cited = "".join(
        f"<li>{html.escape(_place(one))}: {html.escape(shortened(one.text, _SHOWN))}</li>"
        for one in turn.answer.citations
    )
    notice = f"<p><small>{html.escape(turn.answer.notice)}</small></p>"
    return (
        f"<p><b>You:</b> {html.escape(turn.message)}</p>"
        f"<p><b>Answer:</b> {html.escape(turn.said)}</p>"
        + (f"<ul>{cited}</ul>" if cited else "")
        + (notice if turn.answer.notice else "")
    )
