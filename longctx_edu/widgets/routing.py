"""Who sends how much to whom, step after step: tokens to experts, heads to parts of a memory.

``RoutingView`` draws any routing (``longctx_edu.routing``) as bands or as cells; a slider goes
through iterations or layers. A band says what is sent, not what comes of it. The static twin is
in ``routing_picture``.
"""

from collections.abc import Sequence

import numpy as np
import traitlets

from longctx_edu.errors import LongctxError
from longctx_edu.widgets.base import View
from longctx_edu.widgets.routing_picture import draw
from longctx_edu.widgets.units import percent

NONE = -1
MOST_WEIGHTS = 200_000
MOST_BANDS = 32
"""Senders that are drawn as bands unless asked otherwise; more are cells."""


class RoutingView(View):
    """What senders send to receivers, in one or several steps.

    Point at a band, a cell or a name, or use the arrow keys there; a click or Enter keeps it in
    ``sender`` and ``receiver``, which can also be set from Python. ``[`` and ``]`` go from step
    to step.

    >>> view = RoutingView([[0.9, 0.1], [0.2, 0.0]], senders=["a", "b"], receivers=["x", "y"])
    >>> print(view.describe())
    routing of 2 senders to 2 receivers: x gets most, 92 % of all that is sent; 2 of 2 send it \
most of theirs

    Args:
        weights: what each sends to each, from 0 to 1 and up to 1 for a sender in all:
            ``(steps, senders, receivers)``, or without steps; an array, or a tensor.
        senders: a name for each, such as tokens or heads.
        receivers: likewise, such as experts or passages.
        texts: words under the name of each receiver; none by default.
        steps: a name for each step; numbers from 0 by default.
        step_name: what a step is, such as "iteration" or "layer".
        step: shown first.
        form: ``bands`` or ``cells``; by the number of senders unless given.
        scale: of the cells' colours: ``linear``, or ``mass``, each step the same ratio.
        theme: ``auto``, ``light`` or ``dark``.

    Raises:
        LongctxError: if names and weights do not fit together, a sender sends more than it has,
            or there are more than ``MOST_WEIGHTS`` weights.
        traitlets.TraitError: for a step, sender or receiver that there is not.
    """

    _part = "routing"

    weights = traitlets.Bytes().tag(sync=True)  # float32 (steps, senders, receivers)
    senders = traitlets.List(traitlets.Unicode()).tag(sync=True)
    receivers = traitlets.List(traitlets.Unicode()).tag(sync=True)
    texts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    steps = traitlets.List(traitlets.Unicode()).tag(sync=True)
    step_name = traitlets.Unicode().tag(sync=True)
    step = traitlets.Int(0).tag(sync=True)
    sender = traitlets.Int(NONE).tag(sync=True)
    receiver = traitlets.Int(NONE).tag(sync=True)
    form = traitlets.Enum(["bands", "cells"], default_value="bands").tag(sync=True)
    scale = traitlets.Enum(["linear", "mass"], default_value="linear").tag(sync=True)

    def __init__(
        self,
        weights,
        *,
        senders: Sequence[str],
        receivers: Sequence[str],
        texts: Sequence[str] = (),
        steps: Sequence[str] | None = None,
        step_name: str = "step",
        step: int = 0,
        form: str | None = None,
        scale: str = "linear",
        theme: str = "auto",
    ):
        self._sent = _three_axes(weights)
        names = [str(n) for n in range(len(self._sent))] if steps is None else list(steps)
        _assert_fits(self._sent, names, senders, receivers, texts)
        super().__init__(
            weights=self._sent.tobytes(),
            senders=list(senders),
            receivers=list(receivers),
            texts=list(texts),
            steps=names,
            step_name=step_name,
            step=self._existing_place("step", step),
            form=form or ("bands" if len(senders) <= MOST_BANDS else "cells"),
            scale=scale,
            theme=theme,
        )

    @property
    def sent(self) -> np.ndarray:
        """What each sends to each in the step that is shown, ``(senders, receivers)``."""
        return self._sent[self.step]

    @traitlets.validate("step", "sender", "receiver")
    def _existing(self, proposal):
        return self._existing_place(proposal["trait"].name, proposal["value"])

    def _existing_place(self, name: str, value: int) -> int:
        axis = ("step", "sender", "receiver").index(name)
        least, count = (0 if axis == 0 else NONE), self._sent.shape[axis]
        if not least <= value < count:
            raise traitlets.TraitError(
                f"{name} is {value}, but there are {count}: choose from {least} to {count - 1}"
                f"{', where -1 is none' if least else ''}."
            )
        return value

    def describe(self) -> str:
        """Say who gets most in the step that is shown."""
        sent = self.sent
        where = f"routing of {len(self.senders)} senders to {len(self.receivers)} receivers"
        if len(self.steps) > 1:
            where += f", {self.step_name} {self.steps[self.step]}"
        load = loads(sent)
        if not load.any():
            return f"{where}: nothing is sent"
        best, chosen = int(load.argmax()), choices(sent)
        words = (
            f"{where}: {self.receivers[best]} gets most, {percent(load[best])} of all that is sent;"
            f" {(chosen == best).sum()} of {len(chosen)} send it most of theirs"
        )
        none = int((chosen == NONE).sum())
        return f"{words}; {none} send nothing" if none else words

    def picture(self):
        """Draw the step that is shown, with the load of each receiver."""
        return draw(
            self.sent,
            senders=self.senders,
            receivers=self.receivers,
            title=f"{self.step_name} {self.steps[self.step]}" if len(self.steps) > 1 else "",
            form=self.form,
            scale=self.scale,
            most=float(self._sent.max(initial=0)) or 1.0,
            load=loads(self.sent),
            selected=(self.sender, self.receiver),
        )


def loads(sent: np.ndarray) -> np.ndarray:
    """Return each receiver's share of all that is sent; zeros where nothing is."""
    total = sent.sum(dtype=np.float64)
    return sent.sum(axis=0, dtype=np.float64) / (total or 1.0)


def choices(sent: np.ndarray) -> np.ndarray:
    """Return the receiver that each sender sends most, the first of equals; -1 for none."""
    return np.where(sent.max(axis=1) > 0, sent.argmax(axis=1), NONE)


def _three_axes(weights) -> np.ndarray:
    found = np.asarray(weights.detach().cpu() if hasattr(weights, "detach") else weights)
    found = np.ascontiguousarray(found, dtype="<f4")
    found = found[None] if found.ndim == 2 else found
    if found.ndim != 3 or 0 in found.shape:
        raise LongctxError(
            "weights are (steps, senders, receivers) or (senders, receivers), one of each at "
            f"least; got the shape {found.shape}."
        )
    if found.size > MOST_WEIGHTS:
        raise LongctxError(
            f"This view holds up to {MOST_WEIGHTS:,} weights, and these are {found.size:,}; "
            "choose some steps, or fewer senders."
        )
    if not (found >= 0).all() or not (found.sum(axis=2) <= 1.001).all():
        raise LongctxError(
            "A sender sends no less than 0 and no more than 1 in all; give shares, such as "
            "couplings, gates or attention."
        )
    return found


def _assert_fits(sent: np.ndarray, steps, senders, receivers, texts) -> None:
    given = {"steps": steps, "senders": senders, "receivers": receivers}
    for (name, names), count in zip(given.items(), sent.shape, strict=True):
        if len(names) != count:
            raise LongctxError(
                f"The weights have {count} {name}, but {len(names)} names are given for them."
            )
    if texts and len(texts) != sent.shape[2]:
        raise LongctxError(
            f"There are {sent.shape[2]} receivers and {len(texts)} texts; give one for each."
        )
