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
from longctx_edu.cost.estimates import Bounds, Estimate, Flops, estimate
from longctx_edu.cost.hardware import GPUS, PRECISIONS, Hardware, Precision
from longctx_edu.cost.known_models import EMBEDDED_MODEL, KNOWN_MODELS
from longctx_edu.cost.service import QuestionCost, Range, gpus_for, question_cost

__all__ = [
    "EMBEDDED_MODEL",
    "GPUS",
    "KNOWN_MODELS",
    "PRECISIONS",
    "Architecture",
    "Bounds",
    "Estimate",
    "Flops",
    "Hardware",
    "Precision",
    "QuestionCost",
    "Range",
    "attention_flops",
    "crossover_tokens",
    "decode_bytes",
    "decode_flops",
    "estimate",
    "gpus_for",
    "kv_cache_bytes",
    "kv_cache_bytes_per_token",
    "linear_attention",
    "linear_flops",
    "lm_head_flops",
    "prefill_flops",
    "quadratic_attention",
    "question_cost",
    "weight_bytes",
]
