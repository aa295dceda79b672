"""Which memory an answer used: the weights of its tokens, merged to places in the source.

A weight says where a head looked, not what came of it; ``readers.memory`` therefore also takes a
place away and asks again (see ``attention.knockout``).
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from longctx_edu.attention.recording import capture
from longctx_edu.inference import Context
from longctx_edu.memory.attention import LookedUp
from longctx_edu.memory.bank import MemoryBank
from longctx_edu.text import Citation


@dataclass(frozen=True)
class Uses:
    """How much some tokens of the window looked at the memory.

    Attributes:
        looked_up: by each layer, for all tokens together (batch 1); the columns of a row may be
            any tokens of the bank, -1 for none.
        layers: of the model; those that looked nothing up count as 0.
        rows: how many tokens they are.
    """

    looked_up: list[LookedUp]
    layers: int
    rows: int

    @property
    def tokens(self) -> torch.Tensor:
        """The bank's tokens that could be looked at, in order."""
        every = [one.tokens.flatten() for one in self.looked_up] or [torch.zeros(0).long()]
        tokens = torch.cat(every).unique()
        return tokens[tokens >= 0]

    def on(self, ranges: Sequence[range]) -> torch.Tensor:
        """Return the mass on each range of the bank's tokens, ``(rows, ranges)``.

        A mean over heads and layers. The ranges are in order and do not overlap.
        """
        nothing = torch.zeros(self.rows, len(ranges))
        masses = (heads.mean(0) for heads in mass_by_head(self.looked_up, ranges))
        return sum(masses, nothing) / self.layers

    def rise(self, ranges: Sequence[range], rows: slice) -> torch.Tensor:
        """Return how much more some rows look at each range than the others do, ``(ranges,)``.

        A mean over heads and layers of what is more than 0. What every token looks at alike, an
        attention sink, has no rise.
        """
        total = torch.zeros(len(ranges))
        for heads in mass_by_head(self.looked_up, ranges):
            others = torch.ones(heads.shape[1], dtype=torch.bool)
            others[rows] = False
            total += (heads[:, rows].mean(1) - heads[:, others].mean(1)).clamp_min(0).mean(0)
        return total / self.layers


def mass_by_head(looked_up: Sequence[LookedUp], ranges: Sequence[range]) -> Iterator[torch.Tensor]:
    """Yield for each layer the mass on each range of tokens, ``(heads, rows, ranges)``."""
    starts = torch.tensor([one.start for one in ranges])
    stops = torch.tensor([one.stop for one in ranges])
    for one in looked_up:
        tokens, weights = one.tokens[0].cpu().contiguous(), one.weights[0].float().cpu()
        place = torch.searchsorted(starts, tokens, right=True) - 1
        inside = (place >= 0) & (tokens < stops[place.clamp_min(0)])
        place = torch.where(inside, place, len(ranges)).expand_as(weights)
        masses = weights.new_zeros(*weights.shape[:2], len(ranges) + 1)
        yield masses.scatter_add_(-1, place, weights)[..., :-1]


@torch.no_grad()
def uses_in_context(context: Context, ids: Sequence[int], sources: Sequence[int]) -> Uses:
    """Return how ``ids``, read after ``context``, look at the memory's tokens in it.

    Args:
        context: with parts of the memory in it; left as it was.
        sources: for each of its tokens the bank's token that it is, or -1.
    """
    record = capture(context, ids)
    tokens = torch.tensor(list(sources)).view(1, 1, 1, -1)
    later = torch.ones(len(ids), record.tokens, dtype=torch.bool).triu(len(context) + 1)
    looks = []
    for layer in record.layers:
        heads = range(record.heads)
        query = torch.stack([record.queries(layer, head) for head in heads]).float()
        key = torch.stack([record.keys(layer, head) for head in heads]).float()
        scores = (query @ key.mT * record.scale(layer)).masked_fill_(later, -torch.inf)
        looks.append(LookedUp(layer, tokens, scores.softmax(-1)[None, ..., : len(context)]))
    return Uses(looks, len(record.layers), len(ids))


def uses_looked_up(looked_up: Sequence[LookedUp], layers: int, *, last: int) -> Uses:
    """Return the uses of the last tokens that looked keys up (see ``remembering``).

    Args:
        looked_up: of one text: layer after layer for each step.
        layers: of the model.
        last: how many tokens.
    """
    joined = []
    for layer in sorted({one.layer for one in looked_up}):
        own = [one for one in looked_up if one.layer == layer]
        tokens = torch.cat([one.tokens for one in own], dim=2)[:, :, -last:]
        weights = torch.cat([one.weights for one in own], dim=2)[:, :, -last:]
        joined.append(LookedUp(layer, tokens, weights))
    return Uses(joined, layers, last)


def citations_of(bank: MemoryBank, uses: Uses, rows: slice, *, most: int = 4) -> list[Citation]:
    """Return the sentences that an answer looked at, best first.

    Each weighs its share of the rise: of how much more the answer's tokens look there than the
    question's do. (By mass alone the place read first, a sink, comes before the right one.)

    Args:
        uses: of question and answer.
        rows: those of the answer.
    """
    seen = uses.tokens.tolist()
    every = (sentence for held in bank.held for sentence in held.sentences)
    sentences = [one for one in every if bisect_left(seen, one.start) < bisect_left(seen, one.stop)]
    rise = uses.rise(sentences, rows)
    whole, cited = float(rise.sum()), []
    for place in rise.argsort(descending=True)[:most].tolist():
        if rise[place] <= 0:
            break
        for document, start, end in bank.citations(sentences[place]):
            text = document.text[start:end]
            start, end = start + len(text) - len(text.lstrip()), start + len(text.rstrip())
            if start < end:
                text, weight = document.text[start:end], min(1.0, float(rise[place]) / whole)
                cited.append(Citation(document.id, start, end, text, weight, "memory"))
    return cited
