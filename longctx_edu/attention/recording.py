"""Capture of what a real run attends to, layer by layer, while it runs.

A function of our own stands in the place of the model's attention, keeps the queries and
keys it is given (after rotation, the cache's keys included), and lets the attention that was
there before do the work. So the run is the model's own, and costs a copy more. Through
transformers' AttentionInterface; models that do not use it are refused.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from longctx_edu.attention.exchange import attention_exchanged
from longctx_edu.attention.observers import (
    CAPTURE,
    Observer,
    attention_name,
    forget,
    note_mask,
    observe,
    observer_of,
)
from longctx_edu.attention.record import AttentionRecord, FromMemory
from longctx_edu.errors import ModelError
from longctx_edu.inference import Context
from longctx_edu.inference.context import CHUNK_TOKENS
from longctx_edu.models.language_model import LanguageModel


def capture(
    reader: LanguageModel | Context,
    ids: Sequence[int],
    *,
    layers: Sequence[int] | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
) -> AttentionRecord:
    """Read ``ids`` and return what every layer attended to.

    What is looked up in a memory meanwhile is part of it (``memory.remembering``). A margin is
    captured as a text of its own: ``capture(boundary, [*request, *margin])``, where ``boundary``
    is the context cut at the end of its segment, reads it again after the same keys.

    Args:
        reader: a model, which reads from an empty cache; or a context, which reads on in a
            branch and is itself left as it was. Then the record's rows are the new tokens, its
            columns all of them.
        layers: the layers to record; all if left out.
        chunk_tokens: tokens read at a time.

    Raises:
        ValueError: for no token, or a layer that the model does not have.
        ModelError: for a model whose weights queries and keys alone do not give.
    """
    if not ids:
        raise ValueError("There is nothing to capture: ids is empty; give at least one token.")
    if isinstance(reader, Context):
        with reader.branch() as branch:
            return _capture(branch, ids, layers, chunk_tokens)
    return _capture(Context(reader, reserve=len(ids)), ids, layers, chunk_tokens)


def _capture(context: Context, ids, layers, chunk_tokens: int) -> AttentionRecord:
    total = len(context) + len(ids)
    with capturing(context.language_model, layers=layers, reserve=total) as record:
        for _ in context.prefill(ids, chunk_tokens=chunk_tokens):
            pass
    record.ids = [*record.memory_ids, *context.ids]
    return record


@contextmanager
def capturing(
    language_model: LanguageModel, *, layers: Sequence[int] | None = None, reserve: int = 0
) -> Iterator[AttentionRecord]:
    """Record all that ``language_model`` reads and writes meanwhile, as one text.

    What is rolled back is forgotten by the record when the model goes on from there.

    Args:
        layers: the layers to record; all if left out.
        reserve: tokens to have room for from the start.

    Raises:
        ValueError: for a layer that the model does not have, a second text, or a second capture.
        ModelError: for a model whose weights queries and keys alone do not give.
    """
    model = language_model.model
    config = model.config.get_text_config()
    wanted = range(config.num_hidden_layers) if layers is None else layers
    if unknown := set(wanted) - set(range(config.num_hidden_layers)):
        raise ValueError(
            f"layers must be 0 to {config.num_hidden_layers - 1}, got {sorted(unknown)}."
        )
    assert_recordable(language_model)
    record, wanted = AttentionRecord(reserve=reserve), frozenset(wanted)
    own = config._attn_implementation

    def keep(layer, *seen, **how) -> None:
        if layer in wanted:
            record.append(layer, *seen, **how)

    observe(config, Observer(own, keep))
    try:
        with attention_exchanged(model, CAPTURE, _attend, mask=_mask):
            yield record
    finally:
        forget(config)


def _attend(module, query, key, value, attention_mask, scaling=None, **options):
    """Show the queries and keys, then attend as the model does without us."""
    attend = own_attention(module, observer_of(module.config).own)
    if not getattr(attend, "shows_itself", False):
        _assert_plain_softmax(module, options)
        window = options.get("sliding_window")
        show(module, query, key, value, attention_mask, scale=scaling, window=window)
    return attend(module, query, key, value, attention_mask, scaling=scaling, **options)


def show(
    module,
    query,
    key,
    value,
    attention_mask,
    *,
    scale: float | None,
    window: int | None,
    memory: FromMemory | None = None,
) -> None:
    """Show what one layer's attention was given to whoever captures the model, if anybody does.

    For attention functions that a capture cannot see through, because their weights are not those
    of queries and keys alone. Such a function has an attribute ``shows_itself`` that is true.
    Padding before the text is left out.

    Args:
        module: the model's attention layer.
        query: ``(1, heads, new tokens, head_dim)``.
        key, value: ``(1, kv_heads, seen, head_dim)``, those of the new tokens included.
        attention_mask: what the model made, or None.
        scale: factor of the scores; ``1 / √head_dim`` if None.
        window: tokens that a query sees; None for all.
        memory: what the queries looked up outside the text.

    Raises:
        ValueError: for several texts, or a mask of one's own.
    """
    observer = observer_of(module.config)
    if observer is None:
        return
    if query.shape[0] != 1:
        raise ValueError(f"One text is captured at a time, got a batch of {query.shape[0]}.")
    new, seen = query.shape[2], key.shape[2]
    # A layer with a window has dropped old keys, so that their number tells no position.
    first = seen - new if window is None else observer.first
    unread = min(max(observer.padding - first, 0), new)
    unseen = min(max(observer.padding - (first + new - seen), 0), seen)
    if unread == new:
        return
    _assert_plain_mask(attention_mask, seen, min(seen - unseen, window or seen))
    observer.show(
        module.layer_idx,
        query[0, :, unread:],
        key[0, :, unseen:],
        value[0, :, unseen:],
        scale=1 / math.sqrt(query.shape[-1]) if scale is None else scale,
        window=window,
        past=first + unread - observer.padding,
        memory=memory and memory.after(unread),
    )


def own_attention(module, name: str):
    """Return the attention function of this name, as a layer of this module's kind would."""
    # "eager" stands in no registry: each modeling file has its own.
    eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    return ALL_ATTENTION_FUNCTIONS.get_interface(name, eager)


def _mask(*args, config=None, **options):
    """Make the mask that the model's own attention expects; none if it makes its own."""
    note_mask(config, **options)
    own = ALL_MASK_ATTENTION_FUNCTIONS.get(attention_name(config))
    return None if own is None else own(*args, config=config, **options)


def assert_recordable(language_model: LanguageModel) -> None:
    """Refuse a model whose attention cannot be exchanged, or is no softmax over a window.

    Raises:
        ModelError: for such a model.
    """
    model = language_model.model
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        raise ModelError(
            f"{language_model.name} does its attention outside of transformers' "
            "AttentionInterface, where it cannot be captured; choose a Llama, Qwen or GPT-2."
        )
    kinds = set(getattr(config, "layer_types", None) or ())
    if other := sorted(kinds - {"full_attention", "sliding_attention"}):
        raise ModelError(
            f"{language_model.name} has layers of the kind {', '.join(other)}, whose weights are "
            "not a softmax over a window; choose a model with full or sliding attention only."
        )


def _assert_plain_mask(mask, seen: int, expected: int) -> None:
    """Refuse a mask that lets the last token see another number of tokens than expected."""
    if not isinstance(mask, torch.Tensor) or mask.ndim != 4:
        return
    row = mask[0, 0, -1, :seen]
    sees = row if mask.dtype == torch.bool else row > torch.finfo(mask.dtype).min / 2
    if int(sees.sum()) != expected:
        raise ValueError(
            f"Under this mask the last token sees {int(sees.sum())} of {expected} tokens. Padding "
            "before the text can be captured; no padding after it, nor a mask of your own."
        )


def _assert_plain_softmax(module, options) -> None:
    for name in ("softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise ModelError(
                f"{type(module).__name__} uses {name}, so that its weights are not the plain "
                "softmax of queries and keys; choose a model such as a Llama, Qwen or GPT-2."
            )
