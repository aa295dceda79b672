"""One interface over all ways of reading a long document.

``read(documents, method=...)`` does the work that needs no question; the
reading it returns can be asked again and again.
"""

from longctx_edu.readers.interface import (
    ANY_LENGTH,
    METHOD_NAMES,
    METHODS,
    option_names,
    options_for,
    prepare,
    read,
)
from longctx_edu.readers.reading import Answer, Reading
from longctx_edu.readers.run import Run, run_in_background

__all__ = [
    "ANY_LENGTH",
    "METHODS",
    "METHOD_NAMES",
    "Answer",
    "Reading",
    "Run",
    "option_names",
    "options_for",
    "prepare",
    "read",
    "run_in_background",
]
