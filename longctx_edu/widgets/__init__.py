"""Pictures of what happens: interactive views, and their static twins in ``plots``.

Nothing here loads matplotlib or a widget library before a picture is asked for.
"""

from longctx_edu.lazy import lazily

_HOME = {
    "ArraySource": "sources",
    "AttentionView": "attention",
    "CostExplorer": "cost",
    "MarginsView": "margins",
    "MemoryView": "memory",
    "RoutingView": "routing",
    "View": "base",
    "WeightsSource": "sources",
    "WeightsView": "weights",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
