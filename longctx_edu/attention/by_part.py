"""How attention is shared out over a text: mean weights, added up for its parts.

A mean over queries says where they look, as far as weights say it; it does not say what the
model makes of what it finds there. Positions and the softmax are the run's own: nothing is moved
or left out, the first token with its large weight included (Xiao et al. 2023, section 3.1).
"""

from collections.abc import Sequence

import torch

from longctx_edu.attention.record import AttentionRecord


def mean_weights(record: AttentionRecord, rows: range) -> torch.Tensor:
    """Return the mean weight that the queries ``rows`` give to each token, in every head.

    Returns:
        float32, ``(layers, heads, tokens)``; the last axis adds up to 1.

    Raises:
        ValueError: for rows that were not recorded.
    """
    columns = range(record.tokens)
    return torch.stack(
        [
            torch.stack(
                [record.tile(layer, head, rows, columns).mean(0) for head in range(record.heads)]
            )
            for layer in record.layers
        ]
    )


def mass_by_part(weights: torch.Tensor, parts: Sequence[range]) -> torch.Tensor:
    """Return the sum of the weights in each part of the text.

    Args:
        weights: ``(..., tokens)``.
        parts: token ranges; they may leave gaps.

    Returns:
        ``(..., parts)``.

    Raises:
        ValueError: for a part that reaches out of the text.
    """
    tokens = weights.shape[-1]
    for part in parts:
        if not 0 <= part.start <= part.stop <= tokens:
            raise ValueError(f"A part lies within the {tokens} tokens, got {part}.")
    return torch.stack([weights[..., part.start : part.stop].sum(-1) for part in parts], -1)


def equal_parts(tokens: range, count: int) -> list[range]:
    """Cut a range of tokens into ``count`` parts whose lengths differ by one at most.

    >>> equal_parts(range(5, 12), 3)
    [range(5, 7), range(7, 9), range(9, 12)]

    Raises:
        ValueError: for less than one part, or more parts than tokens.
    """
    if not 1 <= count <= len(tokens):
        raise ValueError(f"{len(tokens)} tokens make 1 to {len(tokens)} parts, not {count}.")
    bounds = [tokens.start + part * len(tokens) // count for part in range(count + 1)]
    return [range(a, b) for a, b in zip(bounds, bounds[1:], strict=False)]
