"""How the keys and values of a memory are stored: how precisely, which of them, and where.

Eight bits with one scale for each token and head are the plainest of the ways in which KV caches
are quantised; Liu et al. 2024 (KIVI, arXiv 2402.02750, section 3) give keys one scale for each
channel instead, for two bits. How a file looks is in ``mapped``.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from operator import itemgetter
from os import PathLike

import torch

from longctx_edu.attention.block_mass import choosing_layers
from longctx_edu.errors import LongctxError
from longctx_edu.text import Document, segment_sentences, token_windows

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}
HOLDS = ("everything", "choosing_keys")
_LONGEST_SENTENCE = 600  # characters; a table or a listing may be one endless sentence


@dataclass(frozen=True)
class KeyShape:
    """The layers of a model and the shape of their keys: ``(kv_heads, tokens, head_dim)``."""

    layers: int
    kv_heads: int
    head_dim: int

    @classmethod
    def of(cls, model) -> "KeyShape":
        """Read the shape off a Hugging Face model's configuration."""
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        return cls(
            config.num_hidden_layers,
            getattr(config, "num_key_value_heads", None) or heads,
            getattr(config, "head_dim", None) or config.hidden_size // heads,
        )


@dataclass(frozen=True)
class Form:
    """What a tensor is before it is there."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Storage:
    """How a memory's keys and values are stored.

    A token of the embedded model (30 layers, 3 KV heads of 64) takes 23,040 bytes in float16,
    12,240 in int8, and 5,376 in float16 if only choosing keys are held.

    Attributes:
        precision: "float32", "float16", or "int8" with a float32 scale for each token and head.
        holds: "everything", or "choosing_keys": the keys of ``block_mass.choosing_layers`` alone.
            They are enough to choose blocks, whose tokens are then read again.
        file: path of the file that the memory is built into, in place of a saved memory that may
            be there; ``MemoryBank.load`` reads it. None for a memory in the process.
    """

    precision: str = "float16"
    holds: str = "everything"
    file: str | PathLike | None = None

    def __post_init__(self):
        for name, allowed in (("precision", PRECISIONS), ("holds", HOLDS)):
            if getattr(self, name) not in allowed:
                raise LongctxError(
                    f"{name} is one of {', '.join(allowed)}, got {getattr(self, name)!r}."
                )

    def __str__(self):
        held = "everything" if self.holds == "everything" else "choosing keys alone"
        return f"{self.precision}, {held}"

    def layers(self, count: int) -> range:
        """Return which of a model's layers are held."""
        return range(count) if self.holds == "everything" else choosing_layers(count)

    def forms(self, shape: KeyShape, tokens: int) -> dict[str, Form]:
        """Return the tensors of a document of so many tokens, by name: ``keys.0``, ``values.0``."""
        kinds = ("keys", "values") if self.holds == "everything" else ("keys",)
        rows = (shape.kv_heads, tokens)
        forms = {}
        for layer in self.layers(shape.layers):
            for kind in kinds:
                name = f"{kind}.{layer}"
                forms[name] = Form(PRECISIONS[self.precision], (*rows, shape.head_dim))
                if self.precision == "int8":
                    forms[f"{name}.scales"] = Form(torch.float32, rows)
        return forms

    def bytes_for(self, shape: KeyShape, tokens: int) -> int:
        """Return the bytes that so many tokens take, scales included."""
        return sum(form.nbytes for form in self.forms(shape, tokens).values())


class Shelf:
    """The keys and values of one document, in their place from the start and filled there.

    Attributes:
        tensors: by the names of ``Storage.forms``.
        let_go: gives pages of a mapped file back to the system; None for a shelf in the process.
    """

    def __init__(
        self, tensors: Mapping[str, torch.Tensor], let_go: Callable[[], None] | None = None
    ):
        self.tensors = dict(tensors)
        self.let_go = let_go

    @classmethod
    def empty(cls, forms: Mapping[str, Form]) -> "Shelf":
        """Return a shelf in the process, with room for tensors of these forms."""
        return cls({name: torch.empty(one.shape, dtype=one.dtype) for name, one in forms.items()})

    @property
    def nbytes(self) -> int:
        """Bytes of all keys, values and scales."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def write(self, name: str, start: int, x: torch.Tensor) -> None:
        """Store keys or values ``(kv_heads, tokens, head_dim)`` from token ``start`` on."""
        place = slice(start, start + x.shape[1])
        if scales := self._scales(name):
            x, scales[0][:, place] = quantised(x)
        self.tensors[name][:, place] = x

    def read(self, name: str, rows, out: torch.Tensor) -> None:
        """Write the tokens ``rows``, a slice or an index, into ``out``, in its precision."""
        out.copy_(self.tensors[name][:, rows])
        if scales := self._scales(name):
            out.mul_(scales[0][:, rows, None])

    def take_over(self, other: "Shelf") -> None:
        """Copy what ``other`` has, bit for bit."""
        for name, tensor in other.tensors.items():
            self.tensors[name].copy_(tensor)
            for touched in (self, other):
                if touched.let_go:
                    touched.let_go()

    def _scales(self, name: str) -> list[torch.Tensor]:
        scales = self.tensors.get(f"{name}.scales")
        return [] if scales is None else [scales]


def quantised(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``x`` as whole numbers from -127 to 127, and what one is worth along the last axis.

    ``whole * scale`` is at most half a scale away from ``x``.

    >>> whole, scale = quantised(torch.tensor([[0.5, -1.27]]))
    >>> whole.tolist(), round(scale.item(), 4)
    ([[50, -127]], 0.01)
    """
    x = x.float()
    scale = x.abs().amax(-1) / 127
    whole = x / scale.clamp_min(torch.finfo(torch.float32).tiny)[..., None]
    return whole.round_().to(torch.int8), scale


class Spans(Sequence):
    """The characters (start, end) of tokens, eight bytes each; equal to a list of the same."""

    def __init__(self, table: torch.Tensor):
        self.table = table  # (tokens, 2), int32

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, place):
        found = self.table[place].tolist()
        return [*map(tuple, found)] if isinstance(place, slice) else tuple(found)

    def __eq__(self, other):
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and self[:] == [*map(tuple, other[:])]
        )


@dataclass(frozen=True)
class Held:
    """A document in a bank: its tokens are ``tokens`` of the bank, at ``spans`` of its text.

    Attributes:
        document, tokens, spans: as said.
        window, stride: how it was read.
        shelf: its keys and values.
    """

    document: Document
    tokens: range
    spans: Spans
    window: int
    stride: int
    shelf: Shelf = field(compare=False, repr=False)

    @cached_property
    def sentences(self) -> list[range]:
        """Its sentences as ranges of the bank's tokens; every token is in one of them."""
        spans, start, sentences = self.spans[:], 0, []
        for _, end in segment_sentences(self.document.text, max_characters=_LONGEST_SENTENCE):
            # A token that holds the space before the next sentence belongs to that.
            stop = bisect_right(spans, end, key=itemgetter(1))
            if stop > start:
                sentences.append(range(self.tokens.start + start, self.tokens.start + stop))
                start = stop
        if start < len(spans):
            sentences.append(range(self.tokens.start + start, self.tokens.stop))
        return sentences

    @property
    def forwarded(self) -> int:
        """Tokens that the model worked on to read it."""
        windows = token_windows(len(self.tokens), self.window, self.stride)
        return sum(window.stop - window.start for window in windows)
