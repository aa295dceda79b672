"""Attention of a text over itself and over notes beside it: one softmax for both.

A trainable layer in the spirit of cross-attention to a memory (Vaswani et al. 2017, section
3.2, for the operation). Writing in the Margins itself has no such layer: there a note is text
in the prompt (Russak et al. 2024, section 3). It has no positions; whoever stacks it adds them.
"""

import torch
import torch.nn.functional as F
from torch import nn

from longctx_edu.attention.softmax import scaled_dot_product_in_loops


class WiMAttention(nn.Module):
    """Multi-head attention of a text's tokens: causal over the text, free over encoded margins.

    Token i sees the tokens 0 to i of the text and all margin tokens. Text and margins share the
    key and value matrices, so that both can be compared; nothing tells them apart but what they
    hold. No token depends on a later one of the text; but a margin written after later tokens
    can carry them back, so train on margins of what stands before the text only.

    Args:
        hidden_size: numbers of a token's vector, a multiple of ``heads``.
        heads: attentions side by side, each on ``hidden_size / heads`` numbers.
        bias: whether the four matrices add a vector.
        device, dtype: where the weights lie, and their kind.

    Raises:
        ValueError: if the heads do not share out the hidden size evenly.
    """

    def __init__(
        self, hidden_size: int, *, heads: int = 8, bias: bool = True, device=None, dtype=None
    ):
        super().__init__()
        if hidden_size < 1 or heads < 1 or hidden_size % heads:
            raise ValueError(
                f"hidden_size must be a multiple of heads, got {hidden_size} and {heads}; choose "
                "another number of heads."
            )
        self.hidden_size, self.heads = hidden_size, heads
        for name in ("query", "key", "value", "output"):
            matrix = nn.Linear(hidden_size, hidden_size, bias=bias, device=device, dtype=dtype)
            self.add_module(name, matrix)

    def extra_repr(self) -> str:
        return f"hidden_size={self.hidden_size}, heads={self.heads}"

    def forward(self, text, margins=None, *, text_padding=None, margin_padding=None):
        """Return what each token of the text takes over, ``(batch, tokens, hidden_size)``.

        A token that sees nothing, such as padding before the text, takes over nothing: its row
        is what the output matrix makes of zeros.

        Args:
            text: vectors of the text's tokens, ``(batch, tokens, hidden_size)``.
            margins: vectors of the margins' tokens, ``(batch, margin_tokens, hidden_size)``;
                without them this is plain causal attention.
            text_padding, margin_padding: True where there is no token, ``(batch, tokens)`` and
                ``(batch, margin_tokens)``, as torch's ``key_padding_mask``; all count by default.

        Raises:
            ValueError: for shapes that do not fit each other.
        """
        seen, padding = self._seen(text, margins, text_padding, margin_padding)
        visible = visible_keys(text.shape[1], padding)  # (batch, tokens, keys)
        query, key, value = self._heads(self.query, text), *self._keys_and_values(seen)
        sees = visible.any(-1, keepdim=True)
        # A row without any key would be 0/0, which spoils the gradients of all other rows.
        mask = (visible | ~sees)[:, None]
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        found = found.transpose(1, 2).flatten(2)  # (batch, tokens, hidden_size)
        return self.output(found.masked_fill(~sees, 0))

    @torch.no_grad()
    def in_loops(self, text, margins=None, *, text_padding=None, margin_padding=None):
        """Return the same, one token and one head at a time; slow, and plain to read."""
        seen, padding = self._seen(text, margins, text_padding, margin_padding)
        query, key, value = self._heads(self.query, text), *self._keys_and_values(seen)
        tokens = text.shape[1]
        found = torch.zeros_like(query)  # (batch, heads, tokens, head_dim)
        for b in range(len(text)):
            for i in range(tokens):
                keys = [j for j in range(i + 1) if not padding[b, j]]
                keys += [j for j in range(tokens, seen.shape[1]) if not padding[b, j]]
                for head in range(self.heads if keys else 0):
                    q, k, v = query[b, head, i : i + 1], key[b, head, keys], value[b, head, keys]
                    row = scaled_dot_product_in_loops(q, k, v, causal=False)
                    found[b, head, i] = found.new_tensor(row[0])
        return self.output(found.transpose(1, 2).flatten(2))

    def _seen(self, text, margins, text_padding, margin_padding):
        """Return text and margins in one row, and where in it there is no token."""
        if margins is None:
            if margin_padding is not None:
                raise ValueError("margin_padding was given without margins; leave out both.")
            margins = text[:, :0]
        _check(text, margins, self.hidden_size)
        padding = [
            _padding(given, vectors, name)
            for given, vectors, name in (
                (text_padding, text, "text"),
                (margin_padding, margins, "margin"),
            )
        ]
        return torch.cat([text, margins], dim=1), torch.cat(padding, dim=1)

    def _keys_and_values(self, seen):
        return self._heads(self.key, seen), self._heads(self.value, seen)

    def _heads(self, matrix, vectors):
        """Return ``(batch, heads, tokens, head_dim)``."""
        return matrix(vectors).unflatten(-1, (self.heads, -1)).transpose(1, 2)


def visible_keys(tokens: int, padding):
    """Return which keys each token of the text sees: itself, earlier ones, and all margins.

    Args:
        tokens: how many of the keys are the text's; they come first, then the margins'.
        padding: True where a key is none, ``(batch, keys)``.

    Returns:
        ``(batch, tokens, keys)``, True where a token looks.
    """
    keys = torch.arange(padding.shape[1], device=padding.device)
    earlier = keys <= torch.arange(tokens, device=padding.device)[:, None]
    return (earlier | (keys >= tokens)) & ~padding[:, None]


def _check(text, margins, hidden_size: int) -> None:
    for name, vectors in (("text", text), ("margins", margins)):
        if vectors.ndim != 3 or vectors.shape[-1] != hidden_size:
            raise ValueError(
                f"{name} must be (batch, tokens, {hidden_size}), got {tuple(vectors.shape)}."
            )
    if len(text) != len(margins):
        raise ValueError(
            f"Text and margins must be of one batch, got {len(text)} texts and {len(margins)} rows "
            "of margins."
        )


def _padding(given, vectors, name: str):
    if given is None:
        return torch.zeros(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
    if given.dtype != torch.bool or given.shape != vectors.shape[:2]:
        raise ValueError(
            f"{name}_padding must be True or False for each token, {tuple(vectors.shape[:2])}, got "
            f"{given.dtype} of {tuple(given.shape)}."
        )
    return given
