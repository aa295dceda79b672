"""The token ledger: what a reading and an answer cost, in tokens."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ledger:
    """Tokens that a model worked on.

    The four numbers say what the work was. Of the decoded tokens, the last one
    of each run is never fed back into the cache: it is only read off.

    Attributes:
        reused: tokens found in a cache, read earlier.
        prefilled: tokens read now, many at a time.
        decoded: tokens written now, one at a time (the end token included).
        discarded: tokens taken off a cache again, or dropped together with it.
    """

    reused: int = 0
    prefilled: int = 0
    decoded: int = 0
    discarded: int = 0

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(
            self.reused + other.reused,
            self.prefilled + other.prefilled,
            self.decoded + other.decoded,
            self.discarded + other.discarded,
        )
