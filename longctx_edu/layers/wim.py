"""A language model that reads a segment with notes beside it: cross-attention to its margins.

The notes go through the layers below as a text of their own; then each token of the segment
looks at them (Vaswani et al. 2017, section 3.2.3, for the operation). Writing in the Margins
itself has no such layer: there a note is text in the prompt (Russak et al. 2024, section 3).
"""

from dataclasses import dataclass

import torch
from torch import nn

from longctx_edu.attention.softmax import scaled_dot_product_in_loops
from longctx_edu.layers.tiny_lm import (
    Cache,
    CacheLayer,
    ContentAddress,
    Places,
    TinyConfig,
    TinyLayer,
    TinyLM,
    attend_in_loops,
    attend_visible,
    check_ids,
    each_query,
    in_heads,
    joined_rows,
    segment_rows,
)


@dataclass(frozen=True, kw_only=True)
class WiMConfig(TinyConfig):
    """The size of a model with margins.

    Args:
        margin_layers: layers that look at them, by default every second.
    """

    margin_layers: tuple[int, ...] | None = None

    def __post_init__(self):
        super().__post_init__()
        self._take_layers("margin_layers")
        if self.margin_layers and self.mlp_ratio <= 1.5:
            raise ValueError(
                "A margin layer gives 1.5 of its MLP's mlp_ratio widths to the margins; choose an "
                f"mlp_ratio above 1.5, not {self.mlp_ratio}."
            )


class WiMTransformer(TinyLM):
    """A causal language model whose upper layers look at margins.

    Before training the margins count nothing, since what is found in them goes through a matrix
    of zeros.
    """

    config: WiMConfig

    def layer(self, number: int) -> nn.Module:
        if number in self.config.margin_layers:
            return WiMLayer(self.config, placeless=number in self.config.placeless)
        return super().layer(number)

    def forward(
        self, ids, margins=None, *, padding=None, margin_padding=None, cache: Cache | None = None
    ):
        """Return the logits after each token, ``(batch, tokens, vocabulary)``.

        Args:
            ids: of one text a row, ``(batch, tokens)``.
            margins: tokens of the notes beside it, ``(batch, margin_tokens)``. Each token of the
                text sees all of them, so they may tell of what stands before the text only.
            padding, margin_padding: True where there is no token, ``(batch, tokens)`` and
                ``(batch, margin_tokens)``.
            cache: of what stands before; it keeps the margins, too, so that they are given with
                a text's first tokens alone.

        Raises:
            ValueError: for a wrong shape, or margins in the middle of a text.
        """
        if margins is None and margin_padding is not None:
            raise ValueError("margin_padding was given without margins; leave out both.")
        encoded = self._margins(ids, margins, margin_padding, cache)
        x, places = self.begin(ids, padding, cache)
        for number, layer in enumerate(self.layers):
            beside = {"margins": encoded[number]} if number in encoded else {}
            own = None if cache is None else cache.layers[number]
            x = layer(x, places=places, cache=own, **beside)
        return self.head(self.norm(x))

    def read(self, ids, margins=None, *, padding=None, margin_padding=None):
        """Return the logits of a document, each segment of it read with its margins.

        Args:
            ids: ``(batch, tokens)``, of any number.
            margins: those beside each segment, ``(batch, segments, margin_tokens)``.
            padding: ``(batch, tokens)``.
            margin_padding: ``(batch, segments, margin_tokens)``.

        Raises:
            ValueError: unless there are margins for each segment.
        """
        check_ids(ids, padding, self.config.vocabulary)
        rows, gaps = segment_rows(ids, padding, self.config.segment_tokens)
        wanted = (len(ids), len(rows) // len(ids))
        for given in (margins, margin_padding):
            if given is not None and (given.ndim != 3 or given.shape[:2] != wanted):
                raise ValueError(
                    f"Margins are ({wanted[0]}, {wanted[1]}, margin_tokens), some for each "
                    f"segment; got {tuple(given.shape)}."
                )
        notes, note_gaps = (x if x is None else x.flatten(0, 1) for x in (margins, margin_padding))
        logits = self(rows, notes, padding=gaps, margin_padding=note_gaps)
        return joined_rows(logits, like=ids)

    def new_cache(self) -> "MarginCache":
        return MarginCache(self.config.layers)

    def encode(self, margins, *, padding=None) -> dict[int, "Margins"]:
        """Return what each margin layer sees of the notes.

        They are read as a text by the layers below: what tells a name's value in the text tells
        it in a note, and no weight is spent on an encoder.
        """
        encoded, last = {}, max(self.config.margin_layers, default=-1)
        x, places = self.begin(margins, padding, None)
        for number, layer in enumerate(self.layers[: last + 1]):
            if number in self.config.margin_layers:
                encoded[number] = layer.encode(x, padding=padding)
            if number < last:
                x = layer(x, places=places)
        return encoded

    def _margins(self, ids, margins, padding, cache: "MarginCache | None") -> dict:
        if margins is None:
            return {} if cache is None else cache.margins
        if len(margins) != len(ids):
            raise ValueError(
                f"{len(ids)} texts have margins of their own each, got {len(margins)}."
            )
        if cache is not None and len(cache):
            raise ValueError("Margins come with a text's first tokens; this cache holds some.")
        # No tokens are no margins, as when nothing was worth a note.
        encoded = self.encode(margins, padding=padding) if margins.shape[1] else {}
        if cache is not None:
            cache.margins = encoded
        return encoded


class MarginCache(Cache):
    """What a model keeps of a text's tokens, and of its margins.

    Attributes:
        margins: what each margin layer sees of them, by its number.
    """

    def __init__(self, layers: int):
        super().__init__(layers)
        self.margins: dict[int, Margins] = {}


@dataclass(frozen=True)
class Margins:
    """What one layer sees of the notes.

    Attributes:
        key, value: ``(batch, heads, margin_tokens, head_dim)``.
        padding: True where there is no token, ``(batch, margin_tokens)``; None if all count.
    """

    key: torch.Tensor
    value: torch.Tensor
    padding: torch.Tensor | None = None


class WiMLayer(TinyLayer):
    """Attention to the text, then to its margins, then an MLP.

    The MLP is narrower by one and a half widths, so that the layer has about as many weights as a
    plain one.
    """

    def __init__(self, config: WiMConfig, *, placeless: bool = True):
        narrower = round((config.mlp_ratio - 1.5) * config.width)
        super().__init__(config, placeless=placeless, mlp_width=narrower)
        self.margin_norm = nn.LayerNorm(config.width, bias=False)
        self.margin_attention = MarginAttention(config.width, config.heads)

    def forward(
        self,
        x,
        *,
        places: Places,
        cache: CacheLayer | None = None,
        margins: Margins | None = None,
    ):
        """Return the tokens' vectors after this layer, ``(batch, tokens, width)``.

        Args:
            x: of the text's tokens, ``(batch, tokens, width)``.
            places: where they stand.
            cache: of the tokens before these.
            margins: from ``encode``; None for none.
        """
        x = x + self.attention(self.attention_norm(x), places=places, cache=cache)
        if margins is not None:
            x = x + self.margin_attention(self.margin_norm(x), margins)
        return x + self.mlp(self.mlp_norm(x))

    def encode(self, notes, *, padding=None) -> Margins:
        """Return keys and values of the notes' vectors, ``(batch, margin_tokens, width)``."""
        return self.margin_attention.encode(self.margin_norm(notes), padding)

    @torch.no_grad()
    def in_loops(self, x, *, places: Places, margins: Margins | None = None):
        """Return the same, one token and one head at a time; slow, and plain to read."""
        attention = self.attention
        own = attention.project(self.attention_norm(x), places)
        x = x + attention.joined(attend_in_loops(*own, padding=places.padding))
        if margins is not None:
            x = x + self.margin_attention.in_loops(self.margin_norm(x), margins)
        return x + self.mlp(self.mlp_norm(x))


class MarginAttention(nn.Module):
    """Multi-head attention of a text's tokens to all tokens of its margins."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        # A matrix of its own: what a margin is asked for may differ from what the text is.
        self.address = ContentAddress(width, heads)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.output.weight)

    def forward(self, x, margins: Margins):
        """Return what each token takes over, ``(batch, tokens, width)``."""
        query = self.address.queries(self.address(x))
        visible = None if margins.padding is None else ~margins.padding[:, None, None]
        found = attend_visible(query, margins.key, margins.value, visible)
        return self.output(found.transpose(1, 2).flatten(2))

    def encode(self, notes, padding) -> Margins:
        key, _ = self.address.keys(self.address(notes), padding=padding)
        value = in_heads(self.value(notes), self.heads)
        return Margins(key, value, padding)

    def in_loops(self, x, margins: Margins):
        query = self.address.queries(self.address(x))
        found, slots = torch.zeros_like(query), range(margins.key.shape[2])
        for b, head, i in each_query(query):
            seen = [j for j in slots if margins.padding is None or not margins.padding[b, j]]
            if seen:
                k, v = margins.key[b, head, seen], margins.value[b, head, seen]
                row = scaled_dot_product_in_loops(query[b, head, i : i + 1], k, v, causal=False)
                found[b, head, i] = query.new_tensor(row[0])
        return self.output(found.transpose(1, 2).flatten(2))
