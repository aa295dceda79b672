"""Shapes of published models, so that a cost can be stated without downloading one.

Each is what the model's own ``config.json`` on its page at huggingface.co says. Names are
the publishers'; sizes in names count weights in millions or billions.
"""

from collections.abc import Mapping
from types import MappingProxyType

from longctx_edu.cost.architecture import Architecture

EMBEDDED_MODEL = "SmolLM2 135M"

KNOWN_MODELS: Mapping[str, Architecture] = MappingProxyType(
    {
        # HuggingFaceTB/SmolLM2-135M-Instruct, the course's embedded model
        EMBEDDED_MODEL: Architecture(
            layers=30,
            hidden=576,
            heads=9,
            kv_heads=3,
            head_dim=64,
            intermediate=1536,
            vocabulary=49152,
        ),
        # openai-community/gpt2
        "GPT-2 124M": Architecture(
            layers=12,
            hidden=768,
            heads=12,
            kv_heads=12,
            head_dim=64,
            intermediate=3072,
            vocabulary=50257,
            mlp_matrices=2,
        ),
        # google/gemma-3-1b-it: five layers with a window, then one without
        "Gemma 3 1B": Architecture(
            layers=26,
            hidden=1152,
            heads=4,
            kv_heads=1,
            head_dim=256,
            intermediate=6912,
            vocabulary=262144,
            windows=tuple(None if layer % 6 == 5 else 512 for layer in range(26)),
        ),
        # mistralai/Mistral-7B-v0.1
        "Mistral 7B": Architecture(
            layers=32,
            hidden=4096,
            heads=32,
            kv_heads=8,
            head_dim=128,
            intermediate=14336,
            vocabulary=32000,
            tied=False,
            windows=(4096,) * 32,
        ),
        # meta-llama/Meta-Llama-3-8B
        "Llama 3 8B": Architecture(
            layers=32,
            hidden=4096,
            heads=32,
            kv_heads=8,
            head_dim=128,
            intermediate=14336,
            vocabulary=128256,
            tied=False,
        ),
        # meta-llama/Meta-Llama-3-70B
        "Llama 3 70B": Architecture(
            layers=80,
            hidden=8192,
            heads=64,
            kv_heads=8,
            head_dim=128,
            intermediate=28672,
            vocabulary=128256,
            tied=False,
        ),
    }
)
"""Shapes by name, the smallest first."""
