"""A language model that reads from top to bottom: small enough to train while one looks on.

Embedding, layers of attention and MLP with a norm before each, and the embedding again as head
(Vaswani et al. 2017; the order of Touvron et al. 2023, section 2.2). Rows of a batch may be
padded anywhere. It is made for learning: it knows no dropout, and no text beyond its segment.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log

import torch
import torch.nn.functional as F
from torch import nn

from longctx_edu.attention.rotation import turn
from longctx_edu.attention.softmax import scaled_dot_product_in_loops

START_SHARPNESS = 16.0
"""What a cosine is multiplied with before the softmax, before training."""


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """The size of a model, and what its layers see.

    Args:
        vocabulary: how many tokens there are.
        width: numbers of a token's vector, a multiple of ``2 · heads``.
        layers: of attention and MLP.
        heads: attentions side by side.
        mlp_ratio: width inside an MLP over ``width``.
        segment_tokens: of the pieces in which ``read`` takes a document.
        placeless: layers without positions, which find by content alone (Kazemnejad et al. 2023);
            by default every second one, 1, 3, 5, ...
        rotary_base: of the slowest angle (Su et al. 2021, section 3.2.2).
        tied: whether the embedding is the head, too.

    Raises:
        ValueError: for sizes that do not fit each other.
    """

    vocabulary: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    mlp_ratio: float = 4.0
    segment_tokens: int = 64
    placeless: tuple[int, ...] | None = None
    rotary_base: float = 10_000.0
    tied: bool = True

    def __post_init__(self):
        for name in ("vocabulary", "width", "layers", "heads", "segment_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width must be a multiple of 2 · heads, since positions turn pairs of numbers; "
                f"got {self.width} and {self.heads} heads."
            )
        self._take_layers("placeless")

    def _take_layers(self, name: str) -> None:
        """Make layer numbers a tuple, by default of every second layer, and check them."""
        given = getattr(self, name)
        numbers = tuple(range(1, self.layers, 2) if given is None else given)
        if not set(numbers) <= set(range(self.layers)):
            raise ValueError(
                f"{name} names layers from 0 to {self.layers - 1}, got {list(numbers)}."
            )
        object.__setattr__(self, name, numbers)


class TinyLM(nn.Module):
    """A causal language model: token ids in, the scores of each next token out.

    Weights are drawn from torch's generator, so that ``torch.manual_seed`` repeats them.
    """

    def __init__(self, config: TinyConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        # The head is the embedding: rows of length 1 make scores of about 1 from a normed state.
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        self.layers = nn.ModuleList(self.layer(number) for number in range(config.layers))
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        if config.tied:
            self.head.weight = self.embedding.weight

    def layer(self, number: int) -> nn.Module:
        """Return a new layer for a place; models with other layers say here which."""
        return TinyLayer(self.config, placeless=number in self.config.placeless)

    def forward(self, ids, *, padding=None, cache: "Cache | None" = None):
        """Return the logits after each token, ``(batch, tokens, vocabulary)``.

        Args:
            ids: of one text a row, ``(batch, tokens)``; it sees all of itself so far.
            padding: True where there is no token, ``(batch, tokens)``; anywhere in a row.
            cache: of what stands before; the tokens are added to it.

        Raises:
            ValueError: for ids or padding of a wrong shape.
        """
        x, places = self.begin(ids, padding, cache)
        for number, layer in enumerate(self.layers):
            own = None if cache is None else cache.layers[number]
            x = layer(x, places=places, cache=own)
        return self.head(self.norm(x))

    def begin(self, ids, padding, cache: "Cache | None"):
        """Return the tokens' vectors, and where and among what they stand."""
        check_ids(ids, padding, self.config.vocabulary)
        seen = cache.add(ids, padding) if cache is not None else padding
        if seen is None:
            start = 0 if cache is None else len(cache) - ids.shape[1]
            positions = torch.arange(start, start + ids.shape[1], device=ids.device)
        else:  # only tokens count: padding moves none of them
            positions = ((~seen).cumsum(1) - 1)[:, -ids.shape[1] :].clamp(min=0)
        x = self.embedding(ids)
        return x, Places(*rotary_angles(positions, self.config, x.dtype), seen)

    def read(self, ids, *, padding=None):
        """Return the logits of a document, each segment of it read by itself.

        This is all that a model without memory sees of a text longer than its window. Arguments
        and result as for ``forward``; ``ids`` can be of any length.
        """
        check_ids(ids, padding, self.config.vocabulary)
        rows, gaps = segment_rows(ids, padding, self.config.segment_tokens)
        return joined_rows(self(rows, padding=gaps), like=ids)

    def new_cache(self) -> "Cache":
        return Cache(self.config.layers)

    def state(self) -> dict:
        """Return what ``forward`` takes to go on where the call before it ended."""
        return {"cache": self.new_cache()}

    @torch.no_grad()
    def generate(
        self,
        ids,
        *,
        max_new_tokens: int,
        padding=None,
        temperature: float = 0.0,
        generator=None,
        cached: bool = True,
        **given,
    ):
        """Return the texts with the tokens that follow, ``(batch, tokens + max_new_tokens)``.

        Args:
            ids: ``(batch, tokens)``; rows end alike, so padding stands on the left.
            padding: True where there is no token, ``(batch, tokens)``.
            temperature: 0 for the most probable token; else tokens are drawn from the softmax of
                the logits over it.
            generator: to draw with.
            cached: whether each token is forwarded once; without, the whole text each time. The
                results are equal.
            **given: what else this model's ``forward`` takes, such as margins.
        """
        state = self.state() if cached else {}
        logits = self(ids, padding=padding, **state, **given)
        for new in range(max_new_tokens):
            chosen = _next_tokens(logits[:, -1], temperature, generator)
            ids = torch.cat([ids, chosen], dim=1)
            if padding is not None:
                padding = F.pad(padding, (0, 1))
            if new + 1 < max_new_tokens:
                logits = self(chosen, **state) if cached else self(ids, padding=padding, **given)
        return ids


@dataclass(frozen=True)
class Places:
    """Where some tokens stand, and among what.

    Attributes:
        cos, sin: of their angles, ``(batch or 1, 1, tokens, head_dim)``.
        padding: True where a key, cached or new, is none, ``(batch, keys)``; None if all count.
    """

    cos: torch.Tensor
    sin: torch.Tensor
    padding: torch.Tensor | None = None


class TinyLayer(nn.Module):
    """Attention, then an MLP, each after a norm and added to what comes in."""

    def __init__(self, config: TinyConfig, *, placeless: bool, mlp_width: int | None = None):
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, bias=False)
        kind = ContentAttention if placeless else RotaryAttention
        self.attention = kind(config.width, config.heads)
        self.mlp_norm = nn.LayerNorm(config.width, bias=False)
        self.mlp = MLP(config.width, mlp_width or round(config.mlp_ratio * config.width))
        # A layer begins as one that changes nothing, so that tokens are found as they are.
        nn.init.zeros_(self.mlp[-1].weight)

    def forward(self, x, *, places: Places, cache: "CacheLayer | None" = None):
        """Return the tokens' vectors after this layer, ``(batch, tokens, width)``."""
        x = x + self.attention(self.attention_norm(x), places=places, cache=cache)
        return x + self.mlp(self.mlp_norm(x))


class MLP(nn.Sequential):
    """Two matrices with a ReLU between them (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, width: int, hidden: int):
        super().__init__(
            nn.Linear(width, hidden, bias=False),
            nn.ReLU(inplace=True),  # the matrix before it does not need its result again
            nn.Linear(hidden, width, bias=False),
        )


class CausalAttention(nn.Module):
    """Multi-head attention of tokens to themselves and to those before.

    What queries and keys are is for its two kinds to say: by place, or by content.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.output = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.output.weight)

    def forward(self, x, *, places: Places, cache: "CacheLayer | None" = None):
        """Return what each token takes over, ``(batch, tokens, width)``."""
        query, key, value = self.project(x, places, cache)
        return self.joined(attend(query, key, value, padding=places.padding))

    def project(self, x, places: Places, cache: "CacheLayer | None" = None):
        """Return queries of the tokens, and keys and values of all that stands before, too.

        ``(batch, heads, tokens, head_dim)`` each.
        """
        raise NotImplementedError

    def joined(self, found):
        """Return what the output matrix makes of all heads' findings."""
        return self.output(found.transpose(1, 2).flatten(2))


class RotaryAttention(CausalAttention):
    """Attention whose scores depend on how far apart query and key are."""

    def __init__(self, width: int, heads: int):
        super().__init__(width, heads)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)

    def project(self, x, places: Places, cache: "CacheLayer | None" = None):
        width = x.shape[-1]
        query_key, value = self.query_key_value(x).split([2 * width, width], dim=-1)
        turned = turn(in_heads(query_key, 2 * self.heads), places.cos, places.sin)
        (query, key), value = turned.chunk(2, dim=1), in_heads(value, self.heads)
        return query, *((key, value) if cache is None else cache.add(key, value))


class ContentAttention(CausalAttention):
    """Attention by content alone: a key far away scores as one nearby."""

    def __init__(self, width: int, heads: int):
        super().__init__(width, heads)
        self.address = ContentAddress(width, heads)
        self.value = nn.Linear(width, width, bias=False)

    def project(self, x, places: Places, cache: "CacheLayer | None" = None):
        padding = None if places.padding is None else places.padding[:, -x.shape[1] :]
        spot = self.address(x)
        before = None if cache is None else cache.neighbour
        key, last = self.address.keys(spot, before=before, padding=padding)
        value = in_heads(self.value(x), self.heads)
        if cache is not None:
            cache.neighbour = last
            key, value = cache.add(key, value)
        return self.address.queries(spot), key, value


class ContentAddress(nn.Module):
    """Where a token stands by its content: a point on a sphere in each head.

    One matrix makes the points of queries and keys (Kitaev et al. 2020, section 2), so that from
    the start a query finds what is like it. They are compared by their angle (Wu et al. 2022,
    section 3.2, on keys that other weights wrote). A key is its own point mixed with its left
    neighbour's, so that a token is found by what it follows (smeared keys of Olsson et al. 2022,
    argument 2); without, it would take a layer below to carry that over.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.matrix = nn.Linear(width, width, bias=False)
        # As a logarithm and a logit, so that equal steps of training change both alike.
        self.sharpness = nn.Parameter(torch.full((heads,), log(START_SHARPNESS)))
        self.neighbour = nn.Parameter(torch.full((heads,), 2.0))  # its share, 0.88 at first

    def forward(self, x):
        """Return the points of tokens, ``(batch, heads, tokens, head_dim)``."""
        points = in_heads(self.matrix(x), self.heads)
        return F.layer_norm(points, points.shape[-1:])  # the quickest way to one length

    def queries(self, points):
        """Return queries so long that attention scores are a cosine times the sharpness."""
        return points * (self.sharpness.exp()[:, None, None] * points.shape[-1] ** -0.5)

    def keys(self, points, *, before=None, padding=None):
        """Return the keys, and the last point, whose right neighbour is still to come.

        Args:
            points: ``(batch, heads, tokens, head_dim)``.
            before: the point before the first, ``(batch, heads, 1, head_dim)``; zeros if there is
                none.
            padding: True where there is no token, ``(batch, tokens)``; it is nobody's neighbour.
        """
        share = self.neighbour.sigmoid()[:, None, None]
        if before is None and padding is None:  # all that training needs, and less work
            return points.lerp(F.pad(points, (0, 0, 1, -1)), share), points[:, :, -1:]
        before = torch.zeros_like(points[:, :, :1]) if before is None else before
        left = torch.cat([before, points], dim=2)  # one place to the right
        if padding is not None:
            counted = torch.arange(1, points.shape[2] + 1, device=points.device) * ~padding
            nearest = F.pad(counted.cummax(1).values, (1, 0))  # (batch, 1 + tokens)
            left = left.gather(2, nearest[:, None, :, None].expand_as(left))
        return points.lerp(left[:, :, :-1], share), left[:, :, -1:]


def in_heads(x, heads: int):
    """Return vectors ``(batch, tokens, width)`` in parts, ``(batch, heads, tokens, head_dim)``."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(query, key, value, *, padding=None):
    """Return causal attention; the queries are the last tokens of the keys.

    A query that sees nothing, such as padding before a text, takes over zeros.

    Args:
        query: ``(batch, heads, queries, head_dim)``.
        key, value: ``(batch, heads, keys, head_dim)``.
        padding: True where a key is none, ``(batch, keys)``.
    """
    queries, keys = query.shape[2], key.shape[2]
    if padding is None and queries in (1, keys):
        return F.scaled_dot_product_attention(query, key, value, is_causal=queries > 1)
    visible = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
    if padding is not None:
        visible = visible & ~padding[:, None, None]  # (batch, 1, queries, keys)
    return attend_visible(query, key, value, visible)


def attend_visible(query, key, value, visible):
    """Return attention to the visible keys, zeros where a query sees none.

    Args:
        visible: ``(..., queries, keys)``, True where a query looks; None for all keys.
    """
    if visible is None:
        return F.scaled_dot_product_attention(query, key, value)
    sees = visible.any(-1, keepdim=True)
    # A row without any key would be 0/0, which spoils the gradients of all other rows.
    found = F.scaled_dot_product_attention(query, key, value, attn_mask=visible | ~sees)
    return found.masked_fill(~sees, 0)


def attend_in_loops(query, key, value, *, padding=None):
    """Return the same as ``attend``, one token and one head at a time."""
    found, before = torch.zeros_like(query), key.shape[2] - query.shape[2]
    for b, head, i in each_query(query):
        keys = [j for j in range(before + i + 1) if padding is None or not padding[b, j]]
        if keys:
            q, k, v = query[b, head, i : i + 1], key[b, head, keys], value[b, head, keys]
            found[b, head, i] = q.new_tensor(scaled_dot_product_in_loops(q, k, v, causal=False)[0])
    return found


def each_query(query) -> Iterator[tuple[int, int, int]]:
    """Yield row, head and token of each query."""
    batch, heads, queries, _ = query.shape
    yield from ((b, h, i) for b in range(batch) for h in range(heads) for i in range(queries))


class CacheLayer:
    """The keys and values of one layer, of all tokens so far."""

    def __init__(self):
        self.key = self.value = None
        self.neighbour = None  # the last token's point, where keys tell of what they follow

    def add(self, key, value):
        """Append keys and values; return all, ``(batch, heads, tokens, head_dim)`` each."""
        if self.key is not None:
            key, value = torch.cat([self.key, key], dim=2), torch.cat([self.value, value], dim=2)
        self.key, self.value = key, value
        return key, value


class Cache:
    """What a model keeps of the tokens so far, so that none is forwarded twice.

    Attributes:
        layers: keys and values, one ``CacheLayer`` for each layer.
        padding: True where there is no token, ``(batch, tokens)``; None if all are tokens.
    """

    def __init__(self, layers: int):
        self.layers = [CacheLayer() for _ in range(layers)]
        self.padding = None
        self._tokens = 0

    def __len__(self) -> int:
        """Return how many tokens a row holds, padding included."""
        return self._tokens

    def add(self, ids, padding):
        """Take note of new tokens; return the padding of all, ``(batch, tokens)`` or None."""
        if padding is not None or self.padding is not None:
            none = torch.zeros_like(ids, dtype=torch.bool)
            before = none[:, :1].expand(-1, self._tokens) if self.padding is None else self.padding
            self.padding = torch.cat([before, none if padding is None else padding], dim=1)
        self._tokens += ids.shape[1]
        return self.padding


def rotary_angles(positions, config: TinyConfig, dtype):
    """Return cosine and sine of the tokens' angles, ``(batch or 1, 1, tokens, head_dim)`` each.

    Args:
        positions: ``(tokens,)`` or ``(batch, tokens)``.
    """
    half = config.width // config.heads // 2
    exact = torch.promote_types(dtype, torch.float32)  # half precision knows no 257
    exponents = torch.arange(half, device=positions.device, dtype=exact) / half
    angles = positions[..., None] * config.rotary_base**-exponents
    angles = torch.cat([angles, angles], dim=-1).view(-1, 1, positions.shape[-1], 2 * half)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def segment_rows(ids, padding, segment_tokens: int) -> tuple:
    """Return a document's segments as rows of a batch, ``(batch · segments, segment_tokens)``.

    Nothing passes between rows, so that all segments can be read at once. Where the last one is
    short, it is filled up with padding.

    Returns:
        ids and padding; None for padding if there is none.
    """
    missing = -ids.shape[1] % segment_tokens
    if missing:
        padding = torch.zeros_like(ids, dtype=torch.bool) if padding is None else padding
        ids, padding = F.pad(ids, (0, missing)), F.pad(padding, (0, missing), value=True)
    rows = (x if x is None else x.reshape(-1, segment_tokens) for x in (ids, padding))
    return tuple(rows)


def joined_rows(logits, *, like):
    """Return the logits of documents, ``(batch, tokens, vocabulary)``, from those of segments.

    Args:
        logits: ``(batch · segments, segment_tokens, vocabulary)``.
        like: the documents' ids, ``(batch, tokens)``.
    """
    return logits.unflatten(0, (len(like), -1)).flatten(1, 2)[:, : like.shape[1]]


def parameter_count(model: nn.Module) -> int:
    """Return how many numbers a model learns; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def check_ids(ids, padding, vocabulary: int) -> None:
    """Raise a ValueError unless ids, and padding if given, are ``(batch, tokens)``."""
    if ids.ndim != 2 or ids.is_floating_point() or ids.shape[1] < 1:
        raise ValueError(
            f"ids must be whole numbers (batch, tokens) with a token at least, got {ids.dtype} of "
            f"{tuple(ids.shape)}."
        )
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
        raise ValueError(
            f"ids go from 0 to {vocabulary - 1}, the tokens that the model knows; got "
            f"{int(ids.min())} to {int(ids.max())}."
        )
    if padding is not None and (padding.dtype != torch.bool or padding.shape != ids.shape):
        raise ValueError(
            f"padding must be True or False for each token, {tuple(ids.shape)}, got "
            f"{padding.dtype} of {tuple(padding.shape)}."
        )


def _next_tokens(logits, temperature: float, generator):
    """Return a token for each row, ``(batch, 1)``."""
    if temperature < 0:
        raise ValueError(f"temperature must be 0 or above, got {temperature}.")
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    weights = (logits.float() / temperature).softmax(-1)
    return torch.multinomial(weights, 1, generator=generator)
