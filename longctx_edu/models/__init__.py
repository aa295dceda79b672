"""Causal language models with their tokenizers: the embedded default, any other, tiny random ones.

Nothing here loads torch or transformers before a model is asked for.
"""

from longctx_edu.models.embedded import EMBEDDED, cache_folder, fetch, is_fetched
from longctx_edu.models.language_model import LanguageModel, end_token_ids
from longctx_edu.models.loading import as_language_model, load, load_tokenizer
from longctx_edu.models.tiny import FAMILIES, tiny

__all__ = [
    "EMBEDDED",
    "FAMILIES",
    "LanguageModel",
    "as_language_model",
    "cache_folder",
    "end_token_ids",
    "fetch",
    "is_fetched",
    "load",
    "load_tokenizer",
    "tiny",
]
