"""Two levels of memory: a question chooses blocks first, then attends to all of their tokens.

A flat choice of the best keys drowns a small model in near-misses as the memory grows; whole
blocks keep what belongs together (InfLLM, Xiao et al. 2024, section 3). The chosen blocks stand
in front of the question at consecutive positions, so that nothing lies beyond the trained window.
"""

from collections.abc import Sequence

import torch

from longctx_edu.attention.block_mass import (
    BLOCK_TOKENS,
    DISTANCE,
    blocks_of,
    choosing_layers,
    mass_on_segments,
    score_segments,
)
from longctx_edu.attention.recording import capture
from longctx_edu.attention.rotation import Rotation
from longctx_edu.inference import Context
from longctx_edu.memory.bank import MemoryBank


@torch.no_grad()
def block_scores(
    bank: MemoryBank,
    question_ids: Sequence[int],
    *,
    block_tokens: int = BLOCK_TOKENS,
    layers: Sequence[int] | None = None,
) -> torch.Tensor:
    """Return how much a question looks at each block of the memory, ``(blocks,)``.

    The question is read alone; its queries and the memory's keys are compared at one distance
    (see ``attention.block_mass``).

    Args:
        question_ids: two tokens at least.
        block_tokens: size of a block; the last one may be short.
        layers: those that have a say; by default ``choosing_layers``.
    """
    model = bank.model.model
    rotation = Rotation(model)
    layers = choosing_layers(len(bank.keys)) if layers is None else layers
    asked = capture(Context(bank.model), question_ids, layers=layers)
    place = torch.arange(len(question_ids))
    blocks = blocks_of(len(bank), block_tokens)
    masses = []
    for layer in layers:
        query = torch.stack([asked.queries(layer, head) for head in range(asked.heads)]).float()
        query = rotation.put_on(rotation.take_off(query, place), torch.full_like(place, DISTANCE))
        key = rotation.put_on(bank.keys[layer].float(), torch.zeros(len(bank), dtype=torch.long))
        masses.append(mass_on_segments(query, key, blocks, scale=asked.scale(layer)))
    return score_segments(masses)


def context_with(bank: MemoryBank, blocks: Sequence[range], head_ids: Sequence[int]) -> Context:
    """Return a context that begins with ``head_ids`` and goes on with blocks of the memory.

    The blocks stand one after another as if they had just been read; no token of theirs is
    forwarded again.
    """
    context = Context(bank.model, reserve=len(head_ids) + sum(map(len, blocks)) + 256)
    for _ in context.prefill(head_ids):
        pass
    tokens = [token for block in blocks for token in block]
    positions = torch.arange(len(context), len(context) + len(tokens))
    pairs = [bank.at(layer, tokens, positions) for layer in range(len(bank.keys))]
    context.take_over([bank.ids[token] for token in tokens], pairs)
    return context
