"""What a view of margins shows, as plain data, and how each event changes it.

Writing in the Margins (Russak et al. 2024, section 3) as a reader follows it: margins under
way, verdicts, the answer. ``static/margin_states.js`` has the same rules, for recordings that
run without Python; a test holds the two together. It knows no model and draws nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from longctx_edu.margins.notes import PERSON, Note

Margin = dict
"""``segment`` (None: the whole text), ``text``, ``state`` (waiting, writing, done or cut),
``kept`` (None: not judged yet), ``confidence``, ``score`` and ``by``, who decided."""


def margin(segment: int | None, text: str = "", state: str = "waiting", **facts) -> Margin:
    """Return a margin on a segment, waiting to be written unless said otherwise."""
    facts = {"kept": None, "confidence": None, "score": None, "by": "", **facts}
    return {"segment": segment, "text": text, "state": state, **facts}


def of_note(note: dict) -> Margin:
    """Return the margin that shows a note, which is given as plain data."""
    facts = {name: note.get(name) for name in ("kept", "confidence", "score", "by")}
    state = "done" if note.get("finished", True) else "cut"
    return margin(note["segment"], note["text"], state, **facts)


def begun(segments: int, given: Sequence[Margin] | None = None) -> dict:
    """Return what is shown when a question has just been asked.

    Args:
        segments: of the text; a margin waits on each.
        given: the margins to answer from, where none is to be written.
    """
    margins = [margin(n) for n in range(segments)] if given is None else list(map(dict, given))
    return {
        "stage": "writing" if given is None else "answering",
        "margins": margins,
        "answer_text": "",
        "progress": [0, 0],
        "cost": {"decoded": 0},
    }


def take(state: dict, event: dict) -> None:
    """Change the state by one event; those that change nothing to be seen are passed over."""
    match event["event"]:
        case "MarginToken":
            one = _written_on(state, event["segment"])
            one.update(text=one["text"] + event["text"], state="writing")
            state["cost"]["decoded"] += 1
        case "NoteWritten":
            one = _written_on(state, event["segment"])
            one.update(text=event["text"], confidence=event["confidence"], state="done")
        case "Judged":
            one = _written_on(state, event["segment"])
            one["score"] = event["score"]
            if one["by"] != PERSON:
                one.update(kept=event["kept"], by=event["by"])
        case "TokenDecoded":
            state["stage"] = "answering"
            state["answer_text"] += event["text"]
            state["cost"]["decoded"] += 1
        case "Progress" if event["stage"] == "noting":
            state["progress"] = [event["done"], event["total"]]
        case "Progress" if event["stage"] == "answering":
            state["stage"] = "answering"


def replayed(margins: Sequence[Margin], segments: int, events: Sequence, step: int) -> dict:
    """Return what was shown after the first ``step`` events of a recording.

    Args:
        margins: as they were in the end.
        segments: of the text.
        events: ``[seconds, event]`` each.
        step: how many of them have happened.
    """
    wrote = any(event["event"] in ("MarginToken", "NoteWritten") for _, event in events)
    state = {**begun(segments, None if wrote else margins), "seconds": 0.0}
    for seconds, event in events[:step]:
        state["seconds"] = seconds
        take(state, event)
    return state


def in_the_end(margins: Iterable[Margin], finished: Iterable[Margin]) -> list[Margin]:
    """Return margins as they were in the end, but for what a person decided or added meanwhile.

    Args:
        margins: as they are shown, the model's own first.
        finished: one at most for each segment; a margin that has none was not written.
    """
    left = {one["segment"]: one for one in finished}
    found = []
    for one in margins:
        end = left.pop(one["segment"], None)
        if end is None:
            found.append({**one, "state": "cut"} if one["state"] != "done" else one)
        elif one["by"] == PERSON:
            found.append({**end, **{name: one[name] for name in ("text", "kept", "by")}})
        else:
            found.append(end)
    return found


def notes_of(margins: Iterable[Margin]) -> list[Note]:
    """Return margins as the notes that a reading answers from; one not judged yet counts."""
    return [
        Note(
            segment=one["segment"],
            text=one["text"],
            kept=one["kept"] is not False,
            confidence=one["confidence"],
            score=one["score"],
            by=one["by"],
            finished=one["state"] == "done",
        )
        for one in margins
    ]


def margins_of(notes: Iterable[Note]) -> list[Margin]:
    """Return the notes of a reading as margins."""
    return [of_note(asdict(note)) for note in notes]


def _written_on(state: dict, segment: int) -> Margin:
    """Return the model's margin on a segment: it stands before all that a person adds."""
    return next(one for one in state["margins"] if one["segment"] == segment)
