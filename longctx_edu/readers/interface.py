"""``prepare`` and ``read``: from documents and the name of a method to a reading.

The methods are named here and imported when one is chosen, so that the command
line can list them without loading torch.
"""

from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module

from longctx_edu.errors import LongctxError
from longctx_edu.events import Ready
from longctx_edu.readers.reading import Reading
from longctx_edu.text import as_documents

METHODS = {
    "plain": "longctx_edu.readers.plain:PlainReading",
    "truncated": "longctx_edu.readers.truncated:TruncatedReading",
    "retrieval": "longctx_edu.readers.retrieval:RetrievalReading",
    "map_reduce": "longctx_edu.readers.map_reduce:MapReduceReading",
    "margins": "longctx_edu.readers.margins:MarginsReading",
    "memory": "longctx_edu.readers.memory:MemoryReading",
}
METHOD_NAMES = tuple(METHODS)
ANY_LENGTH = ("truncated", "retrieval", "map_reduce", "memory")
"""The methods that take a text longer than the model's window."""


def prepare(documents, *, method: str = "plain", model=None, **options) -> Iterator:
    """Read documents as far as that needs no question; yield events, last ``Ready(reading)``.

    Args:
        documents: a ``Document``, a text, a ``Path`` to a file, or a sequence of these. None for
            those of a ``memory_file`` that is there.
        method: one of ``METHOD_NAMES``.
        model: a ``LanguageModel``, or a name or folder for ``models.load``; the
            embedded model by default. The method margins also takes a
            ``margins.CompletionsServer``.
        options: the method's own options; ``option_names(method)`` lists them.

    Raises:
        LongctxError: for an unknown method or option, a document that cannot be
            read, a model that cannot be loaded, or a text that does not fit.
    """
    chosen = options_for(method, **options)
    saved = documents is None and getattr(chosen, "memory_file", None) is not None
    documents = () if saved else as_documents(documents)
    reading = _reading_class(method)(documents, _language_model(model, method), method, chosen)
    yield from reading.prepare()
    yield Ready(reading)


def read(documents, *, method: str = "plain", model=None, **options) -> Reading:
    """Read documents and return a reading that can be asked; arguments as in ``prepare``.

    Example:
        >>> from longctx_edu import models, read
        >>> reading = read("The code is 7.", method="plain", model=models.tiny())
        >>> reading.ledger.prefilled > 0
        True
    """
    for event in prepare(documents, method=method, model=model, **options):
        if isinstance(event, Ready):
            return event.reading
    raise AssertionError("prepare ends in Ready")


def option_names(method: str) -> tuple[str, ...]:
    """Return the names of the options that ``method`` takes."""
    return tuple(field.name for field in fields(_reading_class(method).Options))


def _reading_class(method: str) -> type[Reading]:
    if method not in METHODS:
        raise LongctxError(
            f"There is no method {method!r}; choose one of {', '.join(METHOD_NAMES)}."
        )
    module, name = METHODS[method].split(":")
    return getattr(import_module(module), name)


def options_for(method: str, **options):
    """Return the method's options as its dataclass; arguments and errors as in ``prepare``."""
    allowed = option_names(method)
    for name in options:
        if name not in allowed:
            raise LongctxError(
                f"The method {method!r} has no option {name!r}; "
                + (f"it takes {', '.join(allowed)}." if allowed else "it takes none.")
            )
    return _reading_class(method).Options(**options)


def _language_model(model, method: str):
    from longctx_edu.models import as_language_model

    if hasattr(model, "engine"):
        if method != "margins":
            raise LongctxError(
                f"The method {method!r} works inside a model, which a server does not allow; "
                "read with method='margins', or with a model of this machine."
            )
        return model
    return as_language_model(model)
