"""What is captured is what the model attended to: held against its own weights, and softmax."""

import pytest
import torch
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from longctx_edu import models
from longctx_edu.attention import AttentionRecord, capture, capturing
from longctx_edu.attention.record import LayerRecord
from longctx_edu.errors import ModelError
from longctx_edu.inference import Context
from longctx_edu.models.language_model import describe

FAMILIES = pytest.mark.parametrize("family", models.FAMILIES)
TEXT = list(range(3, 63))
ALL = range(len(TEXT))


def own_weights(language_model, ids=TEXT):
    """Return the weights that the model itself reports, by layer, ``(heads, rows, columns)``."""
    own = language_model.model.config._attn_implementation
    language_model.model.set_attn_implementation("eager")
    with torch.no_grad():
        output = language_model.model(input_ids=torch.tensor([ids]), output_attentions=True)
    language_model.model.set_attn_implementation(own)
    return [weights[0] for weights in output.attentions]


def direct_softmax(record, layer, head):
    """Return the softmax of the stored queries and keys, all at once and in float64."""
    query, key = (x(layer, head).double() for x in (record.queries, record.keys))
    row = torch.arange(record.start, record.tokens)[:, None]
    column = torch.arange(record.tokens)
    hidden = column > row
    if record.window(layer) is not None:
        hidden |= column <= row - record.window(layer)
    scores = query @ key.T * record.scale(layer)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1)


def assert_close(mine, other, atol):
    torch.testing.assert_close(mine.double(), other.double(), atol=atol, rtol=0)


def assert_is_run(record, weights):
    """Hold every captured weight against the run's own; they differ by rounding to float16."""
    assert record.layers == tuple(range(len(weights)))
    for layer, expected in enumerate(weights):
        for head in range(record.heads):
            rows = range(record.start, record.tokens)
            tile = record.tile(layer, head, rows, range(record.tokens))
            assert_close(tile, expected[head, rows.start :], atol=3e-3)


def read(context, ids):
    for _ in context.prefill(ids):
        pass


@FAMILIES
@pytest.mark.parametrize("chunk_tokens", [13, 1000])
def test_captured_weights_are_those_the_model_reports(family, chunk_tokens):
    language_model = models.tiny(family)
    record = capture(language_model, TEXT, chunk_tokens=chunk_tokens)
    assert record.ids == TEXT
    assert (record.start, record.tokens) == (0, len(TEXT))
    assert_is_run(record, own_weights(language_model))


@FAMILIES
def test_a_tile_is_the_direct_softmax_of_what_is_stored(family):
    record = capture(models.tiny(family), TEXT)
    for layer in record.layers:
        for head in range(record.heads):
            expected = direct_softmax(record, layer, head)
            assert_close(record.tile(layer, head, ALL, ALL), expected, atol=1e-6)
            part = record.tile(layer, head, range(20, 45), range(10, 33))
            assert_close(part, expected[20:45, 10:33], atol=1e-6)


@FAMILIES
def test_a_run_under_capture_gives_bitwise_the_same_predictions(family):
    language_model = models.tiny(family)
    plain, captured = Context(language_model), Context(language_model)
    read(plain, TEXT)
    with capturing(language_model):
        read(captured, TEXT)
    assert torch.equal(plain.next_logits, captured.next_logits)


@FAMILIES
@pytest.mark.parametrize("own", ["sdpa", "eager", "course_own"])
def test_the_attention_that_was_there_does_the_work_and_comes_back(family, own):
    calls = []

    def attend(*args, **options):
        calls.append(1)
        return sdpa_attention_forward(*args, **options)

    AttentionInterface.register("course_own", attend)
    AttentionMaskInterface.register("course_own", sdpa_mask)
    language_model = models.tiny(family)
    language_model.model.set_attn_implementation(own)
    record = capture(language_model, TEXT, chunk_tokens=25)
    assert language_model.model.config._attn_implementation == own
    assert bool(calls) == (own == "course_own")
    assert_is_run(record, own_weights(language_model))


@FAMILIES
def test_a_question_after_a_text_has_the_rows_that_follow(family):
    language_model = models.tiny(family)
    context = Context(language_model)
    read(context, TEXT[:45])
    record = capture(context, TEXT[45:])
    assert context.ids == TEXT[:45]
    assert (record.start, record.tokens, record.ids) == (45, 60, TEXT)
    assert_is_run(record, own_weights(language_model))
    with pytest.raises(ValueError, match="within 45 to 60"):
        record.tile(0, 0, range(0, 50), range(60))


@FAMILIES
def test_what_the_model_writes_is_captured_like_what_it_reads(family):
    language_model = models.tiny(family)
    with capturing(language_model) as record:
        context = Context(language_model)
        read(context, TEXT[:20])
        list(context.decode(max_new_tokens=9))
    assert record.tokens == len(context)
    assert_is_run(record, own_weights(language_model, context.ids))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_record_goes_back_with_the_cache(family):
    language_model = models.tiny(family)
    context = Context(language_model)
    with capturing(language_model) as record:
        read(context, TEXT[:30])
        record.lse(1, 2)  # looked at before it is overwritten
        context.roll_back(10)
        read(context, TEXT[40:])
    assert_is_run(record, own_weights(language_model, TEXT[:10] + TEXT[40:]))


def test_the_record_goes_back_to_before_where_it_began():
    language_model = models.tiny()
    context = Context(language_model)
    read(context, TEXT[:45])
    with capturing(language_model) as record:
        read(context, TEXT[45:50])
        context.roll_back(10)
        read(context, TEXT[20:])
    assert record.start == 10
    assert_is_run(record, own_weights(language_model, TEXT[:10] + TEXT[20:]))


def test_room_in_reserve_is_used_and_grown_when_it_is_full():
    language_model = models.tiny()
    with capturing(language_model, reserve=len(TEXT)) as reserved:
        read(context := Context(language_model), TEXT[:20])
        storage = reserved.queries(0, 0).data_ptr()
        read(context, TEXT[20:])
    assert reserved.queries(0, 0).data_ptr() == storage
    with capturing(language_model) as grown:
        context = Context(language_model)
        for part in (TEXT[:20], TEXT[20:25], TEXT[25:]):
            read(context, part)
    assert grown.nbytes > reserved.nbytes
    tiles = (record.tile(1, 4, ALL, ALL) for record in (grown, reserved))
    torch.testing.assert_close(*tiles, atol=2e-3, rtol=0)  # rounded from runs in other chunks


def test_a_record_takes_the_bytes_of_half_precision_queries_and_shared_keys():
    record = capture(models.tiny(), TEXT)  # 3 layers, 6 heads on 2 KV heads of 8
    numbers = 3 * len(TEXT) * (2 * 6 * 8 + 2 * 2 * 8 + 4 * 6 + 4 * 2)
    assert record.nbytes == numbers


def test_only_the_layers_asked_for_are_kept():
    record = capture(models.tiny(), TEXT, layers=[1])
    assert record.layers == (1,)
    with pytest.raises(ValueError, match=r"Layer 0 was not recorded; recorded are \[1\]"):
        record.row(0, 0, 5)


@pytest.mark.parametrize("cells", [1, 7, 16, 60, 256])
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_pooled_cells_are_maximum_and_mean_of_the_weights_they_stand_for(family, cells):
    record = capture(models.tiny(family), TEXT)
    rows, columns = range(9, 60), range(0, 58)
    weights = record.tile(0, 1, rows, columns)
    pooled = record.pooled(0, 1, rows, columns, cells=cells)
    tall, wide = pooled.rows_per_cell, pooled.columns_per_cell
    assert max(pooled.max.shape) <= cells
    for i, band in enumerate(weights.split(tall)):
        for j, cell in enumerate(band.split(wide, dim=1)):
            assert pooled.max[i, j] == pytest.approx(cell.max().item(), abs=1e-6)
            assert pooled.mean[i, j] == pytest.approx(cell.mean().item(), abs=1e-6)
    alone = record.tile(0, 1, rows, columns, pool="max", cells=cells)
    assert_close(alone, pooled.max, atol=1e-6)


def test_a_sampled_overview_looks_at_some_rows_of_each_cell():
    record = capture(models.tiny(), TEXT)
    sampled = record.pooled(0, 1, cells=6, sampled_rows=1)
    middle = record.tile(0, 1, ALL, ALL)[5::10]  # the middle of ten rows
    assert_close(sampled.mean, middle.unflatten(1, (6, 10)).mean(-1), atol=1e-6)
    full = record.pooled(0, 1, cells=6)
    assert (sampled.max <= full.max + 1e-6).all()


@FAMILIES
def test_a_row_adds_up_to_one_and_names_its_largest_weights(family):
    record = capture(models.tiny(family), TEXT)
    row = record.row(2, 3, 41, top_k=5)
    assert row.weights.shape == (42,)
    assert float(row.weights.sum()) == pytest.approx(1, abs=1e-6)
    assert_close(row.weights, record.tile(2, 3, range(41, 42), range(42))[0], atol=1e-6)
    assert torch.equal(row.top_weights, row.weights.sort(descending=True).values[:5])
    assert torch.equal(row.weights[row.top_indices], row.top_weights)
    assert len(record.row(2, 3, 2).top_indices) == 3


def test_the_sink_share_is_the_mean_of_the_first_column():
    record = capture(models.tiny(), TEXT)
    first = record.tile(1, 2, range(1, 60), range(1)).mean()
    assert record.sink_share(1, 2) == pytest.approx(first.item(), abs=1e-6)


def test_value_norms_are_those_of_the_values_in_the_cache():
    language_model = models.tiny()
    context = Context(language_model)
    with capturing(language_model) as record:
        read(context, TEXT)
    expected = context.cache.layers[1].values[0, 1].norm(dim=-1)
    assert_close(record.value_norms(1, 5), expected, atol=1e-6)  # query heads 3 to 5 share it


def test_a_second_text_and_a_second_capture_are_refused():
    language_model = models.tiny()
    before = Context(language_model)
    read(before, TEXT[::-1])
    with capturing(language_model):
        read(Context(language_model), TEXT)
        with pytest.raises(ValueError, match="another text than the one recorded"):
            read(before, TEXT[:5])
        with pytest.raises(ValueError, match="being captured already"), capturing(language_model):
            pass
    capture(language_model, TEXT[:2])  # and after all of that it works as before


def test_attention_is_given_back_after_an_error():
    language_model = models.tiny()
    with pytest.raises(RuntimeError, match="midway"), capturing(language_model):
        raise RuntimeError("midway")
    assert language_model.model.config._attn_implementation == "sdpa"


def test_two_models_are_captured_at_the_same_time():
    one, other = models.tiny(seed=1), models.tiny(seed=2)
    with capturing(one) as first, capturing(other) as second:
        read(Context(one), TEXT)
        read(Context(other), TEXT)
    assert_is_run(first, own_weights(one))
    assert_is_run(second, own_weights(other))


def test_models_whose_weights_are_no_plain_softmax_are_refused_by_name():
    tokenizer = models.tiny().tokenizer
    small = dict(vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    small |= dict(bos_token_id=1, eos_token_id=2, pad_token_id=2)
    capped = Gemma2Config(**small, num_key_value_heads=1, head_dim=8, intermediate_size=16)
    capped._attn_implementation = "eager"
    with pytest.raises(ModelError, match="Gemma2Attention uses softcap"):
        capture(describe(AutoModelForCausalLM.from_config(capped), tokenizer), TEXT)
    linear_biases = AutoModelForCausalLM.from_config(BloomConfig(**small, n_layer=1, n_head=2))
    with pytest.raises(ModelError, match="outside of transformers' AttentionInterface"):
        capture(describe(linear_biases, tokenizer), TEXT)


def test_a_batch_no_text_and_unknown_places_are_refused():
    language_model = models.tiny()
    with pytest.raises(ValueError, match="ids is empty"):
        capture(language_model, [])
    with pytest.raises(ValueError, match=r"layers must be 0 to 2, got \[3\]"):
        capture(language_model, TEXT, layers=[2, 3])
    with pytest.raises(ValueError, match="got a batch of 2"), capturing(language_model):
        language_model.model(input_ids=torch.tensor([TEXT, TEXT]))
    record = capture(language_model, TEXT)
    with pytest.raises(ValueError, match="head must be 0 to 5, got 6"):
        record.row(0, 6, 1)
    with pytest.raises(ValueError, match="within 0 to 60"):
        record.tile(0, 0, range(50, 61), ALL)
    with pytest.raises(ValueError, match="pool must be None, 'max' or 'mean'"):
        record.tile(0, 0, ALL, ALL, pool="median")
    with pytest.raises(ValueError, match="Nothing was recorded yet"):
        _ = AttentionRecord().heads


def test_numbers_too_large_for_half_precision_are_refused():
    layer = LayerRecord(scale=1.0, window=None, reserve=0)
    with pytest.raises(ValueError, match="largest number of float16"):
        layer.append(torch.full((1, 1, 2), 7e4), torch.ones(1, 1, 2), torch.ones(1, 1, 2), past=0)
