"""The KV cache: grown in place, forked for free, rolled back.

Transformers' own dynamic cache copies every key and value at each new token.
Here a full-attention layer reserves room and writes in place. A fork shares the
storage with its parent and copies only when one of them would overwrite what
another one still reads. Sliding-window layers stay as transformers makes them.
"""

import copy
import weakref

from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from longctx_edu.errors import CacheError

_SPARE_TOKENS = 256


class GrowingLayer(DynamicLayer):
    """Keys and values of one full-attention layer, ``(batch, kv_heads, tokens, head_dim)``.

    ``keys`` and ``values`` are views of the first tokens of a larger storage.
    """

    def __init__(self, reserve: int = 0):
        super().__init__()
        self.reserve = reserve
        self._storage: _Storage | None = None

    def update(self, key_states, value_states, *args, **kwargs):
        """Append new keys and values in place; return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        length = self.get_seq_length()
        total = length + key_states.shape[-2]
        if self._storage is None or not self._storage.may_write(self, length, total):
            capacity = self.reserve if total <= self.reserve else total + _SPARE_TOKENS
            self._move(key_states, value_states, capacity)
        self._storage.keys[:, :, length:total] = key_states
        self._storage.values[:, :, length:total] = value_states
        self._view(total)
        return self.keys, self.values

    def reset(self) -> None:
        super().reset()
        self._storage = None

    def _move(self, key_states, value_states, capacity: int) -> None:
        """Take the tokens so far to a storage of this layer's own."""
        old = (self.keys, self.values)
        length = self.get_seq_length()
        if self._storage is not None:
            self._storage.readers.discard(self)
        self._storage = _Storage(key_states, value_states, capacity)
        if length:
            self._storage.keys[:, :, :length] = old[0]
            self._storage.values[:, :, :length] = old[1]
        self._storage.readers.add(self)

    def _view(self, length: int) -> None:
        self.keys = self._storage.keys[:, :, :length]
        self.values = self._storage.values[:, :, :length]

    def fork(self) -> "GrowingLayer":
        """Return a layer with the same tokens, sharing storage until one of the two must not."""
        twin = copy.copy(self)
        twin.reserve = 0
        if self._storage is not None:
            self._storage.readers.add(twin)
        return twin


class _Storage:
    """Room for ``capacity`` tokens, and the layers that read from it."""

    def __init__(self, key_states, value_states, capacity: int):
        batch, heads = key_states.shape[:2]
        self.keys = key_states.new_empty(batch, heads, capacity, key_states.shape[-1])
        self.values = value_states.new_empty(batch, heads, capacity, value_states.shape[-1])
        self.readers = weakref.WeakSet()

    def may_write(self, writer: GrowingLayer, length: int, total: int) -> bool:
        """Say whether ``writer`` may fill tokens ``length`` to ``total``: nobody else reads there.

        Other operations of transformers (beam search, batch selection) give a layer new tensors;
        those no longer lie in this storage.
        """
        inside = length == 0 or writer.keys.data_ptr() == self.keys.data_ptr()
        others = (reader for reader in self.readers if reader is not writer)
        return (
            inside
            and total <= self.keys.shape[2]
            and writer.keys.shape[:1] in ((0,), self.keys.shape[:1])
            and all(reader.get_seq_length() <= length for reader in others)
        )


def new_cache(model, *, reserve: int = 0) -> Cache:
    """Return an empty cache for ``model``, with room for ``reserve`` tokens from the start."""
    cache = DynamicCache(config=model.config)
    cache.layers = [
        GrowingLayer(reserve) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def fork(cache: Cache) -> Cache:
    """Return a cache with the same tokens that can go its own way; no key is copied.

    Raises:
        CacheError: for layers that write in place without keeping count of their readers.
    """
    twin = copy.copy(cache)
    twin.layers = [_fork_layer(layer) for layer in cache.layers]
    return twin


def _fork_layer(layer):
    if isinstance(layer, GrowingLayer):
        return layer.fork()
    if isinstance(layer, DynamicLayer) and hasattr(layer, "keys"):
        return copy.copy(layer)  # these build new tensors at every update and share none
    raise CacheError(
        f"A cache layer of type {type(layer).__name__} cannot be forked; "
        "use a cache made by new_cache(model)."
    )


def can_roll_back(cache: Cache, length: int) -> bool:
    """Say whether ``cache`` can be cut to its first ``length`` tokens without loss."""
    present = cache.get_seq_length()
    return 0 <= length <= present and (
        length == present or all(_keeps_past(layer) for layer in cache.layers)
    )


def _keeps_past(layer) -> bool:
    if isinstance(layer, DynamicSlidingWindowLayer):
        return layer.get_seq_length() < layer.sliding_window
    return isinstance(layer, DynamicLayer) and getattr(layer, "is_croppable", True)


def roll_back(cache: Cache, length: int) -> None:
    """Forget every token after the first ``length``.

    Raises:
        CacheError: if ``length`` is negative or longer than the cache, or if a layer has
            already dropped what it would need (a sliding window that has moved on).
    """
    present = cache.get_seq_length()
    if not 0 <= length <= present:
        raise CacheError(f"Cannot roll back to {length} tokens: the cache holds 0 to {present}.")
    if not can_roll_back(cache, length):
        stuck = next(layer for layer in cache.layers if not _keeps_past(layer))
        raise CacheError(
            f"Cannot roll back from {present} to {length} tokens: {type(stuck).__name__} has "
            "dropped tokens that it would need again; fork the cache before going on instead."
        )
    if length < present:
        cache.crop(length - present)  # negative: "remove so many", the one form in all versions
