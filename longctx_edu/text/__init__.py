"""The text room: documents, sentences, tokens that know their characters, offline corpora."""

from longctx_edu.text.corpora import (
    LogQuestion,
    lighthouse_log,
    lighthouse_questions,
    python_reference,
)
from longctx_edu.text.documents import Citation, Document, as_documents, read_file
from longctx_edu.text.sentences import Span, segment_sentences
from longctx_edu.text.tokens import (
    Tokens,
    TokenWindow,
    character_span,
    segment_tokens,
    token_range,
    token_windows,
    tokenize,
)

__all__ = [
    "Citation",
    "Document",
    "LogQuestion",
    "Span",
    "TokenWindow",
    "Tokens",
    "as_documents",
    "character_span",
    "lighthouse_log",
    "lighthouse_questions",
    "python_reference",
    "read_file",
    "segment_sentences",
    "segment_tokens",
    "token_range",
    "token_windows",
    "tokenize",
]
