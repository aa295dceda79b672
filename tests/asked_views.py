"""What the tests of views that can be asked share: documents, and runs stopped halfway."""

import threading
import time
from contextlib import contextmanager

from longctx_edu.text import Document

DOCUMENTS = [
    Document("a.txt", "🙂 The <img src=x onerror=alert(1)> lamp is lit. " * 6),
    Document("b.txt", "Box 7 holds $a$ letter & no $key$. 中 The ferry leaves at nine. " * 6),
]
QUESTION = "Which <b>box</b>?"


@contextmanager
def paused(reading, monkeypatch, *, before: str, times: int = 1):
    """Let the next questions stop before their first event of a kind, until the block ends.

    Yields a semaphore, released for each question that has stopped, and the event that lets
    all go on.
    """
    original, reached, on = reading.events, threading.Semaphore(0), threading.Event()
    left = [times]

    def events(*given, **options):
        stops = True
        for event in original(*given, **options):
            if stops and left[0] and type(event).__name__ == before:
                stops = False
                left[0] -= 1
                reached.release()
                assert on.wait(60)
            yield event

    monkeypatch.setattr(reading, "events", events)
    try:
        yield reached, on
    finally:
        on.set()
        monkeypatch.setattr(reading, "events", original)


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def heard(view, **message):
    """Return what the view answers to a message of the browser: an error, or nothing."""
    reply, _ = view._answered({"id": "a:1", "asks": [message]})
    return reply.get("error", "")
