"""Small models whose every weight counts: nothing is left at zero or one, so equality says much."""

import torch

from longctx_edu.layers import (
    EMT,
    EMTConfig,
    HierarchicalConfig,
    HierarchicalEMT,
    TinyConfig,
    TinyLM,
    WiMConfig,
    WiMTransformer,
)

SIZES = dict(vocabulary=23, width=16, heads=2, segment_tokens=6)
KINDS = {
    "plain": (TinyLM, TinyConfig),
    "memory": (EMT, EMTConfig),
    "blocks": (HierarchicalEMT, HierarchicalConfig),
    "margins": (WiMTransformer, WiMConfig),
}


def model_of(kind: str, *, seed: int = 0, dtype=torch.float64, **options):
    """Return a random model in which gates, norms and zero matrices are random, too."""
    model_class, config_class = KINDS[kind]
    torch.manual_seed(seed)
    model = model_class(config_class(**{**SIZES, **options}))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.to(dtype)


def random_ids(*shape, seed: int = 0):
    return torch.randint(23, shape, generator=torch.Generator().manual_seed(seed))


def same(a, b, *, within=1e-10):
    torch.testing.assert_close(a, b, rtol=0, atol=within)
