"""Where a question looks: the attention mass that it puts on the blocks of a text.

Question and text are compared without their positions: unrotated queries at one distance
from unrotated keys, softmax over the whole text, mass summed for each block. Blocks as units
of a long memory: Xiao et al. 2024 (InfLLM), section 3; one distance for all: ibid. Nothing is
attended to with the blocks found; see memory.
"""

from collections.abc import Sequence

import torch

from longctx_edu.attention.by_part import mass_by_part
from longctx_edu.attention.recording import capture
from longctx_edu.attention.rotation import Rotation
from longctx_edu.errors import ModelError
from longctx_edu.inference import Context

BLOCK_TOKENS = 128
DISTANCE = 256


def blocks_of(tokens: int, block_tokens: int = BLOCK_TOKENS) -> list[range]:
    """Return the blocks of ``block_tokens`` tokens that cover ``tokens``; the last may be short."""
    if block_tokens < 1:
        raise ValueError(f"block_tokens must be at least 1, got {block_tokens}.")
    return [range(a, min(a + block_tokens, tokens)) for a in range(0, tokens, block_tokens)]


def mass_on_segments(
    query,
    key,
    segments: Sequence[range],
    *,
    scale: float = 1.0,
    hidden: Sequence[int] = (),
    lse: torch.Tensor | None = None,
    return_lse: bool = False,
):
    """Return the share of attention that each query gives to each segment of the keys.

    Args:
        query: ``(heads, queries, head_dim)``.
        key: ``(kv_heads, keys, head_dim)``.
        segments: token ranges of the text; they may leave gaps, or overlap.
        scale: factor of the scores.
        hidden: keys that are not seen; no other is masked.
        lse: log-sum-exps of the scores over a longer text of which these keys are a part,
            ``(heads, queries)``; by default over these keys.
        return_lse: also return the log-sum-exps.

    Returns:
        ``(heads, queries, segments)``; rows add up to 1 if the segments cover the text once.

    Raises:
        ValueError: for a segment that reaches out of the text, or without any token.
    """
    for segment in segments:
        if not 0 <= segment.start < segment.stop <= key.shape[1]:
            raise ValueError(f"A segment lies within the {key.shape[1]} tokens, got {segment}.")
    groups = query.reshape(len(key), -1, query.shape[-1])  # (kv_heads, groups * queries, head_dim)
    sums = [None] * len(key) if lse is None else lse.reshape(len(key), -1)
    masses, lses = [], []
    # One KV head after another: the weights on a long memory are the largest thing here.
    for own, keys, total in zip(groups, key, sums, strict=True):
        scores = own * scale @ keys.T
        scores[:, list(hidden)] = -torch.inf
        lses.append(scores.logsumexp(-1) if total is None else total)
        weights = scores.sub_(lses[-1][:, None]).exp_()
        masses.append(mass_by_part(weights, segments))
    mass = torch.stack(masses).view(*query.shape[:2], len(segments))
    return (mass, torch.stack(lses).view(query.shape[:2])) if return_lse else mass


def score_segments(masses: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return one score for each segment from the layers' masses, ``(heads, queries, segments)``.

    By how much the largest mass over the question's tokens exceeds the mean over them; then the
    mean over heads and layers. One word may name what is sought, hence the largest. What every
    word looks at alike is an attention sink and no answer, hence the difference. It weakens the
    sink and does not remove it: hide the first token's key (``mass_on_segments``), or choose one
    block more than is needed. (The mean of logarithms would let one blind head veto.)

    Raises:
        ValueError: for a question of one token, which has nothing to differ from.
    """
    if any(mass.shape[1] < 2 for mass in masses):
        raise ValueError("A question needs at least two tokens, so that they can differ.")
    rises = [(mass.amax(1) - mass.mean(1)).mean(0) for mass in masses]
    return torch.stack(rises).mean(0)


@torch.no_grad()
def placeless_queries(
    context: Context, question_ids: Sequence[int], *, layers: Sequence[int]
) -> dict[int, torch.Tensor]:
    """Return a question's queries that, times keys before rotation, give the scores of attention.

    As if every query stood ``DISTANCE`` tokens after every key. The question is read in a branch
    of ``context``, which is left as it was.

    Returns:
        for each layer ``(heads, queries, head_dim)``, the scores' factor included.
    """
    rotation = Rotation(context.language_model.model)
    asked = capture(context, question_ids, layers=layers)
    place = torch.arange(len(context), len(context) + len(question_ids))
    queries = {}
    for layer in layers:
        query = torch.stack([asked.queries(layer, head) for head in range(asked.heads)]).float()
        query = rotation.moved(query, place, torch.full_like(place, DISTANCE))
        # Keys at 0 would come out scaled where rotating scales; the queries are, in their place.
        queries[layer] = rotation.put_on(query, torch.zeros_like(place)) * asked.scale(layer)
    return queries


@torch.no_grad()
def question_mass(
    context: Context,
    question_ids: Sequence[int],
    *,
    segments: Sequence[range] | None = None,
    layers: Sequence[int] | None = None,
) -> torch.Tensor:
    """Return the score of each segment of what ``context`` has read, for a question.

    The question is read in a branch after the text, so that its words can already know what
    the text says; the context is left as it was.

    Args:
        question_ids: the question's tokens, two at least.
        segments: token ranges in the context; blocks of 128 tokens if left out.
        layers: layers that have a say; by default ``choosing_layers``.

    Returns:
        ``(segments,)``, from 0 to 1; ``argsort`` or ``topk`` of it chooses.

    Raises:
        ValueError: for an empty context, a question of one token, or a segment outside.
        ModelError: for a model whose keys cannot be moved (see ``Rotation``) or are dropped.
    """
    if not len(context):
        raise ValueError("There is nothing to look at: the context has read no token yet.")
    model = context.language_model.model
    rotation = Rotation(model)
    if layers is None:
        layers = choosing_layers(model.config.get_text_config().num_hidden_layers)
    segments = blocks_of(len(context)) if segments is None else segments
    queries = placeless_queries(context, question_ids, layers=layers)
    text, masses = torch.arange(len(context)), []
    for layer, query in queries.items():
        key = context.cache.layers[layer].keys[0].float().cpu()
        if key.shape[1] != len(context):
            raise ModelError(
                f"Layer {layer} keeps the last {key.shape[1]} of {len(context)} tokens only, so "
                "that a question cannot look at all of them; choose a model with full attention."
            )
        masses.append(mass_on_segments(query, rotation.take_off(key, text), segments))
    return score_segments(masses)


def choosing_layers(layers: int) -> range:
    """Return the layers that choose best: the second quarter and most of the third.

    Measured on the embedded model: 8 to 21 of 30. First layers look at words, last layers at
    what comes next.
    """
    first = round(layers * 8 / 30)
    return range(first, max(first + 1, round(layers * 22 / 30)))
