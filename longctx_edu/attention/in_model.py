"""A real model that attends by another rule for a while: a pattern, top-k, or linear attention.

A function of our own stands in the place of the model's attention, with a cache or without, at
reading and at writing. No weight changes: the model was trained to see everything, and what a
rule takes from it is the result. It does not train a model to live with a rule.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from longctx_edu.attention.block_sparse import block_sparse_attention
from longctx_edu.attention.exchange import attention_exchanged
from longctx_edu.attention.linear import linear_attention
from longctx_edu.attention.observers import observer_of
from longctx_edu.attention.patterns import Pattern, causal
from longctx_edu.attention.recording import assert_recordable, own_attention
from longctx_edu.attention.softmax import one_for_each_head
from longctx_edu.attention.sparse import top_k_attention
from longctx_edu.errors import ModelError
from longctx_edu.models.language_model import LanguageModel

_NAME = "longctx_rule"


@dataclass(frozen=True)
class TopK:
    """Each query of each head sees the ``k`` visible keys that it scores highest."""

    k: int

    def __post_init__(self):
        if self.k < 1:
            raise ValueError(f"Each query keeps at least 1 key, got k={self.k}.")

    def __str__(self) -> str:
        return f"TopK({self.k})"


@dataclass(frozen=True)
class Linear:
    """Linear attention in place of the softmax, for which the model was not trained."""

    def __str__(self) -> str:
        return "LINEAR"


LINEAR = Linear()


@contextmanager
def attending(
    language_model: LanguageModel,
    rule: Pattern | TopK | Linear,
    *,
    layers: Sequence[int] | None = None,
) -> Iterator[None]:
    """Let ``language_model`` attend by ``rule`` within the block; afterwards it is as before.

    Reading at once, in chunks, and token by token with the cache come to the same. The cache
    keeps all keys, also those that nobody sees any more. One text at a time.

    Args:
        rule: a pattern, of which the causal half holds; ``TopK(k)``; or ``LINEAR``.
        layers: layers that attend so, the others as ever; all if left out.

    Raises:
        ValueError: for another kind of rule, a layer that the model does not have, and, when the
            model is called, for several texts at once, padding, or a mask of the caller's own.
        ModelError: for a model whose attention is no plain softmax over all tokens before, and
            for a capture meanwhile, which would record other weights than the rule's.
    """
    model = language_model.model
    config = model.config.get_text_config()
    chosen = frozenset(range(config.num_hidden_layers) if layers is None else layers)
    _assert_known(language_model, chosen)
    exchange = _Exchange(_attention_of(rule), chosen, config._attn_implementation)
    with attention_exchanged(model, _NAME, exchange.attend, mask=exchange.mask):
        yield


class _Exchange:
    """What stands in the model's place: the rule in some layers, the model's own in the others.

    Attributes:
        by_rule: takes query, key and value, heads before tokens, and the scale.
        chosen: the layers.
        own: the name of the model's own attention.
    """

    def __init__(self, by_rule: Callable, chosen: frozenset[int], own: str):
        self.by_rule, self.chosen, self.own = by_rule, chosen, own
        self.made = ()

    def mask(self, *args, config=None, attention_mask=None, **options):
        """Make the mask of the model's own attention, which the rule has no use for."""
        if attention_mask is not None and not attention_mask.all():
            raise ValueError(
                "Some tokens are padding, and a rule of positions counts them as text; give one "
                "text without padding."
            )
        own = ALL_MASK_ATTENTION_FUNCTIONS.get(self.own)
        made = own and own(*args, config=config, attention_mask=attention_mask, **options)
        self.made = (*self.made[-1:], made)  # a model with windows makes two
        return made

    def attend(self, module, query, key, value, attention_mask, scaling=None, **options):
        """Attend to ``(batch, heads, tokens, head_dim)``; return tokens before heads."""
        if module.layer_idx not in self.chosen:
            attend = own_attention(module, self.own)
            return attend(module, query, key, value, attention_mask, scaling=scaling, **options)
        self._assert_served(module, query, attention_mask, options)
        output = self.by_rule(query, key, value, scale=scaling)
        return output.transpose(1, 2), None

    def _assert_served(self, module, query, mask, options) -> None:
        if observer_of(module.config) is not None:
            raise ModelError(
                "A capture records the softmax over all tokens, and this model attends by another "
                "rule; end one of the two first."
            )
        if query.shape[0] != 1:
            raise ValueError(f"One text at a time attends by a rule, got {query.shape[0]}.")
        if not any(mask is one for one in (None, *self.made)):
            raise ValueError(
                "The model was given a mask of your own, which a rule would put aside; say what "
                "is seen by the rule alone."
            )
        for name in ("softcap", "s_aux", "position_bias", "sliding_window"):
            if options.get(name) is not None:
                raise ModelError(
                    f"{type(module).__name__} uses {name} in layer {module.layer_idx}, which no "
                    "rule knows of; leave the layer out (layers=...) or choose a Llama or Qwen."
                )


def _attention_of(rule):
    """Return the function of query, key, value and scale that a rule stands for."""
    if isinstance(rule, Pattern):
        return partial(_by_pattern, pattern=rule if rule.is_causal else rule & causal())
    if isinstance(rule, TopK):
        return partial(top_k_attention, k=rule.k, form="gather")  # the quicker one
    if isinstance(rule, Linear):
        return _linear
    raise ValueError(f"A rule is a Pattern, TopK(k) or LINEAR, got {rule!r}.")


def _by_pattern(query, key, value, *, pattern: Pattern, scale):
    return block_sparse_attention(query, key, value, pattern, scale=scale)


def _linear(query, key, value, *, scale):
    """Return linear attention, in which a scale has no place.

    The sums over the past are formed again each time: a cache of keys has no room for a state.
    """
    key, value = (one_for_each_head(x, query) for x in (key, value))
    return linear_attention(query, key, value)


def _assert_known(language_model: LanguageModel, chosen: frozenset[int]) -> None:
    config = language_model.model.config.get_text_config()
    if unknown := chosen - set(range(config.num_hidden_layers)):
        raise ValueError(
            f"layers must be 0 to {config.num_hidden_layers - 1}, got {sorted(unknown)}."
        )
    assert_recordable(language_model)
    kinds = getattr(config, "layer_types", None) or ()
    if windows := [n for n, kind in enumerate(kinds) if kind != "full_attention" and n in chosen]:
        raise ModelError(
            f"Layers {windows} of {language_model.name} look back on a window of their own and "
            "drop what lies before it; leave them out with layers=..."
        )
