"""A Llama's forward pass for one new token, written to be read and to be quick.

Decoding one token is a chain of matrix-vector products; on a CPU a third of the
time of the general forward pass goes to Python and small operations around
them. Here is the same arithmetic from top to bottom for the Llama layout
(Touvron et al. 2023, section 2.2; grouped queries: Ainslie et al. 2023), used
by the decode loop where it applies and held equal to the general one by tests.
It does not prefill, batch, or run on a GPU.
"""

import torch
import torch.nn.functional as F
from torch import nn

from longctx_edu.inference.cache import GrowingLayer


class OneTokenStep:
    """The next token's logits from one token and the cache of all before it."""

    def __init__(self, model):
        config = model.config
        self.embed = model.model.embed_tokens.weight  # (vocabulary, hidden)
        self.rotary = model.model.rotary_emb
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_dim = model.model.layers[0].self_attn.head_dim
        self.scale = model.model.layers[0].self_attn.scaling
        self.activation = model.model.layers[0].mlp.act_fn
        self.epsilon = config.rms_norm_eps
        self.layers = [_weights(layer) for layer in model.model.layers]
        self.norm = model.model.norm.weight
        self.lm_head = model.lm_head.weight

    def __call__(self, token_id: int, cache) -> torch.Tensor:
        """Append one token to ``cache`` and return the logits after it, ``(vocabulary,)``."""
        x = self.embed[token_id][None]  # (1, hidden)
        rotation = self._rotation(x, cache.get_seq_length())
        for w, layer in zip(self.layers, cache.layers, strict=True):
            x = x + self._attention(self._normalise(x, w.input_norm), w, layer, rotation)
            x = x + self._mlp(self._normalise(x, w.mlp_norm), w)
        return F.linear(self._normalise(x, self.norm), self.lm_head)[0]

    def _attention(self, x, w, layer, rotation):
        q = F.linear(x, w.q).view(self.heads, self.head_dim)
        k = F.linear(x, w.k).view(self.kv_heads, self.head_dim)
        v = F.linear(x, w.v).view(1, self.kv_heads, 1, self.head_dim)
        q, k = _rotate(q, *rotation), _rotate(k, *rotation)
        keys, values = layer.update(k.view(1, self.kv_heads, 1, self.head_dim), v)
        # The queries of one KV head stand in the place of tokens: no key is repeated.
        q = q.view(1, self.kv_heads, -1, self.head_dim)
        out = F.scaled_dot_product_attention(q, keys, values, scale=self.scale)
        return F.linear(out.view(1, -1), w.o)

    def _mlp(self, x, w):
        return F.linear(self.activation(F.linear(x, w.gate)).mul_(F.linear(x, w.up)), w.down)

    def _normalise(self, x, weight):
        """Root mean square normalisation (Zhang and Sennrich 2019) of one row."""
        mean_square = torch.dot(x[0], x[0]).div_(x.shape[1])
        return torch.mul(x, weight).mul_(mean_square.add_(self.epsilon).rsqrt_())

    def _rotation(self, x, position: int):
        cos, sin = self.rotary(x, torch.tensor([[position]]))
        cos, sin = cos[0], sin[0].clone()  # (1, head_dim)
        sin[:, : self.head_dim // 2].neg_()
        return cos, sin


def _rotate(x, cos, signed_sin):
    """Rotary positions (Su et al. 2021): turn each pair of dimensions by its angle."""
    return (x * cos).addcmul_(torch.roll(x, x.shape[-1] // 2, dims=-1), signed_sin)


class _weights:
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
    """Say whether ``OneTokenStep`` computes exactly what ``model`` would.

    It does for an unaltered float32 Llama on a CPU with one text in a cache of
    growing layers. Anything else, such as hooks, adapters, biases, or another
    attention function put in by a method of this course, goes the general way.
    """
    if type(model).__name__ != "LlamaForCausalLM" or model.device.type != "cpu":
        return False
    config, known = model.config, _parts(model)
    return (
        config._attn_implementation == "sdpa"
        and model.dtype == torch.float32
        and config.rope_parameters["rope_type"] not in ("dynamic", "longrope")
        and all(type(layer) is GrowingLayer for layer in cache.layers)
        and all(layer.is_initialized and layer.keys.shape[0] == 1 for layer in cache.layers)
        and all(type(part) in known and _is_plain(part) for part in model.modules())
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
