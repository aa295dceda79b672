"""The trace of a question by margins: everything that was read, noted, judged and answered.

Plain data for JSON, so that a run can be kept, sent, and shown again without a model. It holds
the text itself. A trace that does not fit this description is refused with the place of the fault.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from longctx_edu import events as kinds
from longctx_edu.inference.ledger import Ledger
from longctx_edu.margins.notes import Note
from longctx_edu.traces import TraceKind

SCHEMA = "longctx-margins-trace"
VERSION = 1

_EVENTS = {
    kind.__name__: kind
    for kind in (
        kinds.Progress,
        kinds.MarginToken,
        kinds.NoteWritten,
        kinds.RolledBack,
        kinds.Judged,
        kinds.TokenDecoded,
    )
}
_TEXT, _NUMBER, _MAYBE = (str,), (int, float), (int, float, type(None))
_LEDGER = {field.name: (int,) for field in fields(Ledger)}
# What a trace holds: types, a mapping of names to the same, or a list of one such form.
_FORM: dict[str, Any] = {
    "schema": _TEXT,
    "version": (int,),
    "model": {"name": _TEXT, "fingerprint": _TEXT, "window": (int,)},
    "options": (dict,),
    "documents": [{"id": _TEXT, "source": (str, type(None)), "start": (int,), "end": (int,)}],
    "text": _TEXT,
    "segments": [{"start": (int,), "end": (int,)}],
    "question": _TEXT,
    "answer_prefix": _TEXT,
    "margins": [
        {
            "segment": (int, type(None)),
            "text": _TEXT,
            "kept": (bool,),
            "confidence": _MAYBE,
            "score": _MAYBE,
            "by": _TEXT,
            "finished": (bool,),
        }
    ],
    "answer": {
        "text": _TEXT,
        "notice": _TEXT,
        "citations": [{"document_id": _TEXT, "start": (int,), "end": (int,), "text": _TEXT}],
    },
    "cost": {"reading": _LEDGER, "question": _LEDGER, "predicted": _LEDGER},
    "seconds": {"reading": _NUMBER, "question": _NUMBER},
    "close_calls": (int,),
    "prompt_tokens": (int,),
    "events": (list,),
}


def as_plain(event) -> dict:
    """Return an event as plain data."""
    return {"event": type(event).__name__, **asdict(event)}


def is_recorded(event) -> bool:
    """Say whether a trace keeps events of this kind."""
    return type(event).__name__ in _EVENTS


def replay(trace: Mapping) -> Iterator[tuple[float, Any]]:
    """Yield the seconds since the question, and the event that happened then, in order."""
    for seconds, event in trace["events"]:
        values = {name: value for name, value in event.items() if name != "event"}
        yield seconds, _EVENTS[event["event"]](**values)


def notes_of(trace: Mapping) -> list[Note]:
    """Return the notes of a trace, with the decisions on them."""
    return [Note(**margin) for margin in trace["margins"]]


def _fault_inside(trace: Mapping) -> str | None:
    """Return the first place that points out of the text, or an event that there is not."""
    length, segments = len(trace["text"]), len(trace["segments"])
    for name in ("documents", "segments"):
        for n, part in enumerate(trace[name]):
            if not 0 <= part["start"] <= part["end"] <= length:
                return f"{name}[{n}]"
    names = {document["id"] for document in trace["documents"]}
    for n, citation in enumerate(trace["answer"]["citations"]):
        if citation["document_id"] not in names:
            return f"answer.citations[{n}]"
    for n, margin in enumerate(trace["margins"]):
        if margin["segment"] is not None and not 0 <= margin["segment"] < segments:
            return f"margins[{n}].segment"
    for n, entry in enumerate(trace["events"]):
        if not _is_event(entry, segments):
            return f"events[{n}]"
    return None


def _is_event(entry, segments: int) -> bool:
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], (int, float))):
        return False
    event = entry[1]
    name = event.get("event") if isinstance(event, Mapping) else None
    kind = _EVENTS.get(name) if isinstance(name, str) else None
    if kind is None or {*event} != {"event", *(field.name for field in fields(kind))}:
        return False
    segment = event.get("segment", 0)
    is_text = isinstance(event.get("text", ""), str)
    return is_text and isinstance(segment, int) and 0 <= segment < max(segments, 1)


KIND = TraceKind("margins", SCHEMA, VERSION, _FORM, _fault_inside)
checked, save_trace, load_trace = KIND.checked, KIND.save, KIND.load
