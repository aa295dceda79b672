"""Scaled dot-product attention: the definition in loops, and the same as matrix products.

Vaswani et al. 2017, section 3.2.1; grouped queries as in Ainslie et al. 2023; the
log-sum-exp of a row as in Dao 2023, section 3.1. For reading and checking:
``torch.nn.functional.scaled_dot_product_attention`` does the same without the matrix.
"""

import math

import torch


def scaled_dot_product(
    query, key, value, *, causal: bool = True, scale=None, bias=None, return_lse=False
):
    """Return ``softmax(scale · Q Kᵀ) V``, with the whole matrix of weights in memory.

    Args:
        query: ``(..., heads, queries, head_dim)``.
        key, value: ``(..., kv_heads, keys, head_dim)``; each serves ``heads / kv_heads`` query
            heads in a row. Without head dimensions, ``(tokens, head_dim)``, one head.
        causal: whether a query sees no later keys. The queries are the last tokens of the text
            (so query i of n sees key j if ``j ≤ keys - n + i``).
        scale: factor of the scores; ``1 / √head_dim`` if left out.
        bias: ``(queries, keys)``, added to the scores of every head; minus infinity hides a key.
        return_lse: whether to return the log-sum-exp of each row's scores too,
            ``(..., heads, queries)``. With it ``exp(score - lse)`` is a weight, and two parts of
            one row can be joined.

    Raises:
        ValueError: if heads are not a multiple of KV heads, or a causal query has no key.
    """
    queries, keys = query.shape[-2], key.shape[-2]
    check_causal(queries, keys, causal)
    key, value = (one_for_each_head(x, query) for x in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = query @ key.mT * scale  # (..., heads, queries, keys)
    if bias is not None:
        scores = scores + bias
    if causal:
        later = torch.ones(queries, keys, dtype=torch.bool, device=query.device)
        scores = scores.masked_fill(later.triu(keys - queries + 1), -torch.inf)
    output = scores.softmax(-1) @ value
    return (output, scores.logsumexp(-1)) if return_lse else output


def scaled_dot_product_in_loops(query, key, value, *, causal: bool = True, scale=None):
    """Return the same for one head, ``(tokens, head_dim)``, one number at a time, as a list.

    For each query: its score with every visible key, the exponentials, their sum, and the mean
    of the values with these weights. Slow, and plain to read.
    """
    check_causal(len(query), len(key), causal)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    q, k, v = (x.tolist() for x in (query, key, value))
    output = []
    for i in range(len(q)):
        visible = range(len(k) - len(q) + i + 1) if causal else range(len(k))
        scores = [scale * sum(a * b for a, b in zip(q[i], k[j], strict=True)) for j in visible]
        largest = max(scores)  # taken off, so that no exponential overflows
        weights = [math.exp(score - largest) for score in scores]
        total = sum(weights)
        columns = range(len(v[0]))
        output.append([sum(weights[j] * v[j][d] for j in visible) / total for d in columns])
    return output


def one_for_each_head(x, query):
    """Repeat keys or values so that each query head has its own.

    Raises:
        ValueError: if heads are not a multiple of KV heads.
    """
    if x.ndim < 3 or x.shape[-3] == query.shape[-3]:
        return x
    heads, kv_heads = query.shape[-3], x.shape[-3]
    if heads % kv_heads:
        raise ValueError(f"{heads} query heads cannot be shared out among {kv_heads} KV heads.")
    return x.repeat_interleave(heads // kv_heads, dim=-3)


def check_causal(queries: int, keys: int, causal: bool) -> None:
    """Raise a ValueError if a causal query would see no key."""
    if causal and queries > keys:
        raise ValueError(
            f"{queries} queries are the last of {keys} tokens, so the first ones would see "
            "nothing; give as many keys as queries, or causal=False."
        )
