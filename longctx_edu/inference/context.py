"""A context: what a model has read so far, with its cache and its books.

One object ties the token ids, the KV cache and the ledger together, so that
they cannot disagree. Reading is prefill in chunks; writing is our own greedy
decode loop; a branch is a free copy that is thrown away when done.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from longctx_edu.errors import CacheError
from longctx_edu.inference import cache as kv
from longctx_edu.inference.ledger import Ledger
from longctx_edu.inference.llama import LlamaForward, applies_to
from longctx_edu.models.language_model import LanguageModel

CHUNK_TOKENS = 1024


class Context:
    """The tokens that ``language_model`` has in its cache, and what they cost.

    Attributes:
        ids: the token ids in the cache, in order.
        next_logits: scores of the next token, ``(vocabulary,)``; None before anything
            was read and after a roll-back.
    """

    def __init__(
        self, language_model: LanguageModel, *, reserve: int = 0, depth: int | None = None
    ):
        """Begin with nothing read.

        Args:
            language_model: the model that reads.
            reserve: tokens to have room for from the start.
            depth: first layers that are enough, where only their keys and values are wanted; the
                others stay empty, and there are no ``next_logits``. A model that cannot be
                stopped halfway works all of its layers. None for all.
        """
        self.language_model = language_model
        self.depth = depth
        self.cache = kv.new_cache(language_model.model, reserve=reserve)
        self.ids: list[int] = []
        self.next_logits: torch.Tensor | None = None
        self._reused = self._prefilled = self._decoded = self._discarded = 0
        self._fed_back = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def ledger(self) -> Ledger:
        """Tokens reused, prefilled, decoded and discarded by this context alone."""
        return Ledger(self._reused, self._prefilled, self._decoded, self._discarded)

    @property
    def balance(self) -> int:
        """What the cache's length must be by the books; tests hold the two equal."""
        return self._reused + self._prefilled + self._fed_back - self._discarded

    def prefill(self, ids: Sequence[int], *, chunk_tokens: int = CHUNK_TOKENS) -> Iterator[int]:
        """Read ``ids`` in chunks; yield the number of tokens read so far after each.

        Closing the generator early leaves the chunks that were read in place.

        Raises:
            ValueError: if ``chunk_tokens`` is less than 1.
        """
        if chunk_tokens < 1:
            raise ValueError(f"chunk_tokens must be at least 1, got {chunk_tokens}")
        forward = self._forward()
        for start in range(0, len(ids), chunk_tokens):
            chunk = list(ids[start : start + chunk_tokens])
            with torch.no_grad():  # a generator does not keep its caller's mode
                logits = forward(chunk, self.cache)
            self.next_logits = logits if self.depth is None else None
            self.ids += chunk
            self._prefilled += len(chunk)
            yield start + len(chunk)

    def decode(self, *, max_new_tokens: int) -> Iterator[int]:
        """Write greedily, token by token, until an end token or ``max_new_tokens``.

        Yields every token's id, the end token included. A token is fed back into
        the cache when the next one is asked for, so the last one never is.

        Raises:
            CacheError: if nothing has been read since the last roll-back.
        """
        if self.next_logits is None:
            raise CacheError("Nothing to continue from; prefill at least one token first.")
        forward = self._forward()
        for number in range(max_new_tokens):
            token_id = int(self.next_logits.argmax())
            self._decoded += 1
            yield token_id
            if token_id in self.language_model.end_ids or number + 1 == max_new_tokens:
                return
            with torch.no_grad():
                self.next_logits = forward([token_id], self.cache)
            self.ids.append(token_id)
            self._fed_back += 1

    def log_probability(self, token_id: int) -> float:
        """Return the logarithm of the probability that the model gives to this next token."""
        return float(self.next_logits.log_softmax(-1)[token_id])

    def _forward(self):
        model = self.language_model.model
        if applies_to(model, self.cache):
            return LlamaForward(model, depth=self.depth)
        return self._general_forward

    def _general_forward(self, ids: list[int], cache) -> torch.Tensor:
        tokens = torch.tensor([ids], device=self.language_model.device)  # (batch 1, tokens)
        output = self.language_model.model(
            input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        return output.logits[0, -1].float()

    def take_over(self, ids: Sequence[int], pairs) -> None:
        """Append tokens whose keys and values were worked out before; none is read now.

        Args:
            ids: the tokens.
            pairs: for each layer keys, as at the positions where they come to stand, and values,
                both ``(kv_heads, tokens, head_dim)``.
        """
        for layer, (keys, values) in zip(self.cache.layers, pairs, strict=True):
            layer.update(keys[None], values[None])
        self.ids += ids
        self._reused += len(ids)
        self.next_logits = None

    def roll_back(self, length: int) -> None:
        """Forget every token after the first ``length``.

        Margins are written on top of the document's cache and then taken off
        again, so that the document is read once (Russak et al. 2024, section 3).

        Raises:
            CacheError: if the cache cannot be cut there.
        """
        kv.roll_back(self.cache, length)
        if length < len(self):
            self._discarded += len(self) - length
            del self.ids[length:]
            self.next_logits = None

    def fork(self, length: int | None = None) -> "Context":
        """Return a context of the first ``length`` tokens (default: all) that goes its own way."""
        twin = object.__new__(Context)
        twin.language_model, twin.depth = self.language_model, self.depth
        twin.cache = kv.fork(self.cache)
        twin.ids = list(self.ids)
        twin.next_logits = self.next_logits
        twin._prefilled = twin._decoded = twin._discarded = twin._fed_back = 0
        if length is not None:
            twin.roll_back(length)
        twin._reused, twin._discarded = len(twin), 0
        return twin

    @contextmanager
    def branch(self, length: int | None = None) -> Iterator["Context"]:
        """Lend a fork for a while; its own tokens count as discarded in its ledger afterwards."""
        twin = self.fork(length)
        reused = len(twin)
        try:
            yield twin
        finally:
            twin._discarded += len(twin) - reused
            twin.cache.layers.clear()  # lets go of the shared storage
            del twin.ids[reused:]

    def shared_length(self, ids: Sequence[int]) -> int:
        """Return how many first tokens of ``ids`` this context has read already."""
        pairs = zip(self.ids, ids, strict=False)
        return next(
            (n for n, (mine, other) in enumerate(pairs) if mine != other),
            min(len(self.ids), len(ids)),
        )
