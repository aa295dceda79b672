"""One key with several values scattered through the text, all of them asked for at once.

A partly right answer counts in part, so scores are seldom all or nothing (the multi-value needle
of RULER, Hsieh et al. 2024, section 3.1). Each document has several keys, each of its own kind:
with numbers of several owners the embedded model cannot keep the owners apart even in a short
text.
"""

from dataclasses import dataclass

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks import pools
from longctx_edu.evaluation.tasks.fitting import (
    Insert,
    ceiling,
    draw_candidates,
    filler,
    hide,
    seeded,
)
from longctx_edu.evaluation.tasks.item import Controls, Item

_COUNTS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}


@dataclass(frozen=True)
class Collection:
    """Things of one kind, of which the text names some, each in a sentence of its own."""

    things: str
    article: str
    values: tuple[str, ...]


COLLECTIONS = (
    Collection("animals in the zoo", "the ", pools.ANIMALS),
    Collection("instruments in the band", "the ", pools.INSTRUMENTS),
    Collection("languages at the school", "", pools.LANGUAGES),
    Collection("flowers in the garden", "the ", pools.FLOWERS),
    Collection("cities on the railway line", "", pools.CITIES),
    Collection("guests at the wedding", "", pools.NAMES),
)


@dataclass(frozen=True)
class MultiValue:
    """How hard ``multi-value`` is.

    Attributes:
        values: values of each key.
        keys: keys in a document, each of its own kind; each is asked for.
    """

    values: int = 2
    keys: int = 4

    def __post_init__(self):
        if self.values not in _COUNTS or not 1 <= self.keys <= len(COLLECTIONS):
            raise LongctxError(
                f"A key has {min(_COUNTS)} to {max(_COUNTS)} values and a document 1 to "
                f"{len(COLLECTIONS)} keys, but values={self.values} and keys={self.keys} "
                "were given."
            )

    def items(self, length_tokens: int, seed: int, number: int, tokenizer) -> list[Item]:
        """Return the items of document ``number``, as ``generate`` wants them."""
        id = f"multi-value-{length_tokens}-{seed}-{number}"
        draw = seeded("multi-value", seed, number, self)
        keys = draw.sample(COLLECTIONS, self.keys)
        told = [
            (asked, value)
            for asked, key in enumerate(keys)
            for value in draw.sample(key.values, self.values)
        ]
        draw.shuffle(told)
        inserts = [
            Insert(
                f"One of the {keys[asked].things} is {keys[asked].article}{value}.",
                depth=(place + 0.5) / len(told),
                questions=frozenset([asked]),
            )
            for place, (asked, value) in enumerate(told)
        ]
        around = filler(seed, number, length_tokens)
        hidden, floor = hide(inserts, around, length_tokens, tokenizer, id=id)
        items = []
        for asked, key in enumerate(keys):
            subject = f"{_COUNTS[self.values]} {key.things}"
            gold = tuple(value for owner, value in told if owner == asked)
            wrong = [value for value in key.values if value not in gold]
            items.append(
                Item(
                    task="multi-value",
                    seed=seed,
                    documents=(hidden.document,),
                    question=f"What are the {subject}?",
                    answer_prefix=f"The {subject} are {key.article}".rstrip(),
                    gold=gold,
                    candidates=draw_candidates(draw, gold[0], wrong),
                    gold_spans=hidden.citations(inserts, asked),
                    controls=Controls((floor,), (ceiling(id, inserts, asked),)),
                )
            )
        return items
