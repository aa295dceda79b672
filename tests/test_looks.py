"""What an answer looks at and needs: parts found by their words, and likelihoods from scratch."""

import pytest
import torch

from longctx_edu import models, read
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation import looks
from longctx_edu.evaluation.metrics import answer_likelihoods
from longctx_edu.evaluation.tasks import by_document, difficulty_of, generate
from longctx_edu.inference import Context, chat_prompt
from longctx_edu.margins import KeepAll, Labelled

EASY = difficulty_of("facts")(facts=2, distractors=0)


@pytest.fixture(scope="module")
def asked():
    """Two questions to one document, asked of a tiny random model; a byte is a token."""
    model = models.tiny(seed=1)
    items = generate("facts", 600, 2, 0, model.tokenizer, difficulty=EASY)
    assert len(by_document(items)) == 1
    options = dict(segment_tokens=300, margin_tokens=6, verdict=KeepAll())
    reading = read(items[0].documents, method="margins", model=model, **options)
    return [looks.ask(reading, item)[1] for item in items]


def words(one, part):
    tokenizer = one.context.language_model.tokenizer
    return [tokenizer.decode(one.ids[p.start : p.stop]) for p in one.places[part]]


def from_scratch(one, text, notes):
    """Return the right answer's log-probability after a prompt, read by itself."""
    model, item = one.context.language_model, one.item
    user = f"{text.strip()}\n\n{Labelled().notes(notes)}{item.question}"
    prefix = item.answer_prefix
    start = len(chat_prompt(model, user, answer_prefix=prefix).ids)
    ids = chat_prompt(model, user, answer_prefix=f"{prefix} {item.gold[0]}").ids
    return answer_likelihoods(Context(model), [ids], start)[0].log_probability


def test_parts_are_where_their_words_stand(asked):
    for one in asked:
        assert words(one, "source") == [one.item.gold_spans[0].text]
        assert words(one, "text") == [one.text.strip()]
        assert words(one, "question") == [one.item.question]
        assert words(one, "sink") == ["<|im_start|>"]
        assert words(one, "right notes") + words(one, "wrong notes") == one.notes
        assert set(one.places) == set(looks.PARTS)
    assert any(one.notes for one in asked)


def test_the_answer_stands_at_the_end_and_all_before_its_last_token_is_read(asked):
    for one in asked:
        said = one.context.language_model.tokenizer.decode(one.ids[one.start :])
        assert said == f" {one.item.gold[0]}"
        assert one.context.ids == one.ids[: one.start - 1]


def test_mass_is_the_weight_of_the_last_token_of_the_prompt(asked):
    one = asked[0]
    found = looks.mass(one)
    output = one.context.language_model.model
    output.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            ran = output(torch.tensor([one.ids[: one.start]]), output_attentions=True)
    finally:
        output.set_attn_implementation("sdpa")
    for part in looks.PARTS:
        for layer, weights in enumerate(ran.attentions):
            columns = [i for place in one.places[part] for i in place]
            expected = weights[0, :, -1, columns].sum(-1)
            torch.testing.assert_close(found[part][layer], expected, atol=3e-3, rtol=0)


def test_nothing_hidden_and_nothing_removed_is_the_prompt_as_it_was(asked):
    for one in asked:
        expected = from_scratch(one, one.text, one.notes)
        assert looks.hidden(one)["nothing"] == pytest.approx(expected, abs=1e-3)
        assert looks.removed(one)["nothing"] == pytest.approx(expected, abs=1e-3)


def test_what_is_removed_was_never_there(asked):
    for one in asked:
        found = looks.removed(one)
        span = one.item.gold_spans[0]
        without = one.text.replace(span.text, "", 1)
        expected = {
            "right notes": from_scratch(one, one.text, one.wrong_notes),
            "source": from_scratch(one, without, one.notes),
            "both": from_scratch(one, without, one.wrong_notes),
        }
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, abs=1e-3)
        assert found["source"] != pytest.approx(found["nothing"], abs=1e-3)


def test_hiding_changes_the_answer_only_where_there_is_something_to_hide(asked):
    for one in asked:
        found = looks.hidden(one)
        assert set(found) == set(looks.HIDDEN)
        assert (found["right notes"] == found["nothing"]) == (not one.right_notes)
        assert found["source"] != found["nothing"]


def test_another_order_of_the_prompt_is_refused(asked):
    model, item = asked[0].context.language_model, asked[0].item
    reading = read(item.documents, method="margins", model=model, place="first", margin_tokens=6)
    with pytest.raises(LongctxError, match="leave its options place and final as they are"):
        looks.ask(reading, item)
