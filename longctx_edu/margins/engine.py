"""Margins, one after another, on a text that has been read once.

The cache at the end of segment i is a prefix of the whole cache, since attention
is causal. So a margin is written on a branch cut at the segment's end, and the
branch is dropped: the document is read once and its cache never changes (Russak
et al. 2024, section 3 and algorithm 1).
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from longctx_edu.inference import Context, Ledger


@dataclass(frozen=True)
class Margin:
    """A note on one segment, and what it cost.

    ``segment`` counts from 0; ``ids`` are the note's tokens, the end token left out;
    ``confidence`` is the geometric mean of the probabilities of all its tokens.
    """

    segment: int
    ids: tuple[int, ...]
    confidence: float
    ledger: Ledger


def write_margins(
    boundaries: Sequence[Context], request_ids: Sequence[int], *, max_tokens: int
) -> Iterator[Margin]:
    """Write a margin at each boundary; yield it when it is done.

    Args:
        boundaries: for each segment, the context of all text up to its end.
        request_ids: the tokens of the extraction request and the assistant's header.
        max_tokens: the longest margin.
    """
    for number, boundary in enumerate(boundaries):
        with boundary.branch() as branch:
            for _ in branch.prefill(request_ids):
                pass
            ids, log_probabilities = [], []
            for token_id in branch.decode(max_new_tokens=max_tokens):
                ids.append(token_id)
                log_probabilities.append(branch.log_probability(token_id))
        ends = boundary.language_model.end_ids
        words = tuple(token_id for token_id in ids if token_id not in ends)
        confidence = math.exp(statistics.fmean(log_probabilities))
        yield Margin(number, words, confidence, branch.ledger)
