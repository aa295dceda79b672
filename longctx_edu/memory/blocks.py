"""Two levels of memory: a question chooses blocks first, then passages in them, and reads those.

A flat choice of the best keys drowns a small model in near-misses as the memory grows; whole
blocks keep what belongs together (InfLLM, Xiao et al. 2024, section 3). What is chosen stands in
front of the question at consecutive positions, so that nothing lies beyond the trained window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from longctx_edu.attention.block_mass import (
    BLOCK_TOKENS,
    blocks_of,
    choosing_layers,
    mass_on_segments,
    placeless_queries,
    score_segments,
)
from longctx_edu.inference import Context
from longctx_edu.memory.bank import MemoryBank
from longctx_edu.text import tokenize

ANY_QUESTION = "\n\nQuestion: What does the text say?\nAnswer:"
"""A question about nothing in particular, in the words that stand around every question."""

_MOST_CAPTURED = 1024


@dataclass(frozen=True)
class Chosen:
    """What a question chose from a memory.

    Attributes:
        blocks: all blocks of the memory, as ranges of its tokens.
        block_scores: how much more the question looks at each than any would, ``(blocks,)``.
        best_blocks: the numbers of those chosen, best first.
        passages: sentences chosen in these, as ranges of tokens, best first.
        passage_scores: of these.
        captured: which share of the attention of the question's last token to the whole memory
            its best k keys hold, a mean over the heads of the layers that chose: ``[k, share]``
            for k = 1, 2, 4, ... up to 1,024.
    """

    blocks: list[range]
    block_scores: torch.Tensor
    best_blocks: list[int]
    passages: list[range]
    passage_scores: list[float]
    captured: list[list]


@torch.no_grad()
def choose(
    bank: MemoryBank,
    question_ids: Sequence[int],
    *,
    blocks: int,
    passages: int = 0,
    block_tokens: int = BLOCK_TOKENS,
    layers: Sequence[int] | None = None,
) -> Chosen:
    """Let a question choose blocks of the memory, and passages in these.

    The question is read alone. Its queries and the memory's keys are compared at one distance
    (see ``attention.block_mass``): all keys for the blocks, the chosen blocks' for the passages.
    The documents' first tokens, attention sinks, are not compared (``MemoryBank.sinks``). What
    ``ANY_QUESTION`` looks at, such as a text's first sentences, is taken off, as Hsieh et al. 2024
    (Found in the Middle) take off what a place draws by itself.

    Args:
        question_ids: two tokens at least.
        blocks: how many to choose.
        passages: how many sentences to choose in them; 0 for none.
        block_tokens: size of a block; the last one of a document may be short.
        layers: those that have a say; by default ``choosing_layers``.
    """
    if layers is None:
        layers = choosing_layers(len(bank.layers))
    context = Context(bank.model)
    anything = tokenize(bank.model.tokenizer, ANY_QUESTION).ids
    queries, others = (
        placeless_queries(context, ids, layers=layers) for ids in (question_ids, anything)
    )
    both = {layer: torch.cat([queries[layer], others[layer]], dim=1) for layer in queries}
    every, masses, lses, captured = memory_blocks(bank, block_tokens), [], {}, []
    sinks = [token for sink in bank.sinks() for token in sink]
    for layer, query in both.items():
        key = bank.keys_of(layer).float()
        mass, lses[layer] = mass_on_segments(query, key, every, hidden=sinks, return_lse=True)
        masses.append(mass)
        captured.append(_captured(queries[layer][:, -1], key, sinks))
    scores = _above_any(masses, len(question_ids))
    best = scores.argsort(descending=True)[:blocks].tolist()
    sentences = _sentences_in(bank, [every[block] for block in sorted(best)]) if passages else []
    shares = torch.stack(captured).mean(0).tolist()
    powers = (2**n for n in range(len(shares).bit_length()))
    curve = [[k, shares[k - 1]] for k in powers]
    if not sentences:
        return Chosen(every, scores, best, [], [], curve)
    tokens = sorted({token for sentence in sentences for token in sentence})
    place = {token: n for n, token in enumerate(tokens)}
    inside = [range(place[one[0]], place[one[-1]] + 1) for one in sentences]
    hidden = [place[sink] for sink in sinks if sink in place]
    # Not the softmax among these tokens alone: it would give a word that finds nothing here as
    # much say as one that does.
    masses = [
        mass_on_segments(
            query, bank.keys_of(layer, tokens).float(), inside, hidden=hidden, lse=lses[layer]
        )
        for layer, query in both.items()
    ]
    found = _above_any(masses, len(question_ids))
    order = found.argsort(descending=True)[:passages].tolist()
    best_sentences = [sentences[n] for n in order]
    return Chosen(every, scores, best, best_sentences, found[order].tolist(), curve)


def _captured(query: torch.Tensor, key: torch.Tensor, hidden: Sequence[int]) -> torch.Tensor:
    """Return the share that the best 1, 2, 3, ... keys hold of a token's attention.

    Args:
        query: of the token, ``(heads, head_dim)``.
        key: ``(kv_heads, keys, head_dim)``.
        hidden: keys that are not seen.
    """
    scores = query.view(len(key), -1, query.shape[-1]) @ key.mT
    scores[..., list(hidden)] = -torch.inf
    most = min(_MOST_CAPTURED, key.shape[1])
    return scores.softmax(-1).topk(most).values.cumsum(-1).mean((0, 1))


def _above_any(masses: Sequence[torch.Tensor], rows: int) -> torch.Tensor:
    """Return the scores of segments by a question's ``rows``, less those by the rows after."""
    question = [mass[:, :rows] for mass in masses]
    return score_segments(question) - score_segments([mass[:, rows:] for mass in masses])


def block_scores(
    bank: MemoryBank,
    question_ids: Sequence[int],
    *,
    block_tokens: int = BLOCK_TOKENS,
    layers: Sequence[int] | None = None,
) -> torch.Tensor:
    """Return how much more a question looks at each block of a memory than any would.

    ``(blocks,)``; below 0 where it looks less. See ``choose``.
    """
    found = choose(bank, question_ids, blocks=1, block_tokens=block_tokens, layers=layers)
    return found.block_scores


def memory_blocks(bank: MemoryBank, block_tokens: int = BLOCK_TOKENS) -> list[range]:
    """Return the blocks of a memory: those of one document after those of another."""
    return [
        range(held.tokens.start + block.start, held.tokens.start + block.stop)
        for held in bank.held
        for block in blocks_of(len(held.tokens), block_tokens)
    ]


def _sentences_in(bank: MemoryBank, blocks: Sequence[range]) -> list[range]:
    """Return the sentences that have tokens in some blocks, whole, as ranges of tokens."""
    wanted = {token for block in blocks for token in block}
    every = (sentence for held in bank.held for sentence in held.sentences)
    return [sentence for sentence in every if not wanted.isdisjoint(sentence)]


def context_with(
    bank: MemoryBank, ranges: Sequence[range], head_ids: Sequence[int], *, reserve: int = 256
) -> Context:
    """Return a context that begins with ``head_ids`` and goes on with parts of the memory.

    Their keys and values stand one after another as if the parts had just been read; no token of
    theirs is forwarded again. They still carry what stood before them in their document.
    """
    tokens = [token for one in ranges for token in one]
    context = Context(bank.model, reserve=len(head_ids) + len(tokens) + reserve)
    for _ in context.prefill(head_ids):
        pass
    if tokens:
        positions = torch.arange(len(context), len(context) + len(tokens))
        pairs = [bank.at(layer, tokens, positions) for layer in bank.layers]
        context.take_over([bank.ids[token] for token in tokens], pairs)
    return context
