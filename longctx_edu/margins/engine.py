"""Margins on a text that has been read once: one after another, or all in one batch.

The cache at the end of segment i is a prefix of the whole cache, since attention
is causal. So a margin is written on a branch cut at the segment's end, and the
branch is dropped: the document is read once and its cache never changes (Russak
et al. 2024, section 3 and algorithm 1). For the same reason all margins can be
written at once, each after its own prefix of the shared cache.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from longctx_edu.events import Progress
from longctx_edu.inference import Context, Continuations, Ledger


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
    """Write a margin at each boundary, one after another; yield it when it is done.

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
        yield _margin(number, ids, log_probabilities, ends, branch.ledger)


def write_margins_together(
    context: Context, ends: Sequence[int], request_ids: Sequence[int], *, max_tokens: int
) -> Iterator[Margin | Progress]:
    """Write all margins as one batch over the context's cache; yield each when it is done.

    The margins are those of ``write_margins``, except where the model's two best
    tokens are as good as equal. The one that ends first comes first. Between two tokens
    comes a ``Progress``, so that the work can be stopped there.

    Args:
        context: what has been read, at least to the end of the last segment.
        ends: for each segment, the tokens of the context up to its end.
        request_ids, max_tokens: as for ``write_margins``.

    Raises:
        CacheError: for a model whose cache drops old tokens.
    """
    rows = Continuations(context, ends, reserve=len(request_ids) + max_tokens)
    yield Progress("noting", 0, max_tokens)
    rows.prefill(request_ids)
    end_ids = context.language_model.end_ids
    written = {row: [] for row in rows.rows}
    for number, step in enumerate(rows.decode(max_new_tokens=max_tokens), 1):
        yield Progress("noting", number, max_tokens)
        for token in step:
            tokens = written[token.row]
            tokens.append(token)
            if token.id in end_ids or len(tokens) == max_tokens:
                logs = [one.log_probability for one in tokens]
                ids = [one.id for one in tokens]
                yield _margin(token.row, ids, logs, end_ids, rows.ledger(token.row))


def _margin(segment: int, ids, log_probabilities, end_ids, ledger: Ledger) -> Margin:
    words = tuple(token_id for token_id in ids if token_id not in end_ids)
    return Margin(segment, words, math.exp(statistics.fmean(log_probabilities)), ledger)
