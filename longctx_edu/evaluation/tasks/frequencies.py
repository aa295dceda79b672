"""A long text of made-up words, few of them often and most of them seldom: which come most often?

Frequent words extraction of RULER (Hsieh et al. 2024, section 3.3): the word of rank r comes about
``1 / r**alpha`` as often as the first (Zipf 1949), and the first is three dots, noise that does
not count. With made-up words nothing is known of them but the text.
"""

from collections import Counter
from dataclasses import dataclass

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks.fitting import draw_candidates, most, occurs_in_filler, seeded
from longctx_edu.evaluation.tasks.item import Controls, Item
from longctx_edu.evaluation.tasks.words import at_most, places_in, written
from longctx_edu.text import Document

NOISE = "..."
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_NUMBERS = {1: "one", 2: "two", 3: "three"}


@dataclass(frozen=True)
class FrequentWords:
    """How hard ``freq-words`` is.

    Attributes:
        alpha: how steeply the words become rare; lower is harder.
        asked: how many of the most frequent words are asked for.
        vocabulary: different words, with the dots. RULER's grows with the length; this one does
            not, so that the same words are asked for at every length.
    """

    alpha: float = 2.0
    asked: int = 3
    vocabulary: int = 60

    def __post_init__(self):
        if (
            self.alpha <= 1
            or self.asked not in _NUMBERS
            or not self.asked + 8 <= self.vocabulary <= 500
        ):
            raise LongctxError(
                "A text asks for 1 to 3 of at most 500 words, of which 8 more than are asked for, "
                f"with alpha above 1, but vocabulary={self.vocabulary}, asked={self.asked} and "
                f"alpha={self.alpha} were given."
            )

    def items(self, length_tokens: int, seed: int, number: int, tokenizer) -> list[Item]:
        """Return the one item of document ``number``, as ``generate`` wants them."""
        id = f"freq-words-{length_tokens}-{seed}-{number}"
        draw = seeded("freq-words", seed, number, self)
        words = made_up_words(draw, self.vocabulary - 1)
        gold = words[: self.asked]

        def entries(size: int) -> list[str]:
            row = [
                word
                for word, times in zip([NOISE, *words], self._times(size), strict=True)
                for _ in range(times)
            ]
            seeded(seed, number, "order").shuffle(row)
            return row

        sizes = range(1, length_tokens + 2)
        row = entries(most(lambda size: written(entries(size)), sizes, length_tokens, tokenizer))
        counted = Counter(row)
        usual = max((counted[word] for word in words[self.asked :]), default=0)
        if min(counted[word] for word in gold) <= max(usual, 1):
            raise LongctxError(
                f"In {length_tokens} tokens no word stands out at this difficulty; give more "
                "tokens or a higher alpha."
            )
        document = Document(id, written(row), source="evaluation.tasks")
        which = f"{_NUMBERS[self.asked]} word{'s' * (self.asked > 1)}"
        return [
            Item(
                task="freq-words",
                seed=seed,
                documents=(document,),
                question=f"Leave out the dots. Which {which} "
                f"{'occur' if self.asked > 1 else 'occurs'} most often in the list?",
                answer_prefix=f"The {which} that occur{'s' * (self.asked == 1)} most often "
                f"{'are' if self.asked > 1 else 'is'}",
                gold=tuple(gold),
                candidates=draw_candidates(draw, gold[0], words[self.asked : self.asked + 7]),
                gold_spans=places_in(document, row, gold),
                controls=Controls(
                    floor=(Document(f"{id}-floor", written(at_most(row, 1))),),
                    ceiling=(Document(f"{id}-ceiling", written([w for w in row if w in gold])),),
                ),
            )
        ]

    def _times(self, size: int) -> list[int]:
        """Return how often each word comes, most frequent first; together ``size`` times."""
        shares = [rank**-self.alpha for rank in range(1, self.vocabulary + 1)]
        times = [int(size * share / sum(shares)) for share in shares]
        # Each word lacks less than one occurrence; the rarest ones get them.
        for rarest in range(1, size - sum(times) + 1):
            times[-rarest] += 1
        return times


def made_up_words(draw, count: int) -> list[str]:
    """Draw different words that no text has, such as ``kavoru``, and that one can read aloud."""
    words: list[str] = []
    while len(words) < count:
        word = "".join(draw.choice(_CONSONANTS) + draw.choice(_VOWELS) for _ in range(3))
        if word not in words and not occurs_in_filler(word):
            words.append(word)
    return words
