"""A list of ``key: value`` lines, one of which is asked for (Liu et al. 2023, section 3).

All lines have one form, so that only the key tells the right one from the others. Several lines
of one text are asked for, spread over the whole list. Values are short numbers, not the long
identifiers of the paper, which a small model cannot copy.
"""

from dataclasses import dataclass, field, replace

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks.fitting import (
    Insert,
    ceiling,
    draw_candidates,
    draw_numbers,
    filler,
    hide,
    log_words,
    of_digits,
    seeded,
)
from longctx_edu.evaluation.tasks.item import Controls, Item
from longctx_edu.evaluation.tasks.places import Places


@dataclass(frozen=True)
class KeyValueList:
    """How hard ``kv-list`` is.

    Attributes:
        pairs: lines of the list, spread evenly between the paragraphs of real text.
        digits: digits of a value.
        questions: lines asked for in each document.
        places: where these lines stand; one drawn from each part of the list if None.
    """

    pairs: int = 12
    digits: int = 3
    questions: int = 8
    # Not in the name that the generator is seeded with: a line that moves stays the same line.
    places: Places | None = field(default=None, repr=False)

    def __post_init__(self):
        if not 2 <= self.pairs <= len(log_words()) or not 1 <= self.questions <= self.pairs:
            raise LongctxError(
                f"A list has 2 to {len(log_words())} pairs and 1 to as many questions, but "
                f"pairs={self.pairs} and questions={self.questions} were given."
            )
        if self.places and self.places.questions != self.questions:
            raise LongctxError(
                f"These places are for {self.places.questions} questions, but "
                f"questions={self.questions} was given; give as many."
            )
        if self.digits < 1:
            raise LongctxError(f"A value has at least 1 digit, but digits={self.digits} was given.")

    def items(self, length_tokens: int, seed: int, number: int, tokenizer) -> list[Item]:
        """Return the items of document ``number``, as ``generate`` wants them."""
        id = f"kv-list-{length_tokens}-{seed}-{number}"
        if self.places:
            id += f"-turn-{self.places.turn}"
        draw = seeded("kv-list", seed, number, self)
        keys = draw.sample(log_words(), self.pairs)
        values = draw_numbers(draw, self.pairs, of_digits(self.digits))
        asked = self._asked(draw)
        moved = dict(zip(asked, self.places.slots(self.pairs), strict=True)) if self.places else {}
        inserts = [
            Insert(
                f"{key}: {value}",
                depth=(moved.get(line, line) + 0.5) / self.pairs,
                questions=frozenset(n for n, other in enumerate(asked) if other == line),
            )
            for line, (key, value) in enumerate(zip(keys, values, strict=True))
        ]
        around = filler(seed, number, length_tokens)
        hidden, floor = hide(inserts, around, length_tokens, tokenizer, id=id, as_lines=True)
        return [
            Item(
                task="kv-list",
                seed=seed,
                documents=(hidden.document,),
                question=f'Copy the line of the text that begins with "{keys[line]}".',
                answer_prefix=f"{keys[line]}:",
                gold=(values[line],),
                candidates=draw_candidates(
                    draw, values[line], [v for v in values if v != values[line]]
                ),
                gold_spans=hidden.citations(inserts, question),
                controls=Controls((floor,), (ceiling(id, inserts, question),)),
            )
            for question, line in enumerate(asked)
        ]

    def _asked(self, draw) -> list[int]:
        """Return the line that each question asks for, by its number before any has moved."""
        if self.places:
            return replace(self.places, turn=0).slots(self.pairs)
        # One line from each of as many equal parts of the list as there are questions.
        bounds = [part * self.pairs // self.questions for part in range(self.questions + 1)]
        return [draw.randrange(*bounds[part : part + 2]) for part in range(self.questions)]
