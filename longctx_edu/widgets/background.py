"""Answers worked out beside the kernel's own thread; of what one asker wants, the newest.

A kernel that computes while it hears messages keeps every other cell and view waiting. Here each
lane has a thread while there is something to do, urgent things go first, and what an asker no
longer waits for is left out. What is computed is for the view to say.
"""

import threading
from collections.abc import Callable


class Lane:
    """One thread's worth of answers.

    Args:
        answered: called in the thread with each message.
        urgency: of a message; the lowest goes first, and of equals the one that came first.
        name: of the thread.
    """

    def __init__(self, answered: Callable, *, urgency: Callable = lambda _: 0, name: str = "lane"):
        self._answered, self._urgency, self._name = answered, urgency, name
        self._waiting: dict[str, dict] = {}
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()

    def put(self, asker: str, message: dict) -> None:
        """Let a message be answered soon, in place of one of the same asker that still waits."""
        with self._turn:
            self._waiting[asker] = message
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Wait until everything is answered."""
        while (thread := self._thread) is not None:
            thread.join()

    def _run(self) -> None:
        while (message := self._next()) is not None:
            self._answered(message)

    def _next(self) -> dict | None:
        with self._turn:
            if not self._waiting:
                self._thread = None
                return None
            asker = min(self._waiting, key=lambda one: self._urgency(self._waiting[one]))
            return self._waiting.pop(asker)
