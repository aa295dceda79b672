"""The choice of memory by each head, seen as routing: heads send, parts of the memory receive.

In Extended Mind Transformers (Klett and Ahle 2024, arXiv 2406.02332) nobody routes: every head
of every layer looks up what its own query is like. This says where all of them go, how far they
agree and how the load lies. A weight says where a head looks, not what comes of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from longctx_edu.memory.attention import LookedUp
from longctx_edu.memory.uses import mass_by_head


@dataclass(frozen=True)
class HeadRoutes:
    """Where the heads of all layers look for one token.

    Attributes:
        mass: share of a head's attention on each part, ``(layers, heads, parts)``. What is left
            of 1 stays in the window, or goes to memory between the parts.
    """

    mass: torch.Tensor

    @property
    def choice(self) -> torch.Tensor:
        """The part that each head looks at most, -1 for one that looks at none."""
        most, part = self.mass.max(-1)
        return torch.where(most > 0, part, -1)

    def choosing(self, least: float = 0.1) -> torch.Tensor:
        """Say which heads have at least this share of their attention on the parts together."""
        return self.mass.sum(-1) >= least

    def load(self, among: torch.Tensor | None = None) -> torch.Tensor:
        """Return the share of the heads that chose each part, ``(parts,)``.

        Args:
            among: the heads that count, ``(layers, heads)``; None for all that look anywhere.
        """
        chosen = self._chosen(among)
        return chosen.bincount(minlength=self.mass.shape[-1]) / max(len(chosen), 1)

    def agreement(self, among: torch.Tensor | None = None) -> float:
        """Return how likely it is that two different heads chose the same part; nan for fewer.

        Heads that choose by chance, each part alike, agree in one case out of as many as there
        are parts.
        """
        chosen = self._chosen(among)
        counts = chosen.bincount().double()
        pairs = len(chosen) * (len(chosen) - 1)
        return float((counts * (counts - 1)).sum() / pairs) if pairs else float("nan")

    def _chosen(self, among: torch.Tensor | None) -> torch.Tensor:
        choice = self.choice if among is None else torch.where(among, self.choice, -1)
        return choice[choice >= 0]


def routes_of_heads(
    looked_up: Sequence[LookedUp], parts: Sequence[range], *, layers: int, row: int = -1
) -> HeadRoutes:
    """Return where each head looks for one token of a text that was read with memory.

    Args:
        looked_up: by each layer for all tokens of the text together, batch 1: what
            ``memory.remembering`` yields after one forward pass.
        parts: ranges of the bank's tokens, in order and apart.
        layers: of the model; those that looked nothing up have no mass.
        row: which token of the text; the last one by default, from which the model goes on.

    Raises:
        ValueError: if a layer looked things up more than once, or parts overlap.
    """
    numbers = [one.layer for one in looked_up]
    if len(set(numbers)) < len(numbers):
        raise ValueError(
            "Each layer must have looked things up once; give what one forward pass left."
        )
    if any(one.stop > after.start for one, after in zip(parts, parts[1:], strict=False)):
        raise ValueError("Parts of the memory must be in order and not overlap.")
    masses = list(mass_by_head(looked_up, parts))
    heads = masses[0].shape[0] if masses else 0
    mass = torch.zeros(layers, heads, len(parts))
    for layer, by_head in zip(numbers, masses, strict=True):
        mass[layer] = by_head[:, row]
    return HeadRoutes(mass)
