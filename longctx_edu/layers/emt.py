"""A language model with a memory: layers that find what earlier segments held, by content.

Keys and values of each segment are kept and the best few are read beside the segment's own
(Memorizing Transformers, Wu et al. 2022, section 3; one softmax as Tworkowski et al. 2023 take).
Extended Mind Transformers need no such training (Klett and Ahle 2024); ``memory`` holds them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from longctx_edu.attention.softmax import scaled_dot_product_in_loops
from longctx_edu.layers.tiny_lm import (
    Cache,
    CacheLayer,
    ContentAttention,
    Places,
    TinyConfig,
    TinyLayer,
    TinyLM,
    attend,
    attend_in_loops,
    attend_visible,
    check_ids,
    each_query,
)
from longctx_edu.routing.experts import Top1Experts

JOININGS = ("softmax", "gate")


@dataclass(frozen=True, kw_only=True)
class EMTConfig(TinyConfig):
    """The size of a model with a memory, and how it reads it.

    Args:
        memory_layers: layers that have one, by default every second. They are placeless, so that
            how far back a key lies makes no difference.
        top_k: keys of the memory that each query of each head reads.
        capacity: tokens that a memory holds; the oldest go first.
        joining: "softmax", one over the segment's keys and the chosen ones, so that the better
            match wins wherever it lies; or "gate", one for each, and a share of the memory that
            each head learns (Wu et al. 2022, section 3).
        experts: of the MLP in memory layers, each token sent to one of them; together they have
            as many weights as one MLP. ``train`` adds no loss that spreads the load.
    """

    memory_layers: tuple[int, ...] | None = None
    top_k: int = 8
    capacity: int = 8192
    joining: str = "softmax"
    experts: int = 1

    def __post_init__(self):
        super().__post_init__()
        self._take_layers("memory_layers")
        object.__setattr__(self, "placeless", tuple(sorted({*self.placeless, *self.memory_layers})))
        for name in ("top_k", "capacity", "experts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.joining not in JOININGS:
            raise ValueError(f"joining is one of {', '.join(JOININGS)}, got {self.joining!r}.")


class Held(NamedTuple):
    """What one layer's memory holds, the oldest first.

    Attributes:
        key, value: ``(batch, heads, slots, head_dim)``.
        empty: True where a row has nothing, ``(batch, slots)``; None if all slots are full.
    """

    key: torch.Tensor
    value: torch.Tensor
    empty: torch.Tensor | None = None


class SegmentMemory:
    """What was read: the memory of earlier segments, and the cache of the one under way.

    Attributes:
        held: what each memory layer holds, by its number; None as long as no segment is full.
        cache: of the unfinished segment.
    """

    def __init__(self, config: EMTConfig):
        self.config = config
        self.forget()

    def forget(self) -> None:
        """Empty it: the next token begins a document."""
        self.held: dict[int, Held | None] = dict.fromkeys(self.config.memory_layers)
        self.cache = Cache(self.config.layers)

    def assert_rows(self, batch: int) -> None:
        """Raise a ValueError if it holds another number of documents than ``batch``."""
        keys = [one.key for one in (*self.held.values(), *self.cache.layers) if one is not None]
        rows = next((len(key) for key in keys if key is not None), batch)
        if rows != batch:
            raise ValueError(
                f"The memory is of {rows} documents and there are {batch}; give as many as it was "
                "read with, or a new memory."
            )


class EMT(TinyLM):
    """A causal language model that reads segment by segment and finds earlier ones in memory.

    Layers without a memory see the segment alone. Without earlier segments it is the plain
    model, weight for weight; gates, if any, are all that it has more.
    """

    config: EMTConfig

    def layer(self, number: int) -> nn.Module:
        if number in self.config.memory_layers:
            return EMTLayer(self.config)
        return super().layer(number)

    def forward(
        self,
        ids,
        *,
        padding=None,
        memory: SegmentMemory | None = None,
        remember: bool = True,
        keep_graph: bool = False,
    ):
        """Return the logits after each token, ``(batch, tokens, vocabulary)``.

        The tokens can be of any number: of a part of a segment, or of many. However a document
        is cut, one memory makes of it what one call does.

        Args:
            ids: ``(batch, tokens)``.
            padding: True where there is no token, ``(batch, tokens)``; it fills its place in a
                segment, but is neither seen nor kept.
            memory: of what was read before; it is changed. A new one by default.
            remember: whether memory is written and read; without, each segment stands alone.
            keep_graph: whether gradients flow into what earlier segments wrote. By default they
                do not, so that a step costs the same however long the document is.

        Raises:
            ValueError: for ids or padding of a wrong shape.
        """
        check_ids(ids, padding, self.config.vocabulary)
        memory = self.new_memory() if memory is None else memory
        memory.assert_rows(len(ids))
        tokens, size = ids.shape[1], self.config.segment_tokens
        begun = len(memory.cache)  # tokens of the unfinished segment
        ends = [*range(size - begun, tokens, size), tokens]
        logits = []
        for start, end in zip([0, *ends], ends, strict=False):
            gap = None if padding is None else padding[:, start:end]
            logits.append(self._read(ids[:, start:end], gap, memory, remember, keep_graph))
        return torch.cat(logits, dim=1)

    def read(self, ids, *, padding=None, **given):
        """Return the logits of a document: here what ``forward`` does."""
        return self(ids, padding=padding, **given)

    def new_memory(self) -> SegmentMemory:
        return SegmentMemory(self.config)

    def state(self) -> dict:
        return {"memory": self.new_memory()}

    def _read(self, ids, padding, memory: SegmentMemory, remember: bool, keep_graph: bool):
        """Read some tokens of one segment; if it is full then, write it down."""
        x, places = self.begin(ids, padding, memory.cache)
        for number, layer in enumerate(self.layers):
            found = {"held": memory.held[number]} if remember and number in memory.held else {}
            x = layer(x, places=places, cache=memory.cache.layers[number], **found)
        if len(memory.cache) == self.config.segment_tokens:
            self._write(memory, remember, keep_graph)
        return self.head(self.norm(x))

    def _write(self, memory: SegmentMemory, remember: bool, keep_graph: bool) -> None:
        full, memory.cache = memory.cache, Cache(self.config.layers)
        for number in memory.held if remember else ():
            own = full.layers[number]
            memory.held[number] = self.layers[number].update_memory(
                memory.held[number],
                own.key,
                own.value,
                padding=full.padding,
                keep_graph=keep_graph,
            )


class EMTLayer(TinyLayer):
    """A layer whose attention also finds keys of earlier segments."""

    def __init__(self, config: EMTConfig):
        super().__init__(config, placeless=True)
        self.attention = self.memory_attention(config)
        if config.experts > 1:
            self.mlp = Top1MLP(config)

    def memory_attention(self, config: EMTConfig) -> nn.Module:
        """Return the attention; layers that choose otherwise say here which."""
        return MemoryAttention(config)

    def forward(
        self,
        x,
        *,
        places: Places,
        cache: CacheLayer | None = None,
        held: Held | None = None,
    ):
        """Return the tokens' vectors after this layer, ``(batch, tokens, width)``.

        Args:
            x: of a segment's tokens, ``(batch, tokens, width)``.
            places: which of them are padding; positions are not used.
            cache: of the segment's tokens before these.
            held: of earlier segments.
        """
        normed = self.attention_norm(x)
        x = x + self.attention(normed, places=places, cache=cache, held=held)
        return x + self.mlp(self.mlp_norm(x))

    @torch.no_grad()
    def in_loops(self, x, *, places: Places, held: Held | None = None):
        """Return the same, one token and one head at a time; slow, and plain to read."""
        normed = self.attention_norm(x)
        x = x + self.attention.in_loops(normed, places=places, held=held)
        return x + self.mlp(self.mlp_norm(x))

    def update_memory(
        self, held: Held | None, key, value, *, padding=None, keep_graph: bool = False
    ) -> Held:
        """Return the memory with a segment more, and the oldest less where there is no room.

        Args:
            held: what it held; None for nothing. It is not changed.
            key, value: of the segment, ``(batch, heads, tokens, head_dim)``.
            padding: True where there is no token to keep, ``(batch, tokens)``.
            keep_graph: whether gradients flow into what is written.
        """
        if not keep_graph:
            key, value = key.detach(), value.detach()
        new = Held(key, value, padding)
        return _newest(new if held is None else _joined(held, new), self.attention.capacity)


class MemoryAttention(ContentAttention):
    """Attention to the segment, and to the best keys of the memory."""

    def __init__(self, config: EMTConfig):
        super().__init__(config.width, config.heads)
        self.top_k, self.capacity, self.joining = config.top_k, config.capacity, config.joining
        if self.joining == "gate":
            self.gate = nn.Parameter(torch.zeros(config.heads))  # one half of each at first

    def forward(
        self, x, *, places: Places, cache: CacheLayer | None = None, held: Held | None = None
    ):
        """Return what each token takes over, ``(batch, tokens, width)``."""
        query, key, value = self.project(x, places, cache)
        if held is None:
            return self.joined(attend(query, key, value, padding=places.padding))
        chosen = self.choose(query.detach(), held)
        if self.joining == "softmax":
            return self.joined(_one_softmax(query, key, value, places.padding, held, chosen))
        own = attend(query, key, value, padding=places.padding)
        found = attend_visible(query, held.key, held.value, chosen)
        share = self.gate.sigmoid()[:, None, None] * chosen.any(-1, keepdim=True)
        return self.joined(own + share * (found - own))

    def choose(self, query, held: Held):
        """Return which keys each query reads, True, ``(batch, heads, tokens, slots)``."""
        scores = query @ held.key.detach().mT
        if held.empty is None:
            return best(scores, self.top_k)
        return best(scores, self.top_k, hidden=held.empty[:, None, None])

    def in_loops(self, x, *, places: Places, held: Held | None = None):
        query, key, value = self.project(x, places)
        own = attend_in_loops(query, key, value, padding=places.padding)
        if held is None:
            return self.joined(own)
        for b, head, i in each_query(query):
            slots = _tokens(held.empty, b, held.key.shape[2])
            q, keys = query[b, head, i], held.key[b, head]
            chosen = self.choose_in_loops(q, keys, slots)
            if not chosen:
                continue
            k, v, share = keys[chosen], held.value[b, head, chosen], 1
            if self.joining == "softmax":
                seen = _tokens(places.padding, b, i + 1)
                k, v = torch.cat([k, key[b, head, seen]]), torch.cat([v, value[b, head, seen]])
            else:
                share = self.gate[head].sigmoid()
            found = q.new_tensor(scaled_dot_product_in_loops(q[None], k, v, causal=False)[0])
            own[b, head, i] += share * (found - own[b, head, i])
        return self.joined(own)

    def choose_in_loops(self, query, keys, slots: list[int]) -> list[int]:
        """Return the slots whose keys fit one query best, best first.

        Args:
            query: ``(head_dim,)``.
            keys: ``(slots, head_dim)``.
            slots: those that hold something.
        """
        return sorted(slots, key=lambda slot: -float(query @ keys[slot]))[: self.top_k]


def _tokens(none, row: int, n: int) -> list[int]:
    """Return which of a row's first ``n`` places hold something."""
    return [j for j in range(n) if none is None or not none[row, j]]


class Top1MLP(nn.Module):
    """An MLP of experts in the place of one, of about as many weights.

    Attributes:
        assigned: where the last tokens went, for ``routing.load_balance_loss``; None at first.
    """

    def __init__(self, config: EMTConfig):
        super().__init__()
        hidden = round(config.mlp_ratio * config.width / config.experts)
        # Room for all: where experts are full, a token's fate hangs on other rows of the batch.
        self.experts = Top1Experts(config.width, hidden, config.experts, capacity_factor=None)
        nn.init.zeros_(self.experts.down)  # as any layer here: one that changes nothing at first
        self.assigned = None

    def forward(self, x):
        made, self.assigned = self.experts(x)
        return made


def best(scores, k: int, *, hidden=None):
    """Return which are the ``k`` best of each row, True, or all where there are not so many.

    Args:
        scores: ``(..., slots)``.
        hidden: True where a slot is never chosen, of a shape that spreads to that of the scores.
    """
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    if k >= scores.shape[-1]:
        chosen = torch.ones_like(scores, dtype=torch.bool)
    else:
        places = scores.topk(k, dim=-1, sorted=False).indices
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, places, True)
    return chosen if hidden is None else chosen & ~hidden


def _one_softmax(query, key, value, padding, held: Held, chosen):
    """Return attention to the chosen slots and the segment's own keys at once."""
    queries, keys = query.shape[2], key.shape[2]
    own = torch.ones(queries, keys, dtype=torch.bool, device=key.device).tril(keys - queries)
    if padding is not None:
        own = own & ~padding[:, None, None]
    visible = torch.cat([chosen, own.expand(*chosen.shape[:3], keys)], dim=-1)
    key, value = torch.cat([held.key, key], dim=2), torch.cat([held.value, value], dim=2)
    if padding is None:  # each query sees itself at least
        return F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
    return attend_visible(query, key, value, visible)


def _joined(held: Held, new: Held) -> Held:
    key, value = (torch.cat(pair, dim=2) for pair in zip(held[:2], new[:2], strict=True))
    if held.empty is None and new.empty is None:
        return Held(key, value)
    either = [_empty_slots(held), _empty_slots(new)]
    return Held(key, value, torch.cat(either, dim=1))


def _newest(held: Held, capacity: int) -> Held:
    """Return the newest slots; where rows differ in number, empty ones come first."""
    if held.empty is not None:
        order = (~held.empty).int().argsort(dim=1, stable=True)  # (batch, slots)
        places = order[:, None, :, None].expand_as(held.key)
        moved = (x.gather(2, places) for x in held[:2])
        held = Held(*moved, held.empty.gather(1, order))
    if held.key.shape[2] <= capacity:
        return held
    empty = None if held.empty is None else held.empty[:, -capacity:]
    return Held(held.key[:, :, -capacity:], held.value[:, :, -capacity:], empty)


def _empty_slots(held: Held):
    if held.empty is not None:
        return held.empty
    batch, _, slots, _ = held.key.shape
    return torch.zeros(batch, slots, dtype=torch.bool, device=held.key.device)
