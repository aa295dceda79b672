"""Loading models: what works, and the sentence that is said where it does not."""

import pytest
import torch

from longctx_edu import models
from longctx_edu.errors import ModelError
from longctx_edu.models import loading, memory


@pytest.fixture
def saved(tmp_path):
    """A tiny Llama in a folder, as a user would have it."""
    tiny = models.tiny("llama")
    tiny.model.save_pretrained(tmp_path / "tiny")
    tiny.tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.parametrize("family", models.FAMILIES)
def test_every_tiny_family_predicts_from_the_past_alone(family):
    tiny = models.tiny(family)
    ids = torch.arange(5, 45)[None]
    other = ids.clone()
    other[0, -1] = 3
    with torch.no_grad():
        kept, changed = (tiny.model(input_ids=x).logits[0, :-1] for x in (ids, other))
    torch.testing.assert_close(kept, changed)


def test_tiny_models_repeat_by_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second, third = models.tiny(seed=1), models.tiny(seed=1), models.tiny(seed=2)
    assert torch.equal(torch.rand(1), expected)
    assert first.fingerprint == second.fingerprint != third.fingerprint


def test_an_unknown_family_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="llama.*got 'bert'"):
        models.tiny("bert")


def test_a_folder_gives_the_same_model_back(saved):
    loaded = models.load(saved)
    assert loaded.fingerprint == models.tiny("llama").fingerprint
    assert loaded.window == 4096
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training


def test_all_end_of_turn_tokens_count_not_only_the_configured_one(saved):
    tokenizer = models.load(saved).tokenizer
    ends = {tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>")}
    assert models.load(saved).end_ids == ends


def test_half_precision_is_there_for_the_asking(saved):
    assert models.load(saved, dtype="bfloat16").model.dtype == torch.bfloat16
    assert models.load(saved, dtype=torch.float16).model.dtype == torch.float16


@pytest.mark.parametrize("dtype", ["float31", "int8"])
def test_an_impossible_dtype_is_refused(saved, dtype):
    with pytest.raises(ModelError, match=f"{dtype}.*float32"):
        models.load(saved, dtype=dtype)


@pytest.mark.parametrize("device", ["tpu9", "cuda:77"])
def test_an_impossible_device_is_refused(saved, device):
    with pytest.raises(ModelError, match="auto"):
        models.load(saved, device=device)


def test_an_encoder_is_refused_by_its_kind(tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=32)
    BertForMaskedLM(config).save_pretrained(tmp_path)
    models.tiny().tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="BertForMaskedLM.*causal"):
        models.load(tmp_path)


def test_an_encoder_that_calls_itself_a_decoder_is_caught_by_what_it_does(tmp_path):
    from transformers import BertConfig, BertLMHeadModel

    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=300)
    model = BertLMHeadModel(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.5)
    model.save_pretrained(tmp_path)
    models.tiny().tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="later tokens"):
        models.load(tmp_path)


def test_an_unknown_id_gives_one_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="'nobody/nothing'.*Hugging Face id"):
        models.load("nobody/nothing")


def test_a_folder_without_a_model_gives_one_sentence(tmp_path):
    with pytest.raises(ModelError, match="could not be loaded as a folder"):
        models.load(tmp_path)


def test_damaged_weights_give_one_sentence(saved):
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="could not be loaded as a folder"):
        models.load(saved)


def test_a_model_larger_than_the_memory_at_hand_is_refused_before_it_is_read(saved, monkeypatch):
    monkeypatch.setattr(loading, "free_memory_bytes", lambda device: 1000)
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)
    with pytest.raises(ModelError, match="GB for its weights"):
        models.load(saved)


def test_free_memory_respects_a_container(monkeypatch):
    monkeypatch.setenv("MEM_LIMIT", str(2 * 10**9))
    assert 0 < memory.free_memory_bytes() < 2 * 10**9
