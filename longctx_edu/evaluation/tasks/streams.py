"""Real prose that goes on and on: how probable is what comes next, the longer one has read?

Perplexity over a stream is what StreamingLLM was measured by (Xiao et al. 2023, section 4.1): past
the trained window, or once the first tokens are dropped, it explodes. It tells whether a model
still writes fluently, not whether it remembers. ``perplexity.calculate_perplexity`` scores the text
itself; an item asks how it goes on, so that methods that answer questions are measured too.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks.fitting import draw_candidates, most, seeded
from longctx_edu.evaluation.tasks.item import Controls, Item
from longctx_edu.text import Citation, Document, lighthouse_log, python_reference

_PARAGRAPHS = 4  # what comes next, and three wrong answers from after it
_MOST_WORDS = 40
_NEAR_CHARACTERS = 400
_CHARACTERS_A_TOKEN = 6  # more than any tokenizer makes of prose


@dataclass(frozen=True)
class Stream:
    """How hard ``stream-ppl`` is.

    Attributes:
        words: words of the continuation.
    """

    words: int = 24

    def __post_init__(self):
        if not 4 <= self.words <= _MOST_WORDS:
            raise LongctxError(
                f"A continuation has 4 to {_MOST_WORDS} words, but words={self.words} was given."
            )

    def items(self, length_tokens: int, seed: int, number: int, tokenizer) -> list[Item]:
        """Return the one item of document ``number``, as ``generate`` wants them."""
        id = f"stream-ppl-{length_tokens}-{seed}-{number}"
        draw = seeded("stream-ppl", seed, number)
        first = draw.randrange(len(_paragraphs()) - _PARAGRAPHS)
        before, after = _split(first, characters=_CHARACTERS_A_TOKEN * length_tokens)
        starts = [match.start() for match in re.finditer(r"\S+", before)]

        def ending(words: int) -> str:
            return before[starts[-words] :]

        sizes = range(1, len(starts) + 1)
        text = ending(most(ending, sizes, length_tokens, tokenizer))
        near = text[-_NEAR_CHARACTERS:].partition(" ")[2] or text
        start = len(text) - len(near)
        continuations = [" ".join(paragraph.split()[: self.words]) for paragraph in after]
        return [
            Item(
                task="stream-ppl",
                seed=seed,
                documents=(Document(id, text, source="evaluation.tasks"),),
                question="How does the text go on?",
                answer_prefix="",
                gold=(continuations[0],),
                candidates=draw_candidates(draw, continuations[0], continuations[1:]),
                gold_spans=(Citation(id, start, len(text), near, kind="gold"),),
                controls=Controls(
                    floor=(Document(f"{id}-floor", text[:start].rstrip() or "..."),),
                    ceiling=(Document(f"{id}-ceiling", near),),
                ),
            )
        ]


@lru_cache(maxsize=1)
def _paragraphs() -> list[tuple[int, int]]:
    """Return the characters of the log's paragraphs that are long enough to go on with."""
    text = lighthouse_log().text
    found = (match.span() for match in re.finditer(r"(?m)^(?!#).+(?:\n.+)*", text))
    return [(start, end) for start, end in found if len(text[start:end].split()) >= _MOST_WORDS]


def _split(first: int, *, characters: int) -> tuple[str, list[str]]:
    """Return the text that ends where a paragraph begins, and that paragraph and three after it.

    The text before the log's first line is its end, after the paragraphs that are asked about, and
    before that, where more ``characters`` are needed, the language reference of Python.
    """
    text, (start, _), (_, end) = (
        lighthouse_log().text,
        _paragraphs()[first],
        _paragraphs()[first + _PARAGRAPHS - 1],
    )
    before = f"{text[end:].strip()}\n\n{text[:start].strip()}"
    if characters > len(before):
        before = f"{python_reference().text.strip()}\n\n{before}"
    after = [text[a:b] for a, b in _paragraphs()[first : first + _PARAGRAPHS]]
    return before.strip(), after
