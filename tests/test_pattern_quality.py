"""What a model loses under a rule is measured as it would be measured directly."""

import pytest
import torch

from longctx_edu.attention import LINEAR, TopK, causal, sliding_window
from longctx_edu.evaluation.metrics import answer_likelihoods, answered
from longctx_edu.evaluation.pattern_quality import (
    compare,
    facts,
    keys_seen,
    nats,
    read_and_ask,
    rules,
    under,
)
from longctx_edu.inference import Context
from longctx_edu.models.tiny import tiny
from longctx_edu.readers.joined import JoinedText

TOKENS = 1536


@pytest.fixture(scope="module")
def model():
    return tiny("llama")


@pytest.fixture(scope="module")
def items(model):
    return facts(model.tokenizer, tokens=TOKENS, documents=2, questions=1, seed=1)


@pytest.mark.parametrize("chunk_tokens", [1, 7, 90, 512])
@pytest.mark.parametrize("begin", [1, 20, 89])
def test_nats_are_those_of_one_pass_from_the_first_token_that_counts(model, begin, chunk_tokens):
    ids = torch.randint(3, 200, (90,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        told = model.model(ids[None]).logits[0, :-1].log_softmax(-1)
    expected = -told.gather(1, ids[1:, None])[begin - 1 :, 0]
    found = nats(model, ids.tolist(), begin=begin, chunk_tokens=chunk_tokens)
    torch.testing.assert_close(torch.tensor(found), expected, atol=1e-4, rtol=1e-4)


def test_an_answers_nats_are_its_likelihood_in_the_plain_prompt(model, items):
    item = items[0]
    _, (row,) = read_and_ask(model, [item])
    user = JoinedText(item.documents).text.strip() + "\n\n" + item.question
    prompts, start = answered(model, user, item.answer_prefix, item.gold)
    (likely,) = answer_likelihoods(Context(model), prompts, start)
    assert row["nats"] == pytest.approx(-likely.log_probability, rel=1e-4)
    assert row["told"] is likely.greedy


def test_every_rule_gets_a_row_and_the_models_own_is_the_measure(model, items):
    table, answers = compare(model, items, tokens=TOKENS)
    assert [row["pattern"] for row in table] == [*rules(TOKENS)]
    assert table[0]["times"] == table[0]["times_low"] == table[0]["times_high"] == 1
    assert all(row["times_low"] <= row["times"] <= row["times_high"] for row in table)
    assert len(answers) == len(table) * len(items)
    assert {row["document"] for row in answers} == {item.document_ids[0] for item in items}


def test_windows_and_what_goes_with_them_may_see_a_quarter_of_the_text():
    places = torch.tensor([1999]), torch.arange(2048)
    for rule in rules(2048).values():
        if rule not in (None, LINEAR):
            most = rule.k if isinstance(rule, TopK) else int(rule.allows(*places).sum())
            assert most <= 512


def test_keys_seen_are_counted_for_every_kind_of_rule():
    assert keys_seen(None, 5) == keys_seen(LINEAR, 5) == keys_seen(causal(), 5) == 3
    assert keys_seen(TopK(2), 5) == keys_seen(sliding_window(2), 5) == 9 / 5


def test_without_a_rule_nothing_changes(model):
    name = model.model.config._attn_implementation
    with under(model, None):
        assert model.model.config._attn_implementation == name
    with under(model, TopK(2)):
        assert model.model.config._attn_implementation != name
