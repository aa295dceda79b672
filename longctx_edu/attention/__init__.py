"""Attention itself: softmax, linear and sparse, what a run attended to, where a question looks.

Names are imported on first use, since all of this needs torch.
"""

from longctx_edu.lazy import lazily

_HOME = {
    "Ablation": "ablation",
    "attending": "in_model",
    "AttentionRecord": "record",
    "bigbird": "patterns",
    "block_sparse_attention": "block_sparse",
    "blocks_of": "block_mass",
    "capture": "recording",
    "capturing": "recording",
    "causal": "patterns",
    "choosing_layers": "block_mass",
    "dilated_window": "patterns",
    "equal_parts": "by_part",
    "global_tokens": "patterns",
    "LINEAR": "in_model",
    "linear_attention": "linear",
    "linear_attention_quadratic": "linear",
    "linear_attention_recurrent": "linear",
    "logits_without": "knockout",
    "longformer": "patterns",
    "margin_without": "ablation",
    "masked_attention": "block_sparse",
    "mass_by_part": "by_part",
    "mass_on_segments": "block_mass",
    "mean_weights": "by_part",
    "Pattern": "patterns",
    "question_mass": "block_mass",
    "random_blocks": "patterns",
    "Rotation": "rotation",
    "scaled_dot_product": "softmax",
    "scaled_dot_product_in_loops": "softmax",
    "score_segments": "block_mass",
    "sliding_window": "patterns",
    "sparse_attention": "sparse",
    "top_k_attention": "sparse",
    "top_k_attention_in_loops": "sparse",
    "top_k_weights": "sparse",
    "TopK": "in_model",
    "turn": "rotation",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
