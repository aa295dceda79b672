"""Answers from memory: what is chosen, what was used, and whether the answer needed it."""

import json
from copy import copy
from dataclasses import replace

import pytest
import torch

from longctx_edu import models
from longctx_edu.errors import LongctxError, MemoryFileError
from longctx_edu.events import Ready, returned_by
from longctx_edu.inference import Context, turn_end
from longctx_edu.memory.active import Unsure, write_actively
from longctx_edu.memory.attention import LookedUp, Recall, remembering
from longctx_edu.memory.bank import MemoryBank
from longctx_edu.memory.blocks import choose, memory_blocks
from longctx_edu.memory.storage import Storage
from longctx_edu.memory.trace import checked
from longctx_edu.memory.uses import Uses, uses_in_context, uses_looked_up
from longctx_edu.readers import prepare, read
from longctx_edu.readers.memory import LOOKUPS
from longctx_edu.text import Document

TEXT = "The boat is named Grey Petrel. It is painted green. The keeper is Anna Lund. " * 3
OTHER = "Her dog is white. It sleeps by the stove and barks at the inspector."
QUESTION = "What is the boat named?"
SMALL = dict(blocks=2, block_tokens=32, passages=2, k=5)
EVERY_LOOKUP = pytest.mark.parametrize("lookup", LOOKUPS)


@pytest.fixture(scope="module")
def model():
    return models.tiny("llama", seed=1)


@pytest.fixture(scope="module")
def reading(model):
    documents = [Document("log", TEXT), Document("dog", OTHER)]
    return read(documents, method="memory", model=model, holds="everything", **SMALL)


def ids_of(model, text):
    return model.tokenizer.encode(text, add_special_tokens=False)


# --- choosing ---


def test_blocks_cover_each_document_and_cross_from_none_to_the_next(reading):
    blocks = memory_blocks(reading.bank, 32)
    assert [token for block in blocks for token in block] == [*range(len(reading.bank))]
    ends = {held.tokens.stop for held in reading.bank.held}
    assert ends <= {block.stop for block in blocks}


def test_sentences_cover_each_document(reading):
    for held in reading.bank.held:
        assert [token for one in held.sentences for token in one] == [*held.tokens]
        first = next(reading.bank.citations(held.sentences[0]))
        assert first[0].text[first[1] : first[2]].strip() in held.document.text


def test_passages_lie_in_the_chosen_blocks_and_their_scores_fall(reading, model):
    found = choose(reading.bank, ids_of(model, QUESTION), blocks=2, passages=3, block_tokens=32)
    assert len(found.best_blocks) == 2
    tokens = {token for number in found.best_blocks for token in found.blocks[number]}
    assert found.passages
    assert all(not tokens.isdisjoint(passage) for passage in found.passages)
    assert found.passage_scores == sorted(found.passage_scores, reverse=True)
    scores = found.block_scores[found.best_blocks]
    assert scores.min() >= found.block_scores.sort(descending=True).values[1]


def test_a_documents_first_token_is_never_what_chooses(reading, model):
    """Whatever key it has: a sink draws attention and says nothing."""
    ids, keys = ids_of(model, QUESTION), reading.bank.keys_of
    before = choose(reading.bank, ids, blocks=2, passages=3, block_tokens=32)

    def loud(layer, tokens=None):
        found = keys(layer, tokens).clone()
        place = range(len(reading.bank)) if tokens is None else tokens
        for sink in reading.bank.sinks():
            found[:, [n for n, token in enumerate(place) if token in sink]] *= 100
        return found

    reading.bank.keys_of = loud
    try:
        after = choose(reading.bank, ids, blocks=2, passages=3, block_tokens=32)
    finally:
        del reading.bank.keys_of
    torch.testing.assert_close(after.block_scores, before.block_scores)
    assert after.passages == before.passages


# --- looking up, key by key ---


def test_gathered_keys_are_a_dense_softmax_with_the_others_masked(model):
    """Joint attention of one layer in loops: every head its own k keys, then what is local."""
    bank = MemoryBank(model, storage=Storage("float32"))
    for _ in bank.add(TEXT):
        pass
    torch.manual_seed(0)
    config = model.model.config
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    q, k, v = torch.randn(heads, 4, 8), torch.randn(kv_heads, 4, 8), torch.randn(kv_heads, 4, 8)
    from longctx_edu.memory.attention import _attend

    module = type("Layer", (), {"layer_idx": 1, "config": model.model.config})()
    causal = torch.full((4, 4), -torch.inf).triu(1)[None, None]
    seen, recall = [], Recall(k=6, positions="true", similarity="dot")
    out, _ = _attend(
        *(module, q[None], k[None], v[None], causal),
        bank=bank, recall=recall, shown=torch.ones(len(bank), dtype=torch.bool), seen=seen,
        position_ids=torch.arange(4)[None],
    )  # fmt: skip
    places = torch.arange(-len(bank), 0)
    far_k, far_v = bank.at(1, range(len(bank)), places)
    for head in range(heads):
        own = head * kv_heads // heads
        for row in range(4):
            scores = torch.cat([far_k[own], k[own, : row + 1]]) @ q[head, row] * 8**-0.5
            left_out = scores[: len(bank)].argsort(descending=True)[6:]
            scores[left_out] = -torch.inf
            weights = scores.softmax(-1)
            expected = weights @ torch.cat([far_v[own], v[own, : row + 1]])
            torch.testing.assert_close(out[0, row, head], expected, atol=1e-5, rtol=1e-4)
            assert set(seen[0].tokens[0, head, row].tolist()).isdisjoint(left_out.tolist())


def test_hidden_tokens_are_not_found(reading, model):
    ids = torch.tensor([ids_of(model, QUESTION)])
    hidden = range(10, len(reading.bank) - 10)
    with torch.no_grad(), remembering(reading.bank, Recall(k=50), without=[hidden]) as seen:
        model.model(ids)
    assert not any(hidden.start <= t < hidden.stop for one in seen for t in one.tokens.flatten())
    assert all(one.tokens.shape[-1] == 20 for one in seen)


# --- what was used ---


def test_uses_in_a_context_are_the_models_own_weights(reading, model):
    context, sources = returned_by(reading._context(reading.options, [range(3, 20), range(40, 60)]))
    ids = ids_of(model, QUESTION)
    uses = uses_in_context(context, ids, sources)
    eager = models.tiny("llama", seed=1).model
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        found = eager(torch.tensor([context.ids + ids]), output_attentions=True).attentions
    mean = torch.stack(found).mean((0, 2))[0]  # (tokens, tokens)
    place = [sources.index(token) for token in range(45, 50)]
    expected = mean[len(context) :, place].sum(-1)
    torch.testing.assert_close(uses.on([range(45, 50)])[:, 0], expected, atol=1e-3, rtol=1e-2)


def test_uses_add_up_what_was_looked_up_by_head_and_layer():
    tokens = torch.tensor([[[[3, 7]], [[7, 9]]]])  # (batch 1, 2 heads, 1 row, k 2)
    weights = torch.tensor([[[[0.2, 0.4]], [[0.1, 0.3]]]])
    uses = uses_looked_up([LookedUp(1, tokens, weights)], layers=2, last=1)
    assert uses.tokens.tolist() == [3, 7, 9]
    mass = uses.on([range(0, 5), range(5, 8), range(9, 20)])
    torch.testing.assert_close(mass, torch.tensor([[0.2, 0.5, 0.3]]) / 4)


def test_what_every_row_looks_at_alike_has_no_rise():
    tokens = torch.tensor([0, 1]).view(1, 1, 1, 2)
    weights = torch.tensor([[[[0.6, 0.1], [0.6, 0.3]]]])
    uses = Uses([LookedUp(0, tokens, weights)], 1, 2)
    rise = uses.rise([range(0, 1), range(1, 2)], slice(1, 2))
    torch.testing.assert_close(rise, torch.tensor([0.0, 0.2]))


def test_the_captured_share_grows_with_k_to_the_whole(reading, model):
    found = choose(reading.bank, ids_of(model, QUESTION), blocks=1)
    shares = found.captured
    assert [k for k, _ in shares] == [2**n for n in range(len(shares))]
    values = [share for _, share in shares]
    assert values == sorted(values)
    assert 0 < values[0] < values[-1] <= 1 + 1e-5


# --- the method ---


@EVERY_LOOKUP
def test_an_answer_says_where_it_looked(reading, lookup):
    answer = reading.ask(QUESTION, answer_prefix="It is", max_new_tokens=4, lookup=lookup)
    trace = checked(json.loads(json.dumps(answer.trace)))
    assert trace["options"]["lookup"] == lookup
    for look in trace["tokens"]:
        assert sum(mass for _, mass in look["mass"]) + look["window"] == pytest.approx(1, abs=0.02)
    kinds = [look["kind"] for look in trace["tokens"]]
    assert kinds.count("question") >= len(QUESTION.split())
    question = "".join(look["text"] for look in trace["tokens"] if look["kind"] == "question")
    assert question == QUESTION
    assert answer.citations
    for one in answer.citations:
        document = next(d for d in reading.documents if d.id == one.document_id)
        assert document.text[one.start : one.end] == one.text
        assert (one.kind, 0 <= one.weight <= 1) == ("memory", True)
    assert sum(block["chosen"] for block in trace["blocks"]) == (0 if lookup == "topk" else 2)
    assert len(trace["passages"]) == (2 if lookup == "passages" else 0)
    assert (answer.ledger.reused > 0) == (answer.ledger.decoded > 0)


@EVERY_LOOKUP
def test_the_same_question_gets_the_same_answer_whatever_was_asked_between(reading, lookup):
    first = reading.ask(QUESTION, max_new_tokens=5, lookup=lookup)
    reading.ask("Who sleeps by the stove?", max_new_tokens=3)
    again = reading.ask(QUESTION, max_new_tokens=5, lookup=lookup)
    assert (first.text, first.citations) == (again.text, again.citations)


def test_passages_are_read_as_if_they_had_been_given_alone(reading, model):
    """The answer's probabilities are those of a prompt that holds nothing but the passages."""
    answer = reading.ask(QUESTION, max_new_tokens=3)
    ranges = [range(*one) for one in answer.trace["ranges"]]
    context, sources = returned_by(reading._context(reading.options, ranges))
    prompt = context.ids + turn_end(model, f"\n\n{QUESTION}").ids
    plain = Context(model)
    list(plain.prefill(prompt))
    assert list(plain.decode(max_new_tokens=3)) == answer.trace["answer_ids"]
    assert [source for source in sources if source >= 0] == [t for one in ranges for t in one]


@EVERY_LOOKUP
def test_taking_away_a_cited_place_changes_the_answers_probability(reading, lookup):
    answer = reading.ask(QUESTION, max_new_tokens=4, lookup=lookup)
    checks = reading.checked(answer)
    assert [check.citation for check in checks] == list(answer.citations)
    assert any(abs(check.drop) > 1e-4 for check in checks)
    assert len({check.log_probability for check in checks}) == 1
    assert all(check.log_probability < 0 for check in checks)


def test_a_reading_of_choosing_keys_reads_passages_and_refuses_what_needs_more(model):
    reading = read(TEXT, method="memory", model=model, **SMALL)
    assert reading.bank.storage.holds == "choosing_keys"
    assert reading.ask(QUESTION, max_new_tokens=2).citations
    with pytest.raises(LongctxError, match="holds='everything'"):
        reading.ask(QUESTION, lookup="topk")
    whole = read(TEXT, method="memory", model=model, holds="everything", **SMALL)
    assert (
        whole.ask(QUESTION, max_new_tokens=2).text == reading.ask(QUESTION, max_new_tokens=2).text
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(lookup="magic"), "passages, blocks, topk"),
        (dict(passages=0), "passages is at least 1"),
        (dict(positions="here"), "positions"),
        (dict(k=-1), "k >= 0"),
        (dict(precision="int8"), "cannot change 'precision'"),
    ],
)
def test_a_question_that_cannot_be_looked_up_is_refused(reading, changes, said):
    with pytest.raises(LongctxError, match=said):
        reading.ask(QUESTION, **changes)


def test_a_stopped_question_leaves_the_reading_as_it_was(reading):
    whole = reading.ask(QUESTION, max_new_tokens=5)
    for stop in (1, 2, 4):
        events = reading.events(QUESTION, max_new_tokens=5, lookup="topk")
        for _ in range(stop):
            next(events)
        events.close()
    assert reading.ask(QUESTION, max_new_tokens=5).text == whole.text


@EVERY_LOOKUP
def test_an_answer_without_a_word_still_says_where_it_looked(model, reading, lookup):
    silent = replace(model, end_ids=frozenset(range(len(model.tokenizer))))
    reading = replace_model(reading, silent)
    answer = reading.ask(QUESTION, lookup=lookup)
    assert answer.text == ""
    assert answer.citations


def replace_model(reading, model):
    """Return a reading of the same memory by a model that differs in when it stops."""
    twin = copy(reading)
    twin.bank = copy(reading.bank)
    twin.model = twin.bank.model = model
    return twin


# --- files ---


def test_a_memory_file_is_built_once_and_asked_again(model, tmp_path):
    path = tmp_path / "memory.safetensors"
    first = read(TEXT, method="memory", model=model, memory_file=path, **SMALL)
    assert first.ledger.prefilled == len(first.bank)
    for documents in (TEXT, None):
        again = read(documents, method="memory", model=model, memory_file=path, **SMALL)
        assert again.ledger.prefilled == 0
        assert [one.text for one in again.documents] == [TEXT]
        assert (
            again.ask(QUESTION, max_new_tokens=4).text == first.ask(QUESTION, max_new_tokens=4).text
        )
    with pytest.raises(MemoryFileError, match="other documents"):
        read(OTHER, method="memory", model=model, memory_file=path)


@pytest.mark.parametrize("needs", [dict(lookup="topk"), dict(precision="float32")])
def test_a_memory_file_that_holds_less_than_is_asked_for_is_refused_at_once(model, tmp_path, needs):
    path = tmp_path / "own.memory"
    read(TEXT, method="memory", model=model, memory_file=path, window=64, stride=32)
    with pytest.raises(MemoryFileError, match="choosing keys alone.*name another file"):
        read(None, method="memory", model=model, memory_file=path, **needs)


def test_a_question_may_look_up_no_key_at_all(reading):
    answer = reading.ask(QUESTION, max_new_tokens=3, lookup="topk", k=0)
    assert not answer.citations
    assert all(token["window"] == 1 and not token["mass"] for token in answer.trace["tokens"])


def test_a_memory_file_that_is_not_there_needs_documents(model, tmp_path):
    with pytest.raises(MemoryFileError, match="does not exist"):
        read(None, method="memory", model=model, memory_file=tmp_path / "none")
    with pytest.raises(TypeError):
        read(None, method="memory", model=model)


def test_building_that_is_stopped_leaves_no_file(model, tmp_path):
    path = tmp_path / "memory.safetensors"
    events = prepare(TEXT, method="memory", model=model, memory_file=path, window=64, stride=32)
    next(events), next(events)
    events.close()
    assert list(tmp_path.iterdir()) == []
    assert any(
        isinstance(event, Ready)
        for event in prepare(TEXT, method="memory", model=model, memory_file=path)
    )


# --- looking up more where the model is unsure ---


def test_a_model_that_is_never_unsure_writes_as_with_plain_top_k(reading, model):
    ids, recall = ids_of(model, QUESTION), Recall(k=4)
    with remembering(reading.bank, recall, without=reading.bank.sinks()):
        plain = Context(model)
        list(plain.prefill(ids))
        expected = list(plain.decode(max_new_tokens=5))
    calm = Unsure(entropy=100)
    text, steps = returned_by(
        write_actively(reading.bank, ids, recall=recall, unsure=calm, max_new_tokens=5)
    )
    assert [step.token_id for step in steps] == expected
    assert all(step.tries == ((4, step.tries[0][1]),) for step in steps)
    assert isinstance(text, str)


def test_an_unsure_model_looks_up_more_as_often_as_it_may(reading, model):
    ids, recall = ids_of(model, QUESTION), Recall(k=4)
    unsure = Unsure(entropy=0, step=3, tries=2)
    _, steps = returned_by(
        write_actively(reading.bank, ids, recall=recall, unsure=unsure, max_new_tokens=3)
    )
    assert all([k for k, _ in step.tries] == [4, 7, 10] for step in steps)
    most = replace(recall, k=10)
    with remembering(reading.bank, recall, without=reading.bank.sinks()):
        context = Context(model)
        list(context.prefill(ids[:-1]))
    with remembering(reading.bank, most, without=reading.bank.sinks()):
        list(context.prefill(ids[-1:]))
    assert int(context.next_logits.argmax()) == steps[0].token_id


@pytest.mark.parametrize("options", [dict(entropy=-1), dict(step=0), dict(tries=-1)])
def test_an_unsureness_that_there_is_not_is_refused(options):
    with pytest.raises(LongctxError, match=next(iter(options))):
        Unsure(**options)


# --- the real model ---


@pytest.mark.model
def test_the_right_one_of_several_documents_is_cited_and_needed():
    from longctx_edu.evaluation.tasks import generate

    model = models.load()
    items = generate("facts", 512, 17, 101, model.tokenizer)
    documents = [items[number].documents[0] for number in (8, 0, 16)]
    reading = read(documents, method="memory", model=model, passages=3)
    for item in (items[0], items[1], items[4]):
        answer = reading.ask(item.question, answer_prefix=item.answer_prefix, max_new_tokens=6)
        assert item.gold[0] in answer.text
        gold = item.gold_spans[0]
        right = [
            one.document_id == gold.document_id and one.start < gold.end and gold.start < one.end
            for one in answer.citations
        ]
        assert any(right[:2])
        drops = [check.drop for check in reading.checked(answer)]
        assert drops[right.index(True)] == max(drops) > 1
