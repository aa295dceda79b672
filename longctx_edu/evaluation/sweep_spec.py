"""What a sweep measures: models, methods, tasks and lengths, and the cells that they make.

A cell is one document read by one method; all questions about it are asked of that one reading
(one context, many questions). Nothing here reads a document or loads a model.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks import LIKELIHOOD_TASKS, TASK_NAMES, difficulty_of
from longctx_edu.readers.interface import METHOD_NAMES, options_for

DTYPES = ("float32", "bfloat16", "float16")
"""Names of the types that a sweep's weights may have."""

_SPECS = Path(__file__).with_name("specs")


@dataclass(frozen=True)
class Cell:
    """One document, read by one method of one model.

    Attributes:
        model: a name or folder for ``models.load``.
        method: one of ``readers.METHOD_NAMES``.
        task: one of ``tasks.TASK_NAMES``.
        length: tokens of the document.
        document: its number, from 0.
        questions: how many of its questions are asked; None for all.
    """

    model: str
    method: str
    task: str
    length: int
    document: int
    questions: int | None = None

    def __str__(self) -> str:
        return f"{self.method} on {self.task}, {self.length:,} tokens, document {self.document}"


@dataclass(frozen=True)
class Part:
    """Tasks at lengths, with as many documents each.

    Attributes:
        tasks: names of tasks.
        lengths: tokens of the documents.
        documents: how many of each task and length.
        questions: the most questions to ask about a document; None for all that the task has.
            They are taken evenly from the text, other ones of each document.
        methods: those of the sweep if None.
    """

    tasks: tuple[str, ...]
    lengths: tuple[int, ...]
    documents: int
    questions: int | None = None
    methods: tuple[str, ...] | None = None

    def __post_init__(self):
        asked = tuple(name for name in TASK_NAMES if name not in LIKELIHOOD_TASKS)
        _chosen("task that can be asked by every method", self.tasks, asked)
        if self.methods is not None:
            _chosen("method", self.methods, METHOD_NAMES)
        if not self.lengths:
            raise LongctxError("A part of a sweep has no lengths; give lengths = [512, 2048].")
        for name, count in (
            ("documents", self.documents),
            ("questions", 1 if self.questions is None else self.questions),
            *(("a length", length) for length in self.lengths),
        ):
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise LongctxError(
                    f"In a sweep, {name} is a whole number of at least 1, got {count!r}."
                )


@dataclass(frozen=True)
class Sweep:
    """All that decides what a sweep measures.

    Attributes:
        name: what it is called.
        parts: tasks, lengths and numbers of documents.
        models: names or folders for ``models.load``.
        dtype: of their weights, by its name in PyTorch; that of ``models.load`` if None.
        methods: how documents are read.
        seed: of the items; every length, method and model gets the same questions.
        likelihood: whether the method plain also scores the gold answers' log-probabilities.
        options: of methods, by the method's name.
        difficulties: of tasks, by the task's name; those that are left out have their default.
    """

    name: str
    parts: tuple[Part, ...]
    models: tuple[str, ...] = ("embedded",)
    dtype: str | None = None
    methods: tuple[str, ...] = METHOD_NAMES
    seed: int = 2
    likelihood: bool = False
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    difficulties: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self):
        _chosen("method", self.methods, METHOD_NAMES)
        if not self.models or not self.parts:
            raise LongctxError(
                "A sweep needs at least one model and one part with tasks, lengths and documents."
            )
        if self.dtype not in (None, *DTYPES):
            raise LongctxError(
                f"In a sweep, dtype is one of {', '.join(DTYPES)}, got {self.dtype!r}."
            )
        for method, options in self.options.items():
            options_for(method, **options)
        for task in self.difficulties:
            self.difficulty(task)
        seen: set[Cell] = set()
        for cell in self.cells:
            same = replace(cell, questions=None)
            if same in seen:
                raise LongctxError(f"The sweep {self.name!r} asks for one cell twice: {cell}.")
            seen.add(same)

    def difficulty(self, task: str):
        """Return the difficulty of a task, as ``tasks.generate`` takes it.

        Raises:
            LongctxError: for an unknown task, or a difficulty that it does not have.
        """
        kind, chosen = difficulty_of(task), self.difficulties.get(task, {})
        names = [one.name for one in fields(kind)]
        for name in chosen:
            if name not in names:
                raise LongctxError(
                    f"The task {task!r} has no difficulty {name!r}; it has {', '.join(names)}."
                )
        return kind(**chosen)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells in the order of the work: every square of the map gets its first document,
        then its second; methods that read the same document follow one another."""
        return tuple(self._cells())

    def _cells(self) -> Iterator[Cell]:
        for model in self.models:
            for document in range(max(part.documents for part in self.parts)):
                for part in self.parts:
                    if document >= part.documents:
                        continue
                    for length in part.lengths:
                        for task in part.tasks:
                            for method in part.methods or self.methods:
                                yield Cell(model, method, task, length, document, part.questions)

    def as_dict(self) -> dict[str, Any]:
        """Return the spec as plain values; ``sweep_of`` reads them back."""
        return json.loads(json.dumps(asdict(self)))

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits; equal for equal specs."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the cells out: whoever gets the sweep can make them again."""
        return {name: value for name, value in vars(self).items() if name != "cells"}


def sweep_of(content: Mapping[str, Any], *, name: str = "sweep") -> Sweep:
    """Make a sweep of the plain values of a spec.

    Args:
        content: the attributes of ``Sweep``; ``parts`` a list of those of ``Part``.
        name: for a spec that has none.

    Raises:
        LongctxError: for an unknown key or name, a missing one, or a value of the wrong kind.
    """
    content = {"name": name, **content}
    _known("A sweep", content, Sweep)
    parts = content.get("parts")
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        raise LongctxError(
            "A sweep needs parts, such as [[parts]] with tasks, lengths and documents in TOML."
        )
    for part in parts:
        _known("A part of a sweep", part, Part)
    content["parts"] = tuple(Part(**_with_tuples(part)) for part in parts)
    return Sweep(**_with_tuples(content))


def read_spec(path: str | Path) -> Sweep:
    """Read a sweep from a TOML or JSON file, or one that comes with the course, by its name.

    Raises:
        LongctxError: if there is no such file, or it is no sweep.
    """
    path = Path(path)
    if str(path) in spec_names():
        path = _SPECS / f"{path}.toml"
    reads = {".toml": tomllib.loads, ".json": json.loads}.get(path.suffix)
    if reads is None or not path.is_file():
        raise LongctxError(
            f"There is no sweep {str(path)!r}; give a .toml or .json file, or one of those that "
            f"come with the course: {', '.join(spec_names())}."
        )
    try:
        content = reads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LongctxError(f"{path} cannot be read as {path.suffix[1:]}: {error}.") from error
    if not isinstance(content, Mapping):
        raise LongctxError(f"{path} is no sweep: it holds a {type(content).__name__}, not a table.")
    return sweep_of(content, name=path.stem)


def spec_names() -> list[str]:
    """Return the names of the sweeps that come with the course."""
    return sorted(path.stem for path in _SPECS.glob("*.toml"))


def _known(what: str, content: Mapping[str, Any], kind: type) -> None:
    names = [one.name for one in fields(kind)]
    for name in content:
        if name not in names:
            raise LongctxError(f"{what} has no {name!r}; it has {', '.join(names)}.")
    if kind is Part:
        for name in ("tasks", "lengths", "documents"):
            if name not in content:
                raise LongctxError(f"A part of a sweep needs {name}, and one has none.")


def _with_tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with tuples in place of lists, and refuse a name where several belong."""
    values = {key: tuple(one) if isinstance(one, list) else one for key, one in content.items()}
    for name in ("models", "methods", "tasks", "lengths"):
        if name in values and values[name] is not None and not isinstance(values[name], tuple):
            raise LongctxError(f"In a sweep, {name} is a list, got {values[name]!r}.")
    for name in ("options", "difficulties"):
        inner = values.get(name, {})
        if not isinstance(inner, Mapping) or not all(
            isinstance(v, Mapping) for v in inner.values()
        ):
            raise LongctxError(f"In a sweep, {name} is a table of tables, got {inner!r}.")
    return values


def _chosen(what: str, names: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    if not names:
        raise LongctxError(f"A sweep has no {what}; choose from {', '.join(allowed)}.")
    for name in names:
        if name not in allowed:
            raise LongctxError(f"There is no {what} {name!r}; choose from {', '.join(allowed)}.")
