"""Memory outside the window: exact where it can be, and told apart from what is not."""

import pytest
import torch

from longctx_edu import models
from longctx_edu.attention.block_mass import blocks_of
from longctx_edu.errors import LongctxError
from longctx_edu.inference import Context
from longctx_edu.memory.attention import POSITIONS, Recall, memory_positions, remembering
from longctx_edu.memory.bank import MemoryBank
from longctx_edu.memory.blocks import ANY_QUESTION, block_scores, context_with
from longctx_edu.memory.storage import Storage

FAMILIES = ["llama", "qwen3", "gpt_neox"]
TEXT = "The boat is named Grey Petrel. It is painted green. The keeper is Anna Lund. " * 2
ALL = dict(k=10**6, positions="true")


def bank_of(model, documents=TEXT, **options):
    bank = MemoryBank(model, storage=Storage("float32"))
    for _ in bank.add(documents, **options):
        pass
    return bank


def prompt_of(model, text="What is the boat named?"):
    return torch.tensor([model.tokenizer.encode(text, add_special_tokens=False)])


@torch.no_grad()
def logits(model, ids, **options):
    return model.model(input_ids=ids, **options).logits


def remembered(bank, ids, recall, **options):
    with remembering(bank, recall) as seen:
        return logits(bank.model, ids, **options), seen


@pytest.fixture(scope="module")
def model():
    return models.tiny("llama", seed=1)


@pytest.fixture(scope="module")
def bank(model):
    return bank_of(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_of_one_window_at_true_positions_is_ordinary_attention(family):
    model = models.tiny(family, seed=1)
    bank, ids = bank_of(model), prompt_of(model)
    whole = logits(model, torch.cat([torch.tensor([bank.ids]), ids], dim=1))[:, len(bank) :]
    found, _ = remembered(bank, ids, Recall(**ALL))
    torch.testing.assert_close(found, whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("positions", [one for one in POSITIONS if one != "true"])
def test_no_other_position_passes_for_ordinary_attention(bank, model, positions):
    ids = prompt_of(model)
    whole = logits(model, torch.cat([torch.tensor([bank.ids]), ids], dim=1))[:, len(bank) :]
    found, _ = remembered(bank, ids, Recall(k=10**6, positions=positions))
    assert (found - whole).abs().max() > 1e-2


def test_without_memory_the_model_is_itself_bit_for_bit(bank, model):
    ids = prompt_of(model)
    plain = logits(model, ids)
    assert torch.equal(remembered(bank, ids, Recall(k=0))[0], plain)
    assert torch.equal(remembered(MemoryBank(model), ids, Recall())[0], plain)
    remembered(bank, ids, Recall())
    assert torch.equal(logits(model, ids), plain)  # detached


def test_memory_changes_what_the_model_says(bank, model):
    ids = prompt_of(model)
    assert (remembered(bank, ids, Recall(k=4))[0] - logits(model, ids)).abs().max() > 1e-3


@pytest.mark.parametrize("positions", POSITIONS)
def test_token_by_token_with_a_cache_is_all_at_once(bank, model, positions):
    ids, recall = prompt_of(model), Recall(k=5, positions=positions)
    whole, _ = remembered(bank, ids, recall)
    with remembering(bank, recall), torch.no_grad():
        cache, steps = None, []
        for token in ids[0]:
            out = model.model(token.view(1, 1), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            steps.append(out.logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("positions", ["before", "constant", "true"])
def test_a_row_of_a_left_padded_batch_is_the_row_alone(bank, model, positions):
    recall = Recall(k=5, positions=positions)
    one, two = prompt_of(model), prompt_of(model, "Who?")
    pad = one.shape[1] - two.shape[1]
    batch = torch.cat([one, torch.cat([two.new_full((1, pad), 2), two], dim=1)])
    mask = torch.ones_like(batch)
    mask[1, :pad] = 0
    places = (mask.cumsum(-1) - 1).clamp_min(0)
    found, _ = remembered(bank, batch, recall, attention_mask=mask, position_ids=places)
    for row, alone in ((found[:1], one), (found[1:, pad:], two)):
        torch.testing.assert_close(row, remembered(bank, alone, recall)[0], atol=1e-4, rtol=1e-4)


def test_thresholds_below_and_above_all_cosines_are_none_and_no_memory(bank, model):
    ids = prompt_of(model)
    free = remembered(bank, ids, Recall(k=6))[0]
    torch.testing.assert_close(remembered(bank, ids, Recall(k=6, threshold=-1.1))[0], free)
    shut = remembered(bank, ids, Recall(k=6, threshold=1.1))[0]
    torch.testing.assert_close(shut, logits(model, ids), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_order_of_memory_counts_only_where_positions_tell_it(model, positions):
    bank, ids = bank_of(model), prompt_of(model)
    recall = Recall(k=10**6, positions=positions)
    before = remembered(bank, ids, recall)[0]
    order = torch.randperm(len(bank), generator=torch.Generator().manual_seed(0))
    keys, values = bank.keys_of, bank.values_of
    bank.keys_of = lambda layer: keys(layer, order)
    bank.values_of = lambda layer, tokens: values(layer, order[tokens])
    change = (remembered(bank, ids, recall)[0] - before).abs().max()
    assert (change > 1e-3) == (positions in ("scaled", "true"))


def test_what_comes_later_in_the_window_changes_nothing_before(bank, model):
    ids = prompt_of(model)
    other = ids.clone()
    other[0, -1] = 9
    first, second = (remembered(bank, one, Recall(k=5))[0][:, :-1] for one in (ids, other))
    assert torch.equal(first, second)


def test_the_mass_grows_with_k_and_dot_captures_the_most(bank, model):
    ids = prompt_of(model)[:, :1]

    def mass(k, similarity):
        with remembering(bank, Recall(k=k, similarity=similarity, layers=(0,))) as seen:
            logits(model, ids)
        return seen[0].weights.sum(-1)

    for similarity in ("dot", "cosine"):
        masses = [mass(k, similarity) for k in (1, 4, 16, 64)]
        assert all((b >= a - 1e-6).all() for a, b in zip(masses, masses[1:], strict=False))
    for k in (1, 4, 16):
        assert (mass(k, "dot") >= mass(k, "cosine") - 1e-6).all()


def test_what_was_looked_up_is_told_with_its_share_of_the_softmax(bank, model):
    ids = prompt_of(model)
    _, seen = remembered(bank, ids, Recall(k=3, layers=(0, 2)))
    assert [one.layer for one in seen] == [0, 2]
    for one in seen:
        assert one.tokens.shape == one.weights.shape == (1, 6, ids.shape[1], 3)
        assert one.tokens.max() < len(bank)
        assert (one.weights.sum(-1) < 1).all()


def test_generate_looks_up_with_beams_too(bank, model):
    ids = prompt_of(model)
    with remembering(bank, Recall(k=4)) as seen:
        out = model.model.generate(ids, num_beams=2, max_new_tokens=3, do_sample=False)
    assert out.shape[1] > ids.shape[1]
    assert any(one.weights.shape[0] == 2 for one in seen)


def test_blocks_in_a_context_are_what_reading_them_alone_would_give(model):
    bank = bank_of(model)
    head = prompt_of(model, "Text: ")[0].tolist()
    context = context_with(bank, [range(len(bank))], [])
    plain = Context(model)
    list(plain.prefill(bank.ids))
    for mine, theirs in zip(context.cache.layers, plain.cache.layers, strict=True):
        torch.testing.assert_close(mine.keys, theirs.keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(mine.values, theirs.values)
    context = context_with(bank, [range(10, 30), range(50, 60)], head)
    assert context.ids == head + bank.ids[10:30] + bank.ids[50:60]
    assert len(context) == context.balance == context.cache.get_seq_length()
    assert context.ledger.prefilled == len(head)
    list(context.prefill([5, 6]))
    assert context.next_logits is not None


def test_every_block_has_a_score_and_that_of_any_question_is_nothing(model):
    bank = bank_of(model)
    scores = block_scores(bank, prompt_of(model)[0].tolist(), block_tokens=32)
    assert len(scores) == len(blocks_of(len(bank), 32))
    assert ((scores >= -1) & (scores <= 1)).all()
    assert scores.any()
    anything = model.tokenizer.encode(ANY_QUESTION, add_special_tokens=False)
    assert not block_scores(bank, anything, block_tokens=32).any()


def test_positions_are_those_of_their_names():
    def at(name):
        return memory_positions(4, Recall(positions=name, distance=2)).tolist()

    assert [at(name) for name in ("zero", "before", "true")] == [
        [0] * 4,
        [-1] * 4,
        [-4, -3, -2, -1],
    ]


@pytest.mark.parametrize("options", [dict(k=-1), dict(positions="here"), dict(similarity="l2")])
def test_a_recall_that_there_is_not_is_refused(options):
    with pytest.raises(LongctxError, match=str(next(iter(options)))):
        Recall(**options)
