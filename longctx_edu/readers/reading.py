"""A reading: documents that a model has read by one method, ready for questions."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from longctx_edu.errors import LongctxError
from longctx_edu.events import Answered
from longctx_edu.inference.ledger import Ledger
from longctx_edu.text import Citation, Document


@dataclass(frozen=True)
class Answer:
    """What a reading says to a question.

    Attributes:
        text: the words that the model wrote, without the answer prefix.
        citations: where in the documents the answer comes from, best first;
            empty for methods that cannot say.
        ledger: tokens that this answer alone cost.
        seconds: wall-clock time.
        trace: how the answer came about, as plain data for JSON.
        notice: what a reader must know of how it came about; usually empty.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    ledger: Ledger = Ledger()
    seconds: float = 0.0
    trace: dict = field(default_factory=dict)
    notice: str = ""

    def __str__(self) -> str:
        return self.text


class Reading:
    """Documents read by one method. Made by ``read``; subclasses are the methods.

    Attributes:
        documents: what was read.
        model: the ``LanguageModel`` that read it.
        method: the method's name.
        options: the method's options, a frozen dataclass.
        ledger: tokens that preparing cost.
        seconds: wall-clock time that preparing took.
    """

    @dataclass(frozen=True)
    class Options:
        """This method has no options."""

    def __init__(self, documents: tuple[Document, ...], model, method: str, options):
        self.documents = documents
        self.model = model
        self.method = method
        self.options = options
        self.ledger = Ledger()
        self.seconds = 0.0

    def __repr__(self) -> str:
        names = ", ".join(document.id for document in self.documents)
        return f"{type(self).__name__}({names}; prefilled {self.ledger.prefilled} tokens)"

    def prepare(self) -> Iterator:
        """Do the work that needs no question; yield events."""
        start = time.perf_counter()
        yield from self._prepare()
        self.seconds = time.perf_counter() - start

    def ask(
        self, question: str, *, answer_prefix: str = "", max_new_tokens: int = 64, **further
    ) -> Answer:
        """Answer a question.

        Args:
            question: in words.
            answer_prefix: the answer's first words; the model continues them.
            max_new_tokens: the most tokens that the answer may have.
            further: what a method takes besides: ``notes`` for margins, from which it answers
                without writing any.

        Raises:
            LongctxError: for an empty question, or a prompt that does not fit.
        """
        for event in self.events(
            question, answer_prefix=answer_prefix, max_new_tokens=max_new_tokens, **further
        ):
            if isinstance(event, Answered):
                return event.answer
        raise AssertionError("events end in Answered")

    def events(
        self, question: str, *, answer_prefix: str = "", max_new_tokens: int = 64, **further
    ) -> Iterator:
        """Answer a question as ``ask`` does; yield events, last ``Answered(answer)``.

        The generator may be closed between any two events: the reading stays as
        it was and can be asked again.
        """
        if not question.strip():
            raise LongctxError("The question is empty; ask something.")
        if max_new_tokens < 1:
            raise LongctxError(f"max_new_tokens must be at least 1, got {max_new_tokens}.")
        asked = self._answer(question.strip(), answer_prefix, max_new_tokens, **further)
        return self._timed(asked)

    def _timed(self, asked: Iterator) -> Iterator:
        start = time.perf_counter()
        answer = yield from asked
        seconds = time.perf_counter() - start
        yield Answered(Answer(**{**vars(answer), "seconds": seconds}))

    def _prepare(self) -> Iterator:
        raise TypeError(f"{type(self).__name__} is not a method; use read(..., method=...)")

    def _answer(self, question: str, answer_prefix: str, max_new_tokens: int) -> Iterator:
        raise TypeError(f"{type(self).__name__} is not a method; use read(..., method=...)")
