"""Top-k and block-sparse attention equal their definitions, alone and inside a model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu.attention import (
    LINEAR,
    TopK,
    attending,
    bigbird,
    block_sparse_attention,
    capturing,
    causal,
    dilated_window,
    global_tokens,
    longformer,
    masked_attention,
    random_blocks,
    scaled_dot_product,
    sliding_window,
    sparse_attention,
    top_k_attention,
    top_k_attention_in_loops,
    top_k_weights,
)
from longctx_edu.attention import block_sparse as block_sparse_module
from longctx_edu.errors import ModelError
from longctx_edu.inference import Context
from longctx_edu.models.tiny import tiny

FORMS = ("masked", "gather")
HEADS = st.sampled_from([(1, 1), (4, 2), (6, 2), (3, 1), (3, 3)])
PATTERNS = st.one_of(
    st.just(causal()),
    st.builds(sliding_window, st.integers(1, 90)),
    st.builds(dilated_window, st.integers(1, 12), st.integers(1, 5)),
    st.builds(longformer, st.integers(1, 20), st.integers(1, 6)),
    st.builds(longformer, st.integers(1, 20), st.lists(st.integers(0, 79), min_size=1, max_size=5)),
    st.builds(
        bigbird,
        st.integers(1, 20),
        st.integers(1, 3),
        st.integers(1, 3),
        block_tokens=st.sampled_from([2, 4, 8]),
        seed=st.integers(0, 3),
    ),
    st.builds(lambda w: sliding_window(w) | sliding_window(w), st.integers(1, 9)),
    st.builds(lambda w, s: dilated_window(3, s) | sliding_window(w), st.integers(1, 9), st.just(4)),
    st.just(sliding_window(4) | global_tokens([0, 50])),  # later keys too
    st.just(causal() - (sliding_window(9) - sliding_window(1))),
)


def qkv(queries, keys, heads=(4, 2), *, dim=8, seed=0, batch=(2,), whole=False):
    """Random queries, keys and values; whole numbers make scores equal often."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(heads[0], queries, dim), (heads[1], keys, dim), (heads[1], keys, dim)]
    tensors = [torch.randn(*batch, *shape, generator=generator) for shape in shapes]
    return [x.round() for x in tensors] if whole else tensors


def assert_same(mine, other):
    torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


# --- top-k ---


@settings(max_examples=40)
@given(
    keys=st.integers(1, 40),
    part=st.floats(0, 1),
    k=st.integers(1, 45),
    heads=HEADS,
    is_causal=st.booleans(),
    whole=st.booleans(),
)
def test_masked_and_gathered_top_k_are_equal_ties_included(keys, part, k, heads, is_causal, whole):
    queries = max(1, round(part * keys))
    q, key, v = qkv(queries, keys, heads, whole=whole)
    masked, gathered = (
        top_k_attention(q, key, v, k=k, causal=is_causal, form=form) for form in FORMS
    )
    assert_same(gathered, masked)


@settings(max_examples=25)
@given(
    keys=st.integers(1, 12), k=st.integers(1, 14), is_causal=st.booleans(), seed=st.integers(0, 9)
)
def test_top_k_equals_its_definition_in_loops_and_of_equal_scores_the_earlier_wins(
    keys, k, is_causal, seed
):
    q, key, v = (x[0] for x in qkv(keys, keys, (1, 1), dim=3, batch=(), seed=seed, whole=True))
    expected = torch.tensor(top_k_attention_in_loops(q, key, v, k=k, causal=is_causal))
    assert_same(top_k_attention(q, key, v, k=k, causal=is_causal), expected)


@pytest.mark.parametrize("k", [1, 5, 60])
@pytest.mark.parametrize("queries", [30, 7])
def test_a_row_has_exactly_k_weights_or_as_many_as_it_sees_keys_and_they_add_up_to_one(k, queries):
    q, key, _ = qkv(queries, 30)
    weights = top_k_weights(q, key, k=k)
    visible = torch.arange(30 - queries, 30) + 1
    assert torch.equal((weights > 0).sum(-1), visible.clamp(max=k).expand(2, 4, -1))
    assert_same(weights.sum(-1), torch.ones(2, 4, queries))


def test_exactly_k_weights_also_where_all_scores_are_equal():
    q, key, _ = (torch.zeros_like(x) for x in qkv(20, 20))
    weights = top_k_weights(q, key, k=4)
    assert (weights[..., 10, :4] == 0.25).all()
    assert (weights[..., 10, 4:] == 0).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("is_causal", [True, False])
def test_with_k_as_large_as_the_text_it_is_full_attention(form, is_causal):
    q, k, v = qkv(300, 300)
    found = top_k_attention(q, k, v, k=300, causal=is_causal, form=form)
    assert_same(found, scaled_dot_product(q, k, v, causal=is_causal))


def test_a_later_key_is_hidden_before_the_best_are_chosen():
    q, k, v = qkv(20, 20, (1, 1))
    loud = k.clone()
    loud[..., 15, :] = 100 * q[..., 3, :]  # the best key of query 3, were it to be seen
    before, after = (top_k_attention(q, x, v, k=3)[..., :15, :] for x in (k, loud))
    assert torch.equal(before, after)


def test_the_slides_name_is_top_k_attention():
    q, k, v = qkv(20, 20)
    assert_same(sparse_attention(q, k, v, 4), top_k_attention(q, k, v, k=4))
    assert sparse_attention(q[..., :5, :], k[..., :5, :], v[..., :5, :]).isfinite().all()


def test_what_top_k_cannot_do_is_refused():
    q, k, v = qkv(5, 5)
    with pytest.raises(ValueError, match="at least 1 key, got k=0"):
        top_k_attention(q, k, v, k=0)
    with pytest.raises(ValueError, match="masked, gather, got 'magic'"):
        top_k_attention(q, k, v, k=1, form="magic")
    with pytest.raises(ValueError, match="5 queries are the last of 4 tokens"):
        top_k_attention(q, k[..., :4, :], v[..., :4, :], k=1)
    with pytest.raises(ValueError, match="3 query heads cannot be shared out among 2"):
        top_k_attention(q[:, :3], k, v, k=1)


# --- block-sparse ---


@settings(max_examples=100)
@given(
    pattern=PATTERNS,
    keys=st.integers(1, 80),
    part=st.floats(0, 1),
    heads=HEADS,
    block_tokens=st.sampled_from([1, 2, 4, 7, 16, 64]),
)
def test_skipping_blocks_changes_nothing(pattern, keys, part, heads, block_tokens):
    q, k, v = qkv(max(1, round(part * keys)), keys, heads)
    found = block_sparse_attention(q, k, v, pattern, block_tokens=block_tokens)
    assert_same(found, masked_attention(q, k, v, pattern))


def test_the_masked_form_is_the_definition():
    q, k, v = qkv(20, 20, (2, 2))
    scores = q @ k.mT / 8**0.5
    scores[~sliding_window(4).mask(20).expand_as(scores)] = -torch.inf
    assert_same(masked_attention(q, k, v, sliding_window(4)), scores.softmax(-1) @ v)


@pytest.mark.parametrize(
    "pattern", [sliding_window(50), bigbird(50, 4, 1, block_tokens=16)], ids=str
)
def test_one_text_without_a_batch_a_scale_and_double_precision_are_served(pattern):
    q, k, v = (x.double() for x in qkv(200, 200, batch=()))
    found = block_sparse_attention(q, k, v, pattern, scale=0.5, block_tokens=16)
    assert found.dtype == torch.float64
    assert_same(found, masked_attention(q, k, v, pattern, scale=0.5))


@pytest.mark.parametrize("width", [1, 2, 63, 64, 65, 300])
def test_a_window_at_the_lengths_around_a_block_equals_the_masked_form(width):
    for tokens in (1, 63, 64, 65, 129, 300):
        q, k, v = qkv(tokens, tokens, (3, 1), batch=())
        pattern = sliding_window(width)
        assert_same(block_sparse_attention(q, k, v, pattern), masked_attention(q, k, v, pattern))


def pairs_computed(monkeypatch, pattern, tokens):
    """Return how many pairs of a query and a key go into the kernel, for one head."""
    pairs, kernel = [], block_sparse_module.attend

    def attend(query, key, value, **options):
        pairs.append(query.shape[0] * query.shape[2] * key.shape[2])
        return kernel(query, key, value, **options)

    def attend_after(query, key, value, **options):
        past = key.shape[2] - query.shape[2]
        pairs.append(query.shape[2] * past + causal().cells(query.shape[2]))
        return scaled_dot_product(query, key, value, return_lse=True, **options)

    monkeypatch.setattr(block_sparse_module, "attend", attend)
    monkeypatch.setattr(block_sparse_module, "attend_after", attend_after)
    block_sparse_attention(*qkv(tokens, tokens, (1, 1), batch=()), pattern)
    return sum(pairs)


@pytest.mark.parametrize(
    ("pattern", "most"),
    [
        (sliding_window(256), 1.4),
        (dilated_window(256, 4), 1.4),
        (longformer(256, 4), 1.8),
        (longformer(192, range(0, 2048, 64)), 1.8),
        (bigbird(128, 4, 2), 2.2),
    ],
    ids=str,
)
def test_little_more_is_computed_than_the_pattern_allows(monkeypatch, pattern, most):
    computed = pairs_computed(monkeypatch, pattern, 2048)
    assert pattern.cells(2048) <= computed <= most * pattern.cells(2048)
    assert computed < causal().cells(2048) / 2


@pytest.mark.parametrize("attend", [block_sparse_attention, masked_attention])
def test_a_query_that_sees_nothing_is_named(attend):
    with pytest.raises(ValueError, match=r"By random_blocks\(1.* the query at position 0 sees no"):
        attend(*qkv(40, 40), random_blocks(1, block_tokens=8))
    with pytest.raises(ValueError, match="the query at position 7 sees no key"):
        attend(*qkv(40, 40), sliding_window(7) - global_tokens([7]))


def test_what_block_sparse_attention_cannot_do_is_refused():
    q, k, v = qkv(5, 5)
    with pytest.raises(ValueError, match="block_tokens is at least 1, got 0"):
        block_sparse_attention(q, k, v, causal(), block_tokens=0)
    with pytest.raises(ValueError, match="last 1 to 4 of the tokens, but 5 were given"):
        block_sparse_attention(q, k[..., :4, :], v[..., :4, :], causal())
    with pytest.raises(ValueError, match="3 query heads cannot be shared out among 2"):
        block_sparse_attention(q[:, :3], k, v, causal())


# --- inside a model ---

IDS = torch.randint(3, 200, (70,), generator=torch.Generator().manual_seed(1)).tolist()
RULES = [
    sliding_window(9),
    longformer(5, [0, 30]),
    bigbird(5, 2, 1, block_tokens=8),
    dilated_window(4, 3),
    global_tokens(3),  # cut to its causal half
    TopK(5),
    LINEAR,
]


def logits(model, ids=IDS, *, chunk_tokens=1024):
    context = Context(model)
    list(context.prefill(ids, chunk_tokens=chunk_tokens))
    return context.next_logits


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gpt_neox"])
@pytest.mark.parametrize("rule", [sliding_window(70), causal(), TopK(70)], ids=str)
def test_a_rule_that_hides_nothing_is_the_model_itself(family, rule):
    model = tiny(family)
    with attending(model, rule):
        found = logits(model)
    torch.testing.assert_close(found, logits(model), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_at_once_in_chunks_and_token_by_token_the_model_says_the_same(rule):
    model = tiny("llama")
    full = logits(model)
    with attending(model, rule):
        at_once, chunked, single = (logits(model, chunk_tokens=n) for n in (70, 13, 1))
    torch.testing.assert_close(chunked, at_once, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(single, at_once, atol=1e-4, rtol=1e-4)
    assert (at_once - full).abs().max() > 0.1
    assert torch.equal(logits(model), full)


def test_a_window_in_the_model_is_a_model_that_has_this_window():
    model = tiny("llama")
    ids = torch.tensor([IDS])
    near = torch.arange(70)[:, None] - torch.arange(70)
    mask = torch.where((near >= 0) & (near < 9), 0.0, torch.finfo(torch.float32).min)
    with torch.no_grad():
        expected = model.model(ids, attention_mask=mask[None, None]).logits
        with attending(model, sliding_window(9)):
            found = model.model(ids).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_other_layers_attend_as_ever():
    model = tiny("gemma3")
    with attending(model, sliding_window(70), layers=[1]):
        found = logits(model)
    torch.testing.assert_close(found, logits(model), atol=1e-4, rtol=1e-4)
    llama = tiny("llama")
    with attending(llama, LINEAR, layers=[]):
        assert torch.allclose(logits(llama), logits(tiny("llama")), atol=1e-4)


def test_a_model_is_as_before_after_an_error_too():
    model = tiny("llama")
    full = logits(model)
    with pytest.raises(KeyError), attending(model, LINEAR):
        raise KeyError
    assert torch.equal(logits(model), full)


def test_what_a_rule_cannot_do_is_refused_by_name():
    model, ids = tiny("llama"), torch.tensor([IDS])
    with pytest.raises(ValueError, match="TopK\\(k\\) or LINEAR, got 'window'"):
        attending(model, "window").__enter__()
    with pytest.raises(ValueError, match=r"layers must be 0 to 2, got \[3\]"):
        attending(model, LINEAR, layers=[1, 3]).__enter__()
    with pytest.raises(ModelError, match=r"Layers \[0, 2\] .* window of their own"):
        attending(tiny("gemma3"), LINEAR).__enter__()
    with attending(model, sliding_window(9)):
        with pytest.raises(ValueError, match="One text at a time attends by a rule, got 2"):
            model.model(ids.expand(2, -1))
        with pytest.raises(ValueError, match="Some tokens are padding"):
            model.model(ids, attention_mask=torch.tensor([[0] * 5 + [1] * 65]))
        with pytest.raises(ValueError, match="a mask of your own"):
            model.model(ids, attention_mask=torch.zeros(1, 1, 70, 70))
        with capturing(model), pytest.raises(ModelError, match="A capture records the softmax"):
            model.model(ids)
    assert logits(model).isfinite().all()


@pytest.mark.model
def test_without_the_first_tokens_a_window_breaks_the_real_model_and_with_them_it_lives():
    from longctx_edu import models
    from longctx_edu.evaluation.pattern_quality import nats, under
    from longctx_edu.text import lighthouse_log, tokenize

    model = models.load()
    ids = tokenize(model.tokenizer, lighthouse_log().text).ids[:400]
    rules = {"full": None, "window": sliding_window(64), "sinks": longformer(64, 4)}
    loss = {}
    for name, rule in rules.items():
        with under(model, rule):
            losses = nats(model, ids, begin=200)
        assert len(losses) == 200
        loss[name] = sum(losses) / 200
    assert loss["window"] > loss["full"] + 1
    assert loss["sinks"] < loss["full"] + 0.5
