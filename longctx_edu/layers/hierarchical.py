"""A memory on two levels: a query chooses blocks by an upper bound, then keys in these.

For each block the least and the greatest of its keys' numbers are known, and so the most that
any key in it can score (Quest, Tang et al. 2024, section 3.2). The published models choose so
at inference; here layers of this kind and local ones take turns, and are trained.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from longctx_edu.layers.emt import EMT, EMTConfig, EMTLayer, Held, MemoryAttention, best


@dataclass(frozen=True, kw_only=True)
class HierarchicalConfig(EMTConfig):
    """The size of a model whose memory has two levels.

    Args:
        block_tokens: of a block of the memory.
        blocks: how many a query looks into.
    """

    block_tokens: int = 16
    blocks: int = 4

    def __post_init__(self):
        super().__post_init__()
        if self.block_tokens < 1 or self.blocks < 1:
            raise ValueError(
                f"block_tokens and blocks must be at least 1, got {self.block_tokens} and "
                f"{self.blocks}."
            )


class HierarchicalEMT(EMT):
    """A causal language model of local layers and of layers with a memory of two levels."""

    config: HierarchicalConfig

    def layer(self, number: int) -> nn.Module:
        if number in self.config.memory_layers:
            return BlockMemoryLayer(self.config)
        return super().layer(number)


class BlockMemoryLayer(EMTLayer):
    """A layer whose attention finds blocks of earlier segments first, then keys in them."""

    def memory_attention(self, config: HierarchicalConfig) -> nn.Module:
        return BlockMemoryAttention(config)


class BlockMemoryAttention(MemoryAttention):
    """Attention to the segment, and to the best keys of the best blocks of the memory."""

    def __init__(self, config: HierarchicalConfig):
        super().__init__(config)
        self.block_tokens, self.blocks = config.block_tokens, config.blocks

    def choose(self, query, held: Held):
        """Return which keys each query reads, True, ``(batch, heads, tokens, slots)``.

        All scores are worked out here and those of other blocks left aside, which is simple and
        quick for a small memory; ``scored_keys`` counts what a reader of blocks needs.
        """
        slots = held.key.shape[2]
        bounds = most_in_blocks(query, held, block_tokens=self.block_tokens)
        opened = best(bounds, self.blocks, hidden=bounds == -torch.inf)
        outside = ~opened.repeat_interleave(self.block_tokens, -1)[..., :slots]
        if held.empty is not None:
            outside = outside | held.empty[:, None, None]
        return best(query @ held.key.detach().mT, self.top_k, hidden=outside)

    def choose_in_loops(self, query, keys, slots: list[int]) -> list[int]:
        bounds = {}
        for start in range(0, len(keys), self.block_tokens):
            block = keys[[s for s in slots if start <= s < start + self.block_tokens]].tolist()
            if block:
                bounds[start // self.block_tokens] = sum(
                    max(q * min(column), q * max(column))
                    for q, column in zip(query.tolist(), zip(*block, strict=True), strict=True)
                )
        chosen = sorted(bounds, key=lambda block: -bounds[block])[: self.blocks]
        inside = [slot for slot in slots if slot // self.block_tokens in chosen]
        return super().choose_in_loops(query, keys, inside)

    def scored_keys(self, slots: int) -> int:
        """Return how many vectors a query is compared with: two for each block, and some keys."""
        blocks = -(-slots // self.block_tokens)
        return 2 * blocks + min(self.blocks * self.block_tokens, slots)


def most_in_blocks(query, held: Held, *, block_tokens: int):
    """Return the most that any key of each block can score, ``(batch, heads, tokens, blocks)``.

    A product of two vectors is at most the sum of the greater of ``q · least`` and
    ``q · greatest`` of each number. Minus infinity for blocks that hold nothing.

    Args:
        query: ``(batch, heads, tokens, head_dim)``.
        held: what the memory holds.
        block_tokens: slots of a block; the last one may have fewer.
    """
    least = _in_blocks(held, torch.inf, block_tokens).amin(3)  # (batch, heads, blocks, head_dim)
    greatest = _in_blocks(held, -torch.inf, block_tokens).amax(3)
    none = least[..., 0] == torch.inf
    least, greatest = (x.masked_fill(none[..., None], 0) for x in (least, greatest))
    bounds = query.clamp(min=0) @ greatest.mT + query.clamp(max=0) @ least.mT
    return bounds.masked_fill(none[:, :, None], -torch.inf)


def _in_blocks(held: Held, nothing: float, block_tokens: int):
    """Return the keys, ``(batch, heads, blocks, block_tokens, head_dim)``, some of ``nothing``."""
    key = held.key.detach()
    if held.empty is not None:
        key = key.masked_fill(held.empty[:, None, :, None], nothing)
    key = F.pad(key, (0, 0, 0, -key.shape[2] % block_tokens), value=nothing)
    return key.unflatten(2, (-1, block_tokens))
