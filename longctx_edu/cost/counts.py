"""Floating-point operations (FLOPs) and bytes of a decoder, as functions of length.

A multiplication and an addition count as one each, as in Kaplan et al. 2020, section
2.1; softmax, norms and activations are left out. Attention is
causal: a token is paired with itself and those before it. No time is measured here.
"""

import math

from longctx_edu.cost.architecture import Architecture


def quadratic_attention(
    seq_len: int, *, head_dim: int = 64, heads: int = 1, causal: bool = False
) -> int:
    """Return the FLOPs of softmax attention over ``seq_len`` tokens: they grow as its square.

    Each pair of a query and a key costs ``2 head_dim`` for the score and as much again for
    the value's part of the sum: ``4 · heads · head_dim · pairs``. There are ``seq_len²`` pairs,
    or ``seq_len (seq_len + 1) / 2`` where a token sees no later ones (Vaswani et al. 2017,
    table 1).
    """
    _check_tokens(seq_len=seq_len)
    pairs = _causal_pairs(seq_len, 0, None) if causal else seq_len**2
    return 4 * heads * head_dim * pairs


def linear_attention(seq_len: int, *, head_dim: int = 64, heads: int = 1) -> int:
    """Return the FLOPs of linear attention over ``seq_len`` tokens: they grow as its length.

    A token adds the outer product of key and value to a state of ``head_dim²`` numbers and
    reads the state with its query, ``2 head_dim²`` each; the normaliser is a sum of keys,
    a dot product and a division, ``4 head_dim`` together: ``heads · seq_len · 4 head_dim
    (head_dim + 1)``, causal or not (Katharopoulos et al. 2020, sections 3.2 and 3.3). So the
    two kinds of attention cost the same at about ``seq_len = head_dim``, and at twice that
    where the quadratic one counts visible pairs alone.
    """
    _check_tokens(seq_len=seq_len)
    return heads * seq_len * 4 * head_dim * (head_dim + 1)


def linear_flops(architecture: Architecture, tokens: int = 1) -> int:
    """Return the FLOPs of all layers' matrices: ``2 · weights of the layers · tokens``.

    They do not depend on how long the text before is.
    """
    _check_tokens(tokens=tokens)
    return 2 * architecture.layers * architecture.layer_weights * tokens


def attention_flops(architecture: Architecture, tokens: int = 1, *, past: int = 0) -> int:
    """Return the FLOPs of scores and weighted sums for ``tokens`` new tokens after ``past``.

    In a full layer the new tokens have ``tokens · past + tokens (tokens + 1) / 2`` pairs with
    themselves and what came before; a layer with a window of ``w`` has at most ``w`` for each.
    A pair costs ``4 · heads · head_dim``. Sharing keys among heads saves bytes, not FLOPs.
    """
    _check_tokens(tokens=tokens, past=past)
    windows = architecture.windows
    pairs = sum(
        windows.count(window) * _causal_pairs(tokens, past, window) for window in set(windows)
    )
    return 4 * architecture.heads * architecture.head_dim * pairs


def lm_head_flops(architecture: Architecture, rows: int = 1) -> int:
    """Return the FLOPs of the next token's scores, ``2 · hidden · vocabulary`` for each row."""
    _check_tokens(rows=rows)
    return 2 * architecture.hidden * architecture.vocabulary * rows


def prefill_flops(
    architecture: Architecture, tokens: int, *, past: int = 0, logit_rows: int = 1
) -> int:
    """Return the FLOPs of reading ``tokens`` tokens after ``past`` that are in the cache.

    ``linear_flops + attention_flops + lm_head_flops``; the head is needed for the last row
    only, to write on, and for all rows to score the text.
    """
    return (
        linear_flops(architecture, tokens)
        + attention_flops(architecture, tokens, past=past)
        + lm_head_flops(architecture, logit_rows)
    )


def decode_flops(architecture: Architecture, context: int) -> int:
    """Return the FLOPs of feeding one token back after ``context`` tokens in the cache."""
    return prefill_flops(architecture, 1, past=context)


def weight_bytes(architecture: Architecture, *, bytes_per_number: float = 4) -> int | float:
    """Return the bytes of all matrices, ``weights · bytes_per_number`` (4 for float32)."""
    return architecture.weights * bytes_per_number


def kv_cache_bytes_per_token(
    architecture: Architecture, *, bytes_per_number: float = 4
) -> int | float:
    """Return the bytes that one token adds to the cache while no window is full.

    A key and a value for each KV head and layer: ``2 · layers · kv_heads · head_dim ·
    bytes_per_number``.
    """
    return kv_cache_bytes(architecture, 1, bytes_per_number=bytes_per_number)


def kv_cache_bytes(
    architecture: Architecture, tokens: int, *, bytes_per_number: float = 4
) -> int | float:
    """Return the bytes of the cache of ``tokens`` tokens; a layer with a window keeps no more."""
    _check_tokens(tokens=tokens)
    windows = architecture.windows
    kept = sum(
        windows.count(window) * (tokens if window is None else min(tokens, window))
        for window in set(windows)
    )
    return 2 * kept * architecture.kv_heads * architecture.head_dim * bytes_per_number


def decode_bytes(
    architecture: Architecture,
    context: int,
    *,
    bytes_per_number: float = 4,
    cache_bytes_per_number: float | None = None,
) -> int | float:
    """Return the bytes that one decode step has to read: the layers, the head, and the cache.

    Writing one token reads every matrix once for two FLOPs a number, so on most machines
    memory and not arithmetic sets its speed. Of an untied embedding one row is read, which
    is left out. Reading ``context`` tokens at once moves no fewer: every matrix is read,
    and the cache is written.

    Args:
        architecture: of the decoder.
        context: tokens in the cache.
        bytes_per_number: of a weight.
        cache_bytes_per_number: of a number in the cache; left out, that of a weight.
    """
    matrices = architecture.layers * architecture.layer_weights
    head = architecture.hidden * architecture.vocabulary
    cached = bytes_per_number if cache_bytes_per_number is None else cache_bytes_per_number
    cache = kv_cache_bytes(architecture, context, bytes_per_number=cached)
    return (matrices + head) * bytes_per_number + cache


def crossover_tokens(architecture: Architecture) -> int | float:
    """Return the length from which on prefill spends more FLOPs on attention than on matrices.

    Without windows ``2 · layer_weights · n = 4 · heads · head_dim · n (n + 1) / 2`` gives
    ``n = layer_weights / (heads · head_dim) - 1``. A decode step gets there at half that
    context, for it sees all of it where a prefill's tokens see half on average. Infinity if
    windows keep attention below the matrices at any length.
    """

    def attention_leads(tokens: int) -> bool:
        return attention_flops(architecture, tokens) >= linear_flops(architecture, tokens)

    high = 1
    while not attention_leads(high):
        if high > 2**40:
            return math.inf
        high *= 2
    low = high // 2  # attention leads at high, not at low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if attention_leads(middle) else (middle, high)
    return high


def _causal_pairs(tokens: int, past: int, window: int | None) -> int:
    """Count the pairs of ``tokens`` new tokens with themselves and all before, up to a window."""

    def whole_triangle(length: int) -> int:  # pairs of the first `length` tokens of a text
        full = length if window is None else min(length, window)
        return full * (full + 1) // 2 + (length - full) * full

    return whole_triangle(past + tokens) - whole_triangle(past)


def _check_tokens(**counts: int) -> None:
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"{name} must be 0 or more, got {count}.")
