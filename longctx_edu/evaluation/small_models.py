"""The recipes by which the small models are trained and asked: a short one, and a recorded one.

Plain, with memory, with margins: equal sizes (within 5 %), equal steps, equal documents. Then
what is asked of them far beyond what they were trained on. Nothing here is a verdict.
"""

import zlib
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from longctx_edu import layers
from longctx_edu.evaluation.tasks import symbols
from longctx_edu.evaluation.tasks.symbols import AssociativeRecall, KeyValueLookup, Symbols
from longctx_edu.layers import (
    EMT,
    Batch,
    EMTConfig,
    TinyConfig,
    TinyLM,
    TrainingOptions,
    WiMConfig,
    WiMTransformer,
    answers,
    read_documents,
    read_with_margins,
    train,
)

KINDS = ("plain", "memory", "margins")
_TESTED, _VALIDATED = 3, 2  # seeds of documents; training draws from seeds of its own
_SEEDS_APART = 100


class Ablation(NamedTuple):
    """A model trained or asked with one thing taken away.

    Attributes:
        name: what is taken away.
        kind: of the model.
        trained: whether it was trained so; else it is asked so, after ordinary training.
        changes: options of its config, where it was trained with others.
    """

    name: str
    kind: str
    trained: bool
    changes: tuple[tuple[str, object], ...] = ()


ABLATIONS = (
    Ablation("nothing is written", "memory", trained=False),
    Ablation("one key a query", "memory", trained=False),
    Ablation("every key", "memory", trained=False),
    Ablation("no margins", "margins", trained=False),
    Ablation("margins of another text", "margins", trained=False),
    Ablation("every key", "memory", trained=True, changes=(("top_k", 10**6),)),
    Ablation("a gate, not one softmax", "memory", trained=True, changes=(("joining", "gate"),)),
    Ablation("margins of another text", "margins", trained=True),
)


@dataclass(frozen=True)
class Recipe:
    """How models are trained side by side.

    Attributes:
        task: what they are trained on.
        options: how, the same for all.
        memory, size: options of ``EMTConfig``, and of every config.
    """

    task: AssociativeRecall
    options: TrainingOptions
    memory: tuple[tuple[str, object], ...] = ()
    size: tuple[tuple[str, object], ...] = ()

    def model(self, kind: str, *, seed: int, **changes) -> TinyLM:
        """Return a new model; of one seed all kinds draw their weights from the same numbers.

        Args:
            kind: one of ``KINDS``.
            seed: of the weights.
            changes: options of its config that differ from the recipe's.
        """
        own = dict(self.size) | {
            "vocabulary": self.task.symbols.size,
            "segment_tokens": self.task.segment_tokens,
        }
        if kind == "memory":
            own |= dict(self.memory)
        make, config = _MAKES[kind]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make(config(**own | changes))

    def training(
        self, kind: str, *, seed: int, strange: bool = False, checkpoint: Path | None = None,
        **changes,
    ) -> Generator:  # fmt: skip
        """Return the events of one training; see ``layers.train``.

        Args:
            kind, seed, changes: as for ``model``; the seed is the documents', too.
            strange: whether margins are those of another document.
            checkpoint: as for ``layers.train``.
        """

        def draw(documents: int, generator: torch.Generator) -> Batch:
            batch = self.task.draw(documents, generator)
            return batch.with_strange_margins() if strange else batch

        generator = torch.Generator().manual_seed(_VALIDATED)
        validation = self.task.draw(32, generator, split="validation")
        return train(
            self.model(kind, seed=seed, **changes),
            draw,
            options=replace(self.options, seed=_SEEDS_APART + seed),
            read=READ[kind],
            validation=validation.with_strange_margins() if strange else validation,
            checkpoint=checkpoint,
        )

    def far(self, segments_back: int, *, documents: int = 64) -> Batch:
        """Return test documents that ask for what was told so many segments before."""
        lookup = KeyValueLookup(
            segment_tokens=self.task.segment_tokens,
            segments=segments_back + 1,
            symbols=self.task.symbols,
            pairs=self.task.pairs,
            asked=min(self.task.pairs, 4),
            notes=self.task.notes,
        )
        generator = torch.Generator().manual_seed(_TESTED)
        return lookup.draw(documents, generator, split="test")

    @property
    def chance(self) -> float:
        return self.task.chance


WHOLE = "plain, whole text"
"""The plain model, asked with all of the document in its window: what memory does without."""

READ = {
    "plain": read_documents,
    "memory": read_documents,
    "margins": read_with_margins,
    WHOLE: lambda model, batch: model(batch.ids),
}
_MAKES = {
    "plain": (TinyLM, TinyConfig),
    "memory": (EMT, EMTConfig),
    "margins": (WiMTransformer, WiMConfig),
}
_TASK = AssociativeRecall(segments=3, pairs=6, near=2, far=2, symbols=Symbols(keys=128))
LIVE = Recipe(
    task=_TASK,
    options=TrainingOptions(steps=60, documents=16, warmup=20, last_rate=0.0, validate_every=10),
)
"""What a notebook trains while one looks on."""

RECORDED = Recipe(
    task=_TASK,
    options=TrainingOptions(steps=300, documents=16, warmup=20, last_rate=0.0, validate_every=10),
)
"""What claims rest on: ``longctx bench layers --record``."""


def share_right(kind: str, model: nn.Module, batch: Batch) -> float:
    """Return the share of a batch's questions to which a model's most probable token is right."""
    right, _, _ = answers(model, batch, read=READ[kind])
    return float(right.float().mean())


def without(ablation: Ablation, model: TinyLM, batch: Batch) -> float:
    """Return the share right of a trained model that is asked with one thing taken away."""
    match ablation.name:
        case "nothing is written":
            right, _, _ = answers(model, batch, read=lambda m, b: m.read(b.ids, remember=False))
            return float(right.float().mean())
        case "one key a query":
            return share_right(ablation.kind, reading_keys(model, 1), batch)
        case "every key":
            return share_right(ablation.kind, reading_keys(model, batch.ids.shape[1]), batch)
        case "no margins":
            return share_right(ablation.kind, model, batch.without_margins())
        case "margins of another text":
            return share_right(ablation.kind, model, batch.with_strange_margins())
    raise ValueError(f"There is no ablation {ablation.name!r}; see ABLATIONS.")


def reading_keys(model: EMT, keys: int) -> EMT:
    """Return a model of the same weights that reads another number of keys for a query."""
    other = EMT(replace(model.config, top_k=keys))
    other.load_state_dict(model.state_dict())
    return other


def by_distance(kind: str, model: nn.Module, recipe: Recipe, back: Iterable[int]) -> list[dict]:
    """Return rows of the share right by how many segments back the answer was told.

    Args:
        kind: how the model reads, one of ``READ``.
    """
    rows = []
    for segments_back in back:
        share = share_right(kind, model, recipe.far(segments_back))
        tokens = segments_back * recipe.task.segment_tokens
        rows.append({"segments_back": segments_back, "tokens": tokens, "share": share})
    return rows


def source_fingerprint(recipe: Recipe) -> str:
    """Return eight letters that change with the recipe, the models, the loop or the tasks."""
    files = sorted(Path(layers.__file__).parent.glob("*.py"))
    files += [Path(symbols.__file__), Path(__file__)]
    state = zlib.crc32(repr(recipe).encode())
    for file in files:
        state = zlib.crc32(file.read_bytes(), state)
    return f"{state:08x}"
