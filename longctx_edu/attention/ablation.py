"""What one look is worth: the next token with a key in sight, and without it.

A weight says where a head looks, and not whether the model needs it. So the key is hidden from
one query, in one head, one layer or everywhere, and what the model says next is compared (Geva
et al. 2023, section 5). What stood there lives on in tokens that read it before.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from longctx_edu.attention.exchange import attention_exchanged
from longctx_edu.attention.observers import attention_name
from longctx_edu.attention.record import visible
from longctx_edu.attention.recording import assert_recordable, own_attention
from longctx_edu.inference import Context
from longctx_edu.inference.cache import GrowingLayer
from longctx_edu.models.language_model import LanguageModel

_NAME = "longctx_ablation"


@dataclass(frozen=True)
class Standing:
    """How a token stands among all that may come next.

    Attributes:
        log_probability: of the token, in nats.
        rival: the best of all other tokens.
        margin: by how many nats the token leads its rival; negative if the rival would be said.
    """

    log_probability: float
    rival: int
    margin: float


@dataclass(frozen=True)
class Ablation:
    """What became of the next token when a query lost sight of a key.

    Attributes:
        query, key: positions in the text.
        layer, head: where the key was hidden; None for all.
        token: what the model says after the query, undisturbed.
        before, after: how this token stands with the key in sight, and without it.
    """

    query: int
    key: int
    layer: int | None
    head: int | None
    token: int
    before: Standing
    after: Standing

    @property
    def token_after(self) -> int:
        """What the model says without the key."""
        return self.token if self.after.margin >= 0 else self.after.rival


def margin_without(
    reader: LanguageModel | Context,
    ids: Sequence[int],
    query: int,
    key: int,
    *,
    layer: int | None = None,
    head: int | None = None,
) -> Ablation:
    """Return how the next token stands after token ``query``, with token ``key`` and without it.

    The query's token is read twice in one pass, and only once with the key. The key gets weight
    0, and the other weights of its row grow in proportion. Where a window hides the key anyway,
    nothing changes.

    Args:
        reader: a context, which has best read the text already and is left as it was; or a
            model, which reads the text up to the query.
        ids: the text.
        query, key: positions in it; the query may lose itself.
        layer: the one layer in which the key is hidden; None for all.
        head: the one query head of ``layer``; None for all. Heads that share its keys go on
            seeing the key.

    Raises:
        ValueError: for a place, layer or head that there is not, a head without a layer, or a
            query that would see nothing.
        CacheError: for a context with windows that has read past the query; give the model.
        ModelError: for a model whose attention cannot be exchanged.
    """
    language_model = reader.language_model if isinstance(reader, Context) else reader
    _assert_places(language_model, ids, query, key, layer, head)
    assert_recordable(language_model)
    hidden = dict(key=key, layer=layer, head=head)
    with _read_before(reader, ids, query) as context:
        seen, unseen = _logits(context, ids[query], query, **hidden).log_softmax(-1)
    token = int(seen.argmax())
    return Ablation(
        query, key, layer, head, token, _standing(seen, token), _standing(unseen, token)
    )


def _standing(log_probabilities, token: int) -> Standing:
    others = log_probabilities.clone()
    others[token] = -torch.inf
    rival = int(others.argmax())
    own = float(log_probabilities[token])
    return Standing(own, rival, own - float(others[rival]))


@contextmanager
def _read_before(reader, ids, query: int) -> Iterator[Context]:
    """Lend a branch that has read the text at least up to the query, which may come later."""
    context = reader if isinstance(reader, Context) else Context(reader)
    shared = min(context.shared_length(ids), query)
    # Nothing is cut where a mask can hide what comes later: it saves a copy of the cache.
    keeps_all = all(type(one) is GrowingLayer for one in context.cache.layers)
    with context.branch(None if keeps_all and shared == query else shared) as branch:
        for _ in branch.prefill(ids[shared:query]):
            pass
        yield branch


def _logits(context: Context, token: int, query: int, **hidden) -> torch.Tensor:
    """Return the scores after the query's token, once with the key and once without.

    Returns:
        ``(2, vocabulary)``, float32.
    """
    model = context.language_model.model
    # The model's own, even under a capture, which is not to see this.
    own = attention_name(model.config.get_text_config())
    attend = partial(_attend, own=own, read=len(context), query=query, **hidden)
    with torch.no_grad(), attention_exchanged(model, _NAME, attend):
        output = model(
            input_ids=torch.tensor([[token, token]], device=model.device),
            position_ids=torch.tensor([[query, query]], device=model.device),
            past_key_values=context.cache,
            use_cache=True,
        )
    return output.logits[0].float()


def _attend(
    module, q, keys, values, _, scaling=None, *, own, read, query, key, layer, head, **options
):
    """Attend as the model does; both queries see the text before them and themselves.

    Args:
        q: ``(1, heads, 2, head_dim)``, the same token twice.
        keys: ``(1, kv_heads, seen + 2, head_dim)``, of the last ``seen`` tokens read and of q.
        read: tokens that the cache has read.
    """
    seen = keys.shape[2] - 2
    places = torch.arange(read - seen, read)  # of the keys
    window = options.get("sliding_window")
    before = visible(torch.tensor([query]), places, window=window) & (places < query)
    sees = torch.cat([before.expand(2, -1), torch.eye(2, dtype=torch.bool)], dim=1)
    sees = sees.expand(q.shape[1], -1, -1).clone()  # (heads, 2, seen + 2)
    if layer in (None, module.layer_idx) and (key == query or key in places):
        column = seen + 1 if key == query else key - int(places[0])
        sees[slice(None) if head is None else head, 1, column] = False
    mask = torch.zeros(sees.shape, dtype=q.dtype).masked_fill_(~sees, torch.finfo(q.dtype).min)
    attend = own_attention(module, own)
    return attend(module, q, keys, values, mask[None].to(q.device), scaling=scaling, **options)


def _assert_places(language_model, ids, query, key, layer, head) -> None:
    config = language_model.model.config.get_text_config()
    if not 0 <= query < len(ids):
        raise ValueError(f"query must be 0 to {len(ids) - 1}, got {query}.")
    if not 0 <= key <= query:
        raise ValueError(
            f"Query {query} sees the keys 0 to {query}, so that key {key} cannot be hidden from it."
        )
    if query == 0:
        raise ValueError("The first token sees itself only; hide a key from a later one.")
    if head is not None and layer is None:
        raise ValueError(f"Head {head} of which layer? Give layer= too.")
    counts = dict(layer=config.num_hidden_layers, head=config.num_attention_heads)
    for name, place in dict(layer=layer, head=head).items():
        if place is not None and not 0 <= place < counts[name]:
            raise ValueError(f"{name} must be 0 to {counts[name] - 1}, got {place}.")
