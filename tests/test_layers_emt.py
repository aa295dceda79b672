"""The model with a memory: it finds what earlier segments held, and nothing else changes."""

import pytest
import torch

from longctx_edu.layers import EMT, EMTConfig, EMTLayer, SegmentMemory, TinyConfig, TinyLM
from longctx_edu.layers.emt import Held
from longctx_edu.layers.tiny_lm import Places
from longctx_edu.routing import load_balance_loss
from tests.tiny_layers import model_of, random_ids, same

NOWHERE = Places(None, None)


def plain_of(model: EMT) -> TinyLM:
    """Return the plain model of the same weights."""
    c = model.config
    names = ("vocabulary", "width", "layers", "heads", "segment_tokens", "placeless")
    plain = TinyLM(TinyConfig(**{name: getattr(c, name) for name in names})).double()
    missing, more = plain.load_state_dict(model.state_dict(), strict=False)
    assert not missing
    assert all(name.endswith("gate") for name in more)
    return plain


def held_of(batch=2, slots=9, *, empty=None, seed=3) -> Held:
    torch.manual_seed(seed)
    return Held(*torch.randn(2, batch, 2, slots, 8, dtype=torch.float64), empty)


@pytest.mark.parametrize("joining", ["gate", "softmax"])
def test_the_first_segment_and_all_without_memory_are_the_plain_model(joining):
    model, ids = model_of("memory", joining=joining), random_ids(2, 20)
    plain = plain_of(model)
    same(model(ids[:, :6]), plain(ids[:, :6]), within=0)
    same(model(ids, remember=False), plain.read(ids))
    assert (model(ids) - plain.read(ids))[:, 6:].abs().amax() > 1e-3


def test_one_softmax_over_the_whole_memory_is_attention_to_the_whole_text():
    """A model of one layer without positions: cut in segments or not, it sees the same."""
    model = model_of("memory", layers=1, memory_layers=(0,), joining="softmax", top_k=99)
    ids = random_ids(2, 20)
    # A segment's first token has no left neighbour there; what its key tells differs.
    model.layers[0].attention.address.neighbour.data.fill_(-99)
    same(model(ids), plain_of(model)(ids))


@pytest.mark.parametrize("cuts", [(1, 5, 6, 7), (3, 9), (12,), range(1, 20)])
def test_a_document_read_in_any_pieces_is_the_document_read_at_once(cuts):
    model, ids = model_of("memory"), random_ids(2, 20)
    memory, pieces, begun = model.new_memory(), [], 0
    for end in (*cuts, 20):
        pieces.append(model(ids[:, begun:end], memory=memory))
        begun = end
    same(torch.cat(pieces, dim=1), model(ids))


def test_a_document_is_a_loop_over_segments_with_the_memory_between_them():
    model, ids = model_of("memory"), random_ids(2, 18)
    memory = model.new_memory()
    segments = [model(segment, memory=memory) for segment in ids.split(6, dim=1)]
    same(torch.cat(segments, dim=1), model(ids), within=0)
    assert memory.held[1].key.shape == (2, 2, 18, 8)
    memory.forget()
    assert memory.held == {1: None}
    same(model(ids[:, :6], memory=memory), segments[0], within=0)


def test_rows_of_a_batch_have_memories_of_their_own():
    model, ids = model_of("memory"), random_ids(3, 20)
    same(model(ids), torch.cat([model(row[None]) for row in ids]))


def test_padding_is_neither_seen_nor_kept():
    model, ids = model_of("memory"), random_ids(2, 18)
    padding = torch.zeros(2, 18, dtype=torch.bool)
    padding[0, 3:6] = padding[1, 12:] = True
    other = torch.where(padding, (ids + 1) % 23, ids)
    read = model(ids, padding=padding)
    same(read[~padding], model(other, padding=padding)[~padding], within=0)
    # The row whose end alone is padded reads as if it ended there.
    same(read[1, :12], model(ids[1:, :12])[0])
    memory = model.new_memory()
    model(ids, padding=padding, memory=memory)
    assert memory.held[1].empty.sum(1).tolist() == [3, 6]


def test_a_row_that_has_nothing_in_memory_yet_is_the_plain_model():
    model, ids = model_of("memory"), random_ids(2, 12)
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[0, :6] = True
    read = model(ids, padding=padding)
    same(read[0, 6:], plain_of(model)(ids[:1, 6:])[0])
    assert read.isfinite().all()


def test_the_oldest_tokens_go_where_there_is_no_room():
    model, ids = model_of("memory", capacity=8), random_ids(1, 24)
    memory = model.new_memory()
    model(ids[:, :18], memory=memory)
    roomy = model_of("memory", capacity=99)
    all_of_it = roomy.new_memory()
    roomy(ids[:, :18], memory=all_of_it)
    # The weights are the same; but what was found before differs above the memory layer only.
    same(memory.held[1].key, all_of_it.held[1].key[:, :, -8:], within=0)
    same(memory.held[1].value, all_of_it.held[1].value[:, :, -8:], within=0)


def test_eviction_counts_each_rows_own_tokens():
    layer = EMTLayer(EMTConfig(vocabulary=5, width=16, heads=2, capacity=4))
    empty = torch.tensor([[False] * 3, [True, False, True]])
    first, second = held_of(slots=3), held_of(slots=3, seed=4)
    held = layer.update_memory(None, first.key, first.value, padding=empty)
    held = layer.update_memory(held, second.key, second.value)
    assert held.empty.tolist() == [[False] * 4, [False] * 4]
    same(held.key[0], torch.cat([first.key[0, :, 2:], second.key[0]], dim=1))
    same(held.key[1], torch.cat([first.key[1, :, 1:2], second.key[1]], dim=1))


def test_what_is_written_is_detached_unless_the_graph_is_kept():
    layer = EMTLayer(EMTConfig(vocabulary=5, width=16, heads=2))
    key, value = (x.requires_grad_() for x in held_of()[:2])
    assert not layer.update_memory(None, key, value).key.requires_grad
    assert layer.update_memory(None, key, value, keep_graph=True).value.requires_grad

    model, ids = model_of("memory"), random_ids(1, 12)
    grads = []
    for keep_graph in (False, True):
        model.zero_grad()
        model(ids, keep_graph=keep_graph)[:, 6:].square().sum().backward()
        grads.append(model.embedding.weight.grad.clone())
    assert (grads[0] - grads[1]).abs().amax() > 1e-3


def test_a_memory_keeps_what_earlier_weights_wrote():
    model, ids = model_of("memory"), random_ids(1, 12)
    memory = model.new_memory()
    model(ids, memory=memory)
    old = memory.held[1].key.clone()
    with torch.no_grad():
        model.embedding.weight.add_(torch.randn_like(model.embedding.weight))
    same(memory.held[1].key, old, within=0)
    fresh = model.new_memory()
    model(ids, memory=fresh)
    assert (fresh.held[1].key - old).abs().amax() > 1e-3


@pytest.mark.parametrize("joining", ["gate", "softmax"])
def test_reading_the_best_of_at_least_all_is_reading_all(joining):
    ids = random_ids(2, 24)
    some, all_of_it, more = (
        model_of("memory", joining=joining, top_k=k)(ids) for k in (2, 18, 1000)
    )
    same(all_of_it, more)
    assert (some - more).abs().amax() > 1e-3


def test_each_query_reads_as_many_keys_as_it_may():
    attention = model_of("memory", top_k=3).layers[1].attention
    empty = torch.zeros(2, 9, dtype=torch.bool)
    empty[1, :7] = True
    query = torch.randn(2, 2, 4, 8, dtype=torch.float64)
    chosen = attention.choose(query, held_of(empty=empty))
    assert chosen[0].sum(-1).eq(3).all()
    assert chosen[1].sum(-1).eq(2).all()
    assert not chosen[1, ..., :7].any()


@pytest.mark.parametrize("gate", [-50.0, 50.0])
def test_the_gate_goes_from_the_segment_alone_to_the_memory_alone(gate):
    layer, held = model_of("memory", joining="gate").layers[1], held_of()
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    layer.attention.gate.data.fill_(gate)
    found = layer(x, places=NOWHERE, held=held)
    if gate < 0:
        same(found, layer(x, places=NOWHERE))
    else:
        other = x.clone()
        other[:, 0] += 1
        same(found[:, 2:], layer(other, places=NOWHERE, held=held)[:, 2:])


@pytest.mark.parametrize("joining", ["gate", "softmax"])
@pytest.mark.parametrize("top_k", [2, 99])
def test_the_loops_give_the_same(joining, top_k):
    layer = model_of("memory", joining=joining, top_k=top_k).layers[1]
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[0, 1] = padding[1, 0] = True
    empty = torch.zeros(2, 9, dtype=torch.bool)
    empty[0, :4] = empty[1] = True
    for gap in (None, padding):
        places = Places(None, None, gap)
        for held in (None, held_of(), held_of(empty=empty)):
            same(layer.in_loops(x, places=places, held=held), layer(x, places=places, held=held))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_memory_has_the_models_kind_of_number(dtype):
    model = model_of("memory", dtype=dtype)
    memory = model.new_memory()
    assert model(random_ids(2, 20), memory=memory).dtype == dtype
    assert memory.held[1].key.dtype == memory.held[1].value.dtype == dtype


def test_experts_share_the_tokens_of_memory_layers():
    model, ids = model_of("memory", experts=4), random_ids(2, 20)
    same(model(ids[:, :13]), model(ids)[:, :13])
    model(ids)
    assigned = model.layers[1].mlp.assigned
    assert assigned.kept.all()
    load_balance_loss(assigned).backward()
    assert model.layers[1].mlp.experts.router.weight.grad.any()


def test_before_training_experts_change_nothing_either():
    model, ids = EMT(EMTConfig(vocabulary=23, experts=4)), random_ids(2, 70)
    same(model(ids), model.head(model.norm(model.embedding(ids))), within=1e-6)


def test_memory_training_writes_again_what_a_new_document_needs():
    """Nothing stays in the model between calls: the same document reads the same twice."""
    model, ids = model_of("memory"), random_ids(2, 20)
    same(model(ids), model(ids), within=0)
    assert isinstance(model.new_memory(), SegmentMemory)
    assert not [name for name in model.state_dict() if "held" in name or "memory" in name]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(joining="sum"), "joining is one of softmax, gate"),
        (dict(top_k=0), "top_k must be at least 1"),
        (dict(memory_layers=(7,)), "layers from 0 to 1"),
    ],
)
def test_a_choice_that_does_not_fit_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        EMTConfig(vocabulary=9, **given)


def test_a_memory_of_other_documents_is_refused_with_a_sentence():
    model = EMT(EMTConfig(vocabulary=8, width=16, heads=2, segment_tokens=4))
    memory = model.new_memory()
    model(torch.zeros(2, 6, dtype=torch.long), memory=memory)
    with pytest.raises(ValueError, match="The memory is of 2 documents and there are 3"):
        model(torch.zeros(3, 4, dtype=torch.long), memory=memory)
