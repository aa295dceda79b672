"""Margins as they are written: the text, the notes on it, a person's verdicts, the answer.

``MarginsView`` shows Writing in the Margins (Russak et al. 2024, section 3; its section 6
sketches such a view): live on a reading, or from a recorded trace without a model. What the
events mean is in ``margin_states``, the static twin in ``margin_picture``.
"""

from collections.abc import Sequence

import traitlets

from longctx_edu.errors import LongctxError
from longctx_edu.margins.notes import PERSON, Note
from longctx_edu.margins.trace import KIND, as_plain
from longctx_edu.readers.run import Run
from longctx_edu.widgets import margin_states as states
from longctx_edu.widgets.asking import AskingView, answered_state, trace_of
from longctx_edu.widgets.margin_picture import draw
from longctx_edu.widgets.units import how_many

NOW = -1
NONE = -1


class MarginsView(AskingView):
    """A text with its margins beside it, the question and the answer.

    On a reading, a question is asked in the view or by ``ask``: margins appear token by token,
    several at once, then their verdicts and the answer with its sources. A person may accept,
    reject and change notes or add some, and have the question answered again from these; that
    reads only the end of the prompt. On a trace, which ``answer.trace`` holds, all of it can be
    played again without a model.

    Args:
        source: a reading by ``read(..., method="margins")``; or a trace; or the path of one.
        answer_prefix: first words of the answers to questions asked in the view.
        max_new_tokens: the longest answer to these.
        theme: ``auto``, ``light`` or ``dark``.
        measure: whether to keep how long each event took to be seen, see ``latencies``.

    Raises:
        LongctxError: if ``source`` is neither a reading with margins nor a trace.
    """

    _part = "margins"

    segments = traitlets.List().tag(sync=True)  # [start, end] in code points of the text
    margins = traitlets.List().tag(sync=True)  # of `margin_states.Margin`
    progress = traitlets.List([0, 0]).tag(sync=True)  # decode steps of the margins: done, total
    predicted = traitlets.Dict().tag(sync=True)
    changed = traitlets.Bool().tag(sync=True)  # whether notes were changed since the answer
    events = traitlets.List().tag(sync=True)  # of the last trace: [seconds, event]
    step = traitlets.Int(NOW).tag(sync=True)
    selected = traitlets.Int(NONE).tag(sync=True)
    place = traitlets.List().tag(sync=True)

    def __init__(
        self,
        source,
        *,
        answer_prefix: str = "",
        max_new_tokens: int = 64,
        theme: str = "auto",
        measure: bool = False,
    ):
        reading = source if hasattr(source, "answer_now") else None
        if reading is None:
            state = _recorded(trace_of(source, KIND, "MarginsView"))
        else:
            segments = [list(span) for span in source.segments]
            state = dict(text=source.text, segments=segments, answer_prefix=answer_prefix)
            state["margins"] = states.begun(len(segments))["margins"]
        options = dict(max_new_tokens=max_new_tokens, measure=measure, theme=theme)
        super().__init__(reading=reading, **options, **state)

    # ----------------------------------------------------------------- asking

    def ask(
        self, question: str, *, answer_prefix: str | None = None, max_new_tokens: int | None = None
    ) -> Run:
        """Ask a question in the background: margins, verdicts, answer. ``wait`` waits for it.

        Args:
            question: in words.
            answer_prefix: the answer's first words; those of the view by default.
            max_new_tokens: the most tokens of the answer; those of the view by default.

        Raises:
            LongctxError: for a recording, while a question is under way, or for an empty one.
        """
        prefix = self.answer_prefix if answer_prefix is None else answer_prefix
        longest = self._longest if max_new_tokens is None else max_new_tokens
        return self._start(question, prefix, longest, None)

    def ask_again(self) -> Run:
        """Answer the question again in the background, from the notes as they stand now.

        Raises:
            LongctxError: for a recording, while a question is under way, or before the first.
        """
        if self.reading is not None and not self.question:
            raise LongctxError("Nothing was asked yet; ask a question first.")
        return self._start(self.question, self.answer_prefix, self._longest_last, self.margins)

    def answer_now(self) -> None:
        """Let the margins under way end with their next token; verdict and answer follow.

        Raises:
            LongctxError: if no margins are being written.
        """
        if self.stage != "writing":
            raise LongctxError("No margins are being written; ask a question first.")
        self.reading.answer_now()

    def _start(self, question: str, prefix: str, longest: int, given: Sequence | None) -> Run:
        self._assert_live()
        self._join_follower()
        with self._turn:
            self._assert_idle()
            question = question.strip()
            asked = dict(answer_prefix=prefix, max_new_tokens=longest)
            notes = None if given is None else states.notes_of(given)
            events = self.reading.events(question, notes=notes, **asked)
            predicted = {} if given else vars(self.reading.predicted_cost(question, **asked))
            begun = states.begun(len(self.segments), given)
            self._writes, self._longest_last = given is None, longest
            return self._begin(
                events,
                **begun,
                question=question,
                answer_prefix=prefix,
                **dict(citations=[], notice="", problem="", seconds=0.0, changed=False),
                **dict(events=[], step=NOW),
                predicted=predicted,
            )

    def _state(self) -> dict:
        """Return a copy of what events change."""
        return {
            "stage": self.stage,
            "margins": list(map(dict, self.margins)),
            "answer_text": self.answer_text,
            "progress": self.progress,
            "cost": dict(self.cost),
        }

    def _take(self, state: dict, event) -> None:
        states.take(state, as_plain(event))

    def _with_answer(self, state: dict, answer) -> dict:
        found = _recorded(answer.trace)
        kept = {name: found[name] for name in ("answer_text", "notice", "citations", "events")}
        ended = states.in_the_end(state["margins"], found["margins"])
        return {**kept, "margins": ended if self._writes else state["margins"]}

    def _without_answer(self) -> dict:
        margins = self._state()["margins"]
        for one in margins:
            if one["state"] in ("waiting", "writing"):
                one["state"] = "cut"
        return {"margins": margins}

    # ----------------------------------------------------------------- what a person decides

    @property
    def notes(self) -> list[Note]:
        """The notes as shown now; ``accept``, ``reject`` and ``edit`` go by their places here."""
        return states.notes_of(self.shown()["margins"])

    def accept(self, place: int) -> None:
        """Let a note count; as all decisions, from the next answer on.

        Raises:
            LongctxError: for a recording, or a note that there is not.
        """
        self._decide(place, kept=True)

    def reject(self, place: int) -> None:
        """Leave a note out. Errors as in ``accept``."""
        self._decide(place, kept=False)

    def edit(self, place: int, text: str) -> None:
        """Give a note other words, and let it count.

        Raises:
            LongctxError: as in ``accept``; for an empty text; for a note still being written.
        """
        self._decide(place, text=_worded(text), kept=True, state="done")

    def add_note(self, text: str, *, segment: int | None = None) -> None:
        """Add a note of your own on a segment, or on the whole text.

        Raises:
            LongctxError: for a recording, an empty text, or a segment that there is not.
        """
        with self._turn:
            self._assert_live()
            if segment is not None and segment not in range(len(self.segments)):
                raise LongctxError(
                    f"There is no segment {segment!r}; choose from 0 to {len(self.segments) - 1}, "
                    "or None for the whole text."
                )
            own = states.margin(segment, _worded(text), "done", kept=True, by=PERSON)
            self._show(margins=[*self.margins, own], changed=True)

    def _decide(self, place: int, **facts) -> None:
        with self._turn:
            self._assert_live()
            if not isinstance(place, int) or place not in range(len(self.margins)):
                raise LongctxError(
                    f"There is no note {place!r}; choose from 0 to {len(self.margins) - 1}."
                )
            margins = list(map(dict, self.margins))
            if "text" in facts and margins[place]["state"] == "writing":
                raise LongctxError(
                    f"Note {place} is still being written; change it when it is done."
                )
            margins[place].update(facts, by=PERSON)
            self._show(margins=margins, changed=True)

    # ----------------------------------------------------------------- messages

    def answer(self, ask: dict) -> tuple[dict, list[bytes]]:
        """Do what a person asks for in the browser: ask, decide, stop; or note what was shown.

        Raises:
            LongctxError: as the methods of the same names.
        """
        match ask:
            case {"op": "ask", "question": str(question)}:
                self.ask(question)
            case {"op": "again"}:
                self.ask_again()
            case {"op": "now"}:
                self.answer_now()
            case {"op": "judge", "note": place, "kept": bool(kept)}:
                (self.accept if kept else self.reject)(place)
            case {"op": "edit", "note": place, "text": str(text)}:
                self.edit(place, text)
            case {"op": "add", "segment": segment, "text": str(text)}:
                self.add_note(text, segment=segment)
            case _:
                return super().answer(ask)
        return {}, []

    # ----------------------------------------------------------------- what it says

    def shown(self) -> dict:
        """Return what is shown now, or at the recorded ``step``: see ``margin_states``."""
        if not 0 <= self.step < len(self.events):
            return {**self._state(), "seconds": self.seconds}
        return states.replayed(self.margins, len(self.segments), self.events, self.step)

    def describe(self) -> str:
        """Say what was asked, how many notes were kept, and the answer."""
        shown = self.shown()
        found = f"margins on {how_many(len(self.segments), 'segment')}"
        if not self.question:
            return f"{found}; nothing was asked yet"
        found += f" to the question {self.question!r}: "
        margins = shown["margins"]
        kept = sum(one["kept"] is True for one in margins)
        waiting = sum(one["state"] in ("waiting", "writing") for one in margins)
        left = sum(one["kept"] is False for one in margins)
        found += f"{kept} kept, {left} left out" + (f", {waiting} not written yet" * bool(waiting))
        said = shown["answer_text"].strip()
        return f"{found}; answer {said!r}" if said else f"{found}; no answer yet"

    def picture(self):
        """Draw each segment's beginning with its note beside it, and the answer."""
        return draw(
            self.text,
            self.segments,
            self.shown(),
            question=self.question,
            answer_prefix=self.answer_prefix,
            citations=self.citations,
            selected=self.selected,
        )

    def _saved(self) -> dict:
        """A saved file plays what was recorded; nothing can be changed there."""
        saved = super()._saved()
        saved["state"]["changed"] = False
        return saved


def _recorded(trace: dict) -> dict:
    """Return the state at the end of a trace."""
    return {
        **answered_state(trace),
        "segments": [[one["start"], one["end"]] for one in trace["segments"]],
        "margins": list(map(states.of_note, trace["margins"])),
        "predicted": trace["cost"]["predicted"],
        "events": trace["events"],
    }


def _worded(text: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise LongctxError("A note needs words; to leave one out, reject it.")
    return text.strip()
