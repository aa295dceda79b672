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

from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from longctx_edu.attention.exchange import attention_exchanged
from longctx_edu.attention.observers import (
    Observer,
    attention_name,
    forget,
    observe,
    observer_of,
)
from longctx_edu.attention.record import AttentionRecord
from longctx_edu.errors import ModelError
from longctx_edu.inference import Context
from longctx_edu.inference.context import CHUNK_TOKENS
from longctx_edu.models.language_model import LanguageModel

_NAME = "longctx_capture"


def capture(
    reader: LanguageModel | Context,
    ids: Sequence[int],
    *,
    layers: Sequence[int] | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
) -> AttentionRecord:
    """Read ``ids`` and return what every layer attended to.

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
    record.ids = list(context.ids)
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
    _assert_recordable(language_model)
    record, wanted = AttentionRecord(reserve=reserve), frozenset(wanted)
    own = config._attn_implementation

    def show(layer, *seen, **how) -> None:
        if layer in wanted:
            record.append(layer, *seen, **how)

    observe(config, Observer(own, show))
    try:
        with attention_exchanged(model, _NAME, _attend, mask=_mask):
            yield record
    finally:
        forget(config)


def _attend(module, query, key, value, attention_mask, scaling=None, **options):
    """Show the queries and keys, then attend as the model does without us."""
    observer = observer_of(module.config)
    _assert_plain_softmax(module, query, options)
    window = options.get("sliding_window")
    # A layer with a window has dropped old keys, so that their number tells no position.
    past = key.shape[2] - query.shape[2]
    if window is not None:
        past = int(options["position_ids"][0, 0])
    scale = 1 / math.sqrt(query.shape[-1]) if scaling is None else scaling
    seen = (query[0], key[0], value[0])
    observer.show(module.layer_idx, *seen, scale=scale, window=window, past=past)
    attend = _own_attention(module, observer.own)
    return attend(module, query, key, value, attention_mask, scaling=scaling, **options)


def _own_attention(module, name: str):
    # "eager" stands in no registry: each modeling file has its own.
    eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    return ALL_ATTENTION_FUNCTIONS.get_interface(name, eager)


def _mask(*args, config=None, **options):
    """Make the mask that the model's own attention expects; none if it makes its own."""
    own = ALL_MASK_ATTENTION_FUNCTIONS.get(attention_name(config))
    return None if own is None else own(*args, config=config, **options)


def _assert_recordable(language_model: LanguageModel) -> None:
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


def _assert_plain_softmax(module, query, options) -> None:
    if query.shape[0] != 1:
        raise ValueError(f"One text is captured at a time, got a batch of {query.shape[0]}.")
    for name in ("softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise ModelError(
                f"{type(module).__name__} uses {name}, so that its weights are not the plain "
                "softmax of queries and keys; choose a model such as a Llama, Qwen or GPT-2."
            )
