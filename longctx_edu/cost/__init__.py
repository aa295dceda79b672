"""What reading and writing cost: operations and bytes, counted by formula.

Everything here is arithmetic on plain numbers: no model is loaded, no torch imported.
"""

from longctx_edu.cost.architecture import Architecture
from longctx_edu.cost.counts import (
    attention_flops,
    crossover_tokens,
    decode_bytes,
    decode_flops,
    kv_cache_bytes,
    kv_cache_bytes_per_token,
    linear_attention,
    linear_flops,
    lm_head_flops,
    prefill_flops,
    quadratic_attention,
    weight_bytes,
)

__all__ = [
    "Architecture",
    "attention_flops",
    "crossover_tokens",
    "decode_bytes",
    "decode_flops",
    "kv_cache_bytes",
    "kv_cache_bytes_per_token",
    "linear_attention",
    "linear_flops",
    "lm_head_flops",
    "prefill_flops",
    "quadratic_attention",
    "weight_bytes",
]
