"""Tiny random models of several families, for tests of exactness.

They know nothing, but they have every part that the real ones have: grouped
queries, learned or rotary or partly rotary positions, sliding windows. Exactness
does not need a trained model, and these answer in milliseconds.
"""

from longctx_edu.models.language_model import LanguageModel, describe

FAMILIES = ("llama", "gpt2", "qwen3", "gemma3", "gpt_neox")

_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny(family: str = "llama", *, seed: int = 0, window: int = 4096) -> LanguageModel:
    """Make a tiny random model with a byte-level tokenizer.

    Args:
        family: ``llama`` (grouped queries), ``gpt2`` (learned positions), ``qwen3``
            (normalised queries and keys), ``gemma3`` (sliding windows of 16 tokens
            between full layers) or ``gpt_neox`` (rotary on a quarter of each head).
        seed: seed of the random weights; the global generator is left alone.
        window: the model's longest text in tokens.

    Raises:
        ValueError: for a family that is not in ``FAMILIES``.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {family!r}")
    tokenizer = byte_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(_config(family, len(tokenizer), window))
    return describe(model.float(), tokenizer)


def byte_tokenizer():
    """Make a tokenizer with one token for each byte and three special tokens (ids 0 to 2)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=special[0],
        bos_token=special[1],
        eos_token=special[2],
        pad_token=special[2],
    )
    tokenizer.chat_template = _CHATML
    return tokenizer


def _config(family: str, vocabulary: int, window: int):
    from transformers import Gemma3TextConfig, GPT2Config, GPTNeoXConfig, LlamaConfig, Qwen3Config

    common = dict(vocab_size=vocabulary, bos_token_id=1, eos_token_id=2, pad_token_id=2)
    # Wide weights make the predictions differ clearly, so that equality means something.
    rotary = dict(
        **common,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=6,
        max_position_embeddings=window,
        initializer_range=0.25,
    )
    grouped = dict(**rotary, intermediate_size=96, num_key_value_heads=2, head_dim=8)
    if family == "llama":
        return LlamaConfig(**grouped)
    if family == "qwen3":
        return Qwen3Config(**grouped)
    if family == "gemma3":
        kinds = ["sliding_attention", "full_attention", "sliding_attention"]
        return Gemma3TextConfig(**grouped, sliding_window=16, layer_types=kinds)
    if family == "gpt_neox":
        return GPTNeoXConfig(**rotary, intermediate_size=96, rotary_pct=0.25)
    return GPT2Config(
        **common, n_embd=48, n_layer=3, n_head=6, n_positions=window, initializer_range=0.25
    )
