"""Linear attention: the softmax replaced by a product of features, the matrix by a state.

Katharopoulos et al. 2020, sections 3.2 to 3.4, with their feature map elu(x) + 1. Three
forms of one function: the definition with its matrix, the recurrence with its state, and
chunks, which are the quick one. Nothing here is trained; in place of a trained model's
softmax it would give other results.
"""

import torch
import torch.nn.functional as F

_CHUNK_TOKENS = 256


def feature_map(x):
    """Return φ(x) = elu(x) + 1: x + 1 above zero, exp(x) below; always positive.

    Written out, since elu(x) + 1 in floating point is 0 for any x below about -17.
    """
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())


def linear_attention(query, key, value, *, causal: bool = True, chunk_tokens: int = _CHUNK_TOKENS):
    """Return linear attention in time and memory that grow as the number of tokens.

    Row i is ``φ(qᵢ) Σⱼ φ(kⱼ) vⱼᵀ / φ(qᵢ) Σⱼ φ(kⱼ)``, the sums over all j, or over j ≤ i where
    ``causal``. The causal sums are carried from chunk to chunk as a state of ``head_dim²``
    numbers; within a chunk the small triangle of pairs is computed as it stands.

    Args:
        query: ``(..., queries, head_dim)``; where ``causal``, those of the last tokens.
        key: ``(..., tokens, head_dim)``.
        value: ``(..., tokens, value_dim)``.
        chunk_tokens: tokens of a chunk; changes the speed, not the result.

    Returns:
        ``(..., queries, value_dim)``.

    Raises:
        ValueError: for shapes that do not fit each other, or ``chunk_tokens`` below 1.
    """
    _check(query, key, value, causal=causal)
    if chunk_tokens < 1:
        raise ValueError(f"chunk_tokens must be at least 1, got {chunk_tokens}.")
    q, k, v = feature_map(query), feature_map(key), _with_ones(value)
    if not causal:
        return _divided(q @ (k.mT @ v))
    past = k.shape[-2] - q.shape[-2]
    state = k[..., :past, :].mT @ v[..., :past, :]  # Σ φ(k) vᵀ over all before the chunk
    k, v = k[..., past:, :], v[..., past:, :]
    chunks = zip(*(x.split(chunk_tokens, dim=-2) for x in (q, k, v)), strict=True)
    rows = []
    for q_chunk, k_chunk, v_chunk in chunks:
        triangle = (q_chunk @ k_chunk.mT).tril()
        rows.append(_divided(q_chunk @ state + triangle @ v_chunk))
        state = state + k_chunk.mT @ v_chunk
    return torch.cat(rows, dim=-2)


def linear_attention_quadratic(query, key, value, *, causal: bool = True):
    """Return linear attention by its definition, with the matrix of all pairs (equation 4).

    The weight of key j in row i is ``φ(qᵢ)·φ(kⱼ)``, divided by the row's sum. Shapes and errors
    as for ``linear_attention``; time and memory grow as the square of the tokens.
    """
    _check(query, key, value, causal=causal)
    weights = feature_map(query) @ feature_map(key).mT  # (..., queries, keys)
    if causal:
        weights = weights.tril(key.shape[-2] - query.shape[-2])
    return (weights / weights.sum(-1, keepdim=True)) @ value


def linear_attention_recurrent(query, key, value):
    """Return causal linear attention token by token, as a recurrent network (section 3.4).

    The state ``S = Σ φ(k) vᵀ`` and the normaliser ``z = Σ φ(k)`` are all that is kept of the
    past (equations 18 to 20): they do not grow. Shapes and errors as for ``linear_attention``.
    """
    _check(query, key, value, causal=True)
    q, k = feature_map(query), feature_map(key)
    S = k.new_zeros(*k.shape[:-2], k.shape[-1], value.shape[-1])  # (..., head_dim, value_dim)
    z = k.new_zeros(*k.shape[:-2], k.shape[-1])  # (..., head_dim)
    past, rows = k.shape[-2] - q.shape[-2], []
    for i in range(k.shape[-2]):
        S = S + k[..., i, :, None] * value[..., i, None, :]
        z = z + k[..., i, :]
        if i >= past:
            own = q[..., i - past, :]
            numerator = (own[..., None, :] @ S).squeeze(-2)
            rows.append(numerator / (own * z).sum(-1, keepdim=True))
    return torch.stack(rows, dim=-2) if rows else torch.empty_like(value)


def _with_ones(value):
    """Append a column of ones, whose weighted sum is the normaliser."""
    return F.pad(value, (0, 1), value=1.0)


def _divided(sums):
    """Divide the weighted sums of the values by that of the ones."""
    return sums[..., :-1] / sums[..., -1:]


def _check(query, key, value, *, causal: bool) -> None:
    if query.shape[-1] != key.shape[-1] or key.shape[:-1] != value.shape[:-1]:
        raise ValueError(
            "query and key need one head_dim, and key and value one number of tokens; got "
            f"{tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}."
        )
    same_texts = query.shape[:-2] == key.shape[:-2]
    if causal and not (same_texts and query.shape[-2] <= key.shape[-2]):
        raise ValueError(
            "Causal linear attention takes the queries of the last tokens, no more than keys, got "
            f"{tuple(query.shape)} and {tuple(key.shape)}; give causal=False for a rectangle."
        )
