"""Does reading a package help to write a class? The same requests after reading and without.

Each class is held against a few checks in a process of its own; as with any tests, what passes is
not thereby right (Chen et al. 2021, section 2.1; Liu et al. 2023). Requests are few: this shows
what can happen, and is no benchmark.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from longctx_edu.applications import Limits, generate_python_class, process_long_document
from longctx_edu.text import Document

WAYS = ("memory", "empty file")
_LIMITS = Limits(seconds=30)


@dataclass(frozen=True)
class ClassRequest:
    """A class that is asked for; attributes as in ``applications.generate_python_class``."""

    request: str
    name: str
    checks: tuple[str, ...]
    bases: tuple[str, ...] = ()
    imports: str = ""


REQUESTS = (
    ClassRequest(
        request="An exception for settings that cannot be read, with the attributes msg and line.",
        name="SettingsError",
        bases=("ValueError",),
        checks=(
            'assert SettingsError("no value", 3).msg == "no value"',
            'assert SettingsError("no value", 3).line == 3',
            'assert "no value" in str(SettingsError("no value", 3))',
        ),
    ),
    ClassRequest(
        request="A stack with the methods push, pop and is_empty.",
        name="Stack",
        checks=(
            "s = Stack(); s.push(1); s.push(2); assert s.pop() == 2 and s.pop() == 1",
            "assert Stack().is_empty()",
            "s = Stack(); s.push(1); assert not s.is_empty()",
        ),
    ),
    ClassRequest(
        request="A decoder that reads numbers with a point as Decimal.",
        name="DecimalDecoder",
        bases=("JSONDecoder",),
        imports="from decimal import Decimal\nfrom json import JSONDecoder",
        checks=(
            'assert DecimalDecoder().decode("[1, 2]") == [1, 2]',
            'assert isinstance(DecimalDecoder().decode("1.5"), Decimal)',
        ),
    ),
)


def empty_file(document: Document) -> Document:
    """Return a file of the same name without its code: what is right then was known by heart."""
    return replace(document, text="# The rest of this file is missing.")


def class_rows(
    requests: Sequence[ClassRequest], files: Sequence[Document], model, *, max_new_tokens: int = 96
) -> list[dict]:
    """Return for each request and way how many checks held, as plain values.

    Args:
        requests: such as ``REQUESTS``.
        files: what is read into a memory, once; the other way reads these files empty.
        model: a ``LanguageModel``.
        max_new_tokens: the most tokens of a class.
    """
    bank = process_long_document(files, model=model)
    empty = tuple(map(empty_file, files))
    rows = []
    for one in requests:
        for way in WAYS:
            source = dict(source=bank) if way == "memory" else dict(source=empty, method="plain")
            made = generate_python_class(
                **vars(one), **source, model=model, max_new_tokens=max_new_tokens, limits=_LIMITS
            )
            held = {"checks": len(one.checks), "held": made.passed}
            rows.append({"class": one.name, "way": way, **held, "written": made.written})
    return rows
