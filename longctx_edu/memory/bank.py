"""The memory bank: keys and values of documents, kept outside the window.

Documents are read once by the frozen model in windows; every token's keys, before rotation, and
values stay, with the place that the token has in its document (Extended Mind Transformers, Klett
and Ahle 2024, arXiv 2406.02332). What is looked up in it, and at which positions it then stands,
is for ``attention`` and ``blocks``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from longctx_edu.attention.rotation import Rotation
from longctx_edu.errors import LongctxError, ModelError
from longctx_edu.events import Progress
from longctx_edu.inference import Context
from longctx_edu.text import Document, as_documents, token_windows, tokenize

WINDOW_TOKENS = 4096
STRIDE_TOKENS = 3072


@dataclass(frozen=True)
class Held:
    """A document in a bank: its tokens are ``tokens`` of the bank, at ``spans`` of its text."""

    document: Document
    tokens: range
    spans: tuple[tuple[int, int], ...]


class MemoryBank:
    """Keys and values of documents for one model, empty at first; ``add`` reads documents into it.

    Attributes:
        model: the ``LanguageModel`` that read them.
        ids: token ids, in the order in which they are held.
        keys: for each layer, before rotation, ``(kv_heads, tokens, head_dim)``.
        values: for each layer, ``(kv_heads, tokens, head_dim)``.
        held: the documents.
        forwarded: tokens that the model worked on to build it.
    """

    def __init__(self, model):
        self.model = model
        self.ids: list[int] = []
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self.held: list[Held] = []
        self.forwarded = 0
        self._rotation = Rotation(model.model)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))

    def add(
        self,
        documents,
        *,
        window: int = WINDOW_TOKENS,
        stride: int = STRIDE_TOKENS,
        dtype: torch.dtype = torch.float16,
    ) -> Iterator[Progress]:
        """Read documents into the bank; yield progress. Closed early, the last one is left out.

        The first window of a document gives all its tokens, each later one the last ``stride``:
        every token is held once, and has seen at least ``window - stride`` tokens before it.

        Args:
            documents: as for ``readers.read``.
            window: tokens read at a time.
            stride: new tokens in each window after the first.
            dtype: in which keys and values are held.

        Raises:
            LongctxError: for a stride or window out of range, or a document that is held already.
        """
        if not 1 <= stride <= window <= self.model.window:
            raise LongctxError(
                f"1 <= stride <= window <= {self.model.window} (the model's window) is needed, "
                f"got stride={stride} and window={window}."
            )
        documents = as_documents(documents)
        names = [held.document.id for held in self.held]
        if known := [document.id for document in documents if document.id in names]:
            raise LongctxError(f"The bank holds {known[0]!r} already; remove it first.")
        tokens = [tokenize(self.model.tokenizer, document.text) for document in documents]
        total, done = sum(map(len, tokens)), 0
        yield Progress("remembering", 0, total)
        for document, own in zip(documents, tokens, strict=True):
            parts = []
            for place in token_windows(len(own), window, stride):
                new = place.stop - place.new
                parts.append(self._read(own.ids[place.start : place.stop], new, dtype))
                done += new
                yield Progress("remembering", done, total)
            self._append(document, own, parts)

    def _read(self, ids: Sequence[int], new: int, dtype: torch.dtype):
        """Return the keys and values of the last ``new`` tokens of a window, layer by layer."""
        context = Context(self.model, reserve=len(ids))
        for _ in context.prefill(ids):
            pass
        self.forwarded += len(ids)
        positions = torch.arange(len(ids) - new, len(ids))
        found = []
        for layer in context.cache.layers:
            if layer.keys.shape[2] != len(ids):
                raise ModelError(
                    f"{self.model.name} drops old tokens from its cache, so that not all of a "
                    "window can be remembered; choose a model with full attention."
                )
            key, value = layer.keys[0, :, -new:], layer.values[0, :, -new:]
            found.append((self._rotation.take_off(key, positions).to(dtype), value.to(dtype)))
        return found

    def citations(self, tokens: range) -> Iterator[tuple[Document, int, int]]:
        """Yield the documents and characters that some tokens of the bank stand for."""
        for held in self.held:
            first, last = max(tokens.start, held.tokens.start), min(tokens.stop, held.tokens.stop)
            if first < last:
                begin = held.spans[first - held.tokens.start][0]
                yield held.document, begin, held.spans[last - 1 - held.tokens.start][1]

    def at(self, layer: int, tokens: Sequence[int], positions: torch.Tensor):
        """Return the keys of some tokens as at ``positions``, and their values.

        Returns:
            Two tensors ``(kv_heads, tokens, head_dim)`` in the model's own precision.
        """
        dtype = self.model.model.dtype
        key = self.keys[layer][:, tokens].to(dtype)
        return self._rotation.put_on(key, positions), self.values[layer][:, tokens].to(dtype)

    def moved(self, x, places: torch.Tensor, to: torch.Tensor):
        """Return queries or keys that stand at ``places`` as at ``to``."""
        return self._rotation.put_on(self._rotation.take_off(x, places), to)

    def remove(self, document_id: str) -> None:
        """Forget a document.

        Raises:
            LongctxError: if the bank does not hold it.
        """
        names = [held.document.id for held in self.held]
        if document_id not in names:
            raise LongctxError(
                f"The bank does not hold {document_id!r}; it holds {', '.join(names) or 'nothing'}."
            )
        gone = self.held[names.index(document_id)].tokens
        for tensors in (self.keys, self.values):
            for layer, tensor in enumerate(tensors):
                parts = tensor[:, : gone.start], tensor[:, gone.stop :]
                tensors[layer] = torch.cat(parts, dim=1)
        del self.ids[gone.start : gone.stop]
        self.held = [
            replace(one, tokens=_shifted(one.tokens, gone))
            for one in self.held
            if one.document.id != document_id
        ]

    def _append(self, document: Document, tokens, parts) -> None:
        start = len(self)
        for layer in range(len(parts[0])):
            pairs = [part[layer] for part in parts]
            key, value = (torch.cat(own, dim=1) for own in zip(*pairs, strict=True))
            if layer < len(self.keys):
                self.keys[layer] = torch.cat([self.keys[layer], key], dim=1)
                self.values[layer] = torch.cat([self.values[layer], value], dim=1)
            else:
                self.keys.append(key)
                self.values.append(value)
        self.ids += tokens.ids
        self.held.append(
            Held(document, range(start, start + len(tokens)), tuple(map(tuple, tokens.spans)))
        )


def _shifted(tokens: range, gone: range) -> range:
    by = len(gone) if tokens.start >= gone.stop else 0
    return range(tokens.start - by, tokens.stop - by)
