"""Training as a picture: loss and recall over the steps, while it goes on and after it.

``watch`` lets several trainings take turns, step by step, and draws their curves in one place of
the page, which changes as they go on and is an ordinary static picture in the end.
"""

import base64
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field

from longctx_edu.events import Step, Trained, Validated
from longctx_edu.widgets.plots import METHOD_COLOURS, png, style

_SMOOTHED = 0.9  # of a curve's last value is kept from step to step


@dataclass
class Curves:
    """What is known of a training so far; ``add`` takes its events.

    Attributes:
        steps: to be taken in all; None before the first.
        losses: of each step taken.
        recalls: pairs of a step and the share right in validation after it.
        seconds: that went into training so far.
    """

    steps: int | None = None
    losses: list[float] = field(default_factory=list)
    recalls: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, event) -> None:
        if isinstance(event, Step):
            self.steps, self.seconds = event.steps, event.seconds
            self.losses.append(event.loss)
        elif isinstance(event, Validated):
            self.recalls.append((event.step, event.recall))

    @classmethod
    def of(cls, training) -> "Curves":
        """Return the curves of a finished training."""
        recalls = [(one.step, one.recall) for one in training.validations]
        return cls(training.step, list(training.losses), recalls, training.seconds)


def training_curves(
    curves: Mapping[str, Curves], *, chance: float | None = None, progress: bool = False
):
    """Draw the loss, smoothed, and the recall over the steps, a line for each training.

    Args:
        curves: by name; the names of methods have their colours.
        chance: the recall of who guesses, as a dashed line.
        progress: whether to draw under them how far each training is.

    Returns:
        a matplotlib figure.
    """
    import matplotlib.pyplot as plt

    with style():
        below = 0.2 + 0.2 * len(curves) if progress else 0
        figure = plt.figure(figsize=(9.6, 3.4 + below))
        grid = figure.add_gridspec(
            2 if progress else 1, 2, height_ratios=(3.4, below)[: 1 + progress]
        )
        loss, recall = (figure.add_subplot(grid[0, column]) for column in (0, 1))
        for (name, one), mark in zip(curves.items(), "osD^v*" * 9, strict=False):
            colour = METHOD_COLOURS.get(name)
            loss.plot(range(1, len(one.losses) + 1), _smooth(one.losses), color=colour, label=name)
            at, shares = zip(*one.recalls, strict=True) if one.recalls else ((), ())
            seen = dict(marker=mark, markersize=5, color=colour, label=name, clip_on=False)
            recall.plot(at, shares, **seen)
        if chance is not None:
            recall.axhline(chance, color="#666666", linestyle="--", label="chance")
        last = max((one.steps or 1 for one in curves.values()), default=1)
        loss.set(xlabel="step", ylabel="loss in nats", xlim=(0, last), ylim=(0, None))
        recall.set(xlabel="step", ylabel="share right", xlim=(0, last), ylim=(0, 1.05))
        figure.legend(*recall.get_legend_handles_labels(), loc="outside upper center", ncols=6)
        if progress:
            _draw_progress(figure.add_subplot(grid[1, :]), curves)
    return figure


def recall_far_back(rows: Sequence[Mapping], *, chance: float | None = None):
    """Draw the share right over how many tokens back the answer was told, of the worst seed.

    Args:
        rows: the table ``by_distance`` of ``longctx bench layers``.
        chance: the recall of who guesses, as a dashed line.

    Returns:
        a matplotlib figure, and one line that says where each line ends.
    """
    import matplotlib.pyplot as plt

    worst: dict[str, dict[int, float]] = {}
    for row in rows:
        line = worst.setdefault(row["model"], {})
        line[row["tokens"]] = min(row["share"], line.get(row["tokens"], 1.0))
    with style():
        figure, axes = plt.subplots(figsize=(7.6, 3.6))
        for (name, line), mark in zip(worst.items(), "osD^v*" * 9, strict=False):
            colour = METHOD_COLOURS.get(name, "#444444")
            axes.plot(list(line), list(line.values()), marker=mark, markersize=6, color=colour,
                      label=name)  # fmt: skip
        if chance is not None:
            axes.axhline(chance, color="#666666", linestyle="--", label="chance")
        lengths = sorted({tokens for line in worst.values() for tokens in line})
        axes.set(xscale="log", xlabel="tokens back", ylabel="share right", ylim=(0, 1.05))
        axes.set_xticks(lengths, [f"{tokens:,}" for tokens in lengths])
        axes.set_xticks([], minor=True)
        figure.legend(loc="outside right upper")
    ends = ", ".join(f"{name} {line[lengths[-1]]:.2f}" for name, line in worst.items())
    return figure, f"share right {lengths[-1]:,} tokens back, worst seed: {ends}"


def watch(
    trainings: Mapping[str, Generator],
    description: str | Callable[[Mapping], str],
    *,
    chance: float | None = None,
    every: float = 2.0,
) -> dict:
    """Let trainings take turns, a step each, and show their curves as they grow.

    If this is interrupted, all trainings are closed: those between two steps as if cancelled; one
    cut in the middle of a step keeps the checkpoint of its last validation.

    Args:
        trainings: by name, as ``layers.training.train`` returns them.
        description: one line that says what there is to see in the end; or what makes it of the
            finished trainings. It is printed, and it is the picture's alternative text.
        chance: see ``training_curves``.
        every: seconds between two pictures, at least.

    Returns:
        what each training left, by name.
    """
    curves = {name: Curves() for name in trainings}
    ends: dict = {}
    place = _Place()
    drawn = time.monotonic()
    try:
        while len(ends) < len(trainings):
            for name, events in trainings.items():
                if name not in ends and (end := _one_turn(events, curves[name])) is not None:
                    ends[name] = end
            if time.monotonic() - drawn >= every:
                place.show(training_curves(curves, chance=chance, progress=True), "under way")
                drawn = time.monotonic()
    finally:
        for events in trainings.values():
            events.close()
    said = description if isinstance(description, str) else description(ends)
    place.show(training_curves(curves, chance=chance), said)
    print(f"Figure: {said}")
    return {name: ends[name] for name in trainings}


def _one_turn(events: Generator, curves: Curves):
    """Let a training go on to the end of its next step; return what it left, if that was all."""
    for event in events:
        curves.add(event)
        if isinstance(event, Trained):
            return event.training
        if isinstance(event, Step):
            return None
    raise ValueError("A training ends in Trained; these events ended without it.")


class _Place:
    """One place on the page, whose picture is replaced and never taken away between two."""

    def __init__(self):
        self._handle = None

    def show(self, figure, description: str) -> None:
        import matplotlib.pyplot as plt
        from IPython import get_ipython

        if get_ipython() is not None:
            data = {"image/png": base64.b64encode(png(figure)).decode(), "text/plain": description}
            told = dict(metadata={"image/png": {"alt": description}}, raw=True)
            if self._handle is None:
                from IPython.display import DisplayHandle

                self._handle = DisplayHandle()
                self._handle.display(data, **told)
            else:
                self._handle.update(data, **told)
        plt.close(figure)


def _draw_progress(axes, curves: Mapping[str, Curves]) -> None:
    names = list(curves)
    done = [len(one.losses) / (one.steps or 1) for one in curves.values()]
    axes.barh(names, [1] * len(names), color="#e6e6e6")
    bars = axes.barh(names, done, color=[METHOD_COLOURS.get(name, "#0072B2") for name in names])
    told = [f"{len(one.losses):,} steps, {one.seconds:.0f} s" for one in curves.values()]
    axes.bar_label(bars, told, padding=4, fontsize=10)
    axes.set(xlim=(0, 1), xticks=[])
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _smooth(values: Sequence[float]) -> list[float]:
    """Return a running mean in which older values count less and less."""
    mean, weight, smooth = 0.0, 0.0, []
    for value in values:
        mean = _SMOOTHED * mean + (1 - _SMOOTHED) * value
        weight = _SMOOTHED * weight + (1 - _SMOOTHED)
        smooth.append(mean / weight)
    return smooth
