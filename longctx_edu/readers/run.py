"""Run a generator of events in a thread, so that a notebook or a view stays responsive."""

import threading
from collections.abc import Iterable, Iterator

from longctx_edu.errors import LongctxError
from longctx_edu.events import Answered, Ready, Trained


class Run:
    """Events under way in a thread of their own.

    Attributes:
        events: what has happened so far, in order.
    """

    def __init__(self, events: Iterable):
        self.events: list = []
        self._source = iter(events)
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._is_open = True
        self._thread = threading.Thread(target=self._drain, name="longctx run", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def cancel(self) -> None:
        """Let no further event happen; the reading stays usable. Waits for the thread."""
        self._stop.set()
        self._thread.join()

    def result(self, timeout: float | None = None):
        """Wait for the end; return the answer, reading or training that the events end in.

        Raises:
            TimeoutError: if it takes longer than ``timeout`` seconds.
            LongctxError: if the run was cancelled before its end.
            Exception: whatever the events raised.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"The run has not ended within {timeout} seconds.")
        if self._error is not None:
            raise self._error
        last = self.events[-1] if self.events else None
        if isinstance(last, Answered):
            return last.answer
        if isinstance(last, Ready):
            return last.reading
        if isinstance(last, Trained):
            return last.training
        raise LongctxError("The run was cancelled before its end; start it again.")

    answer = result

    def __iter__(self) -> Iterator:
        """Yield the events as they happen, those so far first; raise what they raised."""
        seen = 0
        while True:
            with self._changed:
                while len(self.events) == seen and self._is_open:
                    self._changed.wait()
                fresh, seen = self.events[seen:], len(self.events)
            yield from fresh
            if not fresh and not self._is_open:
                if self._error is not None:
                    raise self._error
                return

    def _drain(self) -> None:
        try:
            for event in self._source:
                if self._stop.is_set():
                    break
                with self._changed:
                    self.events.append(event)
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            if hasattr(self._source, "close"):
                self._source.close()
            with self._changed:
                self._is_open = False
                self._changed.notify_all()


def run_in_background(events: Iterable) -> Run:
    """Start ``events`` in a thread: ``run.cancel()``, ``run.answer()``, ``for event in run``."""
    return Run(events)
