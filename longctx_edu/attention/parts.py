"""Attention over parts of the keys, put together by their log-sum-exps.

The softmax over all keys is the mean of the softmaxes over disjoint parts, weighted by
the exponentials of their log-sum-exps (Milakov and Gimelshein 2018; Dao 2023, section
3.1). So a chunk reads what came before it without a mask and itself with the
causal one, and no masked score is ever computed. It holds no selection of keys.
"""

import torch

from longctx_edu.attention.softmax import scaled_dot_product


def attend(query, key, value, *, causal: bool, scale: float | None = None, bias=None):
    """Return attention over one part of the keys, and each row's log-sum-exp over it.

    Args:
        query: ``(batch, heads, queries, head_dim)``.
        key, value: ``(batch, heads, keys, head_dim)``; may be expanded views.
        causal: whether query i sees keys 0 to i alone; then as many keys as queries.
        scale: factor of the scores; ``1 / √head_dim`` if left out.
        bias: added to the scores, ``(queries, keys)`` or ``(batch, 1, queries, keys)``; what
            comes out for a query that sees no key means nothing.

    Returns:
        The output, ``(batch, heads, queries, head_dim)``, and the log-sum-exps,
        ``(batch, heads, queries)``.
    """
    if query.device.type == "cpu" and query.dtype == torch.float32:
        # PyTorch's own kernel of scaled_dot_product_attention, which keeps them to itself.
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        mask = bias[None, None] if bias is not None and bias.ndim == 2 else bias
        return kernel(query, key, value, is_causal=causal, attn_mask=mask, scale=scale)
    options = dict(causal=causal, scale=scale, bias=bias)
    return scaled_dot_product(query, key, value, **options, return_lse=True)


def join(output, lse, other, other_lse):
    """Return attention over two disjoint parts of the keys; ``output`` and ``lse`` are lost.

    Shapes as ``attend`` returns them. The weight of the second part is
    ``exp(other_lse) / (exp(lse) + exp(other_lse))``, which is a logistic function. A query that
    sees nothing in a part has the log-sum-exp minus infinity there.
    """
    share = (other_lse - lse).sigmoid_().nan_to_num_(0.0)  # nothing in both: infinities cancel
    return output.lerp_(other, share.unsqueeze(-1)), torch.logaddexp(lse, other_lse, out=lse)


def attend_after(query, key, value, *, scale: float | None = None):
    """Return causal attention of the last tokens of a text, and each row's log-sum-exp.

    Args:
        query: ``(batch, heads, queries, head_dim)``, those of the last tokens.
        key, value: ``(batch, heads, keys, head_dim)``, those of all tokens.
    """
    past = key.shape[2] - query.shape[2]
    own = attend(query, key[:, :, past:], value[:, :, past:], causal=True, scale=scale)
    if past == 0:
        return own
    earlier = attend(query, key[:, :, :past], value[:, :, :past], causal=False, scale=scale)
    return join(*own, *earlier)
