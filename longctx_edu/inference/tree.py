"""Tokens read at once under a mask of one's own; and several continuations in a single pass.

Continuations form a tree. Its tokens are laid end to end, each with the position that it has on
its own branch, and a mask lets it see the context, its ancestors and itself (tree attention, Miao
et al. 2024, SpecInfer, section 4). For scoring given texts; what is written token by token is in
``continuations``.
"""

from collections.abc import Sequence

import torch

from longctx_edu.inference.context import Context


def masked_logits(
    context: Context, ids: Sequence[int], positions: Sequence[int], sees, *, wanted=None
) -> torch.Tensor:
    """Return the scores of what follows new tokens, each of which sees what it is let see.

    They are read on a branch of ``context``, which is left as it was and must have full attention
    in all layers.

    Args:
        ids: the new tokens.
        positions: where each stands.
        sees: ``(new tokens, context and new tokens)``, yes or no.
        wanted: the new tokens whose scores are wanted; all by default.

    Returns:
        ``(wanted, vocabulary)``, float32.
    """
    model = context.language_model.model
    mask = torch.zeros(sees.shape, dtype=model.dtype)
    mask.masked_fill_(~sees, torch.finfo(model.dtype).min)
    wanted = range(len(ids)) if wanted is None else wanted
    with context.branch() as branch, torch.no_grad():
        output = model(
            input_ids=torch.tensor([list(ids)], device=model.device),
            position_ids=torch.tensor([list(positions)], device=model.device),
            attention_mask=mask[None, None].to(model.device),
            past_key_values=branch.cache,
            use_cache=True,
            logits_to_keep=torch.tensor(list(wanted), device=model.device),
        )
    return output.logits[0].float()


def tree_logits(
    context: Context, continuations: Sequence[Sequence[int]], *, skip: int = 0
) -> list[torch.Tensor]:
    """Return the scores of what follows each token of each continuation.

    Args:
        context: what the continuations follow; must be ``served`` (see ``continuations``), and
            is left as it was.
        continuations: token ids, one at least in each.
        skip: first tokens of each continuation, the same in all, whose scores are not wanted.

    Returns:
        For each continuation ``(tokens - skip, vocabulary)``.
    """
    number: dict[tuple[int, ...], int] = {}  # of each node, by the tokens that lead to it
    for ids in continuations:
        for end in range(1, len(ids) + 1):
            number.setdefault(tuple(ids[:end]), len(number))
    past, nodes = len(context), list(number)
    sees = torch.zeros(len(nodes), past + len(nodes), dtype=torch.bool)
    sees[:, :past] = True
    for node, path in enumerate(nodes):
        sees[node, [past + number[path[:end]] for end in range(1, len(path) + 1)]] = True
    wanted = [node for node, path in enumerate(nodes) if len(path) > skip]
    kept = {node: place for place, node in enumerate(wanted)}
    ids = [path[-1] for path in nodes]
    places = [past + len(path) - 1 for path in nodes]
    logits = masked_logits(context, ids, places, sees, wanted=wanted)
    return [
        logits[[kept[number[tuple(ids[:end])]] for end in range(skip + 1, len(ids) + 1)]]
        for ids in continuations
    ]
