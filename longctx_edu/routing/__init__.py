"""Who decides where information goes: agreement, a learned router, or each head by itself."""

from longctx_edu.lazy import lazily

_HOME = {
    "Assigned": "experts",
    "HeadRoutes": "heads",
    "Routed": "agreement",
    "Top1Experts": "experts",
    "dynamic_routing": "agreement",
    "expert_capacity": "experts",
    "load_balance_loss": "experts",
    "route_by_agreement": "agreement",
    "route_by_agreement_in_loops": "agreement",
    "routes_of_heads": "heads",
    "squash": "agreement",
    "top1_routing": "experts",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazily(__name__, _HOME)
