"""What it takes to answer many people: GPU-seconds of a question, and GPUs for all of them.

Two bounds of the roofline put together, for reading (arithmetic) and for writing (bytes), as in
Pope et al. 2022, section 2, with ranges for what is guessed. Networks between GPUs, failures and
idle nights are left out; so is every price.
"""

import math
from dataclasses import dataclass

from longctx_edu.cost.estimates import Estimate
from longctx_edu.cost.hardware import Hardware

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Range:
    """A positive number that is known to lie between two others; products keep the bounds.

    >>> Range(2, 3) * Range(10, 20) / Range(0.5, 1)
    Range(low=20.0, high=120.0)
    """

    low: float
    high: float

    def __post_init__(self):
        if not 0 <= self.low <= self.high:
            raise ValueError(f"A range goes from 0 <= low to high, got {self.low} to {self.high}.")

    @classmethod
    def of(cls, number: "Range | float") -> "Range":
        """Return a range as it is, and a plain number as the range that holds it alone."""
        return number if isinstance(number, Range) else cls(number, number)

    def __add__(self, other: "Range | float") -> "Range":
        other = Range.of(other)
        return Range(self.low + other.low, self.high + other.high)

    def __mul__(self, other: "Range | float") -> "Range":
        other = Range.of(other)
        return Range(self.low * other.low, self.high * other.high)

    def __truediv__(self, other: "Range | float") -> "Range":
        other = Range.of(other)
        if other.low <= 0:
            raise ValueError(f"Nothing is divided by a range that holds 0, as {other} does.")
        return Range(self.low / other.high, self.high / other.low)


@dataclass(frozen=True)
class QuestionCost:
    """What one question about a long text takes.

    Attributes:
        gpus: that hold the weights and one text's cache together, at the least.
        together: texts whose caches these hold at the same time; they share each reading of the
            weights.
        reading: GPU-seconds to read the text.
        writing: GPU-seconds to write the answer.
    """

    gpus: int
    together: int
    reading: Range
    writing: Range

    @property
    def seconds(self) -> Range:
        """GPU-seconds of both."""
        return self.reading + self.writing


def question_cost(
    estimate: Estimate,
    hardware: Hardware,
    *,
    written: int,
    efficiency: Range | float,
    read_anew: Range | float = 1.0,
) -> QuestionCost:
    """Return what it takes to read a text and to write an answer of ``written`` tokens.

    Args:
        estimate: of the text's length, see ``cost.estimate``.
        hardware: of each GPU.
        written: tokens of the answer; the few that they add to the cache are left out.
        efficiency: share of the published rates that is reached, above 0 to 1.
        read_anew: share of the text's reading that is not found in a cache, 0 to 1.

    Raises:
        ValueError: for a share out of its range, or a text of no tokens.
    """
    efficiency, read_anew = Range.of(efficiency), Range.of(read_anew)
    if not 0 < efficiency.low <= efficiency.high <= 1 or read_anew.high > 1:
        raise ValueError(
            f"Shares are at most 1, and efficiency is above 0; got {efficiency} and {read_anew}."
        )
    if estimate.cache_bytes <= 0 or written < 0:
        raise ValueError("A question needs a text of 1 token or more, and an answer of 0 or more.")
    needed = estimate.weight_bytes + estimate.cache_bytes
    gpus = math.ceil(needed / hardware.memory_bytes)
    together = int((gpus * hardware.memory_bytes - estimate.weight_bytes) // estimate.cache_bytes)
    arithmetic = estimate.precision.arithmetic
    reading = hardware.arithmetic_seconds(estimate.prefill.total, arithmetic=arithmetic)
    weights = estimate.moved_bytes - estimate.cache_bytes
    own = weights / together + estimate.cache_bytes
    step = max(
        own / hardware.bytes_per_second,
        hardware.arithmetic_seconds(estimate.decode.total, arithmetic=arithmetic),
    )
    return QuestionCost(
        gpus,
        together,
        Range.of(reading) * read_anew / efficiency,
        Range.of(step * written) / efficiency,
    )


def gpus_for(
    seconds: Range | float,
    *,
    users: Range | float,
    questions_a_day: Range | float,
    busiest: Range | float,
) -> Range:
    """Return the GPUs that are busy in the busiest hour.

    Args:
        seconds: GPU-seconds of a question.
        users: people.
        questions_a_day: of each of them, on average.
        busiest: questions in the busiest hour, as a multiple of those in an average hour.
    """
    a_second = Range.of(users) * questions_a_day / SECONDS_A_DAY
    return Range.of(seconds) * a_second * busiest
