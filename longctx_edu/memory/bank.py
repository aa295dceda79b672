"""The memory bank: keys and values of documents, kept outside the window.

Documents are read once by the frozen model in windows; every token's keys, before rotation, and
values stay, with the place that the token has in its document (Extended Mind Transformers, Klett
and Ahle 2024, arXiv 2406.02332). What is looked up in it, and at which positions it then stands,
is for ``attention`` and ``blocks``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from os import PathLike
from pathlib import Path

import torch

from longctx_edu.attention.rotation import Rotation
from longctx_edu.errors import DoesNotFit, LongctxError, ModelError
from longctx_edu.events import Progress
from longctx_edu.inference import Context, new_cache
from longctx_edu.inference.context import CHUNK_TOKENS
from longctx_edu.memory.saved import bank_in_the_making, saved_bank
from longctx_edu.memory.storage import HOLDS, PRECISIONS, Held, KeyShape, Shelf, Spans, Storage
from longctx_edu.models.memory import free_memory_bytes
from longctx_edu.text import Document, TokenWindow, as_documents, token_windows, tokenize

WINDOW_TOKENS = 4096
STRIDE_TOKENS = 3072


class MemoryBank:
    """Keys and values of documents for one model, empty at first; ``add`` reads documents into it.

    Attributes:
        model: the ``LanguageModel`` that read them.
        storage: how they are stored.
        budget_bytes: what keys and values may take, in memory or in a file; None for what is free.
        ids: token ids, in the order in which they are held.
        held: the documents.
        layers: numbers of the model's layers.
        rotation: puts positions on its keys, which are held without any.
    """

    def __init__(self, model, *, storage: Storage | None = None, budget_bytes: int | None = None):
        self.model = model
        self.storage = storage or Storage()
        self.budget_bytes = budget_bytes
        self.ids: list[int] = []
        self.held: list[Held] = []
        self.rotation = Rotation(model.model)
        self._shape = KeyShape.of(model.model)
        self.layers = range(self._shape.layers)
        self._file: Path | None = None  # where the shelves lie, if in a file

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values, scales included; as ``predicted_bytes(len(bank))``."""
        return sum(held.shelf.nbytes for held in self.held)

    @property
    def forwarded(self) -> int:
        """Tokens that the model worked on to build it."""
        return sum(held.forwarded for held in self.held)

    def sinks(self, tokens: int = 1) -> list[range]:
        """Return the first tokens of each document, where heads put weight they have no use for.

        It says nothing, and looked up it would stand in the way (Xiao et al. 2023, section 3.1;
        the code published with Extended Mind Transformers drops the token that begins a text).
        """
        return [held.tokens[:tokens] for held in self.held]

    def predicted_bytes(self, tokens: int) -> int:
        """Return the bytes that keys and values of so many tokens take."""
        return self.storage.bytes_for(self._shape, tokens)

    def holds(self, documents) -> bool:
        """Say whether these documents, and no others, are held, in this order."""
        given = [(document.id, document.text) for document in as_documents(documents)]
        return given == [(held.document.id, held.document.text) for held in self.held]

    def add(
        self,
        documents,
        *,
        window: int | None = None,
        stride: int | None = None,
        windows_together: int = 1,
    ) -> Iterator[Progress]:
        """Read documents into the bank; yield progress. Closed early, the bank is as it was.

        The first window of a document gives all its tokens, each later one the last ``stride``:
        every token is held once, and has seen at least ``window - stride`` tokens before it.

        A bank in a file is written anew with all its documents, beside the old one.

        Args:
            documents: as for ``readers.read``.
            window: tokens read at a time; 4,096 by default, or the model's window if less.
            stride: new tokens in each window after the first; 3,072 by default, or the window.
            windows_together: windows of a document that are read as one batch, to fill a GPU.

        Raises:
            LongctxError: for a stride or window out of range, or a document that is held already.
            DoesNotFit: for more bytes than the budget or the free memory; nothing was read then.
            MemoryFileError: if the storage's file cannot be written.
        """
        window = min(WINDOW_TOKENS, self.model.window) if window is None else window
        stride = min(STRIDE_TOKENS, window) if stride is None else stride
        if not 1 <= stride <= window <= self.model.window or windows_together < 1:
            raise LongctxError(
                f"1 <= stride <= window <= {self.model.window} (the model's window) and "
                f"windows_together >= 1 are needed, got stride={stride}, window={window} and "
                f"windows_together={windows_together}."
            )
        documents = as_documents(documents)
        names = [held.document.id for held in self.held]
        if known := [document.id for document in documents if document.id in names]:
            raise LongctxError(f"The bank holds {known[0]!r} already; remove it first.")
        tokens = [tokenize(self.model.tokenizer, document.text) for document in documents]
        total, done = sum(map(len, tokens)), 0
        self._assert_fits(total)
        ids = [*self.ids, *(one for own in tokens for one in own.ids)]
        fresh, start = [], len(self)
        for document, own in zip(documents, tokens, strict=True):
            spans = Spans(torch.tensor(own.spans, dtype=torch.int32).view(-1, 2))
            place = range(start, start + len(own))
            fresh.append(Held(document, place, spans, window, stride, Shelf({})))
            start = place.stop
        del tokens
        yield Progress("remembering", 0, total)
        with self._room_for(fresh, ids) as shelves:
            for held, shelf in zip(fresh, shelves, strict=True):
                own = ids[held.tokens.start : held.tokens.stop]
                places = token_windows(len(own), window, stride)
                for first in range(0, len(places), windows_together):
                    together = places[first : first + windows_together]
                    self._read(own, together, shelf)
                    done += sum(place.stop - place.new for place in together)
                    yield Progress("remembering", done, total)

    @contextmanager
    def _room_for(self, fresh: Sequence[Held], ids: list[int]) -> Iterator[list[Shelf]]:
        """Lend empty shelves for new documents; they are held when all have been filled."""
        if self.storage.file is None:
            shelves = [
                Shelf.empty(self.storage.forms(self._shape, len(held.tokens))) for held in fresh
            ]
            yield shelves
            pairs = zip(fresh, shelves, strict=True)
            self.held, self.ids = [*self.held, *(replace(a, shelf=b) for a, b in pairs)], ids
            return
        path, both = Path(self.storage.file).expanduser(), [*self.held, *fresh]
        with bank_in_the_making(path, self.model, self.storage, both, ids) as shelves:
            yield shelves[len(self.held) :]
        self._map(path)

    def _map(self, path: Path, *, thorough: bool = False) -> Storage:
        """Hold what is in a file; return how it is stored."""
        storage, self.held, self.ids = saved_bank(path, self.model, thorough=thorough)
        self._file = path.resolve()
        return storage

    def _assert_fits(self, tokens: int) -> None:
        """Refuse more tokens than there is room for, with what would fit."""
        needed, limits = self.predicted_bytes(tokens), {}
        if self.budget_bytes is not None:
            limits["of the budget are left"] = max(self.budget_bytes - self.nbytes, 0)
        in_budget = all(needed <= limit for limit in limits.values())
        if self.storage.file is None:
            limits["of memory are free"] = max(free_memory_bytes(), 0)
        reason, limit = min(limits.items(), key=lambda pair: pair[1], default=("", needed))
        if needed <= limit:
            return
        others = (Storage(*pair, self.storage.file) for pair in product(PRECISIONS, HOLDS))
        sizes = {str(other): other.bytes_for(self._shape, tokens) for other in others}
        fitting = [f"{name} ({size:,} bytes)" for name, size in sizes.items() if size <= limit]
        if in_budget:
            fitting.append("a file (Storage(file=...))")
        raise DoesNotFit(
            f"The memory of {tokens:,} tokens takes {needed:,} bytes ({self.storage}), and "
            f"{limit:,} {reason}. What would fit: {'; '.join(fitting) or 'less text only'}."
        )

    def _read(self, ids: Sequence[int], places: Sequence[TokenWindow], shelf: Shelf) -> None:
        """Read windows of a document as one batch; put what is new in them on its shelf."""
        texts = [ids[place.start : place.stop] for place in places]
        cache = self._cache_of(texts)
        for number, layer in enumerate(cache.layers[: self._depth()]):
            if layer.keys.shape[2] != max(map(len, texts)):
                raise ModelError(
                    f"{self.model.name} drops old tokens from its cache, so that not all of a "
                    "window can be remembered; choose a model with full attention."
                )
            for row, place in enumerate(places):
                first, stop = place.new - place.start, place.stop - place.start
                if (name := f"keys.{number}") in shelf.tensors:
                    key = layer.keys[row, :, first:stop]
                    key = self.rotation.take_off(key, torch.arange(first, stop))
                    shelf.write(name, place.new, key)
                if (name := f"values.{number}") in shelf.tensors:
                    shelf.write(name, place.new, layer.values[row, :, first:stop])
        if shelf.let_go:
            shelf.let_go()

    def _depth(self) -> int:
        """Return how many layers have to work: up to the last one whose keys are held."""
        names = self.storage.forms(self._shape, 0)
        return 1 + max(layer for layer in self.layers if f"keys.{layer}" in names)

    @torch.no_grad()
    def _cache_of(self, texts: Sequence[Sequence[int]]):
        """Return the cache of texts read as a batch.

        Shorter ones are padded on the right, where no token of theirs looks.
        """
        longest = max(map(len, texts))
        if len(texts) == 1:
            context = Context(self.model, reserve=longest, depth=self._depth())
            for _ in context.prefill(texts[0]):
                pass
            return context.cache
        cache = new_cache(self.model.model, reserve=longest)
        rows = torch.zeros(len(texts), longest, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            row[: len(text)] = torch.tensor(text)
        for chunk in rows.to(self.model.device).split(CHUNK_TOKENS, dim=1):
            self.model.model.base_model(input_ids=chunk, past_key_values=cache, use_cache=True)
        return cache

    def citations(self, tokens: range) -> Iterator[tuple[Document, int, int]]:
        """Yield the documents and characters that some tokens of the bank stand for."""
        for held in self.held:
            first, last = max(tokens.start, held.tokens.start), min(tokens.stop, held.tokens.stop)
            if first < last:
                begin = held.spans[first - held.tokens.start][0]
                yield held.document, begin, held.spans[last - 1 - held.tokens.start][1]

    def tokens_of(self, document_ids: str | Sequence[str]) -> list[range]:
        """Return which tokens of the bank are those of some documents, in the order asked for.

        Raises:
            LongctxError: for a document that is not held.
        """
        asked = [document_ids] if isinstance(document_ids, str) else document_ids
        return [self._held(name).tokens for name in asked]

    def keys_of(
        self, layer: int, tokens: Sequence[int] | torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the keys of a layer before rotation, ``(kv_heads, tokens, head_dim)``.

        They come in the model's own precision, and are not to be written to: those of a single
        document that is stored like that are no copy.

        Args:
            layer: number of a layer.
            tokens: of the bank, a range or an index in any order; None for all.

        Raises:
            LongctxError: for a layer that is not held.
            ValueError: for a token that the bank does not have.
        """
        name, dtype = self._name("keys", layer), self.model.model.dtype
        if tokens is None and len(self.held) == 1 and not self.held[0].shelf.let_go:
            only = self.held[0].shelf.tensors[name]
            if only.dtype == dtype:
                return only
        return self._gathered(name, range(len(self)) if tokens is None else tokens)

    def values_of(self, layer: int, tokens: Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Return the values of some tokens; arguments and errors as in ``at``."""
        return self._gathered(self._name("values", layer), tokens)

    def at(self, layer: int, tokens: Sequence[int] | torch.Tensor, positions: torch.Tensor):
        """Return the keys of some tokens as at ``positions``, and their values.

        Args:
            layer: number of a layer.
            tokens: of the bank, a range or an index in any order.
            positions: for each where it is to stand, ``(tokens,)``.

        Returns:
            Two tensors ``(kv_heads, tokens, head_dim)`` in the model's own precision and place.

        Raises:
            LongctxError: if only choosing keys are held.
            ValueError: for a token that the bank does not have.
        """
        value = self.values_of(layer, tokens).to(self.model.device)
        key = self.keys_of(layer, tokens).to(self.model.device)
        return self.rotation.put_on(key, positions), value

    def _name(self, kind: str, layer: int) -> str:
        everything = self.storage.holds == "everything"
        if layer in self.storage.layers(len(self.layers)) and (everything or kind == "keys"):
            return f"{kind}.{layer}"
        if layer not in self.layers:
            raise LongctxError(f"The model has the layers 0 to {self.layers[-1]}, got {layer}.")
        raise LongctxError(
            f"This memory holds choosing keys alone, and no {kind} of layer {layer}: they are "
            "enough to choose blocks, not to attend to them. Read the tokens of the chosen blocks "
            "again (bank.ids), or build the memory with Storage(holds='everything')."
        )

    def _gathered(self, name: str, tokens: Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Return the keys or values of some tokens, ``(kv_heads, tokens, head_dim)``."""
        rows = (self._shape.kv_heads, len(tokens), self._shape.head_dim)
        out = torch.empty(rows, dtype=self.model.model.dtype)
        if not len(tokens):
            return out
        run = isinstance(tokens, range) and tokens.step == 1
        index = None if run else torch.as_tensor(tokens, dtype=torch.long).cpu()
        low, high = (tokens[0], tokens[-1]) if run else (int(index.min()), int(index.max()))
        if low < 0 or high >= len(self):
            raise ValueError(f"The bank has the tokens 0 to {len(self) - 1}, got {low} to {high}.")
        for held in self.held:
            start, stop, shelf = held.tokens.start, held.tokens.stop, held.shelf
            if high < start or stop <= low:
                continue
            if run:
                first, last = max(low, start), min(high + 1, stop)
                place = slice(first - start, last - start)
                shelf.read(name, place, out[:, first - low : last - low])
            elif start <= low and high < stop:
                shelf.read(name, index - start, out)
            else:
                here = ((start <= index) & (index < stop)).nonzero()[:, 0]
                part = out.new_empty(rows[0], len(here), rows[2])
                shelf.read(name, index[here] - start, part)
                out[:, here] = part
            if shelf.let_go:
                shelf.let_go()
        return out

    def remove(self, document_id: str) -> None:
        """Forget a document. A file that the bank lies in has it until it is written anew.

        Raises:
            LongctxError: if the bank does not hold it.
        """
        gone = self._held(document_id)
        del self.ids[gone.tokens.start : gone.tokens.stop]
        self.held = [
            replace(one, tokens=_shifted(one.tokens, gone.tokens))
            for one in self.held
            if one is not gone
        ]

    def _held(self, document_id: str) -> Held:
        for held in self.held:
            if held.document.id == document_id:
                return held
        names = ", ".join(held.document.id for held in self.held)
        raise LongctxError(
            f"The bank does not hold {document_id!r}; it holds {names or 'nothing'}."
        )

    def save(self, path: str | PathLike) -> Path:
        """Write the bank to a safetensors file, which ``load`` maps; return its path.

        Raises:
            MemoryFileError: if it cannot be written, or something else lies there.
        """
        path = Path(path).expanduser()
        with bank_in_the_making(path, self.model, self.storage, self.held, self.ids):
            pass
        if path.resolve() == self._file:
            self._map(path)  # so that the old file can go
        return path

    @classmethod
    def load(
        cls,
        path: str | PathLike,
        model,
        *,
        thorough: bool = False,
        budget_bytes: int | None = None,
    ) -> "MemoryBank":
        """Map a saved bank; keys and values are read when they are looked up.

        What is added to it later lies in memory, and in a file when it is saved again.

        Args:
            model: the one that built it.
            thorough: read every byte and compare it with its checksum. Without, damage inside
                keys and values is not noticed.
            budget_bytes: as for a new bank.

        Raises:
            MemoryFileError: if there is none, it is damaged, or another model built it.
        """
        bank = cls(model, budget_bytes=budget_bytes)
        bank.storage = bank._map(Path(path).expanduser(), thorough=thorough)
        return bank


def _shifted(tokens: range, gone: range) -> range:
    by = len(gone) if tokens.start >= gone.stop else 0
    return range(tokens.start - by, tokens.stop - by)
