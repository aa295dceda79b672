"""All costs of reading a text with one model, and the least time of it on some hardware.

It only puts the counts of ``cost.counts`` together. Times are bounds from below (see
``cost.hardware``), for one text at a time.
"""

from dataclasses import dataclass

from longctx_edu.cost.architecture import Architecture
from longctx_edu.cost.counts import (
    attention_flops,
    decode_bytes,
    kv_cache_bytes,
    linear_flops,
    lm_head_flops,
    weight_bytes,
)
from longctx_edu.cost.hardware import Hardware, Precision


@dataclass(frozen=True)
class Flops:
    """FLOPs by what they are spent on."""

    linear: int
    attention: int
    lm_head: int

    @property
    def total(self) -> int:
        return self.linear + self.attention + self.lm_head


@dataclass(frozen=True)
class Bounds:
    """What hardware cannot be faster than, and whether it can do it at all.

    Attributes:
        prefill: least seconds to read the text.
        decode: least seconds to write one token after it.
        prefill_limit: ``"arithmetic"`` or ``"memory"``: which of them the reading waits for.
        decode_limit: the same for the writing.
        holds: whether weights and cache fit into its memory.
    """

    prefill: float
    decode: float
    prefill_limit: str
    decode_limit: str
    holds: bool


@dataclass(frozen=True)
class Estimate:
    """What it costs to read ``tokens`` tokens, and to write one after them.

    Attributes:
        tokens: of the text.
        precision: in which numbers are kept and multiplied.
        prefill: FLOPs of reading the text, with scores for the next token only.
        decode: FLOPs of feeding one token back after it.
        weight_bytes: of all weights.
        cache_bytes: of the KV cache of the text.
        moved_bytes: that reading the text or writing one token moves at the least.
    """

    tokens: int
    precision: Precision
    prefill: Flops
    decode: Flops
    weight_bytes: float
    cache_bytes: float
    moved_bytes: float

    def on(self, hardware: Hardware) -> Bounds:
        """Return the bounds from below on some hardware."""
        arithmetic = self.precision.arithmetic
        seconds, limits = [], []
        for flops in (self.prefill.total, self.decode.total):
            seconds.append(
                hardware.least_seconds(
                    flops=flops, moved_bytes=self.moved_bytes, arithmetic=arithmetic
                )
            )
            computing = hardware.arithmetic_seconds(flops, arithmetic=arithmetic)
            limits.append("arithmetic" if computing == seconds[-1] else "memory")
        holds = self.weight_bytes + self.cache_bytes <= hardware.memory_bytes
        return Bounds(*seconds, *limits, holds)


def estimate(architecture: Architecture, tokens: int, precision: Precision) -> Estimate:
    """Return all costs of reading ``tokens`` tokens with a decoder of this shape.

    Raises:
        ValueError: if ``tokens`` is negative.
    """
    weight, cache = precision.weight_bytes, precision.cache_bytes
    return Estimate(
        tokens=tokens,
        precision=precision,
        prefill=_flops(architecture, tokens, past=0),
        decode=_flops(architecture, 1, past=tokens),
        weight_bytes=weight_bytes(architecture, bytes_per_number=weight),
        cache_bytes=kv_cache_bytes(architecture, tokens, bytes_per_number=cache),
        moved_bytes=decode_bytes(
            architecture, tokens, bytes_per_number=weight, cache_bytes_per_number=cache
        ),
    )


def _flops(architecture: Architecture, tokens: int, *, past: int) -> Flops:
    return Flops(
        linear=linear_flops(architecture, tokens),
        attention=attention_flops(architecture, tokens, past=past),
        lm_head=lm_head_flops(architecture),
    )
