"""Routing by agreement, by a learned router, and by the heads of a model with memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu import memory, models
from longctx_edu.memory import LookedUp
from longctx_edu.routing import (
    HeadRoutes,
    Top1Experts,
    dynamic_routing,
    expert_capacity,
    load_balance_loss,
    route_by_agreement,
    route_by_agreement_in_loops,
    routes_of_heads,
    squash,
    top1_routing,
)
from longctx_edu.text import tokenize


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(mine, other):
    torch.testing.assert_close(mine, other, atol=1e-10, rtol=1e-10)


def assert_same_routing(mine, other):
    for one, another in zip(mine, other, strict=True):
        assert_same(one, another)


# --------------------------------------------------------------------------
# Agreement


def test_squashing_keeps_where_a_vector_points_and_brings_its_length_below_one():
    vectors = random(50, 4) * 3
    short = squash(vectors)
    lengths, before = short.norm(dim=-1), vectors.norm(dim=-1)
    assert_same(lengths, before**2 / (1 + before**2))
    assert_same(short / lengths[:, None], vectors / before[:, None])
    assert squash(torch.zeros(3)).tolist() == [0, 0, 0]


@settings(max_examples=30)
@given(
    senders=st.integers(1, 6),
    receivers=st.integers(1, 5),
    iterations=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_loops_and_batches_route_alike(senders, receivers, iterations, seed):
    votes = random(2, senders, receivers, 3, seed=seed)
    both = route_by_agreement(votes, iterations=iterations)
    for n in range(2):
        loops = route_by_agreement_in_loops(votes[n], iterations=iterations)
        assert_same_routing(loops, (both.capsules[n], both.couplings[:, n]))


def test_a_sender_shares_itself_out_among_the_receivers_at_first_evenly():
    couplings = route_by_agreement(random(7, 4, 3), iterations=3).couplings
    assert couplings.shape == (3, 7, 4)
    assert_same(couplings[0], torch.full((7, 4), 0.25, dtype=torch.float64))
    assert_same(couplings.sum(-1), torch.ones(3, 7, dtype=torch.float64))


def test_votes_that_agree_win():
    votes = torch.nn.functional.normalize(random(6, 2, 8, seed=1), dim=-1)
    votes[:, 0] = votes[0, 0]  # of the first receiver all say the same
    couplings = route_by_agreement(votes, iterations=4).couplings
    assert (couplings[1:, :, 0] > 0.5).all()
    assert (couplings.diff(dim=0)[:, :, 0] > 0).all()  # with every iteration more


def test_a_sender_that_disagrees_goes_elsewhere():
    one = torch.tensor([2.0, 0.0])
    votes = torch.stack([one, one, one, -one])[:, None].repeat(1, 2, 1)
    votes[:, 1] = torch.tensor([0.0, 0.5])
    final = route_by_agreement(votes, iterations=3).couplings[-1]
    assert (final[:3, 0] > 0.5).all()
    assert final[3, 0] < 0.5


@settings(max_examples=20)
@given(seed=st.integers(0, 99))
def test_the_order_of_senders_and_receivers_does_not_matter(seed):
    votes = random(6, 4, 3, seed=seed)
    chance = torch.Generator().manual_seed(seed)
    senders, receivers = torch.randperm(6, generator=chance), torch.randperm(4, generator=chance)
    plain, moved = route_by_agreement(votes), route_by_agreement(votes[senders][:, receivers])
    assert_same(moved.capsules, plain.capsules[receivers])
    assert_same(moved.couplings, plain.couplings[:, senders][:, :, receivers])


@settings(max_examples=20)
@given(tokens=st.integers(1, 7), iterations=st.integers(1, 4), seed=st.integers(0, 99))
def test_each_causal_row_is_the_routing_of_the_tokens_so_far_alone(tokens, iterations, seed):
    votes = random(2, tokens, 3, 4, seed=seed)
    causal = route_by_agreement(votes, iterations=iterations, causal=True)
    for t in range(tokens):
        prefix = route_by_agreement(votes[:, : t + 1], iterations=iterations)
        assert_same(causal.capsules[:, t], prefix.capsules)
        assert_same(causal.couplings[:, :, t, : t + 1], prefix.couplings)
        assert (causal.couplings[:, :, t, t + 1 :] == 0).all()


def test_later_tokens_change_no_earlier_row_of_a_sequence():
    tokens, weight = random(2, 9, 5), random(3, 5, 4, seed=1)
    other = torch.cat([tokens[:, :6], 7 * random(2, 3, 5, seed=2)], dim=1)
    routed, changed = dynamic_routing(tokens, weight), dynamic_routing(other, weight)
    assert routed.shape == (2, 9, 3, 4)
    assert torch.equal(routed[:, :6], changed[:, :6])
    assert (routed[:, 6:] - changed[:, 6:]).abs().amax(dim=(0, 2, 3)).min() > 1e-3
    whole = dynamic_routing(tokens, weight, causal=False)
    assert_same(whole, routed[:, -1])


def test_gradients_reach_what_votes_even_where_a_vote_is_zero():
    tokens, weight = torch.zeros(1, 3, 5), random(2, 5, 4).float().requires_grad_()
    tokens[:, 1:] = 1
    dynamic_routing(tokens, weight).sum().backward()
    assert weight.grad.isfinite().all()
    assert weight.grad.abs().sum() > 0


def test_what_cannot_be_routed_is_refused_by_a_sentence():
    with pytest.raises(ValueError, match="iterations must be at least 1, got 0"):
        route_by_agreement(random(3, 2, 4), iterations=0)
    with pytest.raises(ValueError, match=r"votes must be \(..., senders, receivers, width\)"):
        route_by_agreement(random(3, 2))
    with pytest.raises(ValueError, match=r"weight must be .* got \(2, 6, 4\) and \(3, 5\)"):
        dynamic_routing(random(3, 5), random(2, 6, 4))


# --------------------------------------------------------------------------
# Experts


def sure_of(*experts, of=4):
    """Return logits of a router that is all but certain."""
    return 50.0 * torch.nn.functional.one_hot(torch.tensor(experts), of)


def test_each_token_goes_to_its_most_probable_expert_while_there_is_room():
    assigned = top1_routing(sure_of(1, 0, 1, 1, 3), capacity=2)
    assert assigned.expert.tolist() == [1, 0, 1, 1, 3]
    assert assigned.place.tolist() == [0, 0, 1, 2, 0]
    assert assigned.kept.tolist() == [True, True, True, False, True]
    torch.testing.assert_close(assigned.load, torch.tensor([0.2, 0.6, 0.0, 0.2]))
    torch.testing.assert_close(assigned.gate, torch.ones(5))


@settings(max_examples=30)
@given(tokens=st.integers(0, 30), experts=st.integers(1, 6), capacity=st.integers(0, 8))
def test_no_expert_takes_more_than_its_capacity_and_none_drops_what_it_has_room_for(
    tokens, experts, capacity
):
    assigned = top1_routing(random(tokens, experts, seed=tokens), capacity=capacity)
    for expert in range(experts):
        own = assigned.expert == expert
        assert int(assigned.kept[own].sum()) == min(int(own.sum()), capacity)
        assert assigned.kept[own].tolist() == sorted(assigned.kept[own].tolist(), reverse=True)


def test_later_tokens_take_no_room_from_earlier_ones():
    logits = random(20, 3)
    whole = top1_routing(logits, capacity=4)
    for n in range(20):
        part = top1_routing(logits[:n], capacity=4)
        assert part.kept.tolist() == whole.kept[:n].tolist()


def test_capacity_is_an_even_share_times_a_factor():
    assert expert_capacity(64, 8, 1.0) == 8
    assert expert_capacity(65, 8, 1.0) == 9
    assert expert_capacity(64, 8, 1.5) == 12
    with pytest.raises(ValueError, match="factor above 0"):
        expert_capacity(64, 8, 0)


def test_the_loss_is_one_for_a_balanced_router_and_its_maximum_for_a_collapsed_one():
    def loss(*experts):
        return float(load_balance_loss(top1_routing(sure_of(*experts))))

    assert loss(0, 1, 2, 3, 0, 1, 2, 3) == pytest.approx(1)
    assert loss(2, 2, 2, 2, 2, 2, 2, 2) == pytest.approx(4)
    assert 1 < loss(0, 0, 1, 2, 3, 3, 3, 1) < 4


@settings(max_examples=40)
@given(experts=st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_a_sure_router_has_a_loss_between_one_and_the_number_of_experts(experts):
    assigned = top1_routing(sure_of(*experts))
    assert 1 - 1e-5 <= float(load_balance_loss(assigned)) <= 4 + 1e-5
    squares = 4 * assigned.load.square().sum()
    torch.testing.assert_close(load_balance_loss(assigned), squares)


@settings(max_examples=40)
@given(tokens=st.integers(1, 20), seed=st.integers(0, 99))
def test_no_router_has_a_loss_above_the_number_of_experts(tokens, seed):
    assigned = top1_routing(3 * random(tokens, 4, seed=seed))
    assert 0 < float(load_balance_loss(assigned)) <= 4


def test_an_unsure_router_can_come_below_one():
    # Six tokens choose the first expert by a hair, four the second for certain.
    probabilities = torch.tensor([[0.51, 0.49]] * 6 + [[0.001, 0.999]] * 4)
    assert float(load_balance_loss(top1_routing(probabilities.log()))) < 0.95


def test_following_the_loss_spreads_the_load():
    tokens = torch.cat([random(400, 8, seed=3), torch.ones(400, 1)], dim=1).float()
    router = torch.nn.Parameter(random(9, 4, seed=4).float())
    with torch.no_grad():
        router[8, 0] = 9.0  # nearly all go to the first expert
    before = top1_routing(tokens @ router).load.max()
    optimizer = torch.optim.Adam([router], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        load_balance_loss(top1_routing(tokens @ router)).backward()
        optimizer.step()
    assert before > 0.9
    assert top1_routing(tokens @ router).load.max() < 0.35


@pytest.mark.parametrize("factor", [None, 2.0, 1.0, 0.5])
def test_the_layer_equals_each_token_going_to_its_expert_by_itself(factor):
    torch.manual_seed(0)
    layer = Top1Experts(6, 5, 4, capacity_factor=factor)
    tokens = torch.randn(3, 7, 6)
    out, assigned = layer(tokens)
    flat = tokens.flatten(0, 1)
    expected = torch.zeros_like(flat)
    for n, token in enumerate(flat):
        one = int(assigned.expert[n])
        if assigned.kept[n]:
            made = (token @ layer.up[one]).relu() @ layer.down[one]
            expected[n] = layer.router(token).softmax(-1)[one] * made
    torch.testing.assert_close(out, expected.view_as(tokens))
    assert bool(assigned.kept.all()) == (factor is None) or factor == 2.0
    if factor == 0.5:
        assert int(assigned.kept.sum()) <= 4 * 3


def test_gradients_reach_the_router_through_the_gate():
    torch.manual_seed(0)
    layer = Top1Experts(6, 5, 4)
    layer(torch.randn(2, 8, 6))[0].square().sum().backward()
    assert layer.router.weight.grad.abs().sum() > 0


# --------------------------------------------------------------------------
# Heads


def looked_up_by_hand():
    """Two layers of two heads, one query, three keys each of a bank of ten."""
    tokens = torch.tensor([[[[0, 1, 5]], [[4, 5, 6]]]])
    weights = torch.tensor([[[[0.2, 0.2, 0.3]], [[0.1, 0.2, 0.1]]]])
    return [LookedUp(0, tokens, weights), LookedUp(2, tokens, weights / 2)]


def test_heads_are_counted_where_they_look_most():
    routes = routes_of_heads(looked_up_by_hand(), [range(0, 3), range(4, 6)], layers=3)
    expected = torch.tensor([[[0.4, 0.3], [0.0, 0.3]], [[0, 0], [0, 0]], [[0.2, 0.15], [0, 0.15]]])
    torch.testing.assert_close(routes.mass, expected)
    assert routes.choice.tolist() == [[0, 1], [-1, -1], [0, 1]]
    assert routes.choosing(0.25).tolist() == [[True, True], [False, False], [True, False]]
    assert routes.load().tolist() == [0.5, 0.5]
    assert routes.agreement() == pytest.approx(1 / 3)
    few = routes.choosing(0.35)
    assert routes.load(few).tolist() == [1, 0]
    assert routes.agreement(routes.choosing(0.25)) == pytest.approx(1 / 3)


def test_agreement_is_that_of_pairs_and_that_of_chance_for_heads_that_choose_by_chance():
    chance = torch.randint(0, 5, (30, 20), generator=torch.Generator().manual_seed(0))
    mass = torch.nn.functional.one_hot(chance, 5).float()
    assert HeadRoutes(mass).agreement() == pytest.approx(1 / 5, abs=0.02)
    pairs = [
        (a == b).item()
        for n, a in enumerate(chance[:2].flatten())
        for m, b in enumerate(chance[:2].flatten())
        if n != m
    ]
    assert HeadRoutes(mass[:2]).agreement() == pytest.approx(sum(pairs) / len(pairs))
    assert HeadRoutes(torch.ones(2, 3, 4)).agreement() == 1


def test_heads_of_a_model_route_all_that_they_look_up():
    model = models.tiny()
    bank = memory.MemoryBank(model)
    list(bank.add(["The boat is green.", "Nine hens, one fox."]))
    ids = torch.tensor([tokenize(model.tokenizer, "Which boat?").ids])
    with torch.no_grad(), memory.remembering(bank, memory.Recall(k=5)) as looked_up:
        model.model(ids)
    parts = [held.tokens for held in bank.held]
    routes = routes_of_heads(looked_up, parts, layers=len(bank.layers))
    for one in looked_up:
        on_memory = one.weights[0, :, -1].sum(-1)
        torch.testing.assert_close(routes.mass[one.layer].sum(-1), on_memory)
    first = routes_of_heads(looked_up, parts, layers=len(bank.layers), row=0)
    assert not torch.equal(first.mass, routes.mass)
    with pytest.raises(ValueError, match="looked things up once"):
        routes_of_heads([*looked_up, *looked_up], parts, layers=len(bank.layers))
    with pytest.raises(ValueError, match="in order and not overlap"):
        routes_of_heads(looked_up, parts[::-1], layers=len(bank.layers))


def test_without_memory_no_head_goes_anywhere():
    routes = routes_of_heads([], [range(3)], layers=2)
    assert routes.load().tolist() == [0]
    assert routes.agreement() != routes.agreement()  # nan
