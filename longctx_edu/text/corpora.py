"""Long texts that are there without a network: a log written for this course, Python's reference.

Nothing is downloaded. Texts made for measurements come from ``evaluation.tasks``.
"""

import json
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.resources import files
from typing import NamedTuple

from longctx_edu.errors import LongctxError
from longctx_edu.text.documents import Document


class LogQuestion(NamedTuple):
    """A question on the log, the start of its answer, the answer, and the sentence that says it.

    ``start`` and ``end`` are the characters of that sentence in the log's text.
    """

    question: str
    answer_prefix: str
    gold: str
    start: int
    end: int


def lighthouse_log() -> Document:
    """The log of a lighthouse: invented prose, written for this course (CC BY 4.0)."""
    name = "lighthouse_log.md"
    text = files("longctx_edu.text").joinpath("data", name).read_text(encoding="utf-8")
    return Document(name, text, source=f"longctx_edu/text/data/{name}")


def lighthouse_questions() -> list[LogQuestion]:
    """Questions on the log, in the order of their answers in it.

    They were worded so that the embedded model answers each from the passage around the fact and
    none without it; so they measure what a method finds, not how clever a model is.
    """
    name = "lighthouse_questions.json"
    text = files("longctx_edu.text").joinpath("data", name).read_text(encoding="utf-8")
    return [LogQuestion(**row) for row in json.loads(text)]


def python_reference(
    topics: Iterable[str] | None = None, max_characters: int | None = None
) -> Document:
    """The Python language reference, as far as ``help()`` knows it (about 460,000 characters).

    It comes with Python itself (``pydoc_data.topics``), so the text differs between versions of
    Python; what must be the same everywhere does not belong on it.

    Args:
        topics: names as in ``help("topics")`` in small letters, in the order wanted; None for all,
            sorted by name.
        max_characters: stop at the last paragraph that ends within so many characters.

    >>> python_reference(["while", "pass"]).text[:23]
    'The "while" statement\\n*'

    Raises:
        LongctxError: for an unknown topic, or ``max_characters`` less than 1.
    """
    from pydoc_data.topics import topics as texts

    if max_characters is not None and max_characters < 1:
        raise LongctxError(
            f"max_characters is at least 1, or None for all, but this is {max_characters}."
        )
    names = sorted(texts) if topics is None else [topics] if isinstance(topics, str) else [*topics]
    for name in names:
        if name not in texts:
            near = ", ".join(get_close_matches(name, texts) or sorted(texts))
            raise LongctxError(f"Python's help has no topic {name!r}; there is: {near}.")
    text = "\n\n".join(texts[name].strip("\n") for name in names) + "\n"
    if max_characters is not None and len(text) > max_characters:
        text = text[:max_characters]
        text = text.rpartition("\n\n")[0] + "\n" if "\n\n" in text else text
    return Document("python_reference", text, source="pydoc_data.topics")
