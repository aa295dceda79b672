"""The model with margins: they count nothing before training, and what is needed after."""

import pytest
import torch

from longctx_edu.layers import WiMConfig, WiMLayer, WiMTransformer
from longctx_edu.layers.tiny_lm import Places
from tests.tiny_layers import model_of, random_ids, same


@pytest.fixture
def model():
    return model_of("margins")


def padded(*rows):
    """Return True where a row of this many tokens has none, of five."""
    return torch.arange(5) >= torch.tensor(rows)[:, None]


def test_before_training_margins_change_no_bit():
    torch.manual_seed(0)
    model = WiMTransformer(WiMConfig(vocabulary=23))
    ids = random_ids(2, 9)
    same(model(ids, random_ids(2, 5)), model(ids), within=0)


def test_margins_change_what_is_read_and_every_token_sees_all_of_them(model):
    ids, margins = random_ids(2, 9), random_ids(2, 5)
    changed = margins.clone()
    changed[:, -1] = (margins[:, -1] + 1) % 23
    difference = (model(ids, margins) - model(ids, changed)).abs().amax(-1)
    assert (difference > 1e-6).all()
    assert (model(ids, margins) - model(ids)).abs().amax() > 1e-3


def test_the_text_stays_causal_beside_margins(model):
    ids, margins = random_ids(2, 9), random_ids(2, 5)
    changed = ids.clone()
    changed[:, 5] = (ids[:, 5] + 1) % 23
    same(model(ids, margins)[:, :5], model(changed, margins)[:, :5], within=0)


def test_no_margin_empty_margins_and_padding_alone_are_the_same(model):
    ids = random_ids(2, 9)
    without = model(ids)
    same(model(ids, random_ids(2, 0)), without, within=0)
    same(model(ids, random_ids(2, 5), margin_padding=padded(0, 0)), without)


def test_padding_of_margins_and_text_changes_nothing(model):
    ids, margins = random_ids(2, 9), random_ids(2, 5)
    both = model(ids, margins, margin_padding=padded(5, 2))
    same(both[:1], model(ids[:1], margins[:1]))
    same(both[1:], model(ids[1:], margins[1:, :2]))
    gap = torch.zeros(2, 9, dtype=torch.bool)
    gap[:, :3] = True
    same(model(ids, margins, padding=gap)[:, 3:], model(ids[:, 3:], margins))


def test_generation_with_margins_is_the_same_with_and_without_a_cache(model):
    ids, given = random_ids(2, 7), dict(margins=random_ids(2, 5), margin_padding=padded(5, 3))
    cached = model.generate(ids, max_new_tokens=8, **given)
    assert cached.equal(model.generate(ids, max_new_tokens=8, cached=False, **given))
    assert not cached.equal(model.generate(ids, max_new_tokens=8))


def test_a_cache_keeps_the_margins_for_the_tokens_to_come(model):
    ids, margins, cache = random_ids(2, 9), random_ids(2, 5), model.new_cache()
    pieces = [model(ids[:, :4], margins, cache=cache), model(ids[:, 4:], cache=cache)]
    same(torch.cat(pieces, dim=1), model(ids, margins))
    with pytest.raises(ValueError, match="first tokens"):
        model(ids, margins, cache=cache)


def test_a_document_is_read_with_the_margins_of_each_segment(model):
    ids, margins = random_ids(2, 14), random_ids(2, 3, 5)
    padding = torch.stack([padded(0, 0), padded(5, 2), padded(1, 4)], dim=1)
    read = model.read(ids, margins, margin_padding=padding)
    for n, start in enumerate(range(0, 14, 6)):
        own = model(ids[:, start : start + 6], margins[:, n], margin_padding=padding[:, n])
        same(read[:, start : start + 6], own)
    same(model.read(ids), torch.cat([model(one) for one in ids.split(6, dim=1)], dim=1))
    with pytest.raises(ValueError, match="some for each"):
        model.read(ids, margins[:, :2])


@pytest.mark.parametrize("gap", [None, padded(3, 0)], ids=["all", "padded"])
def test_the_loops_give_the_same(model, gap):
    layer = model.layers[1]
    assert isinstance(layer, WiMLayer)
    x, notes = (torch.randn(2, n, 16, dtype=torch.float64) for n in (4, 5))
    padding = torch.zeros(2, 4, dtype=torch.bool)
    padding[0, 0] = True
    for places in (Places(None, None), Places(None, None, padding)):
        for margins in (None, layer.encode(notes, padding=gap)):
            loops = layer.in_loops(x, places=places, margins=margins)
            same(loops, layer(x, places=places, margins=margins))


def test_gradients_reach_the_notes_and_stay_finite_beside_empty_ones(model):
    ids, margins = random_ids(2, 9), random_ids(2, 5)
    model(ids, margins, margin_padding=padded(5, 0)).square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert model.layers[1].margin_attention.value.weight.grad.any()


def test_what_does_not_belong_together_is_refused(model):
    ids = random_ids(2, 9)
    with pytest.raises(ValueError, match="without margins"):
        model(ids, margin_padding=padded(5, 2))
    with pytest.raises(ValueError, match="2 texts"):
        model(ids, random_ids(1, 5))
    with pytest.raises(ValueError, match=r"above 1\.5"):
        WiMConfig(vocabulary=9, mlp_ratio=1.0)
