"""Training as a picture: the curves it draws, and the turns that trainings take under it."""

import matplotlib.pyplot as plt
import pytest
import torch

from longctx_edu.evaluation.tasks.symbols import AssociativeRecall, Symbols
from longctx_edu.events import Step, Trained, Validated
from longctx_edu.layers import TinyConfig, TinyLM, TrainingOptions, train
from longctx_edu.widgets.plots import METHOD_COLOURS
from longctx_edu.widgets.training_picture import (
    Curves,
    recall_far_back,
    training_curves,
    watch,
)

TASK = AssociativeRecall(
    segment_tokens=16,
    segments=2,
    pairs=2,
    near=1,
    far=1,
    symbols=Symbols(fillers=3, keys=4, values=2),
)
OPTIONS = TrainingOptions(steps=4, documents=1, warmup=1, validate_every=2)


@pytest.fixture(autouse=True)
def no_open_figures():
    plt.close("all")
    yield
    assert not plt.get_fignums()


def training(seed=0):
    config = TinyConfig(vocabulary=TASK.symbols.size, width=8, layers=1, heads=2, segment_tokens=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TinyLM(config)
    validation = TASK.draw(2, torch.Generator().manual_seed(1), split="validation")
    return train(model, TASK.draw, options=OPTIONS, validation=validation)


def curves():
    found = {"plain": Curves(), "memory": Curves()}
    for number, one in enumerate(found.values()):
        for step in range(1, 5):
            one.add(Step(step, 4, 3.0 / step, 1e-3, 1.0, 64, float(step)))
        one.add(Validated(4, 1.0, 0.25 + number / 2))
    return found


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_a_training_has_its_losses_and_recalls_in_the_colour_of_its_method():
    figure = training_curves(curves(), chance=0.5)
    loss, recall = figure.axes
    assert lines(loss)["plain"].get_color() == METHOD_COLOURS["plain"]
    assert list(lines(loss)["plain"].get_xdata()) == [1, 2, 3, 4]
    assert lines(loss)["plain"].get_ydata()[0] == 3.0  # nothing older is smoothed into it
    assert list(lines(recall)["memory"].get_ydata()) == [0.75]
    assert lines(recall)["chance"].get_ydata()[0] == 0.5
    plt.close(figure)


def test_while_a_training_goes_on_a_bar_says_how_far_it_is():
    found = curves()
    found["memory"].losses = found["memory"].losses[:1]
    figure = training_curves(found, progress=True)
    bars = [bar.get_width() for bar in figure.axes[2].patches]
    assert bars == [1, 1, 1.0, 0.25]
    assert "1 steps, 4 s" in {text.get_text() for text in figure.axes[2].texts}
    plt.close(figure)


def test_curves_of_a_finished_training_are_those_of_its_events():
    watched = Curves()
    for event in training():
        watched.add(event)
    assert isinstance(event, Trained)
    assert Curves.of(event.training) == watched


def test_trainings_take_turns_and_leave_what_they_would_alone(capsys):
    order = []

    def noted(name, events):
        for event in events:
            if isinstance(event, Step):
                order.append((event.step, name))
            yield event

    alone = [event for event in training() if isinstance(event, Trained)][0].training
    done = watch(
        {name: noted(name, training()) for name in ("a", "b")},
        lambda ends: f"{len(ends)} are done",
        every=0,
    )
    assert order == sorted(order)
    assert done["a"].losses == done["b"].losses == alone.losses
    assert capsys.readouterr().out == "Figure: 2 are done\n"


def test_an_interrupted_watch_closes_every_training():
    closed = []

    def endless(name):
        try:
            while True:
                yield Step(1, 9, 1.0, 1e-3, 1.0, 64, 1.0)
                if name == "b":
                    raise KeyboardInterrupt
        finally:
            closed.append(name)

    with pytest.raises(KeyboardInterrupt):
        watch({name: endless(name) for name in "ab"}, "nothing to see", every=0)
    assert sorted(closed) == ["a", "b"]


def test_events_that_end_without_a_training_are_an_error():
    with pytest.raises(ValueError, match="ends in Trained"):
        watch({"a": (event for event in ())}, "nothing", every=9)


def test_recall_far_back_draws_the_worst_seed():
    rows = [
        {"model": "memory", "seed": seed, "tokens": tokens, "share": share}
        for seed, tokens, share in ((0, 64, 1.0), (1, 64, 0.9), (0, 256, 0.8), (1, 256, 0.85))
    ]
    figure, said = recall_far_back(rows, chance=0.1)
    drawn = lines(figure.axes[0])["memory"]
    assert list(drawn.get_xdata()) == [64, 256]
    assert list(drawn.get_ydata()) == [0.9, 0.8]
    assert said == "share right 256 tokens back, worst seed: memory 0.80"
    plt.close(figure)
