"""Errors that a reader can act on.

Every message says what was given, what is allowed and what to do next. The
command line turns any of these into one sentence and exit code 2.
"""


class LongctxError(ValueError):
    """Base of the errors that documents, models, options and questions lead to.

    A wrong argument of a single function is a plain ``ValueError``.
    """


class DocumentError(LongctxError):
    """A document is missing, empty, binary, or cannot be decoded."""


class ModelError(LongctxError):
    """A model is unknown, of the wrong kind, too large, or could not be fetched."""


class DoesNotFit(LongctxError):
    """A text has more tokens than a window holds, or its memory more bytes than it may take."""


class TraceError(LongctxError):
    """A recorded run is damaged, or is no such record."""


class MemoryFileError(LongctxError):
    """A saved memory is missing, damaged, of another model, or cannot be written."""


class ServerError(LongctxError):
    """A server cannot be reached, refuses a request, or answers what is no completion."""


class CacheError(LongctxError):
    """A KV cache cannot be forked or rolled back as asked."""
