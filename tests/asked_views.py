"""What the tests of views that can be asked share: documents, runs stopped halfway, pictures."""

import threading
import time
from contextlib import contextmanager

from longctx_edu.text import Document

DOCUMENTS = [
    Document("a.txt", "🙂 The <img src=x onerror=alert(1)> lamp is lit. " * 6),
    Document("b.txt", "Box 7 holds $a$ letter & no $key$. 中 The ferry leaves at nine. " * 6),
]
QUESTION = "Which <b>box</b>?"
HARD_WORDS = ["W" * 60, "中文🙂", "$x^2$ $", "<b>", "a\n\nb", "the ferry leaves at nine " * 9]


def hard_text(parts):
    """Return a text that is hard to set, and the spans of as many equal parts of it."""
    words = HARD_WORDS
    text = "".join(f"{n} {words[n % 6]} {words[(n + 1) % 6]}. " for n in range(parts))
    return text, spans(text, parts)


def spans(text, parts):
    size = len(text) // parts
    return [{"start": n * size, "end": (n + 1) * size} for n in range(parts)]


def assert_apart(figure, boxes, *, across=0, down=2):
    """No box leaves the figure, and no two overlap by more pixels in both directions."""
    width, height = figure.canvas.get_width_height()
    for n, one in enumerate(boxes):
        assert one.x0 >= -1
        assert one.x1 <= width + 1
        assert one.y0 >= -1
        assert one.y1 <= height + 1
        for other in boxes[:n]:
            wide = min(one.x1, other.x1) - max(one.x0, other.x0)
            high = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert wide <= across or high <= down


@contextmanager
def unchanged(view):
    """Nothing in the block changes a trait of the view."""
    before = view.get_state()
    yield
    assert view.get_state() == before


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
