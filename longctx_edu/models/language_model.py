"""A causal language model together with everything needed to talk to it.

One object carries model, tokenizer, window, end tokens and a fingerprint, so
that no later function has to guess which tokenizer belongs to which model.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

# Names under which model families write "my turn is over". A model may know
# several of them, and stopping at only one lets it run on to the token limit.
_END_OF_TURN = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|return|>",
    "<end_of_turn>",
    "<eos>",
    "</s>",
)


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A causal language model, ready to read.

    Attributes:
        model: a Hugging Face ``PreTrainedModel`` in evaluation mode.
        tokenizer: its fast tokenizer.
        window: the longest text, in tokens, that the model was trained to read.
        end_ids: every token id that ends an answer.
        fingerprint: 16 hexadecimal digits from the configuration and a sample
            of the weights; equal for equal models.
    """

    model: Any
    tokenizer: Any
    window: int
    end_ids: frozenset[int]
    fingerprint: str

    @property
    def device(self):
        """The device that the model's first parameter lies on."""
        return self.model.device

    @property
    def name(self) -> str:
        """The name or folder that the model was loaded from."""
        return self.model.config._name_or_path or self.model.config.model_type

    def __repr__(self) -> str:
        return f"LanguageModel({self.name}, window={self.window}, fingerprint={self.fingerprint})"


def describe(model, tokenizer) -> LanguageModel:
    """Join a model and a tokenizer into a ``LanguageModel``."""
    return LanguageModel(
        model=model.eval(),
        tokenizer=tokenizer,
        window=_window(model.config, tokenizer),
        end_ids=end_token_ids(model, tokenizer),
        fingerprint=_fingerprint(model),
    )


def end_token_ids(model, tokenizer) -> frozenset[int]:
    """Return all ids that end a turn: the configured ones and the known names among the tokens.

    ``model`` may be None where only the tokenizer is at hand.
    """
    stated = [tokenizer.eos_token_id]
    if model is not None:
        stated.append(getattr(model.generation_config, "eos_token_id", None))
        stated.append(model.config.get_text_config().eos_token_id)
    found = set()
    for configured in stated:
        found.update([configured] if isinstance(configured, int) else configured or [])
    special = tokenizer.get_added_vocab()
    found.update(special[name] for name in _END_OF_TURN if name in special)
    return frozenset(found)


def _window(config, tokenizer) -> int:
    text_config = config.get_text_config()
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length"):
        if isinstance(getattr(text_config, name, None), int):
            return getattr(text_config, name)
    # Models without positions (ALiBi, recurrent) state no limit; the tokenizer may.
    return tokenizer.model_max_length if tokenizer.model_max_length < 10**7 else 2048


# What changes a model's predictions besides its weights.
_SETTINGS = (
    "model_type",
    "rope_parameters",
    "num_attention_heads",
    "num_key_value_heads",
    "layer_types",
    "sliding_window",
)


def _fingerprint(model) -> str:
    config = model.config.get_text_config()
    settings = {name: getattr(config, name, None) for name in _SETTINGS}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, weight in model.named_parameters():
        sample = weight.detach().reshape(-1)[:: max(1, weight.numel() // 16)][:16]
        digest.update(name.encode() + sample.float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
