"""What the methods are for: long documents read into a memory, questions answered with sources."""

from longctx_edu.lazy import lazily

_HOME = {
    "SourcedAnswer": "long_documents",
    "long_form_qa": "long_documents",
    "process_long_document": "long_documents",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
