"""Questions on code whose answers are known: what stands in a signature.

Names of parameters and their default values, read off the source itself (``ast``), so that they
are right for whatever version of Python is read. Answers are short and cannot be guessed from the
question alone, but a model may know the standard library by heart: the floor says how far.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from longctx_edu.applications.code_reading import Definition, definitions
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks import Controls, Item
from longctx_edu.text import Citation, Document

_CANDIDATES = 6


def code_items(documents: Sequence[Document], n: int, seed: int) -> list[Item]:
    """Return questions on the second or a later parameter of functions in Python files.

    The answer's prefix is the signature up to there, so that the model writes code. Score them
    with ``scoring.score``; ``gold_spans`` is the signature, which a citation should overlap.

    Args:
        documents: Python files, as ``applications.source_files`` returns them.
        n: how many; each asks for another function.
        seed: draws functions and parameters.

    Raises:
        LongctxError: if there are fewer functions that can be asked for.
        DocumentError: for a file that is no Python.
    """
    files = {one.id: one for one in documents}
    every = [one for document in documents for one in definitions(document)]
    names = [one.name for one in every]
    # Asked for by name, a function must be the only one of it; "self" and "cls" are no answers.
    asked = [
        one
        for one in every
        if one.kind == "function" and names.count(one.name) == 1 and _askable(one)
    ]
    if not 1 <= n <= len(asked):
        raise LongctxError(
            f"These files have {len(asked)} functions that can be asked for, but n={n}; choose a "
            "larger package or fewer questions."
        )
    draw = random.Random(f"code-{seed}")
    chosen = draw.sample(asked, n)
    others = sorted({name for one in every for name in one.parameters} - {"self", "cls"})
    return [_item(one, files, others, draw, seed) for one in chosen]


def _askable(one: Definition) -> list[int]:
    """Return the numbers of the parameters that can be asked for: not the first one shown."""
    first = 2 if one.parameters[:1] in (("self",), ("cls",)) else 1
    return [n for n in range(first, len(one.parameters)) if not one.parameters[n].startswith("_")]


def _item(one: Definition, files: dict, others: Sequence[str], draw, seed: int) -> Item:
    place = draw.choice(_askable(one))
    gold, shown = one.parameters[place], one.parameters[:place]
    wrong = [name for name in others if name not in one.parameters]
    candidates = [gold, *draw.sample(wrong, min(_CANDIDATES - 1, len(wrong)))]
    draw.shuffle(candidates)
    document = files[one.file]
    start, end = _signature(document, one)
    cited = Citation(one.file, start, end, document.text[start:end], kind="gold")
    without = document.text[:start] + document.text[one.end :]
    floor = tuple(
        replace(file, text=without) if file.id == one.file else file for file in files.values()
    )
    body = document.text[one.start : one.end]
    return Item(
        task="code",
        seed=seed,
        documents=tuple(files.values()),
        question=f"In {one.file}, which parameters does the function {one.name} take?",
        answer_prefix=f"def {one.name.rpartition('.')[2]}({', '.join(shown)},",
        gold=(gold,),
        candidates=tuple(candidates),
        gold_spans=(cited,),
        controls=Controls(floor, (Document(one.file, body, document.source),)),
    )


def _signature(document: Document, one: Definition) -> tuple[int, int]:
    """Return the characters of ``def name(...):``, which may be several lines."""
    name = one.name.rpartition(".")[2]
    start = document.text.index(f"def {name}", one.start)
    depth = 0
    for offset in range(document.text.index("(", start), one.end):
        depth += {"(": 1, ")": -1}.get(document.text[offset], 0)
        if not depth:
            return start, offset + 1
    return start, one.end
