"""The forms of linear attention are one function; softmax attention equals loops and PyTorch."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu.attention import (
    linear_attention,
    linear_attention_quadratic,
    linear_attention_recurrent,
    scaled_dot_product,
    scaled_dot_product_in_loops,
)
from longctx_edu.attention.linear import feature_map


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def qkv(tokens, *, heads=(2, 3), head_dim=5, value_dim=4, seed=0):
    shapes = (head_dim, head_dim, value_dim)
    return [random(*heads, tokens, d, seed=3 * seed + n) for n, d in enumerate(shapes)]


def assert_same(mine, other):
    torch.testing.assert_close(mine, other, atol=1e-10, rtol=1e-10)


@settings(max_examples=40)
@given(tokens=st.integers(1, 40), chunk_tokens=st.integers(1, 50), seed=st.integers(0, 99))
def test_definition_recurrence_and_chunks_are_equal(tokens, chunk_tokens, seed):
    q, k, v = qkv(tokens, seed=seed)
    defined = linear_attention_quadratic(q, k, v)
    assert_same(linear_attention_recurrent(q, k, v), defined)
    assert_same(linear_attention(q, k, v, chunk_tokens=chunk_tokens), defined)


@pytest.mark.parametrize("queries", [1, 5, 20])
def test_the_last_queries_alone_get_what_they_get_among_all(queries):
    q, k, v = qkv(20)
    expected = linear_attention_quadratic(q, k, v)[..., -queries:, :]
    for attend in (linear_attention_quadratic, linear_attention_recurrent):
        assert_same(attend(q[..., -queries:, :], k, v), expected)
    assert_same(linear_attention(q[..., -queries:, :], k, v, chunk_tokens=3), expected)


@pytest.mark.parametrize("queries", [1, 7, 30])
def test_without_causality_the_sums_are_taken_once_for_any_number_of_queries(queries):
    _, k, v = qkv(12)
    q = random(2, 3, queries, 5, seed=9)
    expected = linear_attention_quadratic(q, k, v, causal=False)
    assert_same(linear_attention(q, k, v, causal=False), expected)


def test_the_feature_map_is_elu_plus_one_and_stays_positive():
    x = random(100) * 5
    assert_same(feature_map(x), F.elu(x) + 1)
    assert (feature_map(torch.tensor([-80.0, -20.0, 0.0])) > 0).all()


def test_rows_are_weighted_means_of_the_values_seen_so_far():
    q, k, v = qkv(20)
    assert_same(linear_attention(q, k, torch.ones_like(v)), torch.ones_like(v))
    assert_same(linear_attention(q, k, v)[..., 0, :], v[..., 0, :])


def test_a_later_token_changes_no_earlier_row():
    q, k, v = qkv(20)
    before = linear_attention(q, k, v, chunk_tokens=8)
    k[..., 13:, :] += 1
    v[..., 13:, :] -= 2
    after = linear_attention(q, k, v, chunk_tokens=8)
    assert_same(after[..., :13, :], before[..., :13, :])
    assert not torch.allclose(after[..., 13, :], before[..., 13, :])


def test_gradients_flow_through_all_forms_alike():
    gradients = []
    for form in (linear_attention, linear_attention_quadratic, linear_attention_recurrent):
        q, k, v = (x.requires_grad_() for x in qkv(9))
        form(q, k, v).square().sum().backward()
        gradients.append([q.grad, k.grad, v.grad])
    for other in gradients[1:]:
        for mine, theirs in zip(gradients[0], other, strict=True):
            assert_same(mine, theirs)


def test_shapes_that_do_not_fit_are_refused_with_the_shapes():
    q, k, v = qkv(6)
    with pytest.raises(ValueError, match="one head_dim"):
        linear_attention(q[..., :3], k, v)
    with pytest.raises(ValueError, match="no more than keys, got"):
        linear_attention(q, k[..., :2, :], v[..., :2, :])
    with pytest.raises(ValueError, match="chunk_tokens must be at least 1"):
        linear_attention(q, k, v, chunk_tokens=0)


@pytest.mark.parametrize("causal", [True, False])
def test_matrix_products_equal_loops_and_pytorch(causal):
    q, k, v = (random(7, 4, seed=n) for n in range(3))
    matrix = scaled_dot_product(q, k, v, causal=causal)
    loops = scaled_dot_product_in_loops(q, k, v, causal=causal)
    assert_same(torch.tensor(loops, dtype=torch.float64), matrix)
    assert_same(F.scaled_dot_product_attention(q, k, v, is_causal=causal), matrix)


@pytest.mark.parametrize("queries", [1, 4, 11])
def test_queries_are_the_last_tokens_and_share_keys_in_groups(queries):
    q, k, v = random(1, 6, 11, 8), random(1, 2, 11, 8, seed=1), random(1, 2, 11, 8, seed=2)
    whole = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    assert_same(scaled_dot_product(q[:, :, -queries:], k, v), whole[:, :, -queries:])


def test_the_log_sum_exp_joins_two_parts_of_the_keys():
    q, k, v = (random(3, 10, 4, seed=n) for n in range(3))
    whole, lse = scaled_dot_product(q, k, v, causal=False, return_lse=True)
    parts = [
        scaled_dot_product(q, k[:, part], v[:, part], causal=False, return_lse=True)
        for part in (slice(0, 6), slice(6, 10))
    ]
    joined = torch.logaddexp(parts[0][1], parts[1][1])
    assert_same(joined, lse)
    assert_same(sum(out * (part - joined).exp()[..., None] for out, part in parts), whole)


def test_queries_without_any_key_and_unequal_groups_are_refused():
    q, k, v = (random(3, 4, 4, seed=n) for n in range(3))
    with pytest.raises(ValueError, match="4 queries are the last of 2 tokens"):
        scaled_dot_product(q, k[:, :2], v[:, :2])
    with pytest.raises(ValueError, match="3 query heads cannot be shared out among 2"):
        scaled_dot_product(q, k[:2], v[:2])
