"""Trainable layers that the slides draw, built so that they do what they say.

Names are imported on first use, since all of this needs torch.
"""

from longctx_edu.lazy import lazily

_HOME = {
    "WiMAttention": "margin_attention",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
