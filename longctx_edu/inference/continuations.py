"""Continuations: many short texts after prefixes of one text, read and written as one batch.

Attention is causal, so the cache at any point of a text is the beginning of the
whole cache. Continuations of different prefixes share it: each stretch between
two prefixes' ends is attended to once, by the rows of all continuations that see
it, and joined with each row's own few tokens by the log-sum-exps (as Hydragen
does for one shared beginning: Juravsky et al. 2024, section 3). No key is
copied. Sliding windows and several texts are not served.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from longctx_edu.attention.exchange import attention_exchanged
from longctx_edu.attention.observers import observer_of
from longctx_edu.attention.parts import attend, attend_after, join
from longctx_edu.errors import CacheError
from longctx_edu.inference.cache import GrowingLayer, new_cache
from longctx_edu.inference.context import Context
from longctx_edu.inference.ledger import Ledger
from longctx_edu.inference.llama import LlamaForward, applies_to

_NAME = "longctx_continuations"


@dataclass(frozen=True)
class Token:
    """A token that a row wrote.

    Attributes:
        row: the row's number, as at the beginning.
        id: the token.
        log_probability: the logarithm of its probability.
        lead: by how much its score is above the next best; near 0 another way of adding
            up the same sums may choose the other one.
    """

    row: int
    id: int
    log_probability: float
    lead: float


class Continuations:
    """Rows of tokens, each after a prefix of what ``context`` has read, which stays as it is.

    Attributes:
        rows: the numbers of the rows that are still written, shorter prefixes first.
        next_logits: scores of their next tokens, ``(rows, vocabulary)``; None before anything
            was read.
    """

    def __init__(self, context: Context, lengths: Sequence[int], *, reserve: int = 0):
        """Begin a row after each of the first ``lengths`` tokens.

        Args:
            lengths: for each row, the tokens of its prefix.
            reserve: tokens of its own that a row has room for from the start.

        Raises:
            CacheError: if the context has not read that much, or its model is not ``served``.
        """
        if not served(context):
            raise CacheError(
                f"{context.language_model.name} cannot write continuations as one batch: its cache "
                "drops old tokens, its attention is its own, or it is being captured; write them "
                "one after another."
            )
        if not lengths or not all(0 < length <= len(context) for length in lengths):
            raise CacheError(
                f"Prefixes have 1 to {len(context)} tokens, which is what was read; got "
                f"{list(lengths)}."
            )
        self.context = context
        self.rows = sorted(range(len(lengths)), key=lambda row: lengths[row])
        self._lengths = sorted(lengths)
        self._reused, self._decoded = list(lengths), [0] * len(lengths)
        self._prefilled = 0
        self._bias: torch.Tensor | None = None
        self.next_logits: torch.Tensor | None = None
        model = context.language_model.model
        # (rows, kv_heads, own tokens, head_dim) in every layer
        self._own = new_cache(model, reserve=reserve)
        self._quick = LlamaForward(model) if applies_to(model, context.cache) else None

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the rows' own keys and values take beside the shared cache."""
        layers = [layer for layer in self._own.layers if layer.is_initialized]
        tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values)]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    def ledger(self, row: int) -> Ledger:
        """Return what a row has cost; its tokens count as discarded."""
        fed_back = max(self._decoded[row] - 1, 0)
        discarded = self._prefilled + fed_back
        return Ledger(self._reused[row], self._prefilled, self._decoded[row], discarded)

    def prefill(self, ids: Sequence[int]) -> None:
        """Read the same tokens, one at least, in every row."""
        self._read(torch.tensor([list(ids)] * len(self.rows)))
        self._prefilled += len(ids)

    def decode(self, *, max_new_tokens: int) -> Iterator[list[Token]]:
        """Write greedily, a token in every row at each step, until all rows have ended.

        A row ends with an end token, after ``max_new_tokens``, or if it is dropped.

        Raises:
            CacheError: if no token was read after the prefixes.
        """
        if self.next_logits is None:
            raise CacheError("Nothing to continue from; prefill at least one token first.")
        ends = self.context.language_model.end_ids
        for number in range(max_new_tokens):
            tokens = self._best()
            for token in tokens:
                self._decoded[token.row] += 1
            yield tokens
            self.drop([token.row for token in tokens if token.id in ends])
            if not self.rows or number + 1 == max_new_tokens:
                return
            going_on = {token.row: token.id for token in tokens}
            self._read(torch.tensor([[going_on[row]] for row in self.rows]))

    def drop(self, rows: Collection[int]) -> None:
        """Write these rows no further."""
        kept = [place for place, row in enumerate(self.rows) if row not in rows]
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[place] for place in kept]
        self._lengths = [self._lengths[place] for place in kept]
        self._bias = None
        chosen = torch.tensor(kept, dtype=torch.long)
        for layer in self._own.layers:
            layer.batch_select_indices(chosen.to(layer.keys.device))

    def _best(self) -> list[Token]:
        scores, ids = self.next_logits.topk(2)
        logs = scores[:, 0] - self.next_logits.logsumexp(-1)
        leads = scores[:, 0] - scores[:, 1]
        return [
            Token(row, id_, log, lead)
            for row, id_, log, lead in zip(
                self.rows, ids[:, 0].tolist(), logs.tolist(), leads.tolist(), strict=True
            )
        ]

    @torch.no_grad()
    def _read(self, ids: torch.Tensor) -> None:
        """Append tokens to the rows; ``ids`` is ``(rows, tokens)``."""
        start = torch.tensor(self._lengths)[:, None] + self._own.get_seq_length()
        positions = start + torch.arange(ids.shape[1])  # (rows, tokens)
        if self._quick:
            attend_to = partial(self._attend_flat, ids.shape)
            x = self._quick.read(ids.flatten(), positions.flatten(), attend_to)
            self.next_logits = self._quick.logits(x.view(*ids.shape, -1)[:, -1])
            return
        model = self.context.language_model.model
        with attention_exchanged(model, _NAME, self._attend_by_name):
            output = model(
                input_ids=ids.to(model.device),
                position_ids=positions.to(model.device),
                past_key_values=self._own,
                use_cache=True,
                logits_to_keep=1,
            )
        self.next_logits = output.logits[:, -1].float()

    def _attend_by_name(self, module, query, key, value, _, scaling=None, **options):
        """Stand in for the model's attention function: own keys come in, the prefix is known."""
        out = self._attend(module.layer_idx, query, key, value, scale=scaling)
        return out.permute(1, 3, 0, 2, 4).flatten(2, 3), None

    def _attend_flat(self, shape, number: int, q, k, v):
        """Append own keys and values of rows laid end to end, and attend to prefix and own."""
        q, k, v = (t.view(*shape, *t.shape[1:]).transpose(1, 2) for t in (q, k, v))
        keys, values = self._own.layers[number].update(k, v)
        out = self._attend(number, q, keys, values, scale=self._quick.scale)
        return out.permute(1, 3, 0, 2, 4).flatten(0, 1)  # (tokens, kv_heads, groups, head_dim)

    def _attend(self, number: int, q, keys, values, *, scale: float | None):
        """Return what the rows' last tokens attend to in the prefix and among their own.

        Args:
            number: the layer.
            q: ``(rows, heads, tokens, head_dim)``.
            keys, values: own ones up to the last token, ``(rows, kv_heads, own, head_dim)``.

        Returns:
            ``(kv_heads, rows, groups, tokens, head_dim)``.
        """
        rows, _, tokens, head_dim = q.shape
        kv_heads = keys.shape[1]
        q = q.reshape(rows, kv_heads, -1, tokens, head_dim)
        groups = q.shape[2]
        own = (t.flatten(0, 1)[:, None].expand(-1, groups, -1, -1) for t in (keys, values))
        parts = attend_after(q.flatten(0, 1), *own, scale=scale)
        out, lse = (t.unflatten(0, (rows, kv_heads)).transpose(0, 1).contiguous() for t in parts)
        # All that looks at a KV head stands in the place of tokens of one text: rows, the query
        # heads that share it, and tokens. Rows are sorted, so those that see a stretch are the
        # last ones, and slices of them are views.
        q = q.transpose(0, 1).contiguous()  # (kv_heads, rows, groups, tokens, head_dim)
        shared = self.context.cache.layers[number]
        for first, begin, end, bias in self._stretches(groups, tokens, q):
            asked = q[:, first:].flatten(1, 3)[None]  # (1, kv_heads, seeing, head_dim)
            stretch = (t[:, :, begin:end] for t in (shared.keys, shared.values))
            found = attend(asked, *stretch, causal=False, scale=scale, bias=bias)
            shape = (rows - first, groups, tokens)
            join(out[:, first:], lse[:, first:], *(t[0].unflatten(1, shape) for t in found))
        return out

    def _stretches(self, groups: int, tokens: int, q) -> Iterator[tuple]:
        """Yield the first row that sees a stretch of the text, its bounds, and what it may not see.

        For single tokens the whole text is one stretch, in which rows are kept from what they may
        not see: the arithmetic wasted costs less than many small steps. For requests it would
        not, so each stretch between two prefixes' ends goes by itself.
        """
        if tokens == 1:
            if self._bias is None:
                ends = torch.tensor(self._lengths).repeat_interleave(groups)[:, None]
                unseen = torch.arange(self._lengths[-1]) >= ends  # (rows x groups, text)
                self._bias = q.new_zeros(unseen.shape).masked_fill_(unseen.to(q.device), -torch.inf)
            yield 0, 0, self._lengths[-1], self._bias
            return
        begin = 0
        for first, end in enumerate(self._lengths):
            if end > begin:
                yield first, begin, end, None
                begin = end


def served(context: Context) -> bool:
    """Say whether continuations of this context can be written as one batch.

    Not under a capture, which records one text.
    """
    model = context.language_model.model
    return (
        getattr(model, "_supports_attention_backend", False)
        and observer_of(model.config.get_text_config()) is None
        and all(type(layer) is GrowingLayer for layer in context.cache.layers)
    )
