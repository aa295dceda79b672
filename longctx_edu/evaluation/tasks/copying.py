"""A line of words in no order, much text, and the same line again: how probable is the copy?

No format is asked for that a small model could miss, and the score is never stuck at all or
nothing: nats a token of the second copy, by the distance from the first. Copying is what induction
heads do (Olsson et al. 2022), and what sparse, linear and windowed attention lose first (Jelassi
et al. 2024).
"""

from dataclasses import dataclass, field

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks.fitting import (
    Insert,
    ceiling,
    draw_candidates,
    filler,
    hide,
    log_words,
    seeded,
)
from longctx_edu.evaluation.tasks.item import Controls, Item


@dataclass(frozen=True)
class Copying:
    """How hard ``copy-ppl`` is.

    Attributes:
        words: words of the line. Its order cannot be guessed, which makes about 6.7 nats a word
            for a reader who knows the vocabulary and has not seen the line.
        depth: where the line stands, from 0 (start, farthest from its copy) to 1 (end).
    """

    words: int = 32
    # Not in the name that the generator is seeded with: a line that moves stays the same line.
    depth: float = field(default=0.0, repr=False)

    def __post_init__(self):
        if not 4 <= self.words <= len(log_words()) or not 0 <= self.depth <= 1:
            raise LongctxError(
                f"A line has 4 to {len(log_words())} words and a depth from 0 to 1, but "
                f"depth={self.depth} and words={self.words} were given."
            )

    def items(self, length_tokens: int, seed: int, number: int, tokenizer) -> list[Item]:
        """Return the one item of document ``number``, as ``generate`` wants them."""
        id = f"copy-ppl-{length_tokens}-{seed}-{number}"
        if self.depth:
            id += f"-depth-{self.depth:g}"
        draw = seeded("copy-ppl", seed, number, self)
        words = draw.sample(log_words(), self.words)
        line = " ".join(words)
        inserts = [Insert(f"Words: {line}", self.depth, frozenset([0]))]
        around = filler(seed, number, length_tokens)
        hidden, floor = hide(inserts, around, length_tokens, tokenizer, id=id, as_lines=True)
        others = [" ".join(draw.sample(words, len(words))) for _ in range(3)]
        return [
            Item(
                task="copy-ppl",
                seed=seed,
                documents=(hidden.document,),
                question='Copy the line of the text that begins with "Words".',
                answer_prefix="Words:",
                gold=(line,),
                candidates=draw_candidates(draw, line, others),
                gold_spans=hidden.citations(inserts, 0),
                controls=Controls((floor,), (ceiling(id, inserts, 0),)),
            )
        ]
