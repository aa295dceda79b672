"""A report on a document, section by section: what each says on some questions, with citations.

The document is read once; for each question margins are written on every section, judged, and
answered from (Russak et al. 2024, section 3; its section 6 sketches such a view). The report is
plain data that comes out as Markdown or HTML, in which words of the document are words and
nothing else.
"""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from longctx_edu.applications.long_documents import SourcedAnswer, long_form_qa
from longctx_edu.applications.markup import as_markdown, place_of, shortened
from longctx_edu.errors import LongctxError
from longctx_edu.margins.notes import sources_of
from longctx_edu.readers import Reading, read
from longctx_edu.readers.joined import JoinedText

QUESTIONS = ("What is this text about?", "What is the most important thing that happened?")
"""What is asked of a document if nothing else is."""

_TITLE = 72  # characters of a section's title


@dataclass(frozen=True)
class SectionNote:
    """A note on a section.

    Attributes:
        text: its words.
        kept: whether it counted for the answer.
        score: what the verdict went by, None if it had nothing to go by.
        places: characters (start, end) of the report's text that it copies, or its section; none
            if that holds no word of a document.
    """

    text: str
    kept: bool
    score: float | None
    places: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Section:
    """A stretch of the report's text, and the notes on it.

    Attributes:
        start, end: its characters.
        title: its first heading, or its first words.
        notes: for each question the note on it; None where nothing was noted.
    """

    start: int
    end: int
    title: str
    notes: tuple[SectionNote | None, ...]


@dataclass(frozen=True)
class DocumentAnalysis:
    """What was found in a document; shows itself as HTML in a notebook.

    Attributes:
        text: the documents' text, joined.
        documents: id, source, start and end of each in ``text``.
        questions: what was asked.
        answers: to each question, from the whole text and the notes kept.
        sections: in order; together they hold all that was read.
    """

    text: str
    documents: tuple[dict, ...]
    questions: tuple[str, ...]
    answers: tuple[SourcedAnswer, ...]
    sections: tuple[Section, ...]

    @property
    def sources(self) -> tuple[tuple[int, int], ...]:
        """All cited characters (start, end) of ``text``, in order; source 1 is the first."""
        places = {place for answer in self.answers for place in self.places_of(answer)}
        for section in self.sections:
            for note in section.notes:
                places |= {*note.places} if note and note.kept else set()
        return tuple(sorted(places))

    def places_of(self, answer: SourcedAnswer) -> list[tuple[int, int]]:
        """Return an answer's citations as characters of ``text``, best first."""
        starts = {one["id"]: one["start"] for one in self.documents}
        shifted = ((starts[one.document_id], one) for one in answer.citations)
        return list(dict.fromkeys((by + one.start, by + one.end) for by, one in shifted))

    def where(self, place: tuple[int, int]) -> str:
        """Return a source as document and characters of it."""
        home = next(one for one in reversed(self.documents) if one["start"] <= place[0])
        start, end = (offset - home["start"] for offset in place)
        return place_of(home["id"], start, end)

    # ----------------------------------------------------------------- Markdown

    def markdown(self) -> str:
        """Return the report as Markdown."""
        names = ", ".join(one["id"] for one in self.documents)
        lines = [f"# Report on {as_markdown(names)}", ""]
        numbers = {place: number for number, place in enumerate(self.sources, 1)}
        for question, answer in zip(self.questions, self.answers, strict=True):
            cited = " ".join(f"\\[{numbers[one]}\\]" for one in self.places_of(answer))
            lines += [f"## {as_markdown(question)}", "", f"{_said(answer)} {cited}".strip(), ""]
            lines += [f"*{as_markdown(answer.notice)}*", ""] if answer.notice else []
        lines += ["## Section by section", ""]
        for number, section in enumerate(self.sections, 1):
            lines += [f"### {number}. {as_markdown(section.title)}", ""]
            for question, note in zip(self.questions, section.notes, strict=True):
                if note is not None:
                    marks = " ".join(f"\\[{numbers[one]}\\]" for one in note.places if note.kept)
                    lines.append(
                        f"- {as_markdown(question)} {as_markdown(note.text)} "
                        f"{marks if note.kept else '(did not count)'}"
                    )
            lines += ["- Nothing was noted.", ""] if not any(section.notes) else [""]
        lines += ["## Sources", ""]
        for place, number in numbers.items():
            words = as_markdown(shortened(self.text[place[0] : place[1]], 300))
            lines.append(f"{number}. {as_markdown(self.where(place))}: {words}")
        return "\n".join(lines).rstrip() + "\n"

    # ----------------------------------------------------------------- HTML

    def html(self) -> str:
        """Return the report as a page of its own that needs nothing from elsewhere."""
        names = html.escape(", ".join(one["id"] for one in self.documents))
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>Report on {names}</title></head>\n<body>{self._repr_html_()}</body></html>\n"
        )

    def _repr_html_(self) -> str:
        names = html.escape(", ".join(one["id"] for one in self.documents))
        numbers = {place: number for number, place in enumerate(self.sources, 1)}
        parts = [f"<h1>Report on {names}</h1>"]
        for question, answer in zip(self.questions, self.answers, strict=True):
            cited = _links(numbers[one] for one in self.places_of(answer))
            words = html.escape(answer.said)
            parts += [f"<h2>{html.escape(question)}</h2>", f"<p>{words} {cited}</p>"]
            if answer.notice:
                parts.append(f"<p><small>{html.escape(answer.notice)}</small></p>")
        parts.append("<h2>Section by section</h2>")
        for number, section in enumerate(self.sections, 1):
            parts.append(f"<h3>{number}. {html.escape(section.title)}</h3><ul>")
            for question, note in zip(self.questions, section.notes, strict=True):
                if note is not None:
                    marks = _links(numbers[one] for one in note.places) if note.kept else ""
                    parts.append(
                        f"<li><i>{html.escape(question)}</i> {html.escape(note.text)} "
                        f"{marks if note.kept else '<small>(did not count)</small>'}</li>"
                    )
            if not any(section.notes):
                parts.append("<li>Nothing was noted.</li>")
            parts.append("</ul><details><summary>The text</summary>")
            parts += [self._marked(section, numbers), "</details>"]
        return "\n".join(parts)

    def _marked(self, section: Section, numbers: dict) -> str:
        """Return a section's text, in which what is cited is marked; marks may lie in marks."""
        cuts = {section.start, section.end}
        own = [one for one in numbers if section.start <= one[0] < section.end]
        touching = [one for one in numbers if one[0] < section.end and section.start < one[1]]
        for place in touching:
            cuts |= {min(max(offset, section.start), section.end) for offset in place}
        ordered, pieces = sorted(cuts), []
        for start, end in zip(ordered, ordered[1:], strict=False):
            anchors = "".join(
                f'<a id="source-{numbers[one]}"></a><sup>[{numbers[one]}]</sup>'
                for one in own
                if one[0] == start
            )
            words = html.escape(self.text[start:end])
            cited = any(one[0] <= start and end <= one[1] for one in touching)
            pieces.append(anchors + (f"<mark>{words}</mark>" if cited else words))
        return f'<div style="white-space: pre-wrap">{"".join(pieces)}</div>'


class WiMDocumentAnalyzer:
    """Writes reports on documents by Writing in the Margins.

    Attributes:
        questions: what is asked of every document.
    """

    def __init__(self, model=None, *, questions: Sequence[str] = QUESTIONS, **options):
        """Choose model, questions and options; nothing is read yet.

        Args:
            model: as ``longctx_edu.read`` takes it.
            questions: in words, one at least.
            options: those of the method ``margins``; ``segment_tokens`` is the size of a section.

        Raises:
            LongctxError: for no question.
        """
        self.model, self.questions = model, _asked(questions)
        self._options = options

    def analyze_document(
        self,
        documents,
        *,
        questions: Sequence[str] | None = None,
        answer_prefix: str = "",
        max_new_tokens: int = 64,
    ) -> DocumentAnalysis:
        """Read documents once and report on them.

        Args:
            documents: as ``longctx_edu.read`` takes them, or a reading by ``margins``, of which
                nothing is read again.
            questions: others than those of the analyzer.
            answer_prefix, max_new_tokens: as for ``Reading.ask``, for every answer.

        Raises:
            LongctxError: as ``longctx_edu.read``; for no question, or a reading by another method.
        """
        asked = self.questions if questions is None else _asked(questions)
        if isinstance(documents, Reading):
            reading = documents
        else:
            reading = read(documents, method="margins", model=self.model, **self._options)
        if reading.method != "margins":
            raise LongctxError(
                f"A report is written from margins, and this was read by {reading.method!r}; give "
                "the documents, or read(..., method='margins')."
            )
        told = dict(answer_prefix=answer_prefix, max_new_tokens=max_new_tokens)
        answers = tuple(long_form_qa(reading, question, **told) for question in asked)
        joined = JoinedText(reading.documents)
        sections = tuple(_sections(reading, joined, answers))
        return DocumentAnalysis(joined.text, tuple(joined.places()), asked, answers, sections)


def _asked(questions: Sequence[str]) -> tuple[str, ...]:
    given = (questions,) if isinstance(questions, str) else tuple(questions)
    if not given or not all(one.strip() for one in given):
        raise LongctxError("There is no question, or an empty one; ask one at least.")
    return given


def _sections(reading, joined: JoinedText, answers: Sequence[SourcedAnswer]) -> Iterator[Section]:
    for number, (start, end) in enumerate(reading.segments):
        notes = []
        for answer in answers:
            own = [
                _noted(note, joined, (start, end))
                for note in answer.trace["margins"]
                if note["segment"] == number and note["text"].strip()
            ]
            notes.append(own[0] if own else None)
        yield Section(start, end, _title(reading.text[start:end]), tuple(notes))


def _noted(note: dict, joined: JoinedText, segment: tuple[int, int]) -> SectionNote:
    """Return a note with its places, without the names that stand between documents."""
    starts = {one["id"]: one["start"] for one in joined.places()}
    cited = [
        one
        for place in sources_of(note["text"], joined.text, segment)
        for one in joined.citations(*place, weight=None, kind="margin")
    ]
    shifted = ((starts[one.document_id], one) for one in cited)
    places = tuple((by + one.start, by + one.end) for by, one in shifted)
    return SectionNote(note["text"], note["kept"], note["score"], places)


def _title(section: str) -> str:
    """Return the first heading of a section, or its first words."""
    lines = [line.strip() for line in section.splitlines() if line.strip()]
    heading = next((line for line in lines if line.startswith("#")), None)
    return shortened((heading or (lines or [""])[0]).lstrip("# "), _TITLE)


def _links(numbers) -> str:
    return " ".join(f'<a href="#source-{one}">[{one}]</a>' for one in numbers)


def _said(answer: SourcedAnswer) -> str:
    return as_markdown(answer.said)
