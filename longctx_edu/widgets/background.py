"""Answers worked out beside the kernel's own thread; of what one asker wants, the newest.

A kernel that computes while it hears messages keeps every other cell and view waiting. Here each
lane has a thread while there is something to do, urgent things go first, and what an asker no
longer waits for is left out. What is computed is for the view to say.
"""

import sys
import threading
from collections.abc import Callable


class Lane:
    """One thread's worth of answers.

    Args:
        answered: called in the thread with each message.
        urgency: of a message; the lowest goes first, and of equals the one that came first.
        name: of the thread.
        begin: called in the thread first, such as ``on_one_core``.
    """

    def __init__(
        self,
        answered: Callable,
        *,
        urgency: Callable = lambda _: 0,
        name: str = "lane",
        begin: Callable = lambda: None,
    ):
        self._answered, self._urgency, self._name, self._begin = answered, urgency, name, begin
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
        self._begin()
        while (message := self._next()) is not None:
            self._answered(message)

    def _next(self) -> dict | None:
        with self._turn:
            if not self._waiting:
                self._thread = None
                return None
            asker = min(self._waiting, key=lambda one: self._urgency(self._waiting[one]))
            return self._waiting.pop(asker)


def on_one_core() -> None:
    """Let torch compute on one core in this thread from now on; other threads keep theirs.

    Of many short operations each waits for its slowest core, which takes most of the time where
    a browser, or another lane, is at work on the same cores.
    """
    torch = sys.modules.get("torch")
    if torch is None:  # plain arrays need none
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    # This holds for this thread, but also for all that begin later, unless another takes it back.
    other = threading.Thread(target=torch.set_num_threads, args=(before,))
    other.start()
    other.join()
