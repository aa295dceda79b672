"""How fast this machine multiplies matrices and reads its memory, measured in about a second.

The rates are those of one large product and of one large matrix times a vector, the best of
several, so a model that does much else besides gets less. No network, no disk.
"""

import time
from collections.abc import Callable

from longctx_edu.cost import Hardware
from longctx_edu.evaluation.machine import machine, total_memory

SIDE = 1024  # of the matrices that are multiplied
ROWS = 8192  # of the matrix that is read: with SIDE * 4 columns of float32, 128 MiB
SECONDS = 0.25  # for each rate


def measure_machine() -> Hardware:
    """Measure this machine's rates with PyTorch, on as many threads as PyTorch uses now.

    Returns:
        ``Hardware`` named "this machine": FLOP/s of a product of two matrices of 1024 x 1024
        in float32 and in bfloat16, bytes/s of reading a matrix of 128 MiB once for a product
        with a vector, and the bytes of memory that the machine has.
    """
    import torch

    rates = {}
    for arithmetic, dtype in (("float32", torch.float32), ("16-bit", torch.bfloat16)):
        matrix = torch.ones(SIDE, SIDE, dtype=dtype)
        rates[arithmetic] = 2 * SIDE**3 / _best_seconds(lambda matrix=matrix: matrix @ matrix)
    large, vector = torch.ones(ROWS, 4 * SIDE), torch.ones(4 * SIDE)
    read = large.nbytes / _best_seconds(lambda: large @ vector)
    threads = torch.get_num_threads()
    source = f"measured on {threads} thread{'s' * (threads != 1)} of {machine()['cpu']}"
    return Hardware("this machine", rates, read, total_memory(), source)


def _best_seconds(work: Callable[[], object]) -> float:
    work()  # the first time PyTorch prepares
    best, end = float("inf"), time.perf_counter() + SECONDS
    for n in range(1000):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
        if n >= 2 and time.perf_counter() > end:
            break
    return best
