"""What a task is made of: an item to be asked, its controls, and the registry of tasks.

A task writes a text in which something can be found, and questions whose answers are known by
construction. How the text gets its length is in ``fitting``; how answers are scored is not here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from longctx_edu.errors import LongctxError
from longctx_edu.text import Citation, Document

TASKS = {
    "facts": "longctx_edu.evaluation.tasks.facts:Facts",
    "needle": "longctx_edu.evaluation.tasks.needles:Needle",
    "needles-everywhere": "longctx_edu.evaluation.tasks.needles:NeedlesEverywhere",
    "kv-list": "longctx_edu.evaluation.tasks.pairs:KeyValueList",
    "multi-value": "longctx_edu.evaluation.tasks.values:MultiValue",
    "var-trace": "longctx_edu.evaluation.tasks.variables:VariableTrace",
    "common-words": "longctx_edu.evaluation.tasks.words:CommonWords",
    "freq-words": "longctx_edu.evaluation.tasks.frequencies:FrequentWords",
    "moves": "longctx_edu.evaluation.tasks.moves:Moves",
    "docs-qa": "longctx_edu.evaluation.tasks.passages:DocumentQuestions",
    "copy-ppl": "longctx_edu.evaluation.tasks.copying:Copying",
    "stream-ppl": "longctx_edu.evaluation.tasks.streams:Stream",
    "second-question": "longctx_edu.evaluation.tasks.second:SecondQuestion",
}
TASK_NAMES = tuple(TASKS)
LIKELIHOOD_TASKS = ("copy-ppl", "stream-ppl")
"""Tasks whose score is the log-probability of ``gold[0]``, in nats a token, and not recall."""


@dataclass(frozen=True)
class Controls:
    """What an item is worth without the text, and without the length.

    Attributes:
        floor: the same documents with everything that gives an answer away taken out. A model
            that is right here is guessing, or knew it before (a closed book).
        ceiling: only the sentences that are needed. A model that is wrong here cannot do the
            task at any length (an oracle found the place for it).
    """

    floor: tuple[Document, ...]
    ceiling: tuple[Document, ...]


@dataclass(frozen=True)
class Item:
    """One question with a known answer.

    Attributes:
        task: the task's name.
        seed: the seed that it was generated from.
        documents: the text to read. Items that follow one another may share one and the same
            documents, so that one prefill serves several questions.
        question: in words.
        answer_prefix: the answer's first words, to be put into the model's mouth.
        gold: all strings that a complete answer holds, in the order of the text. The tasks of
            ``LIKELIHOOD_TASKS`` ask how probable ``gold[0]`` is, a line or more, not for recall.
        candidates: ``gold[0]`` and other answers of the same kind that are not right, to rank it
            among; where in the row it stands is drawn at random.
        gold_spans: the places of the documents' text that are needed, and no others.
        controls: texts for the floor and the ceiling.
    """

    task: str
    seed: int
    documents: tuple[Document, ...]
    question: str
    answer_prefix: str
    gold: tuple[str, ...]
    candidates: tuple[str, ...]
    gold_spans: tuple[Citation, ...]
    controls: Controls

    @property
    def document_ids(self) -> tuple[str, ...]:
        """The ids of what is read; items that share them are not independent of one another."""
        return tuple(document.id for document in self.documents)


def generate(
    task: str, length_tokens: int, n: int, seed: int, tokenizer, *, difficulty: Any = None
) -> list[Item]:
    """Make ``n`` items whose documents have ``length_tokens`` tokens, or a few less.

    What is asked depends on task, seed and difficulty, not on the length: the same questions come
    at every length, so that lengths, methods and models can be compared in pairs.

    Args:
        task: one of ``TASK_NAMES``.
        length_tokens: tokens of an item's documents. Question and chat template come on top.
        n: number of items. They come document by document, several questions to each where the
            task allows.
        seed: items of another seed are other items.
        tokenizer: the tokenizer of the model that will read them.
        difficulty: an instance of ``difficulty_of(task)``; by default one for a small model. How
            hard that is for the embedded one, ``evaluation.calibration`` measures.

    Raises:
        LongctxError: for an unknown task, n < 1, a difficulty of another task, or a length that
            cannot hold the task or is longer than all the text there is.
    """
    kind = _task(task)
    chosen = kind() if difficulty is None else difficulty
    if type(chosen) is not kind:
        raise LongctxError(
            f"The difficulty of {task!r} is a {kind.__name__}, but this is a "
            f"{type(chosen).__name__}; make one with difficulty_of({task!r})(...)."
        )
    if n < 1:
        raise LongctxError(f"n is the number of items and at least 1, but {n} was given.")
    items: list[Item] = []
    while len(items) < n:
        items += chosen.items(length_tokens, seed, len({i.document_ids for i in items}), tokenizer)
    return items[:n]


def difficulty_of(task: str) -> type:
    """Return the frozen dataclass whose fields say how hard ``task`` is; its defaults teach."""
    return _task(task)


def by_document(items: Sequence[Item]) -> list[list[Item]]:
    """Group items that share their documents, in order."""
    groups: dict[tuple[Document, ...], list[Item]] = {}
    for item in items:
        groups.setdefault(item.documents, []).append(item)
    return list(groups.values())


def _task(name: str) -> Callable:
    if name not in TASKS:
        raise LongctxError(f"There is no task {name!r}; choose one of {', '.join(TASK_NAMES)}.")
    module, kind = TASKS[name].split(":")
    return getattr(import_module(module), kind)
