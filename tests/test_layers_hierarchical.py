"""A memory on two levels: blocks by an upper bound, then keys in the best of them."""

import pytest
import torch

from longctx_edu.layers import EMTLayer, HierarchicalConfig, HierarchicalEMT
from longctx_edu.layers.emt import Held
from longctx_edu.layers.hierarchical import BlockMemoryLayer, most_in_blocks
from longctx_edu.layers.tiny_lm import Places, TinyLayer
from tests.tiny_layers import model_of, random_ids, same


def held_of(slots=11, *, empty=None) -> Held:
    torch.manual_seed(3)
    return Held(*torch.randn(2, 2, 2, slots, 8, dtype=torch.float64), empty)


def some_empty(slots=11):
    empty = torch.zeros(2, slots, dtype=torch.bool)
    empty[0, :5] = empty[1] = True
    return empty


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_local_and_memory_layers_take_turns_and_none_is_lost(layers):
    model = HierarchicalEMT(HierarchicalConfig(vocabulary=9, layers=layers))
    kinds = [type(layer) for layer in model.layers]
    assert kinds == [(TinyLayer, BlockMemoryLayer)[n % 2] for n in range(layers)]
    assert model(random_ids(1, 130) % 9).shape == (1, 130, 9)


def test_enough_blocks_find_what_a_flat_memory_finds():
    ids = random_ids(2, 24)
    flat = model_of("memory", top_k=3)(ids)
    many, few = (model_of("blocks", top_k=3, block_tokens=4, blocks=n)(ids) for n in (6, 1))
    same(many, flat)
    assert (few - flat).abs().amax() > 1e-3


@pytest.mark.parametrize("block_tokens", [1, 3, 4, 50])
def test_no_key_of_a_block_scores_above_its_bound(block_tokens):
    held, query = held_of(), torch.randn(2, 2, 5, 8, dtype=torch.float64)
    bounds = most_in_blocks(query, held, block_tokens=block_tokens)
    scores = query @ held.key.mT
    for slot in range(11):
        assert (scores[..., slot] <= bounds[..., slot // block_tokens] + 1e-12).all()
    if block_tokens == 1:
        same(bounds, scores)


def test_a_block_of_nothing_is_never_chosen():
    query = torch.randn(2, 2, 5, 8, dtype=torch.float64)
    bounds = most_in_blocks(query, held_of(empty=some_empty()), block_tokens=4)
    assert bounds[0, ..., 0].eq(-torch.inf).all()
    assert bounds[0, ..., 1:].isfinite().all()
    assert bounds[1].eq(-torch.inf).all()


def test_keys_come_from_as_many_blocks_as_may_be_opened():
    attention = model_of("blocks", block_tokens=4, blocks=1, top_k=8).layers[1].attention
    chosen = attention.choose(torch.randn(2, 2, 5, 8, dtype=torch.float64), held_of())
    opened = torch.nn.functional.pad(chosen, (0, 1)).unflatten(-1, (3, 4)).any(-1).sum(-1)
    assert opened.eq(1).all()


@pytest.mark.parametrize("blocks", [1, 2, 9])
@pytest.mark.parametrize("empty", [None, some_empty()], ids=["full", "partly"])
def test_the_loops_give_the_same(blocks, empty):
    layer = model_of("blocks", block_tokens=4, blocks=blocks, top_k=3).layers[1]
    assert isinstance(layer, EMTLayer)
    x, places = torch.randn(2, 4, 16, dtype=torch.float64), Places(None, None)
    held = held_of(empty=empty)
    same(layer.in_loops(x, places=places, held=held), layer(x, places=places, held=held))


def test_two_levels_compare_with_fewer_vectors():
    attention = HierarchicalEMT(HierarchicalConfig(vocabulary=9)).layers[1].attention
    assert attention.scored_keys(4096) == 2 * 256 + 4 * 16
    assert attention.scored_keys(5) == 2 + 5


def test_blocks_below_one_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        HierarchicalConfig(vocabulary=9, blocks=0)
