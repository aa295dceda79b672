"""One page on a document: the same questions to every method, what they said, and what it cost.

The page is written in one piece, needs nothing from elsewhere, and holds words of documents and
models as words alone. Which method is right is for the reader to say: nobody knows the answers.
"""

import html
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from longctx_edu.applications.document_analysis import DocumentAnalysis
from longctx_edu.applications.long_documents import SourcedAnswer, long_form_qa
from longctx_edu.applications.markup import place_of, shortened
from longctx_edu.errors import DoesNotFit, LongctxError
from longctx_edu.models import load
from longctx_edu.readers import METHOD_NAMES, Reading, read
from longctx_edu.text import Document, as_documents

_SOURCE = 300  # characters of a source


@dataclass(frozen=True)
class MethodAnswers:
    """What one method said to all questions.

    Attributes:
        method: its name.
        answers: in the order of the questions; none if it refused the text.
        refusal: why there are none; empty if there are.
        read_tokens: that it read before the first question.
        read_seconds: that it took for that.
        reading: the reading, which may be asked more; None if it refused or was not to be kept.
    """

    method: str
    answers: tuple[SourcedAnswer, ...]
    refusal: str = ""
    read_tokens: int = 0
    read_seconds: float = 0.0
    reading: Reading | None = field(default=None, repr=False, compare=False)

    @property
    def seconds(self) -> float:
        """Return the seconds of reading and all answers."""
        return self.read_seconds + sum(answer.seconds for answer in self.answers)


def answers_by_method(
    documents,
    questions: Sequence[str],
    *,
    methods: Sequence[str] = METHOD_NAMES,
    model=None,
    answer_prefixes: Sequence[str] | None = None,
    max_new_tokens: int = 64,
    options: Mapping[str, Mapping] | None = None,
    keep_readings: Sequence[str] = ("retrieval", "margins", "memory"),
) -> Iterator[MethodAnswers]:
    """Ask each method all questions; yield what it said. Each reads the documents once.

    Args:
        documents: as ``longctx_edu.read`` takes them.
        questions: in words, one at least.
        methods: their names.
        model: as for ``longctx_edu.read``.
        answer_prefixes: first words of the answers, one for each question; none by default.
        max_new_tokens: the most tokens of an answer.
        options: for each method its own options.
        keep_readings: methods whose readings are handed over; those of the others are freed
            before the next method reads, since each holds a cache of the whole text.

    Raises:
        LongctxError: as ``longctx_edu.read``, but for a text that does not fit; for no question,
            or as many prefixes as there are not.
    """
    documents = as_documents(documents)
    prefixes = [""] * len(questions) if answer_prefixes is None else answer_prefixes
    if not questions or len(prefixes) != len(questions):
        raise LongctxError(
            f"There are {len(questions)} questions and {len(prefixes)} answer prefixes; give one "
            "question at least, and a prefix for each or none at all."
        )
    if model is None or isinstance(model, str | Path):
        model = load(model)  # once for all methods
    for method in methods:
        reading, refusal = None, ""
        try:
            own = (options or {}).get(method, {})
            reading = read(documents, method=method, model=model, **own)
            answers = tuple(
                long_form_qa(reading, one, answer_prefix=prefix, max_new_tokens=max_new_tokens)
                for one, prefix in zip(questions, prefixes, strict=True)
            )
        except DoesNotFit as error:
            refusal = str(error)
        if refusal:
            reading = None  # what it holds is freed before the next method reads
            yield MethodAnswers(method, (), refusal=refusal)
            continue
        kept = reading if method in keep_readings else None
        told = MethodAnswers(method, answers, "", reading.ledger.prefilled, reading.seconds, kept)
        del reading, kept
        yield told
        del told


@dataclass(frozen=True)
class MethodsReport:
    """The answers of several methods to the same questions about some documents.

    Attributes:
        documents: what was read.
        questions: what was asked.
        methods: what each method said.
        analysis: a report section by section, if one was made.
        model_name: who read.
    """

    documents: tuple[Document, ...]
    questions: tuple[str, ...]
    methods: tuple[MethodAnswers, ...]
    analysis: DocumentAnalysis | None = None
    model_name: str = ""

    def html(self) -> str:
        """Return the report as a page of its own that needs nothing from elsewhere."""
        names = html.escape(", ".join(one.id for one in self.documents))
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>What {len(self.methods)} methods say about {names}</title>{_STYLE}</head>\n"
            f"<body>{self._repr_html_()}</body></html>\n"
        )

    def save(self, path: str | Path) -> Path:
        """Write the page into a file; one that is there is replaced only by a whole one.

        Raises:
            LongctxError: if it cannot be written.
        """
        path = Path(path)
        beside = path.with_name(f".{path.name}.part")
        try:
            beside.write_text(self.html(), encoding="utf-8")
            os.replace(beside, path)
        except OSError as error:
            raise LongctxError(
                f"The report cannot be written to {path}: {error.strerror or error}."
            ) from None
        return path

    def _repr_html_(self) -> str:
        names = html.escape(", ".join(one.id for one in self.documents))
        characters = sum(len(one.text) for one in self.documents)
        by = f", read by {html.escape(self.model_name)}" if self.model_name else ""
        parts = [f"<h1>{names}</h1>", f"<p>{characters:,} characters{by}.</p>"]
        for number, question in enumerate(self.questions):
            parts += [f"<h2>{html.escape(question)}</h2>", *self._answers(number)]
        parts += ["<h2>What it cost</h2>", *self._costs()]
        if self.analysis is not None:
            parts += ["<hr>", self.analysis._repr_html_()]
        return "\n".join(parts)

    def _answers(self, number: int) -> Iterator[str]:
        for one in self.methods:
            yield f"<h3>{html.escape(one.method)}</h3>"
            if one.refusal:
                yield f"<p><em>Not asked: {html.escape(one.refusal)}</em></p>"
                continue
            answer = one.answers[number]
            yield f"<p>{html.escape(answer.said)}</p>"
            if answer.notice:
                yield f"<p><small>{html.escape(answer.notice)}</small></p>"
            if answer.citations:
                yield "<details><summary>Sources</summary><ol>"
                for cited in answer.citations:
                    place = place_of(cited.document_id, cited.start, cited.end)
                    words = html.escape(shortened(cited.text, _SOURCE))
                    yield f"<li>{html.escape(place)}: {words}</li>"
                yield "</ol></details>"

    def _costs(self) -> Iterator[str]:
        header = ("method", "tokens read once", "read a question", "written", "seconds")
        yield "<table><tr>" + "".join(f"<th>{one}</th>" for one in header) + "</tr>"
        for one in self.methods:
            if one.answers:
                asked = len(one.answers)
                cells = (
                    html.escape(one.method),
                    f"{one.read_tokens:,}",
                    f"{sum(a.ledger.prefilled for a in one.answers) / asked:,.0f}",
                    f"{sum(a.ledger.decoded for a in one.answers) / asked:,.0f}",
                    f"{one.seconds:.1f}",
                )
                yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        yield "</table>"


_STYLE = (
    "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;"
    "padding:0 1rem}table{border-collapse:collapse}td,th{padding:.2rem .7rem;text-align:right;"
    "border-bottom:1px solid #bbb}td:first-child,th:first-child{text-align:left}</style>"
)
