"""Costs by formula equal what PyTorch counts, what one counts by hand, and what is stored."""

import math
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    LlamaConfig,
    MiniCPM3Config,
    MixtralConfig,
    Qwen2Config,
)

from longctx_edu import cost, models
from longctx_edu.attention import linear_attention
from longctx_edu.cost import Architecture, Hardware
from longctx_edu.inference import Context

# The shape of the embedded model.
SMALL = Architecture(
    layers=30, hidden=576, heads=9, kv_heads=3, head_dim=64, intermediate=1536, vocabulary=49152
)
FAMILIES = pytest.mark.parametrize("family", models.FAMILIES)


@FAMILIES
def test_flops_of_a_forward_pass_are_those_that_pytorch_counts(family):
    tokens, language_model = 40, models.tiny(family)
    architecture = Architecture.of(language_model)
    language_model.model.set_attn_implementation("eager")  # which computes every pair, then masks
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        language_model.model(input_ids=torch.arange(3, 3 + tokens)[None], logits_to_keep=1)
    one_layer = cost.quadratic_attention(
        tokens, head_dim=architecture.head_dim, heads=architecture.heads
    )
    assert counted.get_total_flops() == (
        cost.linear_flops(architecture, tokens)
        + cost.lm_head_flops(architecture)
        + architecture.layers * one_layer
    )


@FAMILIES
def test_prefill_counts_every_visible_pair_once(family):
    architecture = Architecture.of(models.tiny(family))
    tokens, past = 23, 11
    pairs = sum(
        min(position + 1, window or position + 1)
        for window in architecture.windows
        for position in range(past, past + tokens)
    )
    assert cost.prefill_flops(architecture, tokens, past=past) == (
        2 * tokens * architecture.layers * architecture.layer_weights
        + 4 * architecture.heads * architecture.head_dim * pairs
        + 2 * architecture.hidden * architecture.vocabulary
    )


@FAMILIES
def test_prefill_in_chunks_costs_what_one_prefill_costs_but_for_the_extra_heads(family):
    architecture = Architecture.of(models.tiny(family))
    chunks = sum(cost.prefill_flops(architecture, 10, past=past) for past in (0, 10, 20))
    assert chunks == cost.prefill_flops(architecture, 30, logit_rows=3)


def test_reading_token_by_token_is_decoding():
    steps = sum(cost.decode_flops(SMALL, context) for context in range(50))
    assert steps == cost.prefill_flops(SMALL, 50, logit_rows=50)


@FAMILIES
def test_bytes_of_a_cache_are_those_of_its_tensors(family):
    language_model = models.tiny(family)
    context = Context(language_model)
    for _ in context.prefill(list(range(3, 13))):
        pass
    stored = sum(
        tensor.numel() * tensor.itemsize
        for layer in context.cache.layers
        for tensor in (layer.keys, layer.values)
    )
    architecture = Architecture.of(language_model)
    assert cost.kv_cache_bytes(architecture, 10) == stored
    assert 10 * cost.kv_cache_bytes_per_token(architecture) == stored


def test_a_window_bounds_the_cache_and_the_work_for_a_token():
    windowed = Architecture.of(models.tiny("gemma3"))
    assert windowed.windows == (16, None, 16)
    grown = cost.kv_cache_bytes(windowed, 1001) - cost.kv_cache_bytes(windowed, 1000)
    assert grown == cost.kv_cache_bytes_per_token(windowed) / 3
    later, before = (cost.attention_flops(windowed, past=past) for past in (1000, 999))
    assert later - before == 4 * windowed.heads * windowed.head_dim


@pytest.mark.parametrize("tied", [True, False])
def test_weights_are_those_of_the_model_within_one_in_a_hundred(tied):
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=tied,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    counted = sum(weight.numel() for weight in model.parameters())
    assert Architecture.of(config).weights == pytest.approx(counted, rel=0.01)
    half = cost.weight_bytes(Architecture.of(config), bytes_per_number=2)
    assert half == 2 * Architecture.of(config).weights


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_from_the_crossover_on_attention_costs_more_than_matrices(family):
    architecture = Architecture.of(models.tiny(family))
    length = cost.crossover_tokens(architecture)
    for tokens, attention_leads in ((length - 1, False), (length, True)):
        attention = cost.attention_flops(architecture, tokens)
        assert (attention >= cost.linear_flops(architecture, tokens)) is attention_leads


def test_crossover_of_the_embedded_model_lies_within_its_window():
    assert cost.crossover_tokens(SMALL) == SMALL.layer_weights // (9 * 64) - 1 == 6143


def test_with_small_windows_in_all_layers_attention_never_takes_the_lead():
    from dataclasses import replace

    assert cost.crossover_tokens(replace(SMALL, windows=(16,) * 30)) == math.inf


def test_doubling_the_text_quadruples_one_attention_and_doubles_the_other():
    assert cost.quadratic_attention(2048) == 4 * cost.quadratic_attention(1024)
    assert cost.linear_attention(2048) == 2 * cost.linear_attention(1024)
    assert cost.linear_attention(65) == cost.quadratic_attention(65)  # head_dim 64, plus one


def test_causal_attention_is_half_of_the_square_and_half_of_the_diagonal():
    full, causal = (cost.quadratic_attention(100, causal=causal) for causal in (False, True))
    assert causal == full / 2 * 1.01


def test_operations_of_linear_attention_are_those_that_pytorch_counts():
    tokens, dim, heads = 32, 8, 3
    x = torch.randn(heads, tokens, dim)
    with FlopCounterMode(display=False) as counted:
        linear_attention(x, x, x, causal=False)
    matrices = 4 * heads * tokens * dim**2
    normaliser = cost.linear_attention(tokens, head_dim=dim, heads=heads) - matrices
    assert matrices <= counted.get_total_flops() <= matrices + normaliser


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (MixtralConfig(), "mixture of experts"),
        (MiniCPM3Config(), "latent attention"),
        (FalconConfig(), "not known"),
        (Qwen2Config(num_hidden_layers=1, layer_types=["linear_attention"]), "linear_attention"),
    ],
)
def test_what_the_numbers_do_not_decide_is_refused_with_the_reason(config, reason):
    with pytest.raises(ValueError, match=reason):
        Architecture.of(config)


def test_negative_counts_and_missing_windows_are_refused():
    with pytest.raises(ValueError, match="tokens must be 0 or more, got -1"):
        cost.prefill_flops(SMALL, -1)
    with pytest.raises(ValueError, match="one entry for each of the 2 layers"):
        Architecture(2, 8, 2, 2, 4, 16, 100, windows=(None,))


def test_counting_needs_no_torch():
    code = "import sys, longctx_edu.cost; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --------------------------------------------------------------------------
# Other shapes, other precisions, and hardware


def test_known_models_have_the_shapes_and_sizes_that_their_publishers_state():
    from transformers import GPT2Config, MistralConfig

    assert cost.KNOWN_MODELS["GPT-2 124M"] == Architecture.of(GPT2Config())
    mistral = Architecture.of(MistralConfig(head_dim=128))  # whose defaults are the 7B's
    assert cost.KNOWN_MODELS["Mistral 7B"] == mistral
    published = {
        "SmolLM2 135M": 134.5e6,
        "GPT-2 124M": 124.4e6,
        "Gemma 3 1B": 999.9e6,
        "Mistral 7B": 7.242e9,
        "Llama 3 8B": 8.030e9,
        "Llama 3 70B": 70.55e9,
    }
    counted = {name: shape.weights for name, shape in cost.KNOWN_MODELS.items()}
    assert counted == {name: pytest.approx(n, rel=0.01) for name, n in published.items()}


@pytest.mark.model
def test_the_embedded_model_has_the_shape_that_is_known_of_it():
    import json

    from longctx_edu.models.embedded import EMBEDDED, cache_folder

    config = json.loads((cache_folder() / EMBEDDED / "config.json").read_text())
    assert cost.KNOWN_MODELS[cost.EMBEDDED_MODEL] == Architecture.of(LlamaConfig(**config))


@given(
    layers=st.integers(1, 100),
    groups=st.integers(1, 8),
    kv_heads=st.integers(1, 8),
    head_dim=st.integers(8, 256),
    name=st.sampled_from(list(cost.KNOWN_MODELS)),
)
def test_a_resized_decoder_keeps_its_proportions(layers, groups, kv_heads, head_dim, name):
    base = cost.KNOWN_MODELS[name]
    sizes = dict(layers=layers, heads=groups * kv_heads, kv_heads=kv_heads, head_dim=head_dim)
    other = base.resized(**sizes)
    assert {size: getattr(other, size) for size in sizes} == sizes
    assert other.hidden / other.heads / other.head_dim == pytest.approx(
        base.hidden / base.heads / base.head_dim, rel=0.1
    )
    assert other.intermediate / other.hidden == pytest.approx(
        base.intermediate / base.hidden, rel=0.1
    )
    assert (other.vocabulary, other.tied, other.mlp_matrices) == (
        (base.vocabulary, base.tied, base.mlp_matrices)
    )
    assert len(other.windows) == layers
    assert base.resized() == base


def test_a_window_goes_where_there_was_one_or_else_everywhere():
    gemma = cost.KNOWN_MODELS["Gemma 3 1B"]
    assert gemma.window == 512
    assert gemma.with_window(512) == gemma
    other = gemma.with_window(64).windows
    assert [window is None for window in other] == [window is None for window in gemma.windows]
    assert SMALL.window is None
    assert SMALL.with_window(64).windows == (64,) * 30
    assert gemma.with_window(None).windows == (None,) * 26
    assert SMALL.with_window(None) == SMALL
    # A window as wide as the text costs what no window costs.
    for tokens in (7, 64):
        windowed = SMALL.with_window(64)
        assert cost.attention_flops(windowed, tokens) == cost.attention_flops(SMALL, tokens)
    assert cost.attention_flops(SMALL.with_window(64), 65) < cost.attention_flops(SMALL, 65)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: SMALL.resized(heads=8), "3 KV heads cannot be shared evenly by 8 heads"),
        (lambda: SMALL.resized(layers=0), "layers must be 1 or more"),
        (lambda: SMALL.with_window(0), "A window must be 1 token or more"),
        (lambda: cost.GPUS[0].least_seconds(flops=1, moved_bytes=1, arithmetic="int3"), "int3"),
    ],
)
def test_shapes_and_rates_that_there_are_not_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        wrong()


@pytest.mark.parametrize("precision", cost.PRECISIONS)
def test_an_estimate_is_the_sum_of_the_counts(precision):
    kept = cost.PRECISIONS[precision]
    told = cost.estimate(SMALL, 5000, kept)
    assert told.prefill.total == cost.prefill_flops(SMALL, 5000)
    assert told.decode.total == cost.decode_flops(SMALL, 5000)
    assert told.weight_bytes == SMALL.weights * kept.weight_bytes
    assert told.cache_bytes == cost.kv_cache_bytes(SMALL, 5000, bytes_per_number=kept.cache_bytes)
    # The embedding is tied, so writing reads all weights once, and the cache.
    assert told.moved_bytes == told.weight_bytes + told.cache_bytes


def test_fewer_bits_save_bytes_of_weights_and_of_an_untied_embedding_none_are_read():
    llama = cost.KNOWN_MODELS["Llama 3 8B"]
    half, quarter = (
        cost.estimate(llama, 100, cost.PRECISIONS[name]) for name in ("16-bit", "4-bit weights")
    )
    assert half.weight_bytes == 4 * quarter.weight_bytes
    assert half.cache_bytes == quarter.cache_bytes
    assert half.prefill == quarter.prefill
    embedding = 2 * llama.vocabulary * llama.hidden
    assert half.moved_bytes == half.weight_bytes + half.cache_bytes - embedding


def test_work_waits_for_arithmetic_or_for_memory_whichever_is_slower():
    slow = Hardware("slow", {"float32": 100.0}, 10.0, 1000, "made up")
    assert slow.least_seconds(flops=1000, moved_bytes=50, arithmetic="float32") == 10
    assert slow.least_seconds(flops=1000, moved_bytes=500, arithmetic="float32") == 50
    llama = cost.estimate(cost.KNOWN_MODELS["Llama 3 8B"], 8192, cost.PRECISIONS["16-bit"])
    bounds = {gpu.name: llama.on(gpu) for gpu in cost.GPUS}
    for bound in bounds.values():  # reading many tokens computes, writing one reads
        assert (bound.prefill_limit, bound.decode_limit) == ("arithmetic", "memory")
    assert [name for name, bound in bounds.items() if not bound.holds] == ["T4"]
    # 8 billion weights of two bytes at 3.35 TB/s: about 4.8 ms for a token
    assert bounds["H100"].decode == pytest.approx(0.0048, rel=0.1)


def test_the_speed_of_this_machine_is_measured():
    from longctx_edu.evaluation.machine_speed import measure_machine

    measured = measure_machine()
    assert set(measured.flops_per_second) == {one.arithmetic for one in cost.PRECISIONS.values()}
    side = torch.ones(512, 512)
    begin = time.perf_counter()
    for _ in range(10):
        side @ side
    rate = 10 * 2 * 512**3 / (time.perf_counter() - begin)
    assert rate / 20 < measured.flops_per_second["float32"] < rate * 20
    assert 1e8 < measured.bytes_per_second < 1e13
    assert "measured on" in measured.source
