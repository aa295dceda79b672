"""Views in which a question is asked: it runs in the background, and its events are shown.

``AskingView`` holds what the view of margins and the view of memory share: one run at a time
and the thread that follows it, events gathered for slow browsers, cancelling, what went wrong.
What events mean, and what is drawn of them, is for the views themselves.
"""

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing

import traitlets

from longctx_edu.errors import LongctxError
from longctx_edu.events import Answered
from longctx_edu.readers.run import Run, run_in_background
from longctx_edu.traces import TraceKind
from longctx_edu.widgets.base import View

PAUSE = 0.04
PATIENCE = 0.25
"""Least and most seconds between two messages to a browser; events in between go together. The
next one waits until the last is on the screen, so that a slow browser is not flooded."""

STAGES = ("ready", "writing", "answering", "answered", "cancelled", "failed")


class AskingView(View):
    """A view of a reading, which can be asked in it, or of a recording, which cannot.

    A subclass says how events change what is shown: ``_state`` returns a copy of all that they
    change, ``_take`` changes that by one event, ``_with_answer`` returns what an answer adds, and
    ``_without_answer`` what to change where a question ends without one.

    Args:
        reading: what is asked; None for a recording.
        max_new_tokens: the longest answer to questions asked in the view.
        measure: whether to keep how long each event took to be seen, see ``latencies``.
        state: values of traits.

    Attributes:
        reading: what is asked; None for a recording.
        run: the last question's ``Run``.
        last_answer: the last question's ``Answer``.
        latencies: seconds from an event to its being on the screen, one for each event.
    """

    text = traitlets.Unicode().tag(sync=True)
    question = traitlets.Unicode().tag(sync=True)
    stage = traitlets.Enum(STAGES, default_value="ready").tag(sync=True)
    answer_prefix = traitlets.Unicode().tag(sync=True)
    answer_text = traitlets.Unicode().tag(sync=True)
    notice = traitlets.Unicode().tag(sync=True)
    citations = traitlets.List().tag(sync=True)  # with `place`, [start, end] in the text
    cost = traitlets.Dict().tag(sync=True)
    seconds = traitlets.Float().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)
    live = traitlets.Bool().tag(sync=True)
    tick = traitlets.Int(0).tag(sync=True)

    run: Run | None = None  # also for a view that is closed because it could not be made

    def __init__(self, *, reading, max_new_tokens: int, measure: bool, **state):
        # Traits are set from the thread that follows the events, and by what the browser says.
        self._turn = threading.RLock()
        self._follower: threading.Thread | None = None
        self._waiting: dict[int, list[float]] = {}
        self._on_screen = threading.Event()
        self._is_watched = False
        self._longest = self._longest_last = max_new_tokens
        self.measure = measure
        self.latencies: list[float] = []
        self.last_answer = None
        self.reading = reading
        super().__init__(live=reading is not None, **state)

    # ----------------------------------------------------------------- what a subclass says

    def _state(self) -> dict:
        raise NotImplementedError(f"{type(self).__name__} does not say what events change.")

    def _take(self, state: dict, event) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not say what events mean.")

    def _with_answer(self, state: dict, answer) -> dict:
        raise NotImplementedError(f"{type(self).__name__} does not say what an answer adds.")

    def _without_answer(self) -> dict:
        return {}

    # ----------------------------------------------------------------- the question under way

    def cancel(self) -> None:
        """Stop the question under way, if there is one; what was written stays."""
        with self._turn:
            run, follower = self.run, self._follower
        if run is not None:
            run.cancel()
            follower.join()

    def wait(self, timeout: float | None = None):
        """Wait until the question under way is answered and shown; return the ``Answer``.

        Raises:
            LongctxError: if nothing was asked, or the question was cancelled.
            TimeoutError: if it takes longer than ``timeout`` seconds.
        """
        if self.run is None:
            raise LongctxError("Nothing was asked yet; ask a question first.")
        try:
            return self.run.result(timeout)
        finally:
            self._join_follower()

    def close(self):
        if self.run is not None:
            self.cancel()
        super().close()

    def _begin(self, events: Iterable, /, **state) -> Run:
        """Show a state, let events happen in the background, and show them; under the lock."""
        emitted: list[float] = []
        self._show(**state)
        self.run = run_in_background(_timed(events, emitted))
        self._follower = threading.Thread(
            target=self._follow,
            args=(self.run, emitted, time.time()),
            name=f"{self._part} view",
            daemon=True,
        )
        self._follower.start()
        return self.run

    def _follow(self, run: Run, emitted: list[float], begin: float) -> None:
        """Show events as they come, those within a pause together."""
        seen, answer = 0, None
        try:
            for fresh in _bursts(run, self._pause):
                with self._turn:
                    state = self._state()
                    for event in fresh:
                        if isinstance(event, Answered):
                            answer = event.answer
                        else:
                            self._take(state, event)
                    if answer is None:
                        state["seconds"] = emitted[seen + len(fresh) - 1] - begin
                    else:
                        self.last_answer = answer
                        state |= self._with_answer(state, answer)
                        state |= dict(cost=vars(answer.ledger), seconds=answer.seconds)
                        state["stage"] = "answered"
                    self._show(**state, times=emitted[seen : seen + len(fresh)])
                seen += len(fresh)
        except Exception as error:  # told in the view; run.result() raises it too
            self._end("failed", f"{'' if isinstance(error, LongctxError) else 'Error: '}{error}")
        else:
            if answer is None:
                self._end("cancelled")

    def _end(self, stage: str, problem: str = "") -> None:
        with self._turn:
            self._show(**self._without_answer(), stage=stage, problem=problem)

    def _join_follower(self) -> None:
        """Wait until all of a run that has ended is shown; not under the lock, which that takes."""
        ended = self.run is not None and not self.run.is_running
        if ended and threading.current_thread() is not self._follower:
            self._follower.join()

    def _assert_live(self) -> None:
        if self.reading is None:
            raise LongctxError(
                "This view shows a recording, in which nothing can be asked or changed; make it "
                f"with a reading: {type(self).__name__}(read(..., method={self._part!r}))."
            )

    def _assert_idle(self) -> None:
        if self.run is not None and (self.run.is_running or self._follower.is_alive()):
            raise LongctxError(
                "A question is under way; wait for its answer, or cancel it, and ask then."
            )

    # ----------------------------------------------------------------- messages

    def answer(self, ask: dict) -> tuple[dict, list[bytes]]:
        """Stop when the browser says so; note what it has shown.

        Raises:
            LongctxError: if it asks for something that there is not.
        """
        match ask:
            case {"op": "cancel"} if self.run is not None:
                # Waiting for the model's step under way would keep the kernel busy.
                threading.Thread(target=self.run.cancel, daemon=True).start()
            case {"op": "shown", "tick": int(tick), "at": int() | float() as at}:
                self._note_shown(tick, at / 1000)
            case _:
                return super().answer(ask)
        return {}, []

    @property
    def median_latency(self) -> float | None:
        """Median of ``latencies``, in seconds; None before the first."""
        return statistics.median(self.latencies) if self.latencies else None

    def _pause(self) -> None:
        time.sleep(PAUSE)
        if self._is_watched:
            self._on_screen.wait(PATIENCE - PAUSE)

    def _note_shown(self, tick: int, at: float) -> None:
        with self._turn:
            self._is_watched = True
            if tick >= self.tick:
                self._on_screen.set()
            # What came earlier is on the screen as well.
            for earlier in [one for one in self._waiting if one <= tick]:
                self.latencies += [at - emitted for emitted in self._waiting.pop(earlier)]

    def _show(self, *, times: Sequence[float] = (), **state) -> None:
        """Set traits in one message; ``times`` are when the events in it happened."""
        with self.hold_sync():
            for name, value in state.items():
                setattr(self, name, value)
            if times:
                self._on_screen.clear()
                if self.measure:
                    self._waiting[self.tick + 1] = list(times)
                self.tick += 1

    def set_state(self, sync_data):
        with self._turn:
            super().set_state(sync_data)

    # ----------------------------------------------------------------- files

    def _saved(self) -> dict:
        """A saved file shows what there was; nothing can be asked there."""
        saved = super()._saved()
        saved["state"]["live"] = False
        return saved


def trace_of(source, kind: TraceKind, view: str) -> dict:
    """Return a trace that is given as it is, or as the path of a saved one.

    Raises:
        LongctxError: if it is neither, no trace of this kind, or damaged; ``view`` is what the
            error calls the view.
    """
    if isinstance(source, (str, os.PathLike)):
        return kind.load(source)
    if isinstance(source, Mapping):
        return kind.checked(source)
    raise LongctxError(
        f"{view} takes a reading made by read(..., method={kind.method!r}), a trace "
        f"(answer.trace) or the path of a saved one, not {type(source).__name__}."
    )


def answered_state(trace: dict) -> dict:
    """Return what a trace holds of its question and answer, as traits of an ``AskingView``."""
    starts = {one["id"]: one["start"] for one in trace["documents"]}
    answer = trace["answer"]
    return {
        "text": trace["text"],
        "question": trace["question"],
        "answer_prefix": trace["answer_prefix"],
        "stage": "answered",
        "answer_text": answer["text"],
        "notice": answer.get("notice", ""),
        "citations": [
            {**one, "place": [starts[one["document_id"]] + one[edge] for edge in ("start", "end")]}
            for one in answer["citations"]
        ],
        "cost": trace["cost"]["question"],
        "seconds": trace["seconds"].get("question", 0.0),
    }


def _timed(events: Iterable, emitted: list[float]) -> Iterator:
    """Pass events on, and note when each happened."""
    with closing(events):
        for event in events:
            emitted.append(time.time())
            yield event


def _bursts(run: Run, pause: Callable[[], None]) -> Iterator[list]:
    """Yield the events of a run as they happen, those within a pause together."""
    seen = 0
    for number, _ in enumerate(run):
        if number < seen:
            continue
        fresh = run.events[seen:]
        yield fresh
        seen += len(fresh)
        pause()
