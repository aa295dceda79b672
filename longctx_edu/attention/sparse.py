"""Top-k attention: each query keeps the k keys that it scores highest, and no others.

Left-out keys get minus infinity before the softmax, so that their weight is 0 and the k kept
ones add up to 1 (Gupta et al. 2021, section 3). To know the best, every pair must be scored, so
that half of the work at most is saved. Rules that skip the scores too are in ``patterns``.
"""

import math

import torch
import torch.nn.functional as F

from longctx_edu.attention.softmax import check_causal, one_for_each_head

FORMS = ("masked", "gather")
_ROWS = 256


def top_k_attention(query, key, value, *, k: int, causal: bool = True, scale=None, form="masked"):
    """Return softmax attention of each query over the ``k`` visible keys with the best scores.

    Later keys are hidden first, then the best are chosen, then the softmax is taken. Of equal
    scores the earlier key wins. A query that sees fewer than ``k`` keys keeps them all.

    Args:
        query: ``(..., heads, queries, head_dim)``.
        key, value: ``(..., kv_heads, keys, head_dim)``; each serves ``heads / kv_heads`` query
            heads in a row. Without head dimensions, ``(tokens, head_dim)``, one head.
        k: keys for each query of each head.
        causal: whether a query sees no later keys; the queries are the last tokens of the text.
        scale: factor of the scores; ``1 / √head_dim`` if left out.
        form: "masked", a matrix of weights with zeros times all values; or "gather", which
            touches the chosen values only. The results are equal.

    Returns:
        ``(..., heads, queries, head_dim)``.

    Raises:
        ValueError: for k below 1, an unknown form, heads that are no multiple of KV heads, or a
            causal query without a key.
    """
    if form not in FORMS:
        raise ValueError(f"form is one of {', '.join(FORMS)}, got {form!r}.")
    value = one_for_each_head(value, query)
    outputs = []
    # Some rows at a time: the matrix of a long text would be the largest thing in memory.
    for scores in _scores(query, key, k=k, causal=causal, scale=scale):
        best = _best(scores, k)
        if form == "masked":
            outputs.append(_only(scores, best).softmax(-1) @ value)
        else:
            outputs.append(_weighted_sums(value, best, scores.gather(-1, best).softmax(-1)))
    return torch.cat(outputs, dim=-2)


def top_k_weights(query, key, *, k: int, causal: bool = True, scale=None):
    """Return the matrix of weights itself, in each row ``k`` above 0 or as many as are visible.

    Arguments and errors as for ``top_k_attention``.

    Returns:
        ``(..., heads, queries, keys)``.
    """
    scores = _scores(query, key, k=k, causal=causal, scale=scale)
    return torch.cat([_only(rows, _best(rows, k)).softmax(-1) for rows in scores], dim=-2)


def top_k_attention_in_loops(query, key, value, *, k: int, causal: bool = True, scale=None):
    """Return the same for one head, ``(tokens, head_dim)``, one number at a time, as a list.

    For each query: its score with every visible key, the best k of them, and the mean of their
    values. The scores of all keys are needed, the values of k. Slow, and plain to read.
    """
    _check(len(query), len(key), k, causal)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    q, keys, v = (x.tolist() for x in (query, key, value))
    output = []
    for i in range(len(q)):
        visible = range(len(keys) - len(q) + i + 1) if causal else range(len(keys))
        scores = {
            j: scale * sum(a * b for a, b in zip(q[i], keys[j], strict=True)) for j in visible
        }
        best = sorted(visible, key=lambda j: -scores[j])[:k]  # a stable sort: earlier wins
        exponentials = {j: math.exp(scores[j] - scores[best[0]]) for j in best}
        total = sum(exponentials.values())
        columns = range(len(v[0]))
        output.append([sum(exponentials[j] * v[j][d] for j in best) / total for d in columns])
    return output


def sparse_attention(query, key, value, k: int = 10, *, causal: bool = True, scale=None):
    """Return ``top_k_attention`` in its gather form; shapes and errors are the same."""
    return top_k_attention(query, key, value, k=k, causal=causal, scale=scale, form="gather")


def _scores(query, key, *, k: int, causal: bool, scale):
    """Yield the scores of some queries after others, hidden keys at minus infinity."""
    queries, keys = query.shape[-2], key.shape[-2]
    _check(queries, keys, k, causal)
    key = one_for_each_head(key, query)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    columns = torch.arange(keys, device=query.device)
    for start in range(0, queries, _ROWS):
        rows = query[..., start : start + _ROWS, :]
        scores = rows * scale @ key.mT  # (..., heads, rows, keys)
        if causal:
            place = columns[keys - queries + start :][: rows.shape[-2], None]
            scores = scores.masked_fill(columns > place, -torch.inf)
        yield scores


def _best(scores, k: int):
    """Return the places of the k best of each row, of equal ones the earliest."""
    k = min(k, scores.shape[-1])
    best = scores.topk(k, dim=-1, sorted=True)
    # Which of several equal scores come in at the end is not the kernel's promise, so that rows
    # where the last place is shared are sorted. Hidden keys are equal too, but weigh nothing.
    last = best.values[..., -1:]
    shared = ((scores >= last).sum(-1) > k) & (last > -torch.inf).squeeze(-1)
    if shared.any():
        order = scores[shared].sort(dim=-1, descending=True, stable=True).indices
        best.indices[shared] = order[:, :k]
    return best.indices


def _only(scores, best):
    """Return the scores with minus infinity everywhere but at ``best``."""
    return torch.full_like(scores, -torch.inf).scatter(-1, best, scores.gather(-1, best))


def _weighted_sums(value, places, weights):
    """Return the sums of the values at ``places``, ``(..., queries, k)``, times their weights."""
    table = value.flatten(0, -2)  # the tokens of all heads, one after another
    heads = torch.arange(len(table) // value.shape[-2], device=value.device)
    own = places + (heads * value.shape[-2]).view(*value.shape[:-2], 1, 1)
    flat, weights = (x.flatten(0, -2) for x in (own, weights))
    # A bag of rows of a table, summed as they are read: nothing of the size k · head_dim is made.
    sums = F.embedding_bag(flat, table, per_sample_weights=weights, mode="sum")
    return sums.view(*places.shape[:-1], value.shape[-1])


def _check(queries: int, keys: int, k: int, causal: bool) -> None:
    check_causal(queries, keys, causal)
    if k < 1:
        raise ValueError(f"Each query keeps at least 1 key, got k={k}.")
