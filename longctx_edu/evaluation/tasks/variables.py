"""A number handed on from name to name through the text: whose is it?

Variable tracing of RULER (Hsieh et al. 2024, section 3.2), with people for variables. The first is
told the number outright, every later one only by the one before, so that a reader who follows no
chain finds ``1 / (hops + 1)`` of the names: what is above that was traced. Chains of other numbers
cross it.
"""

from dataclasses import dataclass

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks import pools
from longctx_edu.evaluation.tasks.fitting import (
    Insert,
    ceiling,
    draw_candidates,
    draw_numbers,
    filler,
    hide,
    of_digits,
    seeded,
)
from longctx_edu.evaluation.tasks.item import Controls, Item

_SPARE = 6  # names that the text lacks, so that there are wrong answers beside a single chain


@dataclass(frozen=True)
class VariableTrace:
    """How hard ``var-trace`` is.

    Attributes:
        hops: how often each number is handed on.
        chains: numbers that are handed on, each among people of its own; each is asked for.
    """

    hops: int = 1
    chains: int = 2

    def __post_init__(self):
        most = len(pools.PEOPLE) - _SPARE
        if self.hops < 0 or self.chains < 1 or self.chains * (self.hops + 1) > most:
            raise LongctxError(
                f"A text has one chain or more, of no hop or more, and {most} people in all, but "
                f"hops={self.hops} and chains={self.chains} were given."
            )

    def items(self, length_tokens: int, seed: int, number: int, tokenizer) -> list[Item]:
        """Return the items of document ``number``, as ``generate`` wants them."""
        id = f"var-trace-{length_tokens}-{seed}-{number}"
        draw = seeded("var-trace", seed, number, self)
        names = draw.sample(pools.PEOPLE, self.chains * (self.hops + 1) + _SPARE)
        values = draw_numbers(draw, self.chains, of_digits(5))
        chains = [names[start :: self.chains][: self.hops + 1] for start in range(self.chains)]
        # The chains go on by turns drawn at random, each in its own order.
        turns = [chain for chain in range(self.chains) for _ in range(self.hops + 1)]
        draw.shuffle(turns)
        reached = [0] * self.chains
        inserts = []
        for place, chain in enumerate(turns):
            name, told = chains[chain][reached[chain]], f"number {values[chain]} belongs"
            if reached[chain]:
                told = f"number of {chains[chain][reached[chain] - 1]} also belongs"
            reached[chain] += 1
            depth = (place + 0.5) / len(turns)
            inserts.append(Insert(f"The {told} to {name}.", depth, frozenset([chain])))
        around = filler(seed, number, length_tokens)
        hidden, floor = hide(inserts, around, length_tokens, tokenizer, id=id)
        return [
            Item(
                task="var-trace",
                seed=seed,
                documents=(hidden.document,),
                question=f"To whom does the number {values[asked]} belong?",
                answer_prefix=f"The number {values[asked]} belongs to",
                gold=tuple(chain),
                candidates=draw_candidates(
                    draw, chain[0], [name for name in names if name not in chain][:7]
                ),
                gold_spans=hidden.citations(inserts, asked),
                controls=Controls((floor,), (ceiling(id, inserts, asked),)),
            )
            for asked, chain in enumerate(chains)
        ]
