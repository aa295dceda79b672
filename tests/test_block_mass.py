"""A question's attention mass: exact on paper, and on the block that holds the answer in life."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from longctx_edu import models
from longctx_edu.attention import capture, mass_on_segments, question_mass
from longctx_edu.attention.block_mass import blocks_of, choosing_layers, score_segments
from longctx_edu.attention.rotation import Rotation
from longctx_edu.errors import ModelError
from longctx_edu.inference import Context
from longctx_edu.models.language_model import describe
from longctx_edu.text import lighthouse_log, tokenize

TEXT = list(range(3, 63))
ROTARY_FAMILIES = ["llama", "qwen3", "gpt_neox"]
ROTARY = pytest.mark.parametrize("family", ROTARY_FAMILIES)


def read(language_model, ids):
    context = Context(language_model)
    for _ in context.prefill(ids):
        pass
    return context


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_mass_is_the_sum_of_the_softmax_over_each_segment():
    query, key = random(6, 5, 8), random(2, 40, 8, seed=1)
    segments = [range(0, 3), range(10, 40), range(20, 21)]  # a gap, and one inside another
    mass = mass_on_segments(query, key, segments, scale=0.3)
    for head in range(6):
        weights = (0.3 * query[head].double() @ key[head // 3].double().T).softmax(-1)
        for number, segment in enumerate(segments):
            expected = weights[:, list(segment)].sum(-1)
            found = mass[head, :, number].double()
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_mass_on_a_part_of_the_keys_is_a_share_of_the_whole_given_its_log_sum_exps():
    query, key = random(6, 5, 8), random(2, 40, 8, seed=1)
    whole, lse = mass_on_segments(query, key, [range(10, 20), range(0, 40)], return_lse=True)
    part = mass_on_segments(query, key[:, 10:20], [range(0, 10)], lse=lse)
    torch.testing.assert_close(part[..., 0], whole[..., 0], atol=1e-6, rtol=1e-5)
    alone = mass_on_segments(query, key[:, 10:20], [range(0, 10)])
    torch.testing.assert_close(alone[..., 0], torch.ones(6, 5))


def test_blocks_cover_the_text_once_and_their_masses_add_up_to_one():
    blocks = blocks_of(300, 128)
    assert blocks == [range(0, 128), range(128, 256), range(256, 300)]
    mass = mass_on_segments(random(2, 4, 8), random(2, 300, 8, seed=1), blocks, scale=1.0)
    torch.testing.assert_close(mass.sum(-1), torch.ones(2, 4))


def test_the_score_is_the_rise_of_one_token_over_all_meaned_over_heads_and_layers():
    layers = random(2, 3, 4).softmax(-1), random(2, 3, 4, seed=1).softmax(-1)
    rows = [mass[head] for mass in layers for head in (0, 1)]  # (3 tokens, 4 blocks) each
    expected = [sum(row[:, b].max() - row[:, b].mean() for row in rows) / 4 for b in range(4)]
    torch.testing.assert_close(score_segments(layers), torch.stack(expected))


def test_a_block_that_every_word_looks_at_alike_is_no_answer():
    mass = torch.tensor([[[0.9, 0.1, 0.0], [0.9, 0.02, 0.08]]])  # one head, two words, a sink
    assert score_segments([mass]).tolist() == pytest.approx([0.0, 0.04, 0.04])


@ROTARY
def test_taking_positions_off_undoes_putting_them_on(family):
    rotation = Rotation(models.tiny(family).model)
    x, positions = random(2, 50, 8), torch.arange(1000, 1050)
    turned = rotation.put_on(x, positions)
    assert not torch.allclose(turned, x, atol=0.1)
    torch.testing.assert_close(rotation.take_off(turned, positions), x, atol=1e-5, rtol=1e-5)


@ROTARY
def test_keys_without_positions_are_those_that_the_projection_made(family):
    """The first layer's keys depend on the token alone: equal tokens, equal keys, anywhere."""
    language_model = models.tiny(family)
    context = read(language_model, [5, 9, 5, 7, 9, 5])
    stored = context.cache.layers[0].keys[0]
    bare = Rotation(language_model.model).take_off(stored, torch.arange(6))
    torch.testing.assert_close(bare[:, 0], bare[:, 5], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(bare[:, 1], bare[:, 4], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(stored[:, 0], stored[:, 5], atol=1e-2)


@ROTARY
def test_only_the_distance_counts(family):
    rotation = Rotation(models.tiny(family).model)
    query, key = random(1, 1, 8), random(1, 1, 8, seed=1)

    def product(*positions):
        q, k = (
            rotation.put_on(x, torch.tensor([p]))
            for x, p in zip((query, key), positions, strict=True)
        )
        return float((q @ k.mT).squeeze())

    assert product(40, 7) == pytest.approx(product(933, 900), abs=1e-4)
    assert product(40, 7) != pytest.approx(product(41, 7), abs=1e-3)


SMALL = dict(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
)


def stretched():
    """Return a Llama whose window YaRN lengthens, which also scales what is rotated."""
    yarn = dict(rope_type="yarn", rope_theta=1e4, factor=8.0, original_max_position_embeddings=64)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SMALL, rope_parameters=yarn)).eval()
    for layer in model.model.layers:  # sharp scores, so that a lost factor shows
        layer.self_attn.q_proj.weight.data *= 20
        layer.self_attn.k_proj.weight.data *= 20
    return describe(model, models.tiny().tokenizer)


@pytest.mark.parametrize("family", [*ROTARY_FAMILIES, "yarn"])
def test_a_question_to_a_context_leaves_it_as_it_was_and_scores_its_segments(family):
    language_model = stretched() if family == "yarn" else models.tiny(family)
    layers = (0, 1) if family == "yarn" else (1, 2)
    context = read(language_model, TEXT)
    logits, ledger = context.next_logits.clone(), context.ledger
    segments = [range(4, 20), range(20, 60)]
    score = question_mass(context, [70, 71, 72], segments=segments, layers=layers)
    assert context.ids == TEXT
    assert torch.equal(context.next_logits, logits)
    assert context.ledger == ledger

    record, expected = capture(context, [70, 71, 72]), []
    rotation = Rotation(language_model.model)
    for layer in layers:
        for head in range(record.heads):
            q = record.queries(layer, head).float()[None]
            q = rotation.put_on(rotation.take_off(q, torch.arange(60, 63)), torch.zeros(3))
            k = record.keys(layer, head)[:60].float()[None]
            k = rotation.put_on(rotation.take_off(k, torch.arange(60)), torch.full((60,), -256))
            weights = (q @ k.mT)[0].mul(record.scale(layer)).softmax(-1)
            parts = [weights[:, list(part)].sum(-1) for part in segments]
            expected.append([part.max() - part.mean() for part in parts])
    expected = torch.tensor(expected).mean(0)
    torch.testing.assert_close(score, expected, atol=2e-3, rtol=0)  # keys were float16 above


def test_the_default_layers_are_the_middle_ones():
    assert choosing_layers(30) == range(8, 22)
    assert choosing_layers(3) == range(1, 2)
    assert all(len(choosing_layers(layers)) >= 1 for layers in range(1, 8))


def test_a_model_that_drops_old_keys_is_refused():
    config = MistralConfig(**SMALL, sliding_window=16)
    dropping = describe(MistralForCausalLM(config).eval(), models.tiny().tokenizer)
    with pytest.raises(ModelError, match="full attention"):
        question_mass(read(dropping, TEXT), [70, 71])


@pytest.mark.parametrize(
    ("family", "reason"),
    [("gpt2", "has no rotary positions"), ("gemma3", "rotates some layers differently")],
)
def test_models_whose_keys_cannot_be_moved_are_refused_with_the_reason(family, reason):
    with pytest.raises(ModelError, match=reason):
        question_mass(read(models.tiny(family), TEXT), [70])


def test_an_empty_context_and_segments_outside_are_refused():
    language_model = models.tiny()
    with pytest.raises(ValueError, match="has read no token yet"):
        question_mass(Context(language_model), [70, 71])
    with pytest.raises(ValueError, match="within the 60 tokens"):
        question_mass(read(language_model, TEXT), [70, 71], segments=[range(50, 61)])
    with pytest.raises(ValueError, match="at least two tokens"):
        question_mass(read(language_model, TEXT), [70])
    with pytest.raises(ValueError, match="block_tokens must be at least 1"):
        blocks_of(10, 0)


@pytest.mark.model
def test_a_question_finds_the_block_that_holds_its_answer():
    language_model = models.load()
    text = lighthouse_log().text[:6000]
    place = text.index("\n", 3000)
    fact = "\nThe statue beside the fountain is made of amber.\n"
    tokens = tokenize(language_model.tokenizer, text[:place] + fact + text[place:])
    context = read(language_model, tokens.ids)
    question = "\n\nWhat is the statue beside the fountain made of?"
    score = question_mass(context, tokenize(language_model.tokenizer, question).ids)
    gold = next(i for i, (start, _) in enumerate(tokens.spans) if start > place) // 128
    assert gold in score.topk(2).indices
