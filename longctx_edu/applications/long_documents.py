"""A document of any length into a memory, and answers from it that name their sources.

Thin functions over ``memory.MemoryBank`` and ``readers.read``: read in token windows with a
stride, as Extended Mind Transformers do (Klett and Ahle 2024, arXiv 2406.02332, by its published
code), then ask. They show no progress; ``MemoryBank.add`` and ``readers.prepare`` do.
"""

from dataclasses import dataclass, fields

from longctx_edu.applications.markup import place_of, shortened
from longctx_edu.errors import LongctxError
from longctx_edu.events import Answered, TokenDecoded
from longctx_edu.memory import MemoryBank, Storage
from longctx_edu.models import as_language_model
from longctx_edu.readers import Answer, Reading, read
from longctx_edu.readers.memory import reading_of

_SHOWN = 200  # characters of a source


@dataclass(frozen=True)
class SourcedAnswer(Answer):
    """An answer that prints as a whole: its words, its sources, and what it does not rest on.

    Attributes:
        answer_prefix: the words that the model was made to begin with.
        notice: what was left out, and whether the answer was cut short; empty if neither.
    """

    answer_prefix: str = ""

    @property
    def said(self) -> str:
        """The answer with the words that it was made to begin with."""
        return f"{self.answer_prefix} {self.text}".strip()

    def __str__(self) -> str:
        lines = [self.said, "", "Sources:"]
        for number, one in enumerate(self.citations, start=1):
            weight = "" if one.weight is None else f", weight {one.weight:.2f}"
            place = place_of(one.document_id, one.start, one.end)
            lines += [f"[{number}] {place}{weight}", f"    {shortened(one.text, _SHOWN)}"]
        if not self.citations:
            lines[-1] = "Sources: none are known."
        return "\n".join([*lines, self.notice] if self.notice else lines)


def process_long_document(
    documents,
    *,
    model=None,
    window: int | None = None,
    stride: int | None = None,
    storage: Storage | None = None,
    budget_bytes: int | None = None,
) -> MemoryBank:
    """Read documents of any length into a memory, in windows of tokens.

    Every token is held once, and has seen at least ``window - stride`` tokens before it, or all
    that there are. A document that fits one window is read in a single pass.

    Args:
        documents: as ``longctx_edu.read`` takes them.
        model: a ``LanguageModel``, or a name or folder for ``models.load``; the embedded model
            by default.
        window, stride: tokens that are read at a time, and how many of them are new; see
            ``MemoryBank.add``.
        storage: how keys and values are stored; float16 in the process by default.
        budget_bytes: the most bytes that they may take; None for what is free.

    Raises:
        LongctxError: as ``MemoryBank.add``, before anything is read.

    >>> from longctx_edu import models
    >>> bank = process_long_document("The boat is green.", model=models.tiny(), window=8, stride=6)
    >>> len(bank), bank.forwarded
    (18, 22)
    """
    model = as_language_model(model)
    bank = MemoryBank(model, storage=storage, budget_bytes=budget_bytes)
    for _ in bank.add(documents, window=window, stride=stride):
        pass
    return bank


def long_form_qa(
    source,
    question: str,
    *,
    method: str | None = None,
    model=None,
    answer_prefix: str = "",
    max_new_tokens: int = 96,
    **options,
) -> SourcedAnswer:
    """Answer a question about documents of any length, and say what the answer rests on.

    Nothing is cut off in silence: what the model did not read, and whether the answer stopped at
    its limit, stands in the answer's ``notice``. Whoever has several questions hands over a
    memory or a reading, so that the documents are read once.

    Args:
        source: documents as ``longctx_edu.read`` takes them, a ``MemoryBank`` that holds them
            (see ``process_long_document``), or a reading.
        question: in words.
        method: how documents are read; "memory" by default.
        model: as in ``process_long_document``; a memory and a reading have their own.
        answer_prefix: the answer's first words; the model continues them.
        max_new_tokens: the most tokens that the answer may have, the prompt not counted.
        options: those of the method; of a memory or a reading, what one question may change.

    Raises:
        LongctxError: as ``longctx_edu.read``; or for a method or model that is not the source's.
    """
    reading, options = reading_for(source, method=method, model=model, **options)
    asked = dict(answer_prefix=answer_prefix, max_new_tokens=max_new_tokens)
    said = []
    for event in reading.events(question, **asked, **options):
        if isinstance(event, TokenDecoded) and event.stage == "answering":
            said.append(event.token_id)
        elif isinstance(event, Answered):
            answer = event.answer
    notices = [answer.notice, _left_out(reading, answer.trace)]
    if len(said) >= max_new_tokens and said[-1] not in reading.model.end_ids:
        notices.append(f"The answer stopped at its limit of {max_new_tokens} tokens.")
    told = {field.name: getattr(answer, field.name) for field in fields(Answer)}
    told["notice"] = " ".join(filter(None, notices))
    return SourcedAnswer(**told, answer_prefix=answer_prefix)


def reading_for(
    source, *, method: str | None = None, model=None, otherwise: str = "memory", **options
) -> tuple[Reading, dict]:
    """Return a reading of what was given, and the options that are left for its questions.

    Args:
        source: documents, a ``MemoryBank`` or a reading; see ``long_form_qa``.
        method: None for ``otherwise`` where documents are given.
        model: None for the source's own, or the embedded model.
        options: used up where documents are read.

    Raises:
        LongctxError: for a method or model that is not the source's.
    """
    if not isinstance(source, MemoryBank | Reading):
        return read(source, method=method or otherwise, model=model, **options), {}
    reading = reading_of(source) if isinstance(source, MemoryBank) else source
    if method not in (None, reading.method) or model not in (None, reading.model):
        raise LongctxError(
            f"What was read by the method {reading.method!r} and {reading.model.name} is asked "
            "with these; leave out method and model, or give the documents to read them anew."
        )
    return reading, options


def _left_out(reading: Reading, trace: dict) -> str:
    """Say in a sentence what of the documents the model did not read for an answer."""
    if trace.get("dropped", {}).get("tokens"):
        dropped = trace["dropped"]
        return (
            f"{dropped['tokens']:,} tokens were cut out before the model read the text: "
            f"characters {dropped['start']:,} to {dropped['end']:,}."
        )
    if reading.method == "memory":
        held, seen = len(reading.bank), sum(stop - start for start, stop in trace["ranges"])
        if trace["options"]["lookup"] == "topk":
            return f"Each query looked up {trace['options']['k']} of {held:,} tokens."
        if seen < held:
            return (
                f"Of {held:,} tokens {seen:,} stood before the question; the others were "
                "searched and left out."
            )
    if reading.method == "retrieval":
        return "Only the sources, with the sentences beside them, were read."
    return ""
