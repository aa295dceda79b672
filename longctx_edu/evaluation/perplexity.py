"""How surprised is a model by a text? The mean of minus log-probability, and its exponential.

A text longer than the window is read in windows that overlap; each token is scored once, in the
window that gives it the most to go by (Press et al. 2021, section 2.2: without overlap, the first
tokens of every window have nothing before them). Perplexities of different tokenizers cannot be
compared; nats a character can. Nothing here says whether a model uses what it read long ago.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from longctx_edu.errors import LongctxError
from longctx_edu.models import LanguageModel
from longctx_edu.text import Document, tokenize

_CHUNK_TOKENS = 512


@dataclass(frozen=True)
class Perplexity:
    """How surprising a text was.

    Attributes:
        nats: minus the natural log-probability of each token but the first, in order.
        characters: of the text.
        window: most tokens that were read together.
        stride: tokens from one window's start to the next.
    """

    nats: tuple[float, ...] = field(repr=False)
    characters: int
    window: int
    stride: int

    @property
    def tokens(self) -> int:
        """How many tokens were scored."""
        return len(self.nats)

    @property
    def nats_per_token(self) -> float:
        """The mean; its exponential is the perplexity."""
        return fmean(self.nats)

    @property
    def value(self) -> float:
        """The perplexity: as unsure as if so many next tokens had been equally probable."""
        return math.exp(self.nats_per_token)

    @property
    def nats_per_character(self) -> float:
        """Comparable between models with different tokenizers."""
        return math.fsum(self.nats) / self.characters

    @property
    def least_context(self) -> int:
        """Tokens that any token has before it at least, but for those of the first window."""
        return max(1, self.window - self.stride)

    def __str__(self) -> str:
        return (
            f"perplexity {self.value:.2f} over {self.tokens:,} tokens, each with at least "
            f"{self.least_context:,} before it (but for the first {self.window:,})"
        )


def calculate_perplexity(
    text: str | Document,
    model: LanguageModel,
    *,
    window: int | None = None,
    stride: int | None = None,
) -> Perplexity:
    """Return how surprised a model is by a text, every token but the first scored once.

    One forward pass for each window, with inputs and labels of the same text: the label of a token
    is the next one, so nothing is padded or cut to another length.

    Args:
        text: of any length.
        window: tokens read together; by default as many as the model was made for, or all.
        stride: tokens from one window's start to the next, from 1 (slow, and each token but those
            of the first window has a whole window before it) to ``window`` (quick, and some have
            nothing before them); by default half a window.

    Raises:
        LongctxError: if the text has less than two tokens, or a size is out of range.
    """
    text = text.text if isinstance(text, Document) else text
    ids = tokenize(model.tokenizer, text).ids
    if len(ids) < 2:
        raise LongctxError(
            f"A text of {len(ids)} tokens has no next token to be surprised by; give a longer one."
        )
    window = min(model.window, len(ids)) if window is None else window
    stride = max(1, window // 2) if stride is None else stride
    if not 2 <= window <= model.window or not 1 <= stride <= window:
        raise LongctxError(
            f"A window has 2 to {model.window} tokens for this model and a stride 1 to a window, "
            f"but window={window} and stride={stride} were given."
        )
    found: list[float] = []
    for start, end, begin in windows(len(ids), window, stride):
        found += nats(model, ids[start:end], begin=begin - start)
    return Perplexity(tuple(found), len(text), min(window, len(ids)), stride)


def windows(tokens: int, window: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Yield the windows of a text as start, end and the first token that is scored in it.

    A window that starts where the one before ended has a first token with nothing before it; it
    begins one token earlier then, so that every token but the first of all is scored once.

    >>> list(windows(10, window=4, stride=2))
    [(0, 4, 1), (2, 6, 4), (4, 8, 6), (6, 10, 8)]
    >>> list(windows(7, window=3, stride=3))
    [(0, 3, 1), (2, 5, 3), (4, 7, 5)]
    """
    start, end = 0, min(window, tokens)
    yield start, end, 1
    while end < tokens:
        start, begin = min(start + stride, end - 1), end
        end = min(start + window, tokens)
        yield start, end, begin


def nats(
    model, ids: Sequence[int], *, begin: int, cache=None, chunk_tokens: int = _CHUNK_TOKENS
) -> list[float]:
    """Return minus the log-probability of each token from place ``begin`` on, given all before.

    Args:
        model: a ``LanguageModel``.
        ids: the tokens.
        begin: the first token that counts, 1 at least.
        cache: what was read before them, to which all are added; empty if left out.
        chunk_tokens: read at once, so that scores of few tokens lie in memory together.
    """
    import torch
    import torch.nn.functional as F

    from longctx_edu.inference.cache import new_cache

    cache = new_cache(model.model, reserve=len(ids)) if cache is None else cache
    told, scored = torch.tensor(list(ids), device=model.device), []
    for start in range(0, len(ids), chunk_tokens):
        end = min(start + chunk_tokens, len(ids))
        first = min(max(start, begin - 1), end)  # the first whose next token counts
        with torch.no_grad():
            logits = model.model(
                input_ids=told[None, start:end],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=max(end - first, 1),
            ).logits[0]
        after = told[first + 1 : end + 1]
        scored += F.cross_entropy(logits[: len(after)].float(), after, reduction="none").tolist()
    return scored
