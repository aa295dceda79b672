"""The recipes of the small models: equal sizes, equal documents, and questions far beyond them."""

from dataclasses import replace

import pytest
import torch

from longctx_edu.evaluation.small_models import (
    ABLATIONS,
    KINDS,
    LIVE,
    READ,
    RECORDED,
    WHOLE,
    by_distance,
    reading_keys,
    share_right,
    source_fingerprint,
    without,
)
from longctx_edu.events import Step, returned_by
from longctx_edu.layers import IGNORED, parameter_count

SHORT = replace(
    LIVE,
    options=replace(LIVE.options, steps=2, documents=1, validate_every=2),
    size=(("width", 16),),
)


@pytest.mark.parametrize("recipe", [LIVE, RECORDED])
def test_all_models_of_a_recipe_are_of_one_size_within_five_percent(recipe):
    sizes = [parameter_count(recipe.model(kind, seed=0)) for kind in KINDS]
    assert max(sizes) <= 1.05 * min(sizes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_drawn_from_its_seed_alone(kind):
    one, same, other = (LIVE.model(kind, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(x.equal(same[name]) for name, x in one.items())
    assert not all(x.equal(other[name]) for name, x in one.items())


def test_all_models_are_trained_on_the_same_documents_and_none_on_those_of_the_test(monkeypatch):
    drawn = {kind: [] for kind in KINDS}
    draw = type(LIVE.task).draw

    def noted(task, documents, generator, *, split="train"):
        batch = draw(task, documents, generator, split=split)
        if split == "train":
            drawn[kind].append(batch.ids)
        return batch

    monkeypatch.setattr(type(LIVE.task), "draw", noted)
    for kind in KINDS:
        returned_by(SHORT.training(kind, seed=3))
    for one in drawn.values():
        assert len(one) == 2
        assert all(a.equal(b) for a, b in zip(one, drawn["plain"], strict=True))
        assert all((ids.sum(1) % 3 == 0).all() for ids in one)
    assert (LIVE.far(1, documents=4).ids.sum(1) % 3 == 2).all()


@pytest.mark.parametrize("back", [1, 4, 9])
def test_what_is_asked_far_back_was_told_as_many_segments_before(back):
    batch = LIVE.far(back, documents=5)
    asked = batch.targets != IGNORED
    assert asked.sum() == 5 * 4
    places = torch.arange(batch.ids.shape[1]).expand_as(batch.ids)[asked]
    told = places - batch.distances[asked]
    assert (places // 64 - told // 64 == back).all()


def test_a_model_reads_another_number_of_keys_with_the_same_weights():
    model = LIVE.model("memory", seed=0)
    other = reading_keys(model, 3)
    assert other.config.top_k == 3
    assert all(x.equal(other.state_dict()[name]) for name, x in model.state_dict().items())


def test_every_way_to_read_gives_logits_for_each_token():
    batch = LIVE.far(1, documents=2)
    for kind, read in READ.items():
        model = SHORT.model("plain" if kind == WHOLE else kind, seed=0)
        assert read(model, batch).shape == (*batch.ids.shape, LIVE.task.symbols.size)


def test_ablations_of_a_trained_model_ask_the_same_documents_otherwise():
    batch = SHORT.far(2, documents=4)
    models = {kind: SHORT.model(kind, seed=0) for kind in KINDS}
    for one in ABLATIONS:
        if not one.trained:
            assert 0 <= without(one, models[one.kind], batch) <= 1
    memory, margins = models["memory"], models["margins"]
    shown = {one.name: one for one in ABLATIONS if not one.trained}
    alone = memory.read(batch.ids[:, -64:])  # nothing written is each segment by itself
    unwritten = memory.read(batch.ids, remember=False)[:, -64:]
    assert unwritten.allclose(alone, atol=1e-5)
    empty = share_right("margins", margins, batch.without_margins())
    assert without(shown["no margins"], margins, batch) == empty
    with pytest.raises(ValueError, match="no ablation"):
        without(shown["no margins"]._replace(name="luck"), margins, batch)


def test_a_training_with_strange_margins_reads_the_notes_of_another_document():
    own, strange = (
        [one.loss for one in SHORT.training("margins", seed=0, strange=x) if isinstance(one, Step)]
        for x in (False, True)
    )
    assert own[0] == pytest.approx(strange[0])  # notes count nothing at first
    assert len(own) == len(strange) == 2


def test_recall_by_distance_has_a_row_for_each_distance():
    rows = by_distance("memory", SHORT.model("memory", seed=0), SHORT, (1, 3))
    assert [(row["segments_back"], row["tokens"]) for row in rows] == [(1, 64), (3, 192)]
    assert all(0 <= row["share"] <= 1 for row in rows)


def test_the_fingerprint_changes_with_the_recipe():
    assert source_fingerprint(LIVE) == source_fingerprint(LIVE)
    assert source_fingerprint(LIVE) != source_fingerprint(SHORT)
