"""The training loop: exact to resume, cancelled without loss, and right about memory."""

import dataclasses
import math
import pickle
import signal
import threading
from dataclasses import replace

import pytest
import torch
from torch import nn

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks.symbols import AssociativeRecall, Symbols
from longctx_edu.events import Saved, Step, Trained, Validated, returned_by
from longctx_edu.layers import (
    EMT,
    IGNORED,
    EMTConfig,
    HierarchicalConfig,
    HierarchicalEMT,
    TinyConfig,
    TinyLM,
    TrainingOptions,
    WiMConfig,
    WiMTransformer,
    answers,
    compute_loss,
    next_tokens,
    read_documents,
    read_with_margins,
    recall_by_segments,
    staleness,
    train,
    train_emt_model,
    train_wim_model,
)
from longctx_edu.readers import run_in_background

SYMBOLS = Symbols(fillers=4, keys=12, values=4)
TASK = AssociativeRecall(
    segment_tokens=16, segments=3, pairs=2, near=1, far=1, notes=2, symbols=SYMBOLS
)
SIZE = dict(vocabulary=SYMBOLS.size, width=16, layers=2, heads=2, segment_tokens=16)
MODELS = {
    "plain": lambda: TinyLM(TinyConfig(**SIZE)),
    "memory": lambda: EMT(EMTConfig(**SIZE)),
    "blocks": lambda: HierarchicalEMT(HierarchicalConfig(**SIZE, block_tokens=4)),
    "margins": lambda: WiMTransformer(WiMConfig(**SIZE)),
}
READ = dict.fromkeys(MODELS, read_documents) | {"margins": read_with_margins}
OPTIONS = TrainingOptions(steps=6, documents=2, warmup=2, validate_every=2)


class Forgetful(nn.Module):
    """A stand-in with dropout, which the real models have not: it draws while it is trained."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS.size, 8)
        self.head = nn.Linear(8, SYMBOLS.size)

    def read(self, ids):
        return self.head(nn.functional.dropout(self.embedding(ids), 0.5, self.training))


def model(kind="plain", seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Forgetful() if kind == "dropout" else MODELS[kind]()


def held_out(documents=4):
    return TASK.draw(documents, torch.Generator().manual_seed(7), split="validation")


def equal(one, other):
    theirs = other.state_dict()
    return all(x.equal(theirs[name]) for name, x in one.state_dict().items())


# --- the loss ---


def test_the_loss_is_the_mean_surprise_at_the_places_with_a_target():
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, IGNORED, 3, IGNORED, 6], [IGNORED] * 4 + [0]])
    places = (targets != IGNORED).nonzero().tolist()
    by_hand = [
        math.log(sum(math.exp(x) for x in logits[b, t].tolist()))
        - float(logits[b, t, targets[b, t]])
        for b, t in places
    ]
    assert compute_loss(logits, targets).item() == pytest.approx(sum(by_hand) / 4, abs=1e-6)


def test_the_targets_of_plain_language_modelling_are_one_place_ahead():
    assert next_tokens(torch.tensor([[4, 5, 6], [7, 8, 9]])).tolist() == [
        [5, 6, IGNORED],
        [8, 9, IGNORED],
    ]


def test_a_loss_of_nothing_or_of_other_shapes_is_a_sentence():
    with pytest.raises(LongctxError, match="No place has a target"):
        compute_loss(torch.zeros(1, 2, 3), torch.full((1, 2), IGNORED))
    with pytest.raises(LongctxError, match="Each target needs a row"):
        compute_loss(torch.zeros(1, 2, 3), torch.zeros(1, 3, dtype=torch.long))


# --- resuming and cancelling ---


@pytest.mark.parametrize("kind", [*MODELS, "dropout"])
def test_training_that_goes_on_from_a_checkpoint_is_bitwise_the_one_never_stopped(kind, tmp_path):
    how = dict(options=OPTIONS, read=READ.get(kind, read_documents), validation=held_out())
    whole = returned_by(train(model(kind), TASK.draw, **how))

    events = train(model(kind), TASK.draw, checkpoint=tmp_path / "part.pt", **how)
    for event in events:
        if isinstance(event, Step) and event.step == 3:
            break
    events.close()
    # Other weights at first, to show that those of the file count.
    again = model(kind, seed=9)
    rest = list(train(again, TASK.draw, checkpoint=tmp_path / "part.pt", **how))

    assert [event.step for event in rest if isinstance(event, Step)] == [4, 5, 6]
    training = rest[-1].training
    assert training.losses == whole.losses
    assert training.validations == whole.validations
    assert equal(training.model, whole.model)


def test_a_validation_that_was_due_when_training_was_cancelled_is_made_up_for(tmp_path):
    how = dict(options=OPTIONS, validation=held_out(), checkpoint=tmp_path / "a.pt")
    events = train(model(), TASK.draw, **how)
    next(event for event in events if isinstance(event, Step) and event.step == 2)
    events.close()
    first = next(train(model(), TASK.draw, **how))
    assert isinstance(first, Validated)
    assert first.step == 2


@pytest.mark.parametrize("kind", ["plain", "memory", "margins"])
def test_cancelling_leaves_a_checkpoint_and_a_model_that_answers(kind, tmp_path):
    trained = model(kind)
    events = train(
        trained, TASK.draw, options=OPTIONS, read=READ[kind], checkpoint=tmp_path / "cut.pt"
    )
    next(events)
    events.close()
    assert (tmp_path / "cut.pt").exists()
    assert not equal(trained, model(kind))  # it has learnt from one step
    right, losses, _ = answers(trained, held_out(), read=READ[kind])
    assert len(right) == 4 * 5
    assert losses.isfinite().all()


def test_an_interrupt_in_the_middle_of_a_step_waits_for_its_end_and_loses_nothing(tmp_path):
    whole = train_emt_model(model(), TASK.draw, options=OPTIONS)

    def pressed(documents, generator):
        batch = TASK.draw(documents, generator)
        signal.raise_signal(signal.SIGINT)
        return batch

    before, how = signal.getsignal(signal.SIGINT), dict(checkpoint=tmp_path / "a.pt")
    with pytest.raises(KeyboardInterrupt):
        train_emt_model(model(), pressed, options=OPTIONS, **how)
    assert signal.getsignal(signal.SIGINT) is before
    resumed = train_emt_model(model(), TASK.draw, options=OPTIONS, **how)
    assert resumed.losses == whole.losses


def test_a_checkpoint_that_lacks_a_part_is_refused_with_a_sentence(tmp_path):
    path = tmp_path / "a.pt"
    train_emt_model(model(), TASK.draw, options=OPTIONS, checkpoint=path)
    content = torch.load(path)
    del content["chance"]
    torch.save(content, path)
    with pytest.raises(LongctxError, match="lacks chance; remove it to start anew"):
        train_emt_model(model(), TASK.draw, options=OPTIONS, checkpoint=path)


def test_a_run_in_the_background_ends_in_the_training_and_can_be_cancelled(tmp_path):
    done = run_in_background(train(model(), TASK.draw, options=OPTIONS)).result(60)
    assert done.step == 6
    gate = threading.Event()

    def slow(documents, generator):
        gate.wait(5)
        return TASK.draw(documents, generator)

    run = run_in_background(train(model(), slow, checkpoint=tmp_path / "run.pt"))
    threading.Timer(0.1, gate.set).start()
    next(iter(run))
    run.cancel()
    assert (tmp_path / "run.pt").exists()
    with pytest.raises(LongctxError, match="cancelled"):
        run.result()


def test_two_trainings_that_take_turns_are_as_two_one_after_the_other():
    alone = [returned_by(train(model("dropout"), TASK.draw, options=OPTIONS)) for _ in range(2)]
    turns = [train(model("dropout"), TASK.draw, options=OPTIONS) for _ in range(2)]
    ends = [[], []]
    for both in zip(*turns, strict=True):
        torch.rand(3)  # and whatever else draws in between
        for end, event in zip(ends, both, strict=True):
            end.append(event)
    assert ends[0][-1].training.losses == ends[1][-1].training.losses == alone[0].losses
    assert equal(ends[0][-1].training.model, alone[1].model)


def test_training_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    returned_by(train(model("dropout"), TASK.draw, options=OPTIONS))
    assert torch.get_rng_state().equal(before)


def test_another_seed_trains_on_other_documents():
    one, other = (
        returned_by(train(model(), TASK.draw, options=replace(OPTIONS, seed=seed)))
        for seed in (0, 1)
    )
    assert one.losses[0] != other.losses[0]


# --- files ---


def test_a_checkpoint_of_other_options_or_another_model_is_refused(tmp_path):
    path = tmp_path / "one.pt"
    train_emt_model(model(), TASK.draw, options=OPTIONS, checkpoint=path)
    with pytest.raises(LongctxError, match="written with options"):
        next(train(model(), TASK.draw, options=replace(OPTIONS, rate=1.0), checkpoint=path))
    with pytest.raises(LongctxError, match="written with config"):
        next(train(model("memory"), TASK.draw, options=OPTIONS, checkpoint=path))


def test_a_finished_checkpoint_gives_the_training_without_another_step(tmp_path):
    how = dict(options=OPTIONS, validation=held_out(), checkpoint=tmp_path / "one.pt")
    first = train_emt_model(model(), TASK.draw, **how)
    events = list(train(model(seed=3), TASK.draw, **how))
    assert not any(isinstance(event, Step | Validated) for event in events)
    assert equal(events[-1].training.model, first.model)
    assert events[-1].training.losses == first.losses


class Trap:
    """What a malicious file would do when it is loaded."""

    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('sprung').touch()",)


@pytest.mark.parametrize("damage", ["text", "cut", "trap", "other"])
def test_a_file_that_is_no_checkpoint_is_refused_and_never_run(damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pt"
    if damage == "text":
        path.write_text("not a checkpoint")
    elif damage == "cut":
        train_emt_model(model(), TASK.draw, options=OPTIONS, checkpoint=path)
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "trap":
        path.write_bytes(pickle.dumps({"schema": Trap()}, protocol=2))
    else:
        torch.save({"schema": "another/1"}, path)
    with pytest.raises(LongctxError, match=r"bad\.pt .*remove it to start anew"):
        next(train(model(), TASK.draw, checkpoint=path))
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "one.pt"
    events = train(model(), TASK.draw, options=OPTIONS, validation=held_out(), checkpoint=path)
    next(event for event in events if isinstance(event, Saved))
    before = path.read_bytes()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(LongctxError, match=r"could not be written .*free the disk"):
        list(events)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


# --- the steps themselves ---


def test_the_rate_rises_to_its_greatest_and_falls_to_its_last_share():
    options = TrainingOptions(steps=100, warmup=10, rate=0.5, last_rate=0.1)
    rates = [options.rate_at(step) for step in range(101)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[9] == max(rates) == 0.5
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.05)


def test_a_long_gradient_is_cut_to_its_length_and_told_as_it_was():
    trained = model()
    events = train(trained, TASK.draw, options=replace(OPTIONS, clip=1e-3))
    assert next(events).gradient > 0.01
    left = torch.cat([x.grad.flatten() for x in trained.parameters()])
    assert left.norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_vectors_do_not_decay():
    trained = model("memory")
    events = train(trained, TASK.draw, options=replace(OPTIONS, decay=1e6, warmup=1, rate=1e-6))
    next(events)
    assert trained.embedding.weight.abs().max() < 0.2  # a matrix lost everything but a step
    assert trained.norm.weight.min() > 0.99


def test_a_loss_that_is_no_number_stops_training_with_a_sentence(tmp_path):
    trained = model()
    events = train(trained, TASK.draw, options=OPTIONS, checkpoint=tmp_path / "a.pt")
    next(events)
    with torch.no_grad():
        trained.embedding.weight.fill_(math.nan)
    with pytest.raises(LongctxError, match="loss of step 2 is nan; lower the rate"):
        next(events)


def test_training_stops_when_it_knows_enough():
    options = replace(OPTIONS, enough=0.0)
    training = train_emt_model(model(), TASK.draw, options=options, validation=held_out())
    assert (training.stopped, training.step) == ("enough", 2)


def test_training_stops_out_of_patience_and_returns_its_best_weights():
    # Such a rate spoils the model, so that an early validation stays the best.
    options = replace(OPTIONS, steps=60, rate=2.0, warmup=3, patience=2)
    trained, weights = model(), {}
    for event in train(trained, TASK.draw, options=options, validation=held_out()):
        if isinstance(event, Validated):
            weights[event.step] = {name: x.clone() for name, x in trained.state_dict().items()}
    training = event.training
    best = min(training.validations, key=lambda one: one.loss)
    assert training.stopped == "patience"
    assert training.step == best.step + 2 * options.validate_every < options.steps
    kept = training.model.state_dict()
    assert all(x.equal(kept[name]) for name, x in weights[best.step].items())
    assert not all(x.equal(kept[name]) for name, x in weights[training.step].items())


@pytest.mark.parametrize("kind", MODELS)
def test_every_model_learns_a_few_documents_by_heart(kind):
    same = TASK.draw(2, torch.Generator().manual_seed(1))
    options = TrainingOptions(steps=60, warmup=5, rate=1e-2)
    how = dict(options=options, read=READ[kind])
    training = returned_by(train(model(kind), lambda *_: same, **how))
    assert training.losses[-1] < 0.3 * training.losses[0]


def test_the_margins_reach_the_model_in_training():
    trained = model("margins")
    training = train_wim_model(trained, TASK.draw, options=replace(OPTIONS, steps=20))
    assert training.step == 20
    batch = held_out()
    full, empty, strange = (
        answers(trained, one, read=read_with_margins)[1]
        for one in (batch, batch.without_margins(), batch.with_strange_margins())
    )
    assert not full.allclose(empty)
    assert not full.allclose(strange)


# --- memory under training ---


def test_no_gradient_flows_into_what_an_earlier_segment_wrote():
    # The question is asked in the last segment alone; its loss must not reach the first ones'
    # tokens, whose ids appear nowhere else.
    batch = TASK.draw(1, torch.Generator().manual_seed(2))
    ids = batch.ids.clone()
    ids[:, :16] = ids[:, :16] % 2  # the first segment: fillers 0 and 1 alone
    ids[:, 16:] = ids[:, 16:].clamp_min(2)
    targets = batch.targets.clone()
    targets[:, :32] = IGNORED
    for keep_graph in (False, True):
        untied = EMT(EMTConfig(**SIZE, tied=False, top_k=99))
        for matrix in (one for one in untied.parameters() if one.ndim > 1):
            nn.init.normal_(matrix, std=0.3)  # some begin as zeros, which no gradient passes
        compute_loss(untied(ids, keep_graph=keep_graph), targets).backward()
        grad = untied.embedding.weight.grad[:2]
        assert bool(grad.abs().sum() > 0) == keep_graph


def test_a_memory_that_outlives_steps_grows_stale_and_a_new_one_is_fresh():
    trained = model("memory")
    ids = held_out().ids
    memory = trained.new_memory()
    with torch.no_grad():
        trained(ids, memory=memory)
    apart = [staleness(trained, ids, memory)]
    for event in train(trained, TASK.draw, options=replace(OPTIONS, warmup=1)):
        if isinstance(event, Step) and event.step in (1, 6):
            apart.append(staleness(trained, ids, memory))
    assert apart[0] == pytest.approx(0, abs=1e-6)
    assert 1e-6 < apart[1] < apart[2]


def test_staleness_of_another_memory_is_a_sentence():
    trained = model("memory")
    with pytest.raises(LongctxError, match="does not hold what these ids"):
        staleness(trained, held_out().ids, trained.new_memory())
    bare = EMT(EMTConfig(**SIZE, memory_layers=()))
    with pytest.raises(LongctxError, match="no layer with a memory"):
        staleness(bare, held_out().ids, bare.new_memory())


# --- answers ---


class LooksUp(nn.Module):
    """Knows nothing but to look up; the ceiling of every task."""

    def read(self, ids):
        logits = torch.zeros(*ids.shape, SYMBOLS.size)
        for row, text in zip(logits, ids.tolist(), strict=True):
            for place, id in enumerate(text):
                before = [at for at in range(place) if text[at] == id]
                row[place, text[before[-1] + 1] if before else 0] = 9
        return logits


def test_answers_are_counted_by_how_far_back_they_were_told():
    batch = held_out(8)
    right, losses, distances = answers(LooksUp(), batch, documents=3)
    assert right.all()
    assert losses.max() < 0.01
    found = recall_by_segments(right, distances, 16)
    assert {share for share, _ in found.values()} == {1.0}
    assert sum(number for _, number in found.values()) == len(right) == 8 * 5
    some = recall_by_segments(torch.tensor([True, False]), torch.tensor([3, 40]), 16)
    assert some == {0: (1.0, 1), 2: (0.0, 1)}


def test_asking_leaves_the_model_in_the_mode_it_was_in():
    trained = model("dropout").train()
    answers(trained, held_out())
    assert trained.training


def test_the_last_event_is_trained_and_holds_what_is_returned():
    events = list(train(model(), TASK.draw, options=OPTIONS, validation=held_out()))
    assert isinstance(events[-1], Trained)
    kinds = [type(event).__name__ for event in events]
    assert kinds == ["Step", "Step", "Validated"] * 3 + ["Trained"]
    assert events[-1].training.tokens == 6 * 2 * 48
    assert dataclasses.is_dataclass(events[-1].training)


def test_options_that_cannot_be_are_sentences():
    with pytest.raises(LongctxError, match="steps must be at least 1"):
        TrainingOptions(steps=0)
    with pytest.raises(LongctxError, match="clip must be above 0"):
        TrainingOptions(clip=0)
