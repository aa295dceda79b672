"""The training loop of the small models: plain PyTorch, as events, and exact to resume.

AdamW with warm-up and cosine decay, clipped gradients, validation, early stop, checkpoints. The
published methods need none of it: Extended Mind (Klett and Ahle 2024) and Writing in the Margins
(Russak et al. 2024) train nothing. Memorizing Transformers (Wu et al. 2022, section 3) do.
"""

import dataclasses
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from longctx_edu.errors import LongctxError
from longctx_edu.events import Saved, Step, Trained, Validated, returned_by
from longctx_edu.layers.batches import IGNORED, Batch

Draw = Callable[[int, torch.Generator], Batch]
"""Makes documents on the fly: how many, and where chance comes from."""

Read = Callable[[nn.Module, Batch], torch.Tensor]
"""Lets a model read a batch; returns the logits of all its tokens."""

_SCHEMA = "longctx_edu/checkpoint/1"


@dataclass(frozen=True)
class TrainingOptions:
    """How a model is trained; the defaults suit models of some 100,000 weights.

    Attributes:
        steps: of the optimizer, at most; the learning rate ends there.
        documents: read for one step.
        rate: the greatest learning rate.
        warmup: steps in which the rate rises to it.
        last_rate: the rate's share that is left at the end.
        decay: weight decay of the matrices.
        clip: the norm to which a longer gradient is shortened.
        validate_every: steps between validations.
        patience: validations without a better loss before training stops; None: never.
        enough: the recall in validation at which training stops; None: never.
        seed: of the documents, and of all chance inside the model.
    """

    steps: int = 400
    documents: int = 16
    rate: float = 3e-3
    warmup: int = 40
    last_rate: float = 0.1
    decay: float = 0.01
    clip: float = 1.0
    validate_every: int = 50
    patience: int | None = None
    enough: float | None = None
    seed: int = 0

    def __post_init__(self):
        for name in ("steps", "documents", "validate_every"):
            if getattr(self, name) < 1:
                raise LongctxError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("rate", "clip"):
            if not getattr(self, name) > 0:
                raise LongctxError(f"{name} must be above 0, got {getattr(self, name)}.")

    def rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0: up a line, down half a cosine."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        gone = (step - self.warmup) / max(1, self.steps - self.warmup)
        fall = (1 + math.cos(math.pi * min(gone, 1.0))) / 2
        return self.rate * (self.last_rate + (1 - self.last_rate) * fall)


@dataclass(frozen=True)
class Training:
    """What training leaves.

    Attributes:
        model: with the weights of its best validation, or the last ones without validation.
        step: the steps taken.
        stopped: why: "steps", all are taken; "enough" recall; or out of "patience".
        losses: of each step.
        validations: what each found, in order.
        seconds: of all steps, without validation.
        tokens: trained on.
    """

    model: nn.Module
    step: int
    stopped: str
    losses: tuple[float, ...]
    validations: tuple[Validated, ...]
    seconds: float
    tokens: int


def compute_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy, in nats, over the places that have a target.

    The targets are shifted already (see ``next_tokens``); places with ``IGNORED`` do not count.

    Args:
        logits: ``(batch, tokens, vocabulary)``.
        targets: ``(batch, tokens)``.

    Raises:
        LongctxError: for shapes that do not fit, or no target at all, where a mean is undefined.
    """
    if logits.shape[:-1] != targets.shape:
        raise LongctxError(
            f"Each target needs a row of logits, got {tuple(logits.shape)} for targets of "
            f"{tuple(targets.shape)}."
        )
    if not (targets != IGNORED).any():
        raise LongctxError("No place has a target, so there is no loss; draw other documents.")
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORED)


def next_tokens(ids: torch.Tensor) -> torch.Tensor:
    """Return the targets of plain language modelling: at each place the token after it.

    >>> next_tokens(torch.tensor([[5, 6, 7]])).tolist()
    [[6, 7, -100]]
    """
    return torch.cat([ids[:, 1:], torch.full_like(ids[:, :1], IGNORED)], 1)


def read_documents(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Let a model read whole documents; return their logits.

    A plain model reads each segment by itself. A model with memory starts each document with
    none, and what it writes is detached: no gradient flows into an earlier segment, so that a
    step takes no more room for a longer document's past than its keys and values.
    """
    return model.read(batch.ids)


def read_with_margins(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Let a model read each segment with its margins beside it; return the documents' logits."""
    return model.read(batch.ids, batch.margins, margin_padding=batch.margin_padding)


@torch.no_grad()
def answers(
    model: nn.Module, batch: Batch, *, read: Read = read_documents, documents: int = 32
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ask everything that a batch asks, some documents at a time.

    Returns:
        for each question, in the order of the text: whether the most probable token is the right
        one, the loss in nats, and how many tokens back the answer was told; ``(questions,)`` each.
    """
    was_training = model.training
    model.eval()
    found = []
    for start in range(0, len(batch.ids), documents):
        part = batch.documents(slice(start, start + documents))
        asked = part.targets != IGNORED
        logits, targets = read(model, part)[asked].float(), part.targets[asked]
        losses = F.cross_entropy(logits, targets, reduction="none")
        found.append((logits.argmax(-1) == targets, losses, part.distances[asked]))
    model.train(was_training)
    right, losses, distances = (torch.cat(parts) for parts in zip(*found, strict=True))
    return right, losses, distances


def recall_by_segments(
    right: torch.Tensor, distances: torch.Tensor, segment_tokens: int
) -> dict[int, tuple[float, int]]:
    """Return the share of right answers, and their number, by how many segments back they lie.

    0 is less than a segment's length back, 1 from one length to two, and so on.
    """
    back = distances // segment_tokens
    shares = ((one, right[back == one].float()) for one in back.unique().tolist())
    return {one: (float(share.mean()), len(share)) for one, share in shares}


@torch.no_grad()
def staleness(model: nn.Module, ids: torch.Tensor, memory) -> float:
    """Return how far a memory's keys are from those that the weights of today would write.

    A memory that outlives steps of the optimizer holds keys by older weights, and queries by new
    ones are compared with them (Wu et al. 2022, section 3.2). 0 is fresh; it is 1 minus the mean
    cosine of old and new keys.

    Args:
        model: with memory, as ``layers.EMT``.
        ids: the document that the memory was written from, ``(documents, tokens)``, no longer
            than its capacity.
        memory: as ``model.new_memory()``, after it was read.

    Raises:
        LongctxError: if the memory is empty, or holds another number of tokens.
    """
    fresh = model.new_memory()
    model(ids, memory=fresh)
    apart = []
    for number, old in memory.held.items():
        new = fresh.held[number]
        if old is None or new is None or old.key.shape != new.key.shape:
            raise LongctxError(
                "The memory does not hold what these ids would write; let the model read whole "
                "segments of them into a new memory first."
            )
        apart.append(1 - F.cosine_similarity(old.key, new.key, dim=-1).mean())
    if not apart:
        raise LongctxError("This model has no layer with a memory; name one in memory_layers.")
    return float(torch.stack(apart).mean())


def train(
    model: nn.Module,
    draw: Draw,
    *,
    options: TrainingOptions | None = None,
    read: Read = read_documents,
    validation: Batch | None = None,
    checkpoint: str | os.PathLike | None = None,
) -> Generator[Step | Validated | Saved | Trained, None, Training]:
    """Train a model step by step; every step is an event, the last event is ``Trained``.

    Whoever closes the generator, or presses Ctrl-C or stop, cancels without loss: a step under way
    is ended first, the model keeps its weights, and the checkpoint is written. Chance is drawn from
    generators of its own, which are part of a checkpoint, so that training does not depend on what
    else draws numbers, two trainings may take turns, and on a CPU one that goes on from a
    checkpoint is bitwise the one that was never stopped.

    Args:
        model: trained in place, on the device where it lies.
        draw: makes documents on the fly.
        options: how; the defaults if left out.
        read: how the model reads a batch.
        validation: documents that are not for training; without them nothing is validated, and
            neither ``patience`` nor ``enough`` stops training.
        checkpoint: a file, written after each validation and at the end. If it is there
            already, training goes on from it.

    Raises:
        LongctxError: for a checkpoint of other options or another model, or if the loss is no
            finite number; the last checkpoint stays.
    """
    options = options or TrainingOptions()
    path = None if checkpoint is None else Path(checkpoint)
    state = _State(model, options)
    if path is not None and path.exists():
        state.load(path)
    try:
        while True:
            if validation is not None and state.is_validation_due():
                yield state.validate(validation, read)
                if path is not None:
                    yield state.save(path)
            stopped = state.reason_to_stop()
            if stopped:
                break
            with _undisturbed():
                step = state.take_step(draw, read)
            yield step
    except (GeneratorExit, KeyboardInterrupt):  # between two steps, where all of the state agrees
        if path is not None:
            state.save(path)
        raise
    if path is not None:
        yield state.save(path)
    training = state.finish(stopped)
    yield Trained(training)
    return training


def train_emt_model(model: nn.Module, draw: Draw, **how) -> Training:
    """Train a model with memory, or a plain one, on whole documents; see ``train``.

    Raises:
        LongctxError: as ``train``.
    """
    return returned_by(train(model, draw, read=read_documents, **how))


def train_wim_model(model: nn.Module, draw: Draw, **how) -> Training:
    """Train a model that reads each segment with margins beside it; see ``train``.

    The margins are given, as text. A margin that the model writes itself is sampled, and no
    gradient passes through a sample.

    Raises:
        LongctxError: as ``train``.
    """
    return returned_by(train(model, draw, read=read_with_margins, **how))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let a keyboard interrupt wait for the end of the block; it comes in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


@dataclass
class _State:
    """All that the next step depends on, and the curves so far."""

    model: nn.Module
    options: TrainingOptions
    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    losses: list[float] = field(default_factory=list)
    validations: list[Validated] = field(default_factory=list)
    best: dict[str, torch.Tensor] | None = None

    def __post_init__(self):
        self.optimizer = _adamw(self.model, self.options)
        self.documents = torch.Generator().manual_seed(self.options.seed)
        # What dropout would draw from; a copy, so that the global generator is left alone.
        self.chance = torch.Generator().manual_seed(self.options.seed).get_state()

    def take_step(self, draw: Draw, read: Read) -> Step:
        began = time.perf_counter()
        rate = self.options.rate_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = draw(self.options.documents, self.documents).to(_device(self.model))
        self.model.train()
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.chance)
            loss = compute_loss(read(self.model, batch), batch.targets)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.chance = torch.get_rng_state()
        if not math.isfinite(value := loss.item()):
            raise LongctxError(
                f"The loss of step {self.step + 1} is {value}; lower the rate "
                f"({self.options.rate:g}) or lengthen the warm-up ({self.options.warmup})."
            )
        gradient = nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        self.optimizer.step()
        self.step += 1
        self.tokens += batch.tokens
        self.losses.append(value)
        self.seconds += time.perf_counter() - began
        return Step(self.step, self.options.steps, value, rate, float(gradient), batch.tokens,
                    self.seconds)  # fmt: skip

    def is_validation_due(self) -> bool:
        last = self.validations[-1].step if self.validations else 0
        due = self.step % self.options.validate_every == 0 or self.step == self.options.steps
        return due and self.step > last

    def validate(self, batch: Batch, read: Read) -> Validated:
        right, losses, _ = answers(self.model, batch.to(_device(self.model)), read=read)
        found = Validated(self.step, float(losses.mean()), float(right.float().mean()))
        if found.loss < min((one.loss for one in self.validations), default=math.inf):
            self.best = {name: x.clone() for name, x in self.model.state_dict().items()}
        self.validations.append(found)
        return found

    def reason_to_stop(self) -> str | None:
        enough, patience = self.options.enough, self.options.patience
        if enough is not None and self.validations and self.validations[-1].recall >= enough:
            return "enough"
        losses = [one.loss for one in self.validations]
        if patience and losses and len(losses) - 1 - losses.index(min(losses)) >= patience:
            return "patience"
        return "steps" if self.step >= self.options.steps else None

    def finish(self, stopped: str) -> Training:
        if self.best is not None:
            self.model.load_state_dict(self.best)
        return Training(
            model=self.model,
            step=self.step,
            stopped=stopped,
            losses=tuple(self.losses),
            validations=tuple(self.validations),
            seconds=self.seconds,
            tokens=self.tokens,
        )

    def save(self, path: Path) -> Saved:
        """Write the state beside the file and put it in its place, so that none is half written."""
        part = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(self._content(), part)
            os.replace(part, path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as the latter
            part.unlink(missing_ok=True)
            raise LongctxError(
                f"The checkpoint could not be written to {path} ({error}); free the disk or choose "
                "another folder."
            ) from error
        return Saved(self.step, path)

    def load(self, path: Path) -> None:
        """Go on from a file; only numbers and tensors are read from it, never code."""
        start_anew = "remove it to start anew, or name another file"
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            schema = content["schema"]
        except Exception as error:  # torch has no one exception for a damaged file
            raise LongctxError(f"{path} is no checkpoint of this course; {start_anew}.") from error
        if schema != _SCHEMA:
            raise LongctxError(f"{path} has the schema {schema!r}, not {_SCHEMA!r}; {start_anew}.")
        for name, mine in self._identity().items():
            if content[name] != mine:
                raise LongctxError(
                    f"{path} was written with {name} = {content[name]}, and this training has "
                    f"{mine}; {start_anew}."
                )
        if missing := sorted(self._content().keys() - content.keys()):
            raise LongctxError(f"{path} lacks {', '.join(missing)}; {start_anew}.")
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.documents.set_state(content["documents"])
        self.chance, self.best = content["chance"], content["best"]
        self.step, self.seconds, self.tokens = (content[x] for x in ("step", "seconds", "tokens"))
        self.losses = content["losses"]
        self.validations = [Validated(**one) for one in content["validations"]]

    def _identity(self) -> dict:
        """Return what must be the same for training to go on."""
        config = getattr(self.model, "config", None)
        named = dataclasses.asdict(config) if dataclasses.is_dataclass(config) else None
        return {"options": dataclasses.asdict(self.options), "config": _plain(named)}

    def _content(self) -> dict:
        return {
            "schema": _SCHEMA,
            **self._identity(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "documents": self.documents.get_state(),
            "chance": self.chance,
            "best": self.best,
            "step": self.step,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "losses": self.losses,
            "validations": [dataclasses.asdict(one) for one in self.validations],
        }


def _adamw(model: nn.Module, options: TrainingOptions) -> torch.optim.AdamW:
    """Return the optimizer; vectors, such as scales of norms and gates, do not decay."""
    weights = [one for one in model.parameters() if one.requires_grad]
    groups = [
        {"params": [one for one in weights if one.ndim >= 2], "weight_decay": options.decay},
        {"params": [one for one in weights if one.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98))


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _plain(value):
    """Return tuples as lists, as a file gives them back."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
