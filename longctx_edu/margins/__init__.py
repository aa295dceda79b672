"""Writing in the Margins: notes on every segment of a text that is read once."""

from longctx_edu.lazy import lazily

_HOME = {
    "AttentionMass": "verdicts",
    "Bare": "prompts",
    "ByPerson": "verdicts",
    "CompletionsServer": "server",
    "CopySentence": "prompts",
    "FirstToken": "verdicts",
    "KeepAll": "verdicts",
    "Labelled": "prompts",
    "LocalEngine": "engine",
    "LocalServer": "local_server",
    "Margin": "engine",
    "Note": "notes",
    "ReadAgain": "prompts",
    "Request": "engine",
    "SeparateClassifier": "verdicts",
    "SureAndSeen": "verdicts",
    "Surest": "verdicts",
    "YesNo": "prompts",
    "dynamic_context_update": "steps",
    "generate_margin": "steps",
    "is_empty_note": "prompts",
    "load_trace": "trace",
    "replay": "trace",
    "request_for": "engine",
    "save_trace": "trace",
    "sources_of": "notes",
    "wim_inference": "steps",
    "write_margins": "engine",
    "write_margins_together": "engine",
    "writing_in_margins": "steps",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
