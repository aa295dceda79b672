"""Look up more only where the model is unsure: the number of keys grows with the entropy.

Each token is first written with few keys; if the next token's entropy is above a threshold, the
step is done again with more (``augmented_generate`` in the code published with Klett and Ahle
2024, which retries once; here as often as asked). Greedy, one text at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from longctx_edu.errors import LongctxError
from longctx_edu.events import TokenDecoded
from longctx_edu.inference import Context, Words
from longctx_edu.memory.attention import Recall, remembering
from longctx_edu.memory.bank import MemoryBank


@dataclass(frozen=True)
class Unsure:
    """When to look up more.

    Attributes:
        entropy: in nats; a next token with more than this is asked for again.
        step: keys that are added for each try.
        tries: the most tries after the first.
    """

    entropy: float = 1.0
    step: int = 32
    tries: int = 2

    def __post_init__(self):
        if self.entropy < 0 or self.step < 1 or self.tries < 0:
            raise LongctxError(
                "entropy >= 0, step >= 1 and tries >= 0 are needed, got "
                f"entropy={self.entropy}, step={self.step} and tries={self.tries}."
            )


@dataclass(frozen=True)
class Step:
    """One token: the keys and the entropy of each try; the last one counts."""

    token_id: int
    tries: tuple[tuple[int, float], ...]


_RECALL, _UNSURE = Recall(), Unsure()


def write_actively(
    bank: MemoryBank,
    prompt_ids: Sequence[int],
    *,
    recall: Recall = _RECALL,
    unsure: Unsure = _UNSURE,
    max_new_tokens: int = 64,
) -> Iterator:
    """Answer a prompt from memory; yield ``TokenDecoded``, return the text and its steps.

    The documents' first tokens are not looked up (``MemoryBank.sinks``).

    Args:
        bank: what can be looked up.
        prompt_ids: the prompt, without the memory.
        recall: how it is looked up; its ``k`` is that of every first try.
        unsure: when to look up more.
        max_new_tokens: the longest answer.

    Returns:
        ``(text, steps)``: words, and a ``Step`` for each token, the end token included.
    """
    context, words, steps = Context(bank.model), Words(bank.model), []
    ids = list(prompt_ids)
    with remembering(bank, recall, without=bank.sinks()):
        for _ in context.prefill(ids[:-1]):
            pass
    last = ids[-1]
    while len(steps) < max_new_tokens:
        tries = []
        for number in range(unsure.tries + 1):
            k = recall.k + number * unsure.step
            with remembering(bank, replace(recall, k=k), without=bank.sinks()):
                for _ in context.prefill([last]):
                    pass
            log = context.next_logits.log_softmax(-1)
            tries.append((k, float(-(log.exp() * log).nan_to_num().sum())))
            if tries[-1][1] <= unsure.entropy or number == unsure.tries or k >= len(bank):
                break
            context.roll_back(len(context) - 1)
        last = int(torch.argmax(context.next_logits))
        steps.append(Step(last, tuple(tries)))
        yield TokenDecoded("answering", words.add(last), last)
        if last in bank.model.end_ids:
            break
    return words.text.strip(), steps
