"""Attention over parts of the keys joined by log-sum-exps is attention over all of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu.attention.parts import attend, attend_after, join
from longctx_edu.attention.softmax import scaled_dot_product


def made(*shape, dtype, seed):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("causal", [True, False])
def test_one_part_gives_attention_and_its_log_sum_exp(dtype, causal):
    q, k, v = (made(2, 3, 40, 16, dtype=dtype, seed=seed) for seed in range(3))
    expected = scaled_dot_product(q, k, v, causal=causal, scale=0.3, return_lse=True)
    for found, wanted in zip(attend(q, k, v, causal=causal, scale=0.3), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@settings(max_examples=40)
@given(queries=st.integers(1, 30), keys=st.integers(1, 50), seed=st.integers(0, 99))
def test_the_last_tokens_attend_in_two_parts_as_in_one(queries, keys, seed):
    keys = max(queries, keys)
    q = made(1, 2, queries, 8, dtype=torch.float32, seed=seed)
    k, v = (made(1, 2, keys, 8, dtype=torch.float32, seed=seed + n) for n in (1, 2))
    expected = scaled_dot_product(q, k, v, causal=True, return_lse=True)
    for found, wanted in zip(attend_after(q, k, v), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_parts_join_where_one_outweighs_the_other_beyond_all_exponentials():
    q = torch.full((1, 1, 1, 4), 100.0)
    k = torch.cat([torch.full((1, 1, 3, 4), -90.0), torch.full((1, 1, 2, 4), 90.0)], dim=2)
    v = torch.arange(20.0).view(1, 1, 5, 4)
    low, high = (attend(q, k[:, :, s], v[:, :, s], causal=False) for s in (slice(3), slice(3, 5)))
    expected = scaled_dot_product(q, k, v, causal=False)
    torch.testing.assert_close(join(*low, *high)[0], expected)


def test_expanded_keys_serve_the_query_heads_of_a_group():
    q = made(3, 4, 9, 8, dtype=torch.float32, seed=0)
    k, v = (made(3, 1, 20, 8, dtype=torch.float32, seed=seed) for seed in (1, 2))
    found, _ = attend_after(q, k.expand(-1, 4, -1, -1), v.expand(-1, 4, -1, -1))
    torch.testing.assert_close(
        found, scaled_dot_product(q, k, v, causal=True), atol=1e-5, rtol=1e-5
    )
