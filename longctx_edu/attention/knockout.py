"""Attention knockout: what a model says when its next tokens cannot look at some places.

A weight says where a head looks, not what comes of it. So the looking is taken away, in all
heads of all layers, and what the model says is compared (Geva et al. 2023, section 5). What
stood there lives on in tokens that read it before; to take it out for good, read anew.
"""

from collections.abc import Sequence

import torch

from longctx_edu.errors import ModelError
from longctx_edu.inference import Context
from longctx_edu.inference.cache import GrowingLayer
from longctx_edu.inference.tree import masked_logits


def logits_without(
    context: Context, ids: Sequence[int], hidden: Sequence[range] = ()
) -> torch.Tensor:
    """Return the scores of the next token after each of ``ids``, which do not see ``hidden``.

    The new tokens are read at once, on a branch of ``context``, which is left as it was. A key
    that is hidden has weight 0, and the other weights of its row grow in proportion.

    Args:
        context: what was read before; every token of it has seen all tokens before itself.
        ids: the new tokens, one at least.
        hidden: places in the context, as ranges; none hides nothing.

    Returns:
        ``(len(ids), vocabulary)``, float32.

    Raises:
        ValueError: for no new token, or a range that reaches out of the context.
        ModelError: for a model whose layers look back on a window only.
    """
    read, total = len(context), len(context) + len(ids)
    if not ids:
        raise ValueError("There is nothing to read: ids is empty; give at least one token.")
    for places in hidden:
        if not 0 <= places.start <= places.stop <= read:
            raise ValueError(f"Hidden places lie within the {read} tokens read, got {places}.")
    if not all(type(layer) is GrowingLayer for layer in context.cache.layers):
        raise ModelError(
            f"{context.language_model.name} has layers that look back on a window only, which "
            "have masks of their own; choose a model with full attention in all layers."
        )
    place = torch.arange(read, total)
    sees = torch.arange(total) <= place[:, None]  # (new tokens, all tokens)
    for places in hidden:
        sees[:, places.start : places.stop] = False
    return masked_logits(context, ids, place.tolist(), sees)
