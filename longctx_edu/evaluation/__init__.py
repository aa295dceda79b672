"""Measuring: the registry of figures, recorded results, and the machine they were taken on.

A module ``bench_NAME`` in this folder is what ``longctx bench NAME`` runs.
Nothing here imports torch before a measurement needs it.
"""

from longctx_edu.lazy import lazily

_HOME = {
    "Evaluation": "comparison",
    "Overlap": "overlap",
    "Performance": "comparison",
    "Perplexity": "perplexity",
    "Sweep": "sweeps",
    "bleu": "overlap",
    "by_turn": "comparison",
    "calculate_perplexity": "perplexity",
    "compare_performance": "comparison",
    "difference": "comparison",
    "evaluate_wim_model": "comparison",
    "half_width": "chance",
    "interval_misses": "chance",
    "marks": "overlap",
    "measure_inference_time": "comparison",
    "named_in": "overlap",
    "read_spec": "sweeps",
    "recorded_sweep": "sweeps",
    "rouge_l": "overlap",
    "run_sweep": "sweeps",
    "set_overlap": "overlap",
    "share_of_leads": "chance",
    "standard_inference": "comparison",
    "token_f1": "overlap",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
