"""A long list of words, some of which come much more often than all others: which are they?

No single place holds the answer, so what a method leaves out it can only guess (common words
extraction of RULER, Hsieh et al. 2024, section 3.3). Their share of the list is the same at every
length, so that the task grows longer without growing harder by itself.
"""

from collections import Counter
from dataclasses import dataclass

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks.fitting import draw_candidates, log_words, most, seeded
from longctx_edu.evaluation.tasks.item import Controls, Item
from longctx_edu.text import Citation, Document

_NUMBERS = {1: "one word", 2: "two words", 3: "three words", 4: "four words", 5: "five words"}


@dataclass(frozen=True)
class CommonWords:
    """How hard ``common-words`` is.

    Attributes:
        common: words that come often; all are asked for.
        share: part of the list that each of them makes up.
        others: different words in the rest of the list, equally often but for one.
    """

    common: int = 1
    share: float = 0.35
    others: int = 100

    def __post_init__(self):
        most_others = len(log_words()) - self.common
        if self.common not in _NUMBERS or not 1 <= self.others <= most_others:
            raise LongctxError(
                f"A list has 1 to {max(_NUMBERS)} common words and 1 to {most_others} others, but "
                f"common={self.common} and others={self.others} were given."
            )
        rest = 1 - self.common * self.share
        if not 0 < 2 * rest / self.others <= self.share or rest <= 0:
            raise LongctxError(
                "A common word comes at least twice as often as any other, but with "
                f"common={self.common}, share={self.share} and others={self.others} it does not; "
                "give a larger share or more others."
            )

    def items(self, length_tokens: int, seed: int, number: int, tokenizer) -> list[Item]:
        """Return the one item of document ``number``, as ``generate`` wants them."""
        id = f"common-words-{length_tokens}-{seed}-{number}"
        draw = seeded("common-words", seed, number, self)
        drawn = draw.sample(log_words(), self.common + self.others)
        common, others = drawn[: self.common], drawn[self.common :]

        def entries(size: int) -> list[str]:
            often = max(2, round(self.share * size))
            rest = max(0, size - often * len(common))
            row = common * often + [others[n % len(others)] for n in range(rest)]
            seeded(seed, number, "order").shuffle(row)
            return row

        sizes = range(len(common) * 2, length_tokens + len(common) * 2)
        row = entries(most(lambda size: written(entries(size)), sizes, length_tokens, tokenizer))
        document = Document(id, written(row), source="evaluation.tasks")
        usual = max(Counter(word for word in row if word not in common).values(), default=1)
        words = _NUMBERS[self.common]
        return [
            Item(
                task="common-words",
                seed=seed,
                documents=(document,),
                question=_question(words),
                answer_prefix=f"The {words} that occur{'s' * (self.common == 1)} most often "
                f"{'is' if self.common == 1 else 'are'}",
                gold=tuple(common),
                candidates=draw_candidates(draw, common[0], others[:15]),
                gold_spans=places_in(document, row, common),
                controls=Controls(
                    floor=(Document(f"{id}-floor", written(at_most(row, usual))),),
                    ceiling=(Document(f"{id}-ceiling", written([w for w in row if w in common])),),
                ),
            )
        ]


def _question(words: str) -> str:
    return f"Which {words} {'occurs' if words == _NUMBERS[1] else 'occur'} most often in the list?"


def written(row: list[str]) -> str:
    """Return the list as a text, one entry a line."""
    return "List of words:\n\n" + "\n".join(row) + "\n"


def at_most(row: list[str], times: int) -> list[str]:
    """Keep the first ``times`` occurrences of every word, so that none stands out."""
    seen: Counter[str] = Counter()
    kept = []
    for word in row:
        if seen[word] < times:
            kept.append(word)
        seen[word] += 1
    return kept


def places_in(document: Document, row: list[str], wanted: list[str]) -> tuple[Citation, ...]:
    """Return where the ``wanted`` entries stand in ``document``, which is ``written(row)``."""
    places, start = [], document.text.index("\n\n") + 2
    for word in row:
        if word in wanted:
            places.append(Citation(document.id, start, start + len(word), word, kind="gold"))
        start += len(word) + 1
    return tuple(places)
