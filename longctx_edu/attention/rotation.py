"""Rotary positions put on and taken off: a key at any place, whatever place it was read at.

Su et al. 2021, section 3.2: query and key are turned by angles that grow with the position,
so that their product depends on the distance alone. A rotation has an exact inverse. Holds
for the layout of Llama and its kin, in which dimension i turns with i + half.
"""

import sys

import torch

from longctx_edu.errors import ModelError


class Rotation:
    """The rotary positions of a model, for tensors ``(heads, tokens, head_dim)``.

    Raises:
        ModelError: for a model whose positions are not rotary, or rotary in another way.
    """

    def __init__(self, model):
        self._embedding = getattr(model.base_model, "rotary_emb", None)
        _assert_known(model, self._embedding)
        # Some ways to lengthen a window (YaRN) also scale what they rotate.
        self._scaling = float(getattr(self._embedding, "attention_scaling", 1.0))

    def put_on(self, x, positions: torch.Tensor):
        """Return ``x`` as at ``positions``, ``(tokens,)``; it comes without any."""
        cos, sin = self._angles(x, positions)
        return turn(x, cos, sin)

    def take_off(self, x, positions: torch.Tensor):
        """Return ``x`` without the positions at which it stands: the inverse of ``put_on``."""
        cos, sin = self._angles(x, positions)
        squared = self._scaling**2
        return turn(x, cos / squared, -sin / squared)

    def moved(self, x, places: torch.Tensor, to: torch.Tensor):
        """Return what stands at ``places`` as at ``to``; both ``(tokens,)``."""
        return self.put_on(self.take_off(x, places), to)

    def _angles(self, x, positions):
        cos, sin = self._embedding(x, positions[None].to(x.device))
        return cos[0], sin[0]  # (tokens, rotated dimensions)


def turn(x, cos, sin):
    """Turn dimension i with i + half by the angles, ``(..., tokens, rotated dimensions)``.

    What ``x``, ``(..., tokens, head_dim)``, has beyond the rotated dimensions stays.
    """
    size = cos.shape[-1]
    rotated, rest = (x, None) if x.shape[-1] == size else x.split([size, x.shape[-1] - size], -1)
    # A quarter turn changes the halves' places and the sign of one; that of the sine is less work.
    signed = torch.cat([-sin[..., : size // 2], sin[..., size // 2 :]], dim=-1)
    turned = rotated * cos + rotated.roll(size // 2, dims=-1) * signed
    return turned if rest is None else torch.cat([turned, rest], dim=-1)


def _quarter_turn(x):
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


def _assert_known(model, embedding) -> None:
    config = model.config.get_text_config()
    kind = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    # Each modeling file brings its own; asked here, since no configuration says which layout.
    theirs = getattr(sys.modules[type(model).__module__], "rotate_half", None)
    numbers = torch.arange(4.0)
    if embedding is None or theirs is None:
        reason = "has no rotary positions"
    elif not torch.equal(theirs(numbers), _quarter_turn(numbers)):
        reason = "pairs neighbouring dimensions"
    elif kind in ("dynamic", "longrope"):
        reason = f"changes its angles with the length of the text ({kind})"
    elif len(set(getattr(config, "layer_types", None) or ["full_attention"])) > 1:
        reason = "rotates some layers differently from others"
    else:
        return
    raise ModelError(
        f"A model of the type {config.model_type} {reason}, so that its keys cannot be moved; "
        "choose a Llama or Qwen."
    )
