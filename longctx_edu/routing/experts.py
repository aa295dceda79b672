"""Top-1 expert routing: a learned router sends each token to one expert, if there is room.

Fedus, Zoph and Shazeer 2022, Switch Transformers, sections 2.1 and 2.2: the gate, the capacity
of an expert, and the loss that spreads the load. All on one machine, so that nothing is sent.
"""

from math import ceil
from typing import NamedTuple

import torch
from torch import nn


class Assigned(NamedTuple):
    """Where each of some tokens goes.

    Attributes:
        expert: the one with the greatest probability, ``(tokens,)``.
        gate: this probability, by which the expert's output is multiplied, ``(tokens,)``.
        place: how many tokens before it chose the same expert, ``(tokens,)``.
        kept: whether the expert has room for it, ``(tokens,)``.
        probabilities: of all experts, ``(tokens, experts)``.
    """

    expert: torch.Tensor
    gate: torch.Tensor
    place: torch.Tensor
    kept: torch.Tensor
    probabilities: torch.Tensor

    @property
    def load(self) -> torch.Tensor:
        """The share of the tokens that chose each expert, room or not, ``(experts,)``."""
        experts = self.probabilities.shape[1]
        return self.expert.bincount(minlength=experts) / max(len(self.expert), 1)


def expert_capacity(tokens: int, experts: int, factor: float = 1.25) -> int:
    """Return how many tokens an expert takes: an even share times a factor (eq. 3), rounded up.

    >>> expert_capacity(tokens=12, experts=4, factor=1.25)
    4
    """
    if experts < 1 or not factor > 0:
        raise ValueError(
            f"experts must be at least 1 and factor above 0, got {experts} and {factor}."
        )
    return ceil(tokens * factor / experts)


def top1_routing(logits: torch.Tensor, *, capacity: int | None = None) -> Assigned:
    """Send each token to its most probable expert, first come, first served.

    Who comes first is the order of the tokens, so that a later token takes no room from an
    earlier one. A token for which there is no room is dropped: no expert works on it, and the
    layer's residual connection carries it on as it is.

    Args:
        logits: of the router, ``(tokens, experts)``.
        capacity: tokens that an expert takes (see ``expert_capacity``); None for all.

    Raises:
        ValueError: for logits of another shape, or a capacity below 0.
    """
    if logits.ndim != 2:
        raise ValueError(f"logits must be (tokens, experts), got {tuple(logits.shape)}.")
    if capacity is not None and capacity < 0:
        raise ValueError(f"capacity must be at least 0 or None, got {capacity}.")
    probabilities = logits.float().softmax(-1)
    gate, expert = probabilities.max(-1)
    chose = nn.functional.one_hot(expert, logits.shape[1])  # (tokens, experts)
    place = (chose.cumsum(0) - 1).gather(1, expert[:, None])[:, 0]
    kept = torch.ones_like(expert, dtype=torch.bool) if capacity is None else place < capacity
    return Assigned(expert, gate, place, kept, probabilities)


def load_balance_loss(assigned: Assigned) -> torch.Tensor:
    """Return ``N Σ f·P`` over the N experts (eq. 4 to 6), without the factor α of the paper.

    f is the share of tokens that chose an expert, P its mean probability; the gradient flows
    through P alone. It is 1 where all are used alike, and N, its maximum, where a sure router
    sends all to one. Where choices and probabilities go together (f = P) 1 is the minimum; an
    unsure router can come a little below it.
    """
    experts = assigned.probabilities.shape[1]
    return experts * (assigned.load * assigned.probabilities.mean(0)).sum()


class Top1Experts(nn.Module):
    """A feed-forward layer of several experts, of which each token uses one.

    Args:
        width: of a token.
        hidden: width inside an expert.
        experts: how many.
        capacity_factor: as for ``expert_capacity``; None for no limit.
    """

    def __init__(
        self, width: int, hidden: int, experts: int, *, capacity_factor: float | None = 1.25
    ):
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, width, hidden) * width**-0.5)
        self.down = nn.Parameter(torch.randn(experts, hidden, width) * hidden**-0.5)
        self.capacity_factor = capacity_factor

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, Assigned]:
        """Return what the experts make of the tokens, and where each went.

        Args:
            tokens: ``(..., width)``; all of them share the room, which grows with their number.

        Returns:
            ``(..., width)``, zeros for dropped tokens; and what ``top1_routing`` says of all
            tokens in their order.
        """
        flat = tokens.flatten(0, -2)
        experts = len(self.up)
        room = len(flat)
        if self.capacity_factor is not None:
            room = min(room, expert_capacity(room, experts, self.capacity_factor))
        assigned = top1_routing(self.router(flat), capacity=room)
        kept = assigned.kept.nonzero()[:, 0]
        slot = assigned.expert[kept] * room + assigned.place[kept]
        queues = flat.new_zeros(experts * room, flat.shape[1]).index_copy(0, slot, flat[kept])
        made = (queues.view(experts, room, -1) @ self.up).relu() @ self.down
        gated = assigned.gate[kept, None].to(flat.dtype) * made.flatten(0, 1)[slot]
        out = torch.zeros_like(flat).index_copy(0, kept, gated)
        return out.view_as(tokens), assigned
