"""The plain model: causal, the same however it is run, and moved by no padding."""

import dataclasses
import json

import pytest
import torch

from longctx_edu.attention import turn
from longctx_edu.layers import TinyConfig, TinyLM, parameter_count
from longctx_edu.layers.tiny_lm import ContentAddress, attend, attend_in_loops, rotary_angles
from tests.tiny_layers import KINDS, model_of, random_ids, same


@pytest.fixture
def model():
    return model_of("plain")


@pytest.mark.parametrize("kind", KINDS)
def test_no_token_changes_what_comes_before_it(kind):
    model, ids = model_of(kind), random_ids(2, 20)
    changed = ids.clone()
    changed[:, 13] = (ids[:, 13] + 1) % 23
    before, after = model(ids), model(changed)
    same(before[:, :13], after[:, :13], within=0)
    assert (before[:, 13:] - after[:, 13:]).abs().amax() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_generation_with_a_cache_equals_generation_without(kind, seed):
    model, ids = model_of(kind, seed=seed), random_ids(3, 9, seed=seed)
    cached, whole = (model.generate(ids, max_new_tokens=8, cached=c) for c in (True, False))
    assert cached.shape == (3, 17)
    assert cached.equal(whole)
    assert cached[:, :9].equal(ids)


def test_texts_of_different_length_are_continued_as_each_alone(model):
    ids, padding = random_ids(2, 9), torch.zeros(2, 9, dtype=torch.bool)
    padding[1, :4] = True
    both = model.generate(ids, max_new_tokens=6, padding=padding)
    alone = model.generate(ids[1:, 4:], max_new_tokens=6)
    assert both[1:, 4:].equal(alone)
    assert both.equal(model.generate(ids, max_new_tokens=6, padding=padding, cached=False))


def test_drawn_tokens_follow_the_generator_and_a_low_temperature_the_best(model):
    ids = random_ids(4, 5)

    def drawn(seed, temperature):
        generator = torch.Generator().manual_seed(seed)
        return model.generate(ids, max_new_tokens=12, temperature=temperature, generator=generator)

    assert drawn(1, 5.0).equal(drawn(1, 5.0))
    assert not drawn(1, 5.0).equal(drawn(2, 5.0))
    assert drawn(1, 1e-4).equal(model.generate(ids, max_new_tokens=12))


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_a_cache_read_in_pieces_is_a_text_read_at_once(model, cut):
    ids, cache = random_ids(2, 10), model.new_cache()
    padding = torch.zeros(2, 10, dtype=torch.bool)
    padding[0, 3:5] = padding[1, 0] = True
    pieces = [
        model(ids[:, part], padding=padding[:, part], cache=cache)
        for part in (slice(0, cut), slice(cut, 10))
    ]
    whole = model(ids, padding=padding)
    same(torch.cat(pieces, dim=1)[~padding], whole[~padding])
    assert len(cache) == 10


@pytest.mark.parametrize("where", ["left", "right", "between"])
def test_padding_moves_and_changes_nothing(model, where):
    ids, gap = random_ids(1, 8), random_ids(1, 3, seed=5)
    cut = {"left": 0, "right": 8, "between": 5}[where]
    padded = torch.cat([ids[:, :cut], gap, ids[:, cut:]], dim=1)
    padding = torch.zeros(1, 11, dtype=torch.bool)
    padding[:, cut : cut + 3] = True
    same(model(padded, padding=padding)[~padding], model(ids)[0])


def test_padding_that_comes_after_plain_tokens_in_a_cache_counts_too(model):
    ids, cache = random_ids(2, 8), model.new_cache()
    padding = torch.zeros(2, 8, dtype=torch.bool)
    padding[1, 5] = True
    model(ids[:, :4], cache=cache)
    rest = model(ids[:, 4:], padding=padding[:, 4:], cache=cache)
    same(rest[~padding[:, 4:]], model(ids, padding=padding)[:, 4:][~padding[:, 4:]])


def test_reading_a_document_is_reading_each_segment_by_itself(model):
    ids = random_ids(2, 20)  # three segments of 6 tokens and one of 2
    read = model.read(ids)
    for start in range(0, 20, 6):
        same(read[:, start : start + 6], model(ids[:, start : start + 6]))
    padding = torch.zeros(2, 20, dtype=torch.bool)
    padding[0, 7] = True
    own = model(ids[:, 6:12], padding=padding[:, 6:12])
    same(model.read(ids, padding=padding)[:, 6:12], own)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_weights_make_the_same_model_again(kind, tmp_path):
    model, other = model_of(kind), model_of(kind, seed=1)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    ids = random_ids(2, 20)
    same(model(ids), other(ids), within=0)


@pytest.mark.parametrize(("_", "config_class"), KINDS.values())
def test_a_configuration_survives_json(_, config_class):
    config = config_class(vocabulary=9, layers=5, placeless=(3,))
    assert config_class(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize("kind", KINDS)
def test_all_models_have_equal_weights_within_five_percent(kind):
    model_class, config_class = KINDS[kind]
    for sizes in (dict(vocabulary=64), dict(vocabulary=64, layers=5, width=128)):
        plain = parameter_count(TinyLM(TinyConfig(**sizes)))
        own = parameter_count(model_class(config_class(**sizes)))
        assert own == pytest.approx(plain, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_before_training_a_model_says_what_the_embedding_says(kind):
    model_class, config_class = KINDS[kind]
    model, ids = model_class(config_class(vocabulary=23)), random_ids(2, 70)
    same(model(ids), model.head(model.norm(model.embedding(ids))), within=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_weight_and_are_finite(kind):
    model, ids = model_of(kind), random_ids(2, 20)
    padding = torch.zeros(2, 20, dtype=torch.bool)
    padding[0, :7] = True  # a whole segment and the start of the next
    given = {"margins": random_ids(2, 5)} if kind == "margins" else {}
    model(ids, padding=padding, **given).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_gives_nearly_the_same(kind):
    model, ids = model_of(kind, dtype=torch.float32), random_ids(2, 20)
    for parameter in model.parameters():
        parameter.data.mul_(0.2)
    exact, rough = model(ids), model.bfloat16()(ids)
    assert rough.dtype == torch.bfloat16
    same(rough.float(), exact, within=0.02)
    assert exact.abs().amax() > 0.1


def test_the_loops_of_causal_attention_give_the_same():
    query, key, value = torch.randn(3, 2, 2, 5, 4, dtype=torch.float64).unbind(0)
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[0, 0] = padding[1, 3] = True
    for gap in (None, padding):
        for last in (5, 2, 1):
            given = (query[:, :, -last:], key, value)
            same(attend_in_loops(*given, padding=gap), attend(*given, padding=gap))


def test_rotary_scores_depend_on_the_distance_alone():
    config = TinyConfig(vocabulary=5, width=16, heads=2)
    near, far = (rotary_angles(at + torch.arange(4), config, torch.float64) for at in (0, 1000))
    query, key = torch.randn(2, 1, 2, 4, 8, dtype=torch.float64).unbind(0)
    products = [turn(query, *angles) @ turn(key, *angles).mT for angles in (near, far)]
    same(*products)


def test_a_query_finds_what_follows_its_like_before_any_training():
    torch.manual_seed(0)
    address, x = ContentAddress(64, 4), torch.randn(1, 30, 64)
    asked = torch.cat([x, x[:, 12:13]], dim=1)  # the thirteenth token once more
    points = address(asked)
    keys, _ = address.keys(points)
    scores = address.queries(points[:, :, -1:]) @ keys[:, :, :30].mT
    assert scores.argmax(-1).eq(13).all()


def test_a_layer_without_positions_finds_far_and_near_alike():
    """Fillers between pair and question change a content score by nothing."""
    torch.manual_seed(0)
    address = ContentAddress(16, 2).double()
    pair, ask, fill = (torch.randn(1, n, 16, dtype=torch.float64) for n in (2, 1, 40))
    scores = []
    for between in (0, 40):
        points = address(torch.cat([pair, fill[:, :between], ask], dim=1))
        keys, _ = address.keys(points)
        scores.append((address.queries(points)[:, :, -1:] @ keys.mT)[..., 1])
    same(*scores)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(width=20, heads=4), "multiple of 2"),
        (dict(layers=0), "layers must be at least 1"),
        (dict(placeless=(2,)), "layers from 0 to 1"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        TinyConfig(vocabulary=9, **given)


def test_wrong_ids_padding_and_temperature_are_refused(model):
    ids = random_ids(2, 5)
    with pytest.raises(ValueError, match="whole numbers"):
        model(ids[0])
    with pytest.raises(ValueError, match="0 to 22"):
        model(ids + 23)
    with pytest.raises(ValueError, match="padding must be"):
        model(ids, padding=torch.zeros(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="temperature"):
        model.generate(ids, max_new_tokens=1, temperature=-1)
