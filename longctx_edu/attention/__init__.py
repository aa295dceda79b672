"""Attention itself: softmax and linear, what a run attended to, and where a question looks.

Names are imported on first use, since all of this needs torch.
"""

from longctx_edu.lazy import lazily

_HOME = {
    "AttentionRecord": "record",
    "Rotation": "rotation",
    "blocks_of": "block_mass",
    "capture": "recording",
    "capturing": "recording",
    "choosing_layers": "block_mass",
    "equal_parts": "by_part",
    "linear_attention": "linear",
    "linear_attention_quadratic": "linear",
    "linear_attention_recurrent": "linear",
    "logits_without": "knockout",
    "mass_by_part": "by_part",
    "mass_on_segments": "block_mass",
    "mean_weights": "by_part",
    "question_mass": "block_mass",
    "score_segments": "block_mass",
    "scaled_dot_product": "softmax",
    "scaled_dot_product_in_loops": "softmax",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
