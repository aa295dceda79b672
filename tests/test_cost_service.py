"""Many readers on paper: by hand, in order, and beside what others published."""

import pytest

from longctx_edu import cost
from longctx_edu.cost import Architecture, Range

H100 = next(one for one in cost.GPUS if one.name == "H100")
A100 = next(one for one in cost.GPUS if one.name.startswith("A100"))
LLAMA = cost.KNOWN_MODELS["Llama 3 8B"]
HALF = cost.PRECISIONS["16-bit"]


def both(expected):
    return (pytest.approx(expected), pytest.approx(expected))


def bounds(found):
    return (found.low, found.high)


def test_a_question_costs_what_the_roofline_says_by_hand():
    told = cost.estimate(LLAMA, 100_000, HALF)
    asked = cost.question_cost(told, H100, written=500, efficiency=0.5)
    cache = 100_000 * 2 * 32 * 8 * 128 * 2
    together = int((80e9 - told.weight_bytes) // cache)
    assert (asked.gpus, asked.together) == (1, together)
    reading = cost.prefill_flops(LLAMA, 100_000) / 989e12 / 0.5
    weights = 2 * (32 * LLAMA.layer_weights + 4096 * 128256)
    writing = 500 * (weights / together + cache) / 3350e9 / 0.5
    assert bounds(asked.reading) == both(reading)
    assert asked.writing.low == pytest.approx(writing)
    assert asked.seconds.low == pytest.approx(reading + writing)


def test_what_is_too_large_for_one_gpu_takes_as_many_as_hold_it():
    told = cost.estimate(LLAMA, 10**6, HALF)
    assert not told.on(A100).holds
    asked = cost.question_cost(told, A100, written=10, efficiency=1)
    held = asked.gpus * A100.memory_bytes - told.weight_bytes
    assert held >= asked.together * told.cache_bytes > held - told.cache_bytes
    assert (asked.gpus - 1) * A100.memory_bytes < told.weight_bytes + told.cache_bytes


def test_a_wider_guess_gives_a_wider_answer_around_the_narrow_one():
    told = cost.estimate(LLAMA, 10_000, HALF)
    narrow = cost.question_cost(told, H100, written=100, efficiency=0.5, read_anew=0.5).seconds
    wide = cost.question_cost(
        told, H100, written=100, efficiency=Range(0.4, 0.8), read_anew=Range(0.1, 1)
    ).seconds
    assert wide.low < narrow.low == narrow.high < wide.high


def test_what_is_found_in_a_cache_is_not_read():
    told = cost.estimate(LLAMA, 10_000, HALF)
    asked = cost.question_cost(told, H100, written=100, efficiency=0.5, read_anew=0)
    assert asked.reading == Range(0, 0)
    assert asked.writing.low > 0


def test_twice_the_users_need_twice_the_gpus_and_a_day_has_its_seconds():
    one = cost.gpus_for(10, users=1e6, questions_a_day=8.64, busiest=2)
    assert bounds(one) == both(2000)
    two = cost.gpus_for(Range(10, 20), users=2e6, questions_a_day=8.64, busiest=2)
    assert bounds(two) == (pytest.approx(4000), pytest.approx(8000))


def test_a_range_is_kept_by_sums_products_and_quotients_and_refused_where_it_is_none():
    assert Range(1, 2) + 3 == Range(4, 5)
    assert Range(1, 2) * Range(3, 4) == Range(3, 8)
    assert Range(1, 2) / Range(4, 5) == Range(0.2, 0.5)
    with pytest.raises(ValueError, match="low to high"):
        Range(2, 1)
    with pytest.raises(ValueError, match="holds 0"):
        Range(1, 2) / Range(0, 1)


@pytest.mark.parametrize("share", [0, 1.2, Range(0, 1)])
def test_an_efficiency_that_nothing_has_is_refused(share):
    told = cost.estimate(LLAMA, 10, HALF)
    with pytest.raises(ValueError, match="Shares are at most 1"):
        cost.question_cost(told, H100, written=1, efficiency=share)


def test_a_text_of_no_tokens_is_refused():
    with pytest.raises(ValueError, match="1 token or more"):
        cost.question_cost(cost.estimate(LLAMA, 0, HALF), H100, written=1, efficiency=1)


def test_the_counts_agree_with_published_figures():
    # Kwon et al. 2023, section 3: 800 KB for a token of OPT 13B, in 16 bits.
    opt = Architecture(40, 5120, 40, 40, 128, 20480, 50272, mlp_matrices=2)
    assert cost.kv_cache_bytes_per_token(opt, bytes_per_number=2) == 800 * 1024
    # Brown et al. 2020, table D.1: 3.14e23 FLOPs to train GPT-3 on 300 billion tokens.
    gpt3 = Architecture(96, 12288, 96, 96, 128, 49152, 50257, mlp_matrices=2)
    trained = 3 * cost.linear_flops(gpt3, 300_000_000_000)
    assert trained == pytest.approx(3.14e23, rel=0.01)
    # Jiang et al. 2024, abstract: 30 minutes for a million tokens, 8 B, one A100.
    bound = cost.estimate(LLAMA, 10**6, HALF).on(A100).prefill / 60
    assert 10 < bound < 30
