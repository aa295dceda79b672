"""Pictures of what happens: interactive views, and their static twins in ``plots``.

Nothing here loads matplotlib or a widget library before a picture is asked for.
"""

from longctx_edu.lazy import lazily

_HOME = {
    "ArraySource": "sources",
    "AttentionView": "attention",
    "CellsSource": "sources",
    "CostExplorer": "cost",
    "LiveSweep": "sweep_picture",
    "MarginsView": "margins",
    "MemoryView": "memory",
    "RatingView": "rating",
    "RoutingView": "routing",
    "View": "base",
    "WeightsSource": "sources",
    "WeightsView": "weights",
    "upload_button": "upload",
    "uploaded": "upload",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
