"""How the time of an operation grows with the length of its text: one exponent."""

import math
import statistics
import time
from collections.abc import Callable, Sequence

import torch


def time_slope(
    attend: Callable, lengths: Sequence[int], *, rounds: int, seed: int
) -> tuple[float, list[dict]]:
    """Return the slope of log time against log length, and the shortest seconds at each length.

    The lengths take turns, and each counts with its shortest time: other work on the machine
    only ever adds to it.

    Args:
        attend: takes query, key and value, ``(batch 1, 3 heads, tokens, 64)``.
        lengths: tokens, two lengths at least.
        rounds: how often each length has its turn.
        seed: seed of the numbers.

    Returns:
        the slope, and a row ``{tokens, seconds}`` for each length.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(3, 1, 3, tokens, 64, generator=generator) for tokens in lengths]
    seconds = [math.inf] * len(lengths)
    for _ in range(rounds):
        for place, (query, key, value) in enumerate(inputs):
            start = time.perf_counter()
            attend(query, key, value)
            seconds[place] = min(seconds[place], time.perf_counter() - start)
    logs = [[*map(math.log, values)] for values in (lengths, seconds)]
    rows = [{"tokens": n, "seconds": s} for n, s in zip(lengths, seconds, strict=True)]
    return statistics.linear_regression(*logs).slope, rows
