"""What a record holds beyond one plain text: memory, margins, windows, padding."""

import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig

from longctx_edu import models
from longctx_edu.attention import capture, capturing, logits_without
from longctx_edu.attention.head_scores import head_scores
from longctx_edu.inference import Context, continue_turn
from longctx_edu.margins import CopySentence, Margin
from longctx_edu.margins.engine import LocalEngine, Request
from longctx_edu.memory.attention import Recall, remembering
from longctx_edu.memory.bank import MemoryBank
from longctx_edu.memory.storage import Storage
from longctx_edu.models.language_model import describe
from longctx_edu.text import tokenize

ROTARY = pytest.mark.parametrize("family", ["llama", "qwen3", "gpt_neox"])
DOCUMENT = "The boat is named Grey Petrel. It is painted green. The keeper is Anna Lund. "
TEXT = list(range(3, 63))
WHOLE = dict(k=10**6, positions="true")


def tiny(family):
    """Return a tiny model; of Mistral too, all of whose layers have windows of 16 tokens."""
    if family != "mistral":
        return models.tiny(family)
    tokenizer = models.tiny().tokenizer
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=96,
        sliding_window=16,
        initializer_range=0.25,
        pad_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return describe(AutoModelForCausalLM.from_config(config).float(), tokenizer)


@torch.no_grad()
def own_weights(language_model, ids):
    """Return the weights that the model itself reports, by layer, ``(heads, rows, columns)``."""
    language_model.model.set_attn_implementation("eager")
    output = language_model.model(input_ids=torch.tensor([ids]), output_attentions=True)
    language_model.model.set_attn_implementation("sdpa")
    return [weights[0] for weights in output.attentions]


def tiles(record, layer):
    """Return all weights of a layer, ``(heads, rows, columns)``."""
    where = range(record.start, record.tokens), range(record.tokens)
    return torch.stack([record.tile(layer, head, *where) for head in range(record.heads)])


def assert_is(record, expected):
    """Hold all weights against others; they differ by the rounding to float16."""
    assert len(record.layers) == len(expected)
    for layer, weights in zip(record.layers, expected, strict=True):
        found = tiles(record, layer)
        torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:2]), atol=1e-5, rtol=0)
        torch.testing.assert_close(found, weights[:, record.start :], atol=3e-3, rtol=0)


def bank_of(language_model):
    bank = MemoryBank(language_model, storage=Storage("float32"))
    for _ in bank.add(DOCUMENT):
        pass
    return bank


def read(context, ids, **options):
    for _ in context.prefill(ids, **options):
        pass


class TestMemory:
    @ROTARY
    @pytest.mark.parametrize("chunk_tokens", [17, 1000])
    def test_a_whole_memory_at_true_positions_is_the_text_before(self, family, chunk_tokens):
        language_model = tiny(family)
        bank = bank_of(language_model)
        with remembering(bank, Recall(**WHOLE)):
            record = capture(language_model, TEXT, chunk_tokens=chunk_tokens)
        assert record.memory_columns == record.start == len(bank)
        assert record.ids == bank.ids + TEXT
        assert_is(record, own_weights(language_model, bank.ids + TEXT))

    @ROTARY
    @pytest.mark.parametrize("first", ["remembering", "capturing"])
    def test_rows_hold_what_was_looked_up_and_add_up_to_one(self, family, first):
        language_model = tiny(family)
        bank, recall = bank_of(language_model), Recall(k=5)
        ids = torch.tensor([TEXT])
        if first == "remembering":
            with remembering(bank, recall) as seen, capturing(language_model) as record:
                language_model.model(ids)
        else:
            with capturing(language_model) as record, remembering(bank, recall) as seen:
                language_model.model(ids)
        assert (record.memory_columns, record.tokens) == (len(bank), len(bank) + len(TEXT))
        for one in seen:
            found = tiles(record, one.layer)
            expected = torch.zeros(6, len(TEXT), len(bank)).scatter_(
                2, one.tokens[0], one.weights[0].float()
            )
            memory, text = found.split([len(bank), len(TEXT)], dim=2)
            torch.testing.assert_close(memory, expected, atol=3e-3, rtol=0)
            assert torch.equal(memory != 0, expected != 0)
            torch.testing.assert_close(text.sum(-1), 1 - one.weights[0].sum(-1), atol=3e-3, rtol=0)
            torch.testing.assert_close(found.sum(-1), torch.ones(6, len(TEXT)), atol=1e-5, rtol=0)
            assert (text.triu(1) == 0).all()

    def test_a_weight_is_the_joint_softmax_of_what_is_stored(self):
        language_model = tiny("llama")
        bank = bank_of(language_model)
        with remembering(bank, Recall(k=4)):
            record = capture(language_model, TEXT)
        kept = record._layers[1]
        for head in range(record.heads):
            query, key = record.queries(1, head).double(), record.keys(1, head).double()
            local = query @ key.T * record.scale(1)
            local = local.masked_fill(torch.ones_like(local).triu(1) == 1, -torch.inf)
            far = kept.memory_scores[head].double()
            joint = torch.cat([far, local], dim=1).softmax(-1)
            found = tiles(record, 1)[head].double()
            torch.testing.assert_close(found[:, len(bank) :], joint[:, 4:], atol=1e-6, rtol=0)
            looked_up = found.gather(1, kept.memory_tokens[head])
            torch.testing.assert_close(looked_up, joint[:, :4], atol=1e-6, rtol=0)

    def test_a_capture_around_memory_changes_nothing_that_the_model_says(self):
        """Also not where a context could take a quicker way that knows no memory."""
        language_model = tiny("llama")
        bank, contexts = bank_of(language_model), [Context(language_model) for _ in range(4)]
        plain, alone, inside, outside = contexts
        read(plain, TEXT)
        with remembering(bank, Recall(k=4)):
            read(alone, TEXT)
        with remembering(bank, Recall(k=4)), capturing(language_model):
            read(inside, TEXT)
        with capturing(language_model), remembering(bank, Recall(k=4)):
            read(outside, TEXT)
        assert torch.equal(alone.next_logits, inside.next_logits)
        assert torch.equal(alone.next_logits, outside.next_logits)
        assert (plain.next_logits - alone.next_logits).abs().max() > 1e-2

    def test_what_is_written_and_rolled_back_keeps_its_looks(self):
        language_model = tiny("llama")
        bank, recall = bank_of(language_model), Recall(k=5)
        with remembering(bank, recall), capturing(language_model) as record:
            context = Context(language_model)
            read(context, TEXT[:30])
            list(context.decode(max_new_tokens=4))
            context.roll_back(20)
            read(context, TEXT[20:], chunk_tokens=9)
        with remembering(bank, recall):
            expected = capture(language_model, TEXT)
        assert_same(record, expected)

    def test_layers_that_look_nothing_up_have_the_columns_and_no_weight_in_them(self):
        language_model = tiny("llama")
        bank = bank_of(language_model)
        with remembering(bank, Recall(k=5, layers=(0,))):
            record = capture(language_model, TEXT)
        for layer in record.layers:
            mass = tiles(record, layer)[:, :, : len(bank)].sum(-1)
            assert (mass > 0).all() == (layer == 0)
            assert (mass == 0).all() == (layer != 0)
        assert not record.value_norms(1, 0)[: len(bank)].any()

    def test_cells_rows_norms_and_scores_know_the_memory(self):
        language_model = tiny("llama")
        bank = bank_of(language_model)
        with remembering(bank, Recall(k=5)):
            record = capture(language_model, TEXT)
        weights = tiles(record, 1)[2]
        pooled = record.pooled(1, 2, cells=10)
        tall, wide = pooled.rows_per_cell, pooled.columns_per_cell
        for i, band in enumerate(weights.split(tall)):
            for j, cell in enumerate(band.split(wide, dim=1)):
                assert float(pooled.max[i, j]) == pytest.approx(float(cell.max()), abs=1e-6)
                assert float(pooled.mean[i, j]) == pytest.approx(float(cell.mean()), abs=1e-6)
        query = len(bank) + 40
        row = record.row(1, 2, query)
        torch.testing.assert_close(row.weights, weights[40, : query + 1], atol=1e-6, rtol=0)
        norms, found = record.value_norms(1, 2), (weights[:, : len(bank)] > 0).any(0).nonzero()
        own = bank.values_of(1, torch.arange(len(bank)))[0].norm(dim=-1)
        torch.testing.assert_close(norms[found], own[found], atol=1e-5, rtol=0)
        scores = head_scores(record)
        sink = weights[1:, len(bank)].mean()
        assert float(scores["sink"][1, 2]) == pytest.approx(float(sink), abs=1e-5)

    def test_memory_that_comes_in_the_middle_is_refused(self):
        language_model = tiny("llama")
        bank = bank_of(language_model)
        with capturing(language_model):
            context = Context(language_model)
            read(context, TEXT[:9])
            with (
                remembering(bank, Recall(k=2)),
                pytest.raises(ValueError, match="a memory of 0 tokens, and now there are"),
            ):
                read(context, TEXT[9:])

    def test_a_batch_is_refused_with_memory_too(self):
        language_model = tiny("llama")
        bank = bank_of(language_model)
        with (
            remembering(bank, Recall(k=2)),
            capturing(language_model),
            pytest.raises(ValueError, match="got a batch of 2"),
        ):
            language_model.model(torch.tensor([TEXT, TEXT]))


def assert_same(record, expected):
    assert (record.start, record.tokens) == (expected.start, expected.tokens)
    for layer in expected.layers:
        torch.testing.assert_close(tiles(record, layer), tiles(expected, layer), atol=3e-3, rtol=0)


class TestWindows:
    @pytest.mark.parametrize("chunk_tokens", [13, 1000])
    def test_a_model_with_windows_in_all_layers_is_captured_as_it_attends(self, chunk_tokens):
        language_model = tiny("mistral")
        record = capture(language_model, TEXT, chunk_tokens=chunk_tokens)
        assert [record.window(layer) for layer in record.layers] == [16, 16]
        assert_is(record, own_weights(language_model, TEXT))

    def test_what_is_read_after_a_window_has_moved_on_has_its_own_places(self):
        language_model = tiny("mistral")
        context = Context(language_model)
        read(context, TEXT[:45])
        assert_is(capture(context, TEXT[45:]), own_weights(language_model, TEXT))


class TestPadding:
    @pytest.mark.parametrize("family", [*models.FAMILIES, "mistral"])
    @pytest.mark.parametrize("pads", [3, 20])
    @pytest.mark.parametrize("chunk_tokens", [11, 1000])
    def test_a_text_after_padding_is_the_text_alone(self, family, pads, chunk_tokens):
        language_model = tiny(family)
        ids = torch.tensor([[2] * pads + TEXT])
        mask = torch.ones_like(ids)
        mask[:, :pads] = 0
        places = (mask.cumsum(-1) - 1).clamp_min(0)
        with capturing(language_model) as record, torch.no_grad():
            cache = None
            for chunk in range(0, ids.shape[1], chunk_tokens):
                end = chunk + chunk_tokens
                cache = language_model.model(
                    ids[:, chunk:end],
                    attention_mask=mask[:, :end],
                    position_ids=places[:, chunk:end],
                    past_key_values=cache,
                    use_cache=True,
                ).past_key_values
        assert (record.start, record.tokens) == (0, len(TEXT))
        assert_is(record, own_weights(language_model, TEXT))

    @pytest.mark.parametrize("family", ["llama", "mistral"])
    def test_what_generate_writes_after_padding_is_captured(self, family):
        language_model = tiny(family)
        ids = torch.tensor([[2] * 7 + TEXT])
        with capturing(language_model) as record:
            written = language_model.model.generate(
                ids, attention_mask=(ids != 2).long(), max_new_tokens=6, do_sample=False
            )
        said = written[0, 7:-1].tolist()  # the last one is never read
        assert record.tokens == len(said)
        assert_is(record, own_weights(language_model, said))

    def test_memory_beside_a_padded_text_is_memory_beside_the_text(self):
        language_model = tiny("llama")
        bank, recall = bank_of(language_model), Recall(k=5)
        ids = torch.tensor([[2] * 7 + TEXT])
        places = (torch.arange(67) - 7).clamp_min(0)[None]
        mask = (torch.arange(67) >= 7).long()[None]
        for both in (
            lambda: (remembering(bank, recall), capturing(language_model)),
            lambda: (capturing(language_model), remembering(bank, recall)),
        ):
            outer, inner = both()
            with outer as one, inner as other, torch.no_grad():
                language_model.model(ids, attention_mask=mask, position_ids=places)
            record = one if hasattr(one, "tile") else other
            with remembering(bank, recall):
                assert_same(record, capture(language_model, TEXT))

    def test_padding_after_the_text_and_masks_of_ones_own_are_refused(self):
        language_model = tiny("llama")
        mask = torch.ones(1, len(TEXT), dtype=torch.long)
        mask[:, -4:] = 0
        refused = pytest.raises(ValueError, match="the last token sees 56 of 60 tokens")
        with capturing(language_model), refused:
            language_model.model(torch.tensor([TEXT]), attention_mask=mask)
        context = Context(language_model)
        read(context, TEXT)
        with (
            capturing(language_model),
            pytest.raises(ValueError, match="the last token sees 52 of 62 tokens"),
        ):
            logits_without(context, [7, 8], [range(3, 13)])


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_a_margin_of_a_batch_is_captured_as_a_text_after_its_segment(family):
    language_model = models.tiny(family, seed=1)
    ids = tokenize(language_model.tokenizer, DOCUMENT * 2).ids
    ask = continue_turn(language_model, "\n\n" + CopySentence().request("Who?"))
    engine, request = LocalEngine(language_model), Request(ask, 6)
    for _ in engine.read(ids, [(end, end) for end in (50, 100, len(ids))]):
        pass
    events = engine.write(request, together=True)
    margins = [event for event in events if isinstance(event, Margin)]
    assert len(margins) == 3
    for margin in margins:
        end = len(engine.boundaries[margin.segment])
        record = engine.capture(request, margin)
        whole = [*ids[:end], *ask, *margin.ids]
        assert (record.start, record.ids) == (end, whole)
        assert_is(record, own_weights(language_model, whole))
    assert engine.context.ids == ids
