"""Trainable layers that the slides draw, built so that they do what they say.

Names are imported on first use, since all of this needs torch.
"""

from longctx_edu.lazy import lazily

_HOME = {
    "answers": "training",
    "Batch": "batches",
    "compute_loss": "training",
    "EMT": "emt",
    "EMTConfig": "emt",
    "EMTLayer": "emt",
    "HierarchicalConfig": "hierarchical",
    "HierarchicalEMT": "hierarchical",
    "IGNORED": "batches",
    "next_tokens": "training",
    "parameter_count": "tiny_lm",
    "read_documents": "training",
    "read_with_margins": "training",
    "recall_by_segments": "training",
    "SegmentMemory": "emt",
    "staleness": "training",
    "TinyConfig": "tiny_lm",
    "TinyLM": "tiny_lm",
    "train": "training",
    "train_emt_model": "training",
    "train_wim_model": "training",
    "Training": "training",
    "TrainingOptions": "training",
    "WiMAttention": "margin_attention",
    "WiMConfig": "wim",
    "WiMLayer": "wim",
    "WiMTransformer": "wim",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
