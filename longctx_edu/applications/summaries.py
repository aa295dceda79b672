"""Summaries of documents of any length: of the whole, or of what they say on one matter.

What the summary was written from, notes or passages, comes along as points with their places in
the source. Margins as points of a summary: Russak et al. 2024, section 4, its aggregation task. By
memory only what was looked up can be told. How good one is: ``evaluation.summaries``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from longctx_edu.applications.long_documents import SourcedAnswer, long_form_qa, reading_for
from longctx_edu.inference import Ledger
from longctx_edu.margins.notes import sources_of
from longctx_edu.margins.prompts import CopySentence
from longctx_edu.memory import MemoryBank
from longctx_edu.readers.joined import JoinedText
from longctx_edu.readers.reading import Reading
from longctx_edu.text import Citation

WHOLE = "Summarize the text above in a few sentences."
"""What is asked for a summary of the whole."""


@dataclass(frozen=True)
class OneSentence(CopySentence):
    """Ask for the last part of the text in a sentence; a margin for summaries of the whole.

    A small model that is asked to summarise "the last paragraphs" writes about paragraphs.
    """

    name = "one_sentence"

    def request(self, question: str) -> str:
        return "Write one sentence that sums up what was just said."


_ASKED = {"memory": dict(passages=8)}
_READ = {
    # A text of many notes alone is easier for a small model than notes behind the whole text.
    "margins": dict(place="only", margin_tokens=48),
    "map_reduce": dict(segment_tokens=512, note_tokens=48),
    "retrieval": dict(sentences=8, neighbours=0),
    **_ASKED,
}
_READ_WHOLE = {
    "margins": dict(prompt=OneSentence(), verdict="all", segment_tokens=256),
    "map_reduce": dict(share=0.0),
}


@dataclass(frozen=True)
class Point:
    """Something that a summary was written from: a note or a passage, and where it comes from."""

    text: str
    citations: tuple[Citation, ...]


@dataclass(frozen=True)
class Summary(SourcedAnswer):
    """A summary in the model's words, and the points that it was written from.

    Attributes:
        points: in the order of the text; none by methods that read the text itself.
        focus: the question that it answers; "" for a summary of the whole.
        method: how the documents were read.
        reading, reading_seconds: what reading cost before anything was asked.
    """

    points: tuple[Point, ...] = ()
    focus: str = ""
    method: str = ""
    reading: Ledger = Ledger()
    reading_seconds: float = 0.0

    @property
    def listed(self) -> str:
        """The points, a line each: a summary that the model did not write over again."""
        return "\n".join(f"- {' '.join(point.text.split())}" for point in self.points)


def summarize_document(
    source,
    *,
    focus: str = "",
    method: str | None = None,
    model=None,
    answer_prefix: str = "",
    max_new_tokens: int = 128,
    **options,
) -> Summary:
    """Summarise documents of any length.

    By margins a note is written on every segment, which has seen all before it; by map_reduce on
    every segment alone; both cover the whole text, and the summary is written from the notes. By
    memory and by retrieval passages are looked up that the request resembles: enough for one
    matter, but "summarise everything" resembles nothing. The others put the text, or what fits of
    it, in front of the request.

    Args:
        source: documents, a ``MemoryBank`` or a reading, as for ``long_form_qa``. Of a reading, its
            own options hold.
        focus: a question, for a summary of what the text says on it; "" for one of the whole.
        method: "margins" by default.
        model: as for ``long_form_qa``.
        answer_prefix: the summary's first words; the model continues them.
        max_new_tokens: the most tokens that the summary may have.
        options: those of the method, which go before those that summaries set by default.

    Raises:
        LongctxError: as ``long_form_qa``.
    """
    defaults = _defaults(source, method or "margins", focus)
    reading, left = reading_for(
        source, method=method, model=model, otherwise="margins", **{**defaults, **options}
    )
    answer = long_form_qa(
        reading,
        focus or WHOLE,
        answer_prefix=answer_prefix,
        max_new_tokens=max_new_tokens,
        **left,
    )
    told = {field.name: getattr(answer, field.name) for field in fields(SourcedAnswer)}
    points = tuple(_points(reading, answer))
    return Summary(
        **told,
        points=points,
        focus=focus,
        method=reading.method,
        reading=reading.ledger,
        reading_seconds=reading.seconds,
    )


def _defaults(source, method: str, focus: str) -> Mapping:
    """Return the options that suit a summary, as far as the source leaves a choice."""
    if isinstance(source, Reading):
        return {}
    if isinstance(source, MemoryBank):
        return _ASKED["memory"]
    return {**_READ.get(method, {}), **({} if focus else _READ_WHOLE.get(method, {}))}


def _points(reading: Reading, answer: SourcedAnswer) -> Iterator[Point]:
    """Yield what an answer was written from, in the order of the text."""
    joined = JoinedText(reading.documents)

    def point(text: str, places, kind: str) -> Point:
        cited = (joined.citations(*place, weight=None, kind=kind) for place in places)
        return Point(text, tuple(one for many in cited for one in many))

    if reading.method == "margins":
        segments = [(one["start"], one["end"]) for one in answer.trace["segments"]]
        for note in answer.trace["margins"]:
            if note["kept"] and note["text"].strip():
                place = note["segment"]
                known = () if place is None else (segments[place],)
                found = [p for one in known for p in sources_of(note["text"], joined.text, one)]
                yield point(note["text"], found, "margin")
    elif reading.method == "map_reduce":
        for number in answer.trace["kept"]:
            note = answer.trace["notes"][number]
            place = (note["start"], note["end"])
            yield point(note["text"], sources_of(note["text"], joined.text, place), "segment")
    elif reading.method == "memory":
        passages = sorted((one["start"], one["end"]) for one in answer.trace["passages"])
        for start, end in passages:
            yield point(joined.text[start:end].strip(), [(start, end)], "memory")
    elif reading.method == "retrieval":
        order = {one.id: number for number, one in enumerate(reading.documents)}
        for one in sorted(answer.citations, key=lambda one: (order[one.document_id], one.start)):
            yield Point(one.text.strip(), (one,))
