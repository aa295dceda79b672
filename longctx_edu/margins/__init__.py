"""Writing in the Margins: notes on every segment of a text that is read once."""

from longctx_edu.margins.engine import Margin, write_margins, write_margins_together
from longctx_edu.margins.prompts import extraction_request
from longctx_edu.margins.verdicts import is_empty_note, surest_notes

__all__ = [
    "Margin",
    "extraction_request",
    "is_empty_note",
    "surest_notes",
    "write_margins",
    "write_margins_together",
]
