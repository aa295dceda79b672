"""A Llama's forward pass after a cache, written to be read and to be quick.

The same arithmetic as the general forward pass, from top to bottom, for the
Llama layout (Touvron et al. 2023, section 2.2; grouped queries: Ainslie et al.
2023). On a CPU a third of the general pass's time goes into making and moving
intermediate results; here they lie in a few buffers that every layer uses
again, and a chunk's attention computes no masked score. It serves one text of
float32 on a CPU, is used where ``applies_to`` says so, and is held equal to the
general pass by tests.
"""

from functools import partial
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import SiLUActivation

from longctx_edu.attention.observers import attention_name, observer_of
from longctx_edu.attention.parts import attend_after
from longctx_edu.inference.cache import GrowingLayer


class LlamaForward:
    """The next token's logits from some tokens and the cache of all before them."""

    def __init__(self, model, *, depth: int | None = None):
        config, first = model.config, model.model.layers[0]
        self.config = config
        self.embed = model.model.embed_tokens.weight  # (vocabulary, hidden)
        self.rotary = model.model.rotary_emb
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_dim = first.self_attn.head_dim
        self.scale = first.self_attn.scaling
        self.activation = first.mlp.act_fn
        self.silu = type(self.activation) is SiLUActivation
        self.epsilon = torch.tensor(config.rms_norm_eps)
        self.layers = [_LayerWeights(layer) for layer in model.model.layers[:depth]]
        self.norm = model.model.norm.weight
        self.lm_head = model.lm_head.weight
        self.rows = 0

    def __call__(self, ids: list[int], cache) -> torch.Tensor:
        """Append ``ids`` to ``cache`` and return the logits after the last, ``(vocabulary,)``."""
        start = cache.get_seq_length()
        positions = torch.arange(start, start + len(ids))
        x = self.read(torch.tensor(ids), positions, partial(self._attend_in_cache, cache))
        return self.logits(x[-1:])[0]

    def read(self, ids, positions, attend) -> torch.Tensor:
        """Return the last layer's states of some tokens, ``(tokens, hidden)``.

        Args:
            ids, positions: ``(tokens,)``.
            attend: takes a layer's number and its queries, keys and values after rotation,
                ``(tokens, heads or kv_heads, head_dim)``, and returns what the queries attend
                to, ``(tokens, kv_heads, groups, head_dim)``. It alone knows what they see.
        """
        self._make_room(len(ids))
        x = F.embedding(ids, self.embed)  # (tokens, hidden)
        rotation = self._rotation(x, positions)
        for number, w in enumerate(self.layers):
            self._attention(x, w, rotation, partial(attend, number))
            self._mlp(x, w)
        return x

    def logits(self, x) -> torch.Tensor:
        """Return the scores of the next token after some states, ``(tokens, vocabulary)``."""
        normal = self._normalise(x, self.norm, torch.empty_like(x))
        return _product(normal, self.lm_head, x.new_empty(len(x), len(self.lm_head)))

    def _make_room(self, rows: int) -> None:
        """Set up the intermediate results of so many tokens."""
        if rows == self.rows:
            return
        turned = (self.heads + self.kv_heads) * self.head_dim  # queries and keys
        widths = {"x": self.embed.shape[1], "qk": turned, "v": self.kv_heads * self.head_dim}
        widths |= dict.fromkeys(("gate", "up"), self.layers[0].gate.shape[0])
        widths["turn"] = turned // 2
        self.rows = rows
        self.room = SimpleNamespace(
            **{name: self.embed.new_empty(rows, width) for name, width in widths.items()}
        )

    def _attention(self, x, w, rotation, attend):
        """Add attention to the residual stream ``x``, in place."""
        room, normal = self.room, self._normalise(x, w.input_norm, self.room.x)
        queries, keys = room.qk.split([w.q.shape[0], w.k.shape[0]], dim=1)
        _product(normal, w.q, queries)
        _product(normal, w.k, keys)
        v = _product(normal, w.v, room.v).view(self.rows, self.kv_heads, self.head_dim)
        q, k = self._rotate(room.qk, rotation).split([self.heads, self.kv_heads], dim=1)
        out = attend(q, k, v)
        q.view(out.shape).copy_(out)
        _add_product(x, queries, w.o)

    def _attend_in_cache(self, cache, number: int, q, k, v):
        """Append keys and values to the cache, and attend to all of it."""
        keys, values = cache.layers[number].update(k.transpose(0, 1)[None], v.transpose(0, 1)[None])
        if observer := observer_of(self.config):
            past = keys.shape[2] - len(q)
            seen = (q.transpose(0, 1), keys[0], values[0])
            observer.show(number, *seen, scale=self.scale, window=None, past=past)
        # The KV heads stand in the place of texts of a batch, (kv_heads, groups, tokens,
        # head_dim): no key is copied for the query heads that share it.
        q = q.view(len(q), self.kv_heads, -1, self.head_dim).permute(1, 2, 0, 3)
        keys, values = keys.transpose(0, 1), values.transpose(0, 1)
        if q.shape[2] == 1:  # the queries of one KV head in the place of tokens
            q = q.transpose(1, 2)
            out = F.scaled_dot_product_attention(q, keys, values, scale=self.scale)
            out = out.transpose(1, 2)
        else:
            keys, values = (t.expand(-1, q.shape[1], -1, -1) for t in (keys, values))
            out, _ = attend_after(q, keys, values, scale=self.scale)
        return out.permute(2, 0, 1, 3)

    def _mlp(self, x, w):
        """Add the gated layer to the residual stream ``x``, in place."""
        room = self.room
        normal = self._normalise(x, w.mlp_norm, room.x)
        gate = _product(normal, w.gate, room.gate)
        up = _product(normal, w.up, room.up)
        gate = F.silu(gate, inplace=True) if self.silu else self.activation(gate)
        _add_product(x, gate.mul_(up), w.down)

    def _normalise(self, x, weight, out):
        """Root mean square normalisation (Zhang and Sennrich 2019) of each row."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = torch.addcmul(self.epsilon, norm, norm, value=1 / x.shape[1]).rsqrt_()
        return torch.mul(x, weight, out=out).mul_(scale)

    def _rotation(self, x, positions):
        half = self.head_dim // 2
        cos, sin = self.rotary(x, positions[None])
        return cos[0, :, None, :half], sin[0, :, None, :half]  # (tokens, 1, head_dim / 2)

    def _rotate(self, x, rotation):
        """Rotary positions (Su et al. 2021): turn each pair of dimensions by its angle."""
        cos, sin = rotation
        x = x.view(self.rows, -1, self.head_dim)
        first, second = x.chunk(2, dim=-1)  # (tokens, heads, head_dim / 2)
        turn = self.room.turn.view(first.shape)
        torch.mul(first, sin, out=turn)
        first.mul_(cos).addcmul_(second, sin, value=-1)
        second.mul_(cos).add_(turn)
        return x


# A few rows times a large matrix: the library is a quarter quicker the other way round.
_FEW_ROWS = range(2, 17)


def _product(x, weight, out):
    """Return ``x @ weight.T`` in ``out``."""
    if len(x) in _FEW_ROWS:
        return out.copy_((weight @ x.T).T)
    return torch.mm(x, weight.T, out=out)


def _add_product(total, x, weight) -> None:
    """Add ``x @ weight.T`` to ``total``, in place."""
    if len(x) in _FEW_ROWS:
        total.add_((weight @ x.T).T)
    else:
        total.addmm_(x, weight.T)


class _LayerWeights:
    """One layer's weight matrices by the letters of the papers."""

    def __init__(self, layer):
        attention, mlp = layer.self_attn, layer.mlp
        self.q, self.k, self.v, self.o = (
            getattr(attention, f"{letter}_proj").weight for letter in "qkvo"
        )
        self.gate, self.up, self.down = (
            mlp.gate_proj.weight,
            mlp.up_proj.weight,
            mlp.down_proj.weight,
        )
        self.input_norm = layer.input_layernorm.weight
        self.mlp_norm = layer.post_attention_layernorm.weight


def applies_to(model, cache) -> bool:
    """Say whether ``LlamaForward`` computes what ``model`` would.

    It does for an unaltered float32 Llama on a CPU with one text in a cache of
    growing layers, a capture looking on or not. Anything else, such as hooks,
    adapters, biases, or another attention function, goes the general way.
    """
    if type(model).__name__ != "LlamaForCausalLM" or model.device.type != "cpu":
        return False
    config, known = model.config, _parts(model)
    return (
        attention_name(config) == "sdpa"
        and model.dtype == torch.float32
        and config.rope_parameters["rope_type"] not in ("dynamic", "longrope")
        and all(_takes_one_text(layer) for layer in cache.layers)
        and all(type(part) in known and _is_plain(part) for part in model.modules())
    )


def _takes_one_text(layer) -> bool:
    return type(layer) is GrowingLayer and not (
        layer.is_initialized and layer.keys.shape[0] not in (0, 1)
    )


def _parts(model) -> set[type]:
    """Return the types of module that an unaltered Llama is made of."""
    body = model.model
    layer = body.layers[0]
    own = (model, body, body.layers, body.embed_tokens, body.rotary_emb, body.norm, layer)
    return {nn.Linear, *map(type, (*own, layer.self_attn, layer.mlp, layer.mlp.act_fn))}


def _is_plain(module) -> bool:
    biased = isinstance(module, nn.Linear) and module.bias is not None
    return not (biased or module._forward_hooks or module._forward_pre_hooks)
