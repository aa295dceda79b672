"""Attention over a text and its margins is one softmax, whichever way it is computed."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu.attention.parts import attend, join
from longctx_edu.layers import WiMAttention

HIDDEN, HEADS = 12, 3


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def layer(*, seed=0, dtype=torch.float64, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = WiMAttention(HIDDEN, heads=HEADS, dtype=dtype, **options)
    with torch.no_grad():  # wide weights, so that the softmax chooses clearly
        made.query.weight *= 4
        made.key.weight *= 4
    return made


def assert_same(mine, other, tolerance=1e-10):
    torch.testing.assert_close(mine, other, atol=tolerance, rtol=tolerance)


def projected(made, text, seen):
    """Return queries of the text, keys and values of what it sees, by head."""
    pairs = (made.query, text), (made.key, seen), (made.value, seen)
    return [
        matrix(x).view(len(x), x.shape[1], HEADS, HIDDEN // HEADS).transpose(1, 2)
        for matrix, x in pairs
    ]


def by_pytorch(made, text, margins, text_padding, margin_padding):
    """The definition of who sees whom, written out, and PyTorch's own attention."""
    (batch, tokens), notes = text.shape[:2], margins.shape[1]
    mask = torch.zeros(batch, 1, tokens, tokens + notes, dtype=torch.bool)
    for b in range(batch):
        for i in range(tokens):
            for j in range(i + 1):
                mask[b, 0, i, j] = not text_padding[b, j]
            for j in range(notes):
                mask[b, 0, i, tokens + j] = not margin_padding[b, j]
    query, key, value = projected(made, text, torch.cat([text, margins], dim=1))
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return made.output(out.transpose(1, 2).reshape(batch, tokens, HIDDEN)), mask.any(-1)[:, 0]


@settings(max_examples=30)
@given(
    tokens=st.integers(1, 9),
    notes=st.integers(0, 6),
    padded=st.booleans(),
    seed=st.integers(0, 99),
)
def test_matrices_loops_and_pytorch_agree(tokens, notes, padded, seed):
    made = layer(seed=seed)
    text, margins = random(2, tokens, HIDDEN, seed=seed), random(2, notes, HIDDEN, seed=seed + 1)
    chance = torch.Generator().manual_seed(seed)
    text_padding = torch.rand(2, tokens, generator=chance) < 0.4 * padded
    margin_padding = torch.rand(2, notes, generator=chance) < 0.4 * padded
    padding = dict(text_padding=text_padding, margin_padding=margin_padding)
    found = made(text, margins, **padding)
    assert_same(made.in_loops(text, margins, **padding), found)
    expected, sees = by_pytorch(made, text, margins, text_padding, margin_padding)
    assert_same(found[sees], expected[sees])
    assert_same(found[~sees], made.output.bias.expand_as(found[~sees]))


@torch.no_grad()  # join writes into what it is given
def test_parts_joined_by_their_log_sum_exps_are_one_softmax_over_text_and_margins():
    made, text, margins = layer(), random(2, 7, HIDDEN), random(2, 5, HIDDEN, seed=1)
    own = attend(*projected(made, text, text), causal=True)
    beside = attend(*projected(made, text, margins), causal=False)
    joined, _ = join(*own, *beside)
    assert_same(made.output(joined.transpose(1, 2).flatten(2)), made(text, margins))


def test_without_margins_it_is_plain_causal_attention():
    made, text = layer(), random(2, 8, HIDDEN)
    plain = F.scaled_dot_product_attention(*projected(made, text, text), is_causal=True)
    expected = made.output(plain.transpose(1, 2).flatten(2))
    assert_same(made(text), expected)
    assert_same(made(text, text[:, :0]), expected)
    all_padding = torch.ones(2, 3, dtype=torch.bool)
    assert_same(made(text, random(2, 3, HIDDEN, seed=5), margin_padding=all_padding), expected)


def test_a_token_depends_on_no_later_token_and_on_every_margin():
    made, text, margins = layer(), random(1, 6, HIDDEN), random(1, 4, HIDDEN, seed=1)
    for i in range(6):
        rows = torch.autograd.functional.jacobian(lambda t, i=i: made(t, margins)[0, i], text)
        reached = rows.abs().sum((0, 1, 3)) > 0
        assert reached.tolist() == [j <= i for j in range(6)]
        rows = torch.autograd.functional.jacobian(lambda m, i=i: made(text, m)[0, i], margins)
        assert (rows.abs().sum((0, 1, 3)) > 0).all()


def test_margins_have_no_order():
    made, text, margins = layer(), random(1, 6, HIDDEN), random(1, 4, HIDDEN, seed=1)
    assert_same(made(text, margins.flip(1)), made(text, margins))
    assert not torch.allclose(made(text.flip(1), margins).flip(1), made(text, margins))


def test_what_stands_in_padding_changes_nothing_and_gets_no_gradient():
    made, text, margins = layer(), random(1, 6, HIDDEN), random(1, 4, HIDDEN, seed=1)
    padding = dict(
        text_padding=torch.tensor([[True, True, False, False, False, False]]),
        margin_padding=torch.tensor([[False, False, True, True]]),
    )
    other_text, other_margins = text.clone(), margins.clone()
    other_text[:, :2], other_margins[:, 2:] = 99, -99
    found = made(text, margins, **padding)[:, 2:]
    assert_same(made(other_text, other_margins, **padding)[:, 2:], found)
    # It is as if the padding were not there at all.
    assert_same(made(text[:, 2:], margins[:, :2]), found)


def test_rows_that_see_nothing_leave_all_gradients_finite():
    made, text = layer(), random(1, 5, HIDDEN).requires_grad_()
    padding = torch.tensor([[True, True, False, False, False]])
    made(text, text_padding=padding).square().sum().backward()
    gradients = [text.grad, *(one.grad for one in made.parameters())]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert made.key.weight.grad.abs().sum() > 0


def test_scores_are_divided_by_the_square_root_of_the_head_size():
    """Unscaled, wide heads would make the softmax a choice of one."""
    made, text, margins = layer(), random(1, 6, HIDDEN), random(1, 4, HIDDEN, seed=1)
    query, key, value = projected(made, text, torch.cat([text, margins], dim=1))
    later = torch.ones(6, 10, dtype=torch.bool).triu(1)
    later[:, 6:] = False
    scores = (query @ key.mT).masked_fill(later, -torch.inf)
    outputs = [
        made.output(((scores * scale).softmax(-1) @ value).transpose(1, 2).flatten(2))
        for scale in ((HIDDEN // HEADS) ** -0.5, 1.0)
    ]
    assert_same(made(text, margins), outputs[0])
    assert not torch.allclose(made(text, margins), outputs[1], atol=1e-2)


def test_the_state_dict_brings_the_layer_back(tmp_path):
    made, text, margins = layer(), random(2, 6, HIDDEN), random(2, 4, HIDDEN, seed=1)
    torch.save(made.state_dict(), tmp_path / "layer.pt")
    again = layer(seed=7)
    assert not torch.allclose(again(text, margins), made(text, margins))
    again.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    assert torch.equal(again(text, margins), made(text, margins))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_comes_out_has_the_kind_and_the_place_of_what_went_in(dtype):
    made = layer(dtype=dtype)
    text, margins = random(1, 6, HIDDEN, dtype=dtype), random(1, 4, HIDDEN, seed=1, dtype=dtype)
    found = made(text, margins)
    assert (found.dtype, found.shape, found.device) == (dtype, text.shape, text.device)
    exact = layer(dtype=dtype).double()(text.double(), margins.double())
    tolerance = {torch.bfloat16: 0.1, torch.float32: 1e-5, torch.float64: 1e-10}[dtype]
    assert_same(found.double(), exact, tolerance)
    on_meta = WiMAttention(HIDDEN, heads=HEADS, device="meta", dtype=dtype)
    assert on_meta(text.to("meta"), margins.to("meta")).device.type == "meta"


def test_a_layer_learns_to_copy_from_its_margins():
    """The text says which of the margins to take; gradients reach all four matrices."""
    torch.manual_seed(0)
    made = WiMAttention(16, heads=2)
    marks, margins = torch.randn(8, 8), torch.randn(8, 8)
    notes = torch.cat([marks, margins], dim=-1)[None]  # (1, 8, 16): a mark and what it says
    text = torch.cat([marks, torch.zeros(8, 8)], dim=-1)[:, None]  # each text is one mark
    wanted = torch.cat([torch.zeros(8, 8), margins], dim=-1)[:, None]
    optimiser = torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(150):
        loss = (made(text, notes.expand(8, -1, -1)) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.05 * wanted.square().mean()


def test_what_does_not_fit_is_refused_with_the_shapes():
    made, text = layer(), random(2, 6, HIDDEN)
    with pytest.raises(ValueError, match="multiple of heads, got 10 and 4"):
        WiMAttention(10, heads=4)
    with pytest.raises(ValueError, match=r"text must be \(batch, tokens, 12\), got \(6, 12\)"):
        made(text[0])
    with pytest.raises(ValueError, match=r"margins must be \(batch, tokens, 12\)"):
        made(text, random(2, 3, 8))
    with pytest.raises(ValueError, match="2 texts and 1 rows of margins"):
        made(text, random(1, 3, HIDDEN))
    with pytest.raises(ValueError, match=r"text_padding must be True or False .* torch.float64"):
        made(text, text_padding=random(2, 6))
    with pytest.raises(ValueError, match=r"margin_padding must .* got torch.bool of \(2, 6\)"):
        made(text, random(2, 3, HIDDEN), margin_padding=torch.zeros(2, 6, dtype=torch.bool))
    with pytest.raises(ValueError, match="margin_padding was given without margins"):
        made(text, margin_padding=torch.zeros(2, 6, dtype=torch.bool))


def test_the_room_of_layers_loads_no_torch_before_it_is_needed():
    code = "import sys, longctx_edu.layers as l; dir(l); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
