"""Attention over memory: every query of every head looks up its own keys outside the window.

The k best keys of the bank stand beside the local ones under one joint softmax, in every layer;
no weight changes (Extended Mind Transformers, Klett and Ahle 2024, arXiv 2406.02332; ranking by
cosine as in its published code). Whole blocks are chosen in ``blocks``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from transformers.masking_utils import eager_mask

from longctx_edu.attention.exchange import attention_exchanged
from longctx_edu.attention.observers import note_mask, observer_of
from longctx_edu.attention.record import FromMemory
from longctx_edu.attention.recording import show
from longctx_edu.errors import LongctxError, ModelError
from longctx_edu.memory.bank import MemoryBank

POSITIONS = ("zero", "before", "constant", "scaled", "true")
SIMILARITIES = ("cosine", "dot")
_NAME = "longctx_memory"


@dataclass(frozen=True)
class Recall:
    """How the memory is looked up.

    Attributes:
        k: keys for each query of each head in each layer; 0 for none.
        similarity: what ranks the keys: "cosine", or "dot", which is what the softmax goes by.
        positions: where memory stands for a query: "zero", on the first token of the window (the
            published code for Llama); "before", one place before it (for ALiBi); "constant", at
            one distance from every query; "scaled", squeezed into the tokens before the window;
            "true", as if the whole memory stood before the window, which is exact and leaves
            the trained lengths.
        distance: of "constant", and the width that "scaled" squeezes into.
        threshold: keys with a cosine of at most this are left out; None for no threshold.
        layers: layers that look up; None for all.
    """

    k: int = 32
    similarity: str = "cosine"
    positions: str = "before"
    distance: int = 256
    threshold: float | None = None
    layers: tuple[int, ...] | None = None

    def __post_init__(self):
        if self.k < 0 or self.distance < 1:
            raise LongctxError(
                f"k >= 0 and distance >= 1 are needed, got k={self.k}, distance={self.distance}."
            )
        for name, allowed in (("similarity", SIMILARITIES), ("positions", POSITIONS)):
            if getattr(self, name) not in allowed:
                raise LongctxError(
                    f"{name} is one of {', '.join(allowed)}, got {getattr(self, name)!r}."
                )


@dataclass(frozen=True)
class LookedUp:
    """What one layer looked up at one step.

    Attributes:
        layer: its number.
        tokens: of the bank, ``(batch, heads, queries, k)``.
        weights: under the joint softmax, likewise; with those of the window they add up to 1.
    """

    layer: int
    tokens: torch.Tensor
    weights: torch.Tensor


@contextmanager
def remembering(
    bank: MemoryBank, recall: Recall = Recall(), *, without: Sequence[range] = ()
) -> Iterator[list[LookedUp]]:
    """Let the bank's model attend to the bank; yield a list that fills with what is looked up.

    Within the block the model is called as ever, with batches, padding, a cache or ``generate``.
    After it, and with ``k=0`` or an empty bank, it is the plain model bit for bit.

    Args:
        without: tokens of the bank that are not to be found.

    Raises:
        ModelError: for a model whose attention is not a plain softmax, or not exchangeable.
    """
    model, seen = bank.model.model, []
    shown = torch.ones(len(bank), dtype=torch.bool)
    for hidden in without:
        shown[hidden.start : hidden.stop] = False
    if recall.k == 0 or not shown.any():
        yield seen
        return
    _assert_known(model)
    attend = partial(_attend, bank=bank, recall=recall, shown=shown, seen=seen)
    attend.shows_itself = True  # to a capture, for which queries and keys are not enough
    with attention_exchanged(model, _NAME, attend, mask=_mask):
        yield seen


def _mask(*args, config=None, **options):
    note_mask(config, **options)
    return eager_mask(*args, config=config, **options)


def _attend(
    module, query, key, value, attention_mask, scaling=None, *, bank, recall, shown, seen, **options
):
    """Stand in for the model's attention: ``query`` is ``(batch, heads, queries, head_dim)``."""
    batch, heads, queries, head_dim = query.shape
    kv_heads = key.shape[1]
    scale = head_dim**-0.5 if scaling is None else scaling
    q = query.reshape(batch, kv_heads, -1, queries, head_dim)  # groups after the KV head
    local = (q @ key[:, :, None].mT * scale).float()
    if attention_mask is not None:
        local = local + attention_mask[:, :, None, :, : key.shape[2]]
    layer = module.layer_idx
    given, window = (query, key, value, attention_mask), options.get("sliding_window")
    tell = partial(_tell, bank, module, given, scale=scale, window=window)
    if recall.layers is not None and layer not in recall.layers:
        nothing = q[..., :0]
        tell(nothing.long(), nothing, nothing[..., None])
        out = local.softmax(-1).to(value.dtype) @ value[:, :, None]
        return out.flatten(1, 2).transpose(1, 2), None
    asked, known = _placed(q, options.get("position_ids"), layer, bank, recall)
    scores, tokens, values = _looked_up(asked, known, layer, bank, recall, shown, scale)
    tell(tokens, scores, values)
    weights = torch.cat([scores, local], dim=-1).softmax(-1)
    far, near = weights.split([scores.shape[-1], local.shape[-1]], dim=-1)
    out = torch.einsum("bhgqk,bhgqkd->bhgqd", far.to(values.dtype), values)
    out = out + near.to(value.dtype) @ value[:, :, None]
    seen.append(LookedUp(layer, tokens.flatten(1, 2), far.flatten(1, 2)))
    return out.flatten(1, 2).transpose(1, 2), None


def _tell(bank: MemoryBank, module, given, tokens, scores, values, **how) -> None:
    """Show a capture, if there is one, what was looked up beside what the module was given."""
    if observer_of(module.config) is None:
        return
    norms = values.float().norm(dim=-1)
    found = (x[0].flatten(0, 1) for x in (tokens, scores, norms))  # (heads, queries, k)
    show(module, *given, memory=FromMemory(bank.ids, *found), **how)


def _placed(q, places, layer: int, bank: MemoryBank, recall: Recall):
    """Return queries and the memory's keys as they stand to each other.

    Where all of the memory stands at one place, the few queries are moved and not its many keys.
    """
    keys, rotation = bank.keys_of(layer).to(q.device), bank.rotation
    if recall.positions in ("scaled", "true"):
        return q, rotation.put_on(keys, memory_positions(len(bank), recall))
    to = {
        "zero": places,
        "before": places + 1,
        "constant": torch.full_like(places, recall.distance),
    }[recall.positions]
    flat, zero = q.flatten(1, 2), torch.zeros_like(places[0])  # (batch, heads, queries, head_dim)
    pairs = zip(flat, places.expand(len(flat), -1), to.expand(len(flat), -1), strict=True)
    moved = [rotation.put_on(rotation.moved(one, own, there), zero) for one, own, there in pairs]
    return torch.stack(moved).view(q.shape), keys


def _looked_up(q, keys, layer: int, bank: MemoryBank, recall: Recall, shown, scale: float):
    """Return the scores of the chosen keys, which tokens they are, and their values.

    Shapes: ``(batch, kv_heads, groups, queries, k)``, and with ``head_dim`` after it.
    """
    products = (q @ keys[:, None].mT).float()  # (batch, kv_heads, groups, queries, tokens)
    ranking = products
    if recall.similarity == "cosine" or recall.threshold is not None:
        norms = q.float().norm(dim=-1, keepdim=True) * keys.float().norm(dim=-1)[:, None, None]
        cosines = products / norms.clamp_min(1e-12)
        ranking = cosines if recall.similarity == "cosine" else products
    if not shown.all():
        ranking = ranking.masked_fill(~shown.to(q.device), -torch.inf)
    tokens = ranking.topk(min(recall.k, int(shown.sum())), dim=-1).indices
    scores = products.gather(-1, tokens) * scale
    if recall.threshold is not None:
        scores = scores.masked_fill(cosines.gather(-1, tokens) <= recall.threshold, -torch.inf)
    wanted, place = tokens.unique(return_inverse=True)
    values = bank.values_of(layer, wanted.cpu()).to(q.device)
    head = torch.arange(len(values), device=q.device).view(1, -1, 1, 1, 1)
    return scores, tokens, values[head, place]


def memory_positions(tokens: int, recall: Recall) -> torch.Tensor:
    """Return where the bank's tokens stand; the window begins at 0.

    >>> memory_positions(4, Recall(positions="scaled", distance=2)).tolist()
    [-2, -2, -1, -1]
    """
    order = torch.arange(tokens)
    return {
        "zero": torch.zeros_like(order),
        "before": torch.full_like(order, -1),
        "constant": torch.full_like(order, -recall.distance),
        "scaled": order * recall.distance // max(tokens, 1) - recall.distance,
        "true": order - tokens,
    }[recall.positions]


def _assert_known(model) -> None:
    config = model.config.get_text_config()
    reasons = {
        "softens its scores with a cap": getattr(config, "attn_logit_softcapping", None),
        "adds attention sinks of its own": hasattr(config, "swiglu_limit"),
        "does not let its attention be exchanged": not getattr(
            model, "_supports_attention_backend", False
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise ModelError(
                f"A model of the type {config.model_type} {reason}, so that memory cannot join "
                "its softmax; choose a Llama, Qwen or GPT-NeoX."
            )
