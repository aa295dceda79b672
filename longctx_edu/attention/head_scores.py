"""Names for what heads do: how much of a head's attention follows a pattern that is known.

A sink is the first token, on which heads park what they do not need (Xiao et al. 2023, section
3.1); an induction head looks at what followed when the present token came up before (Olsson
et al. 2022). A score is a share of attention, no proof of what the head is for.
"""

from collections.abc import Sequence

import torch

from longctx_edu.attention.record import AttentionRecord

_CELLS = 48 * 8192
_FEWEST_ROWS = 32

PATTERNS = ("sink", "previous token", "itself", "induction", "spread")
"""The names of the scores."""


def head_scores(
    record: AttentionRecord, *, ids: Sequence[int] | None = None, rows: int | None = None
) -> dict[str, torch.Tensor]:
    """Return how far each head follows each of some patterns, as a mean over queries.

    "sink", "previous token" and "itself" are the weights on the first token, on the token before
    the query, and on the query's own. "induction" is the weight on all tokens that came right
    after an earlier occurrence of the query's token; a query whose token is new has no say, and
    if all are, or ``ids`` are not known, the score is NaN. "spread" is the entropy in bits: as
    if ``2 ** spread`` tokens were looked at alike. The first token, which has none before it, is
    never a query here; and where a window hides a token, its weight is 0. A memory that was
    attended to holds no sink, but what was found there counts in "induction" and "spread".

    Args:
        ids: token ids of the text, one for each column; those of the record if left out.
        rows: so many evenly spaced queries are looked at, the last one among them. By default
            all of a text of up to 627 tokens, and fewer of a longer one, 48 of 8,192: as many
            weights in each head as that makes.

    Returns:
        for each name of ``PATTERNS`` float32, ``(layers, heads)``, layers as in ``record.layers``;
        from 0 to 1, "spread" from 0.

    Raises:
        ValueError: for ids of another text, or no query but the first token.
    """
    ids = record.ids if ids is None else ids
    if ids is not None and len(ids) != record.tokens:
        raise ValueError(
            f"The record has {record.tokens} columns and there are {len(ids)} ids; give the id of "
            "every token of the text."
        )
    if rows is not None and rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}.")
    chosen = _queries(record, rows or max(_FEWEST_ROWS, _CELLS // record.tokens))
    sink = record.memory_columns  # the first token of the text
    followers = None if ids is None else followers_of(torch.as_tensor(ids), chosen)
    scores = [
        [
            _scores(record.weights(layer, head, chosen), chosen, followers, sink=sink)
            for head in range(record.heads)
        ]
        for layer in record.layers
    ]
    return dict(zip(PATTERNS, torch.tensor(scores).permute(2, 0, 1), strict=True))


def followers_of(ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return where a token stands that came right after an earlier one like the query's.

    In "a b c a", the query at the second "a" has one follower, "b". A query does not follow
    itself: in "a a" there is none.

    Args:
        ids: ``(tokens,)``.
        rows: positions of the queries, ``(rows,)``.

    Returns:
        1 or 0, ``(rows, tokens)``.
    """
    columns = torch.arange(len(ids))
    follows = torch.zeros(len(rows), len(ids), dtype=torch.bool)
    follows[:, 1:] = ids[rows][:, None] == ids[:-1]
    return (follows & (columns < rows[:, None])).float()


def _queries(record: AttentionRecord, count: int) -> torch.Tensor:
    """Return evenly spaced rows that see more than themselves, the last one among them."""
    later = range(max(record.start, record.memory_columns + 1), record.tokens)
    if not later:
        raise ValueError(
            "The record has no query that sees a token before itself; capture a longer text."
        )
    return torch.linspace(later[-1], later[0], min(count, len(later))).round().long().flip(0)


def _scores(weights, rows, followers, *, sink: int) -> tuple[float, ...]:
    """Return one head's scores from its weights, ``(rows, tokens)``, in the order of the names."""
    number = torch.arange(len(rows))
    previous, own = weights[number, rows - 1], weights[number, rows]
    induction = torch.tensor(torch.nan)
    if followers is not None:
        again = followers.any(-1)
        induction = torch.linalg.vecdot(weights, followers)[again].mean()
    bits = weights.clamp_min(torch.finfo(weights.dtype).tiny).log2_()
    spread = -torch.linalg.vecdot(weights, bits).mean()
    each = (weights[:, sink].mean(), previous.mean(), own.mean(), induction, spread)
    return tuple(map(float, each))
