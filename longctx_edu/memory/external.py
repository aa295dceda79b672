"""A memory of slots outside the model: written once, read by address or by content.

The teaching-size idea: vectors in a tensor, found by how like a query they are (Graves et al.
2014, section 3.3.1; Weston et al. 2014), and given up by a rule when all slots are taken. Keys
and values of a real model, in all its layers, are held by ``bank.MemoryBank``.
"""

from typing import NamedTuple

import torch
from torch import nn

from longctx_edu.errors import LongctxError

EVICTIONS = ("oldest", "least_read")
SIMILARITIES = ("cosine", "dot")
_EMPTY = -1


class Found(NamedTuple):
    """Slots that were found by content, best first: ``(batch, queries, k)`` each."""

    addresses: torch.Tensor
    scores: torch.Tensor


class ExternalMemory(nn.Module):
    """Slots that hold a content each, and a key that it is found by; empty at first.

    Each row of the batch has its own slots, such as one row for each head. All that is held
    lies in buffers, so that it moves with ``.to(device)`` and is saved by ``state_dict()``.

    >>> memory = ExternalMemory(capacity=4, width=2)
    >>> memory.write(torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])).tolist()
    [[0, 1]]
    >>> found = memory.find(torch.tensor([[[0.2, 0.9]]]))
    >>> memory.read(found.addresses[:, 0]).tolist()
    [[[0.0, 1.0]]]

    Args:
        capacity: slots in each row.
        width: numbers in a content.
        key_width: numbers in a key; None if a content is its own key.
        batch: rows.
        eviction: which content goes when all slots are taken: the "oldest" written, or the
            "least_read", of equally read ones the oldest.

    Attributes:
        contents: ``(batch, capacity, width)``.
        keys: ``(batch, capacity, key_width)``; the contents if there are no keys of their own.
        reads: how often each slot was read, ``(batch, capacity)``; a soft read adds its weights.
        written: when each slot was written, ``(batch, capacity)``, counted in writes; -1: empty.
    """

    def __init__(
        self,
        capacity: int,
        width: int,
        *,
        key_width: int | None = None,
        batch: int = 1,
        eviction: str = "oldest",
    ):
        super().__init__()
        sizes = {"capacity": capacity, "width": width, "key_width": key_width, "batch": batch}
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise LongctxError(f"{name} must be at least 1, got {size}.")
        _assert_one_of(EVICTIONS, eviction=eviction)
        self.eviction = eviction
        self.register_buffer("contents", torch.zeros(batch, capacity, width))
        own = None if key_width is None else torch.zeros(batch, capacity, key_width)
        self.register_buffer("_own_keys", own)
        self.register_buffer("reads", torch.zeros(batch, capacity))
        self.register_buffer("written", torch.full((batch, capacity), _EMPTY))

    @property
    def capacity(self) -> int:
        return self.contents.shape[1]

    @property
    def keys(self) -> torch.Tensor:
        return self.contents if self._own_keys is None else self._own_keys

    @property
    def held(self) -> torch.Tensor:
        """Which slots hold something, ``(batch, capacity)``."""
        return self.written > _EMPTY

    def write(
        self,
        content: torch.Tensor,
        *,
        key: torch.Tensor | None = None,
        address: torch.Tensor | int | None = None,
        keep_graph: bool = False,
    ) -> torch.Tensor:
        """Put contents into slots; return the addresses of these, ``(batch, n)``.

        Args:
            content: ``(batch, n, width)``.
            key: ``(batch, n, key_width)``, if the memory has keys.
            address: the slots, a number, ``(n,)`` or ``(batch, n)``, each once; what they hold is
                replaced. Left out: the next empty slots, and then those that ``eviction`` names.
            keep_graph: whether gradients flow through what is read back into what was written.
                Then all that was computed on the way stays in the computer's memory, too.

        Raises:
            LongctxError: for a wrong shape, an address out of range or twice, or more contents
                than slots.
        """
        self._assert_shape("content", content, self.contents)
        if (key is None) != (self._own_keys is None):
            raise LongctxError(
                "This memory finds contents by themselves; leave key out."
                if self._own_keys is None
                else "This memory finds contents by keys; give a key for each content."
            )
        n = content.shape[1]
        if address is None:
            slots = self._next(n)
        else:
            slots = self._addresses(address)
            if slots.shape[1] != n:
                raise LongctxError(f"{n} contents need {n} addresses, got {slots.shape[1]}.")
            if any(len(row.unique()) < n for row in slots):
                raise LongctxError("Each address can be written once at a time, but one is twice.")
        # New tensors, not changes in place: a gradient may still need what was read before.
        self.contents = _placed(self.contents, slots, content, keep_graph)
        if key is not None:
            self._assert_shape("key", key, self._own_keys, n)
            self._own_keys = _placed(self._own_keys, slots, key, keep_graph)
        now = self.written.max() + 1 + torch.arange(n, device=self.written.device)
        self.written = self.written.scatter(1, slots, now.expand_as(slots))
        self.reads = self.reads.scatter(1, slots, 0.0)
        return slots

    def read(self, address: torch.Tensor | int) -> torch.Tensor:
        """Return what stands at the addresses, ``(batch, n, width)``.

        Args:
            address: a number, ``(n,)`` or ``(batch, n)``.

        Raises:
            LongctxError: for an address out of range, or a slot that holds nothing.
        """
        slots = self._addresses(address)
        empty = ~self.held.gather(1, slots)
        if empty.any():
            raise LongctxError(f"Slot {int(slots[empty][0])} is empty; write before you read.")
        self.reads = self.reads.scatter_add(1, slots, torch.ones_like(slots).to(self.reads))
        return _taken(self.contents, slots)

    def find(self, query: torch.Tensor, *, k: int = 1, similarity: str = "cosine") -> Found:
        """Return the ``k`` slots whose keys are most like each query; it reads none of them.

        Args:
            query: ``(batch, queries, key_width)``.
            similarity: "cosine", the angle alone; or "dot", which long keys win more easily.

        Raises:
            LongctxError: for a wrong shape, or a k greater than the number of contents held.
        """
        scores = self._scores(query, similarity, at_least=k)
        scores, addresses = scores.topk(k, dim=-1)
        return Found(addresses, scores)

    def soft_read(
        self,
        query: torch.Tensor,
        *,
        temperature: float = 1.0,
        k: int | None = None,
        similarity: str = "cosine",
    ) -> torch.Tensor:
        """Return a mean of contents for each query, ``(batch, queries, width)``.

        Each counts by the softmax of similarity / temperature: near 0 the best one is returned,
        at a high temperature the mean of all. By "dot" with the square root of ``key_width`` as
        the temperature it is attention. Gradients flow to the query.

        Args:
            query: ``(batch, queries, key_width)``.
            temperature: greater than 0.
            k: how many of the best take part; None for all.
        """
        if not temperature > 0:
            raise LongctxError(f"temperature must be greater than 0, got {temperature}.")
        scores = self._scores(query, similarity, at_least=1 if k is None else k)
        best, slots = scores.topk(self.capacity if k is None else k, dim=-1)
        weights = torch.zeros_like(scores).scatter(-1, slots, (best / temperature).softmax(-1))
        self.reads = self.reads + weights.detach().sum(1).to(self.reads)
        return weights @ self.contents

    def clear(self) -> None:
        """Forget everything, and how it was computed."""
        for name, tensor in self.named_buffers():
            setattr(self, name, torch.zeros_like(tensor))
        self.written = torch.full_like(self.written, _EMPTY)

    def _next(self, n: int) -> torch.Tensor:
        """Return the slots to write next: empty ones in their order, then the ones to give up."""
        if n > self.capacity:
            raise LongctxError(f"{n} contents do not fit into {self.capacity} slots at once.")
        order = self.written.argsort(dim=1, stable=True)  # empty ones, -1, come first
        if self.eviction == "least_read":
            reads = self.reads.masked_fill(~self.held, -1.0).gather(1, order)
            order = order.gather(1, reads.argsort(dim=1, stable=True))
        return order[:, :n]

    def _addresses(self, address: torch.Tensor | int) -> torch.Tensor:
        slots = torch.as_tensor(address, device=self.written.device)
        slots = slots.reshape(1, -1) if slots.ndim < 2 else slots
        if slots.ndim > 2 or slots.shape[0] not in (1, len(self.written)):
            raise LongctxError(
                f"Addresses are a number, (n,) or ({len(self.written)}, n), "
                f"got {tuple(slots.shape)}."
            )
        if slots.is_floating_point() or slots.dtype == torch.bool:
            raise LongctxError(f"Addresses are whole numbers, got {slots.dtype}.")
        outside = slots[(slots < 0) | (slots >= self.capacity)]
        if len(outside):
            raise LongctxError(f"Addresses go from 0 to {self.capacity - 1}, got {outside[0]}.")
        return slots.expand(len(self.written), -1)

    def _scores(self, query: torch.Tensor, similarity: str, *, at_least: int) -> torch.Tensor:
        """Return the similarity of each query and key, ``(batch, queries, capacity)``."""
        fewest = int(self.held.sum(1).min())
        if not 1 <= at_least <= fewest:
            raise LongctxError(
                f"k is from 1 to the {fewest} contents that are held, not {at_least}."
            )
        _assert_one_of(SIMILARITIES, similarity=similarity)
        self._assert_shape("query", query, self.keys)
        query, key = query.to(self.keys), self.keys
        if similarity == "cosine":
            query, key = (nn.functional.normalize(x, dim=-1) for x in (query, key))
        return (query @ key.mT).masked_fill(~self.held[:, None], -torch.inf)

    def _assert_shape(self, name: str, given: torch.Tensor, own: torch.Tensor, n="n") -> None:
        batch, _, width = own.shape
        wrong = given.ndim != 3 or (given.shape[0], given.shape[2]) != (batch, width)
        if wrong or (n != "n" and given.shape[1] != n):
            raise LongctxError(
                f"{name} must have the shape ({batch}, {n}, {width}), got {tuple(given.shape)}."
            )


def _placed(own: torch.Tensor, slots, given: torch.Tensor, keep_graph: bool) -> torch.Tensor:
    given = given.to(own) if keep_graph else given.detach().to(own)
    return own.scatter(1, slots[..., None].expand(-1, -1, own.shape[2]), given)


def _taken(own: torch.Tensor, slots) -> torch.Tensor:
    return own.gather(1, slots[..., None].expand(-1, -1, own.shape[2]))


def _assert_one_of(allowed: tuple[str, ...], **given: str) -> None:
    for name, value in given.items():
        if value not in allowed:
            raise LongctxError(f"{name} is one of {', '.join(allowed)}, got {value!r}.")
