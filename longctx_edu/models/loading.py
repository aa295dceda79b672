"""Load a causal language model by name or folder, or say in a sentence why not."""

import logging
from contextlib import contextmanager
from pathlib import Path

from longctx_edu.errors import ModelError
from longctx_edu.models.embedded import EMBEDDED, fetch
from longctx_edu.models.language_model import LanguageModel, describe
from longctx_edu.models.memory import free_memory_bytes


def load(name_or_path=None, *, device: str = "auto", dtype=None) -> LanguageModel:
    """Load a causal language model and its tokenizer.

    Args:
        name_or_path: nothing or ``"embedded"`` for the embedded model; otherwise a
            folder, or a Hugging Face id (looked up online unless it is cached).
        device: ``"auto"`` takes a GPU where there is one, else the CPU.
        dtype: a ``torch.dtype`` or its name; by default float32 on a CPU, where it
            is the fastest, and the type the weights were saved in elsewhere.

    Raises:
        ModelError: for an unknown name, a model that is not a causal language
            model, or one that is larger than the memory at hand.
    """
    import torch
    from transformers import AutoModelForCausalLM

    embedded = name_or_path in (None, "embedded", EMBEDDED)
    source = fetch() if embedded else name_or_path
    device = _device(device)
    dtype = _dtype(dtype, device)
    with _quiet_loading(), _hub_errors(source):
        config = _causal_config(source)
        _assert_fits_in_memory(source, config, device, dtype)
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, trust_remote_code=False
        ).to(device)
    if embedded:
        model.config._name_or_path = EMBEDDED
    language_model = describe(model, load_tokenizer(source))
    with torch.no_grad():
        _assert_causal(language_model, source)
    return language_model


def load_tokenizer(name_or_path=None):
    """Load a model's tokenizer alone; names as in ``load``.

    Raises:
        ModelError: for an unknown name, or a tokenizer that knows no character offsets.
    """
    from transformers import AutoTokenizer

    source = fetch() if name_or_path in (None, "embedded", EMBEDDED) else name_or_path
    with _quiet_loading(), _hub_errors(source):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise ModelError(
            f"The tokenizer of {source} has no fast version and so no character offsets; "
            "choose a model that ships a tokenizer.json."
        )
    return tokenizer


def _device(device: str):
    import torch

    if device == "auto":
        found = torch.accelerator.is_available()
        return torch.accelerator.current_accelerator() if found else torch.device("cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"The device {device!r} cannot be used here; give 'auto', 'cpu', or a device that "
            "this build of PyTorch supports."
        ) from error
    return chosen


def as_language_model(model=None) -> LanguageModel:
    """Return a model that is loaded already as it is, and load one that is named.

    Args:
        model: a ``LanguageModel``; or a name or folder for ``load``, the embedded model by default.

    Raises:
        ModelError: for anything else, or as ``load``.
    """
    if isinstance(model, LanguageModel):
        return model
    if model is None or isinstance(model, str | Path):
        return load(model)
    raise ModelError(
        f"model must be a LanguageModel, a name or a folder, got {type(model).__name__}; "
        "make one with longctx_edu.models.load(name)."
    )


def _dtype(dtype, device):
    import torch

    if dtype is None:
        return torch.float32 if device.type == "cpu" else "auto"
    if isinstance(dtype, str) and dtype != "auto":
        named = getattr(torch, dtype, None)
        if not isinstance(named, torch.dtype) or not named.is_floating_point:
            raise ModelError(
                f"The dtype {dtype!r} is not known; give 'float32', 'bfloat16' or 'float16'."
            )
        return named
    return dtype


def _causal_config(source):
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    architectures = getattr(config, "architectures", None) or []
    saved_as_other = architectures and not any(
        name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"))
        for name in architectures
    )
    if config.is_encoder_decoder or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        saved_as_other = True
    if saved_as_other:
        kind = architectures[0] if architectures else config.model_type
        raise ModelError(
            f"{source} is a {kind}, which is not a causal language model: it cannot continue a "
            "text from left to right. Choose a decoder such as a Llama, Qwen or GPT model."
        )
    return config


def _assert_fits_in_memory(source, config, device, dtype) -> None:
    """Compare the weights' bytes with the free memory before a single one is read."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config)
    size = (
        dtype.itemsize
        if isinstance(dtype, torch.dtype)
        else (config.dtype or torch.float16).itemsize
    )
    needed = sum(weight.numel() for weight in skeleton.parameters()) * size
    available = free_memory_bytes(device)
    if needed > available:
        raise ModelError(
            f"{source} needs {needed / 1e9:.1f} GB for its weights, and {available / 1e9:.1f} GB "
            "of memory are free; choose a smaller model, or dtype='bfloat16' for half the size."
        )


def _assert_causal(language_model: LanguageModel, source) -> None:
    """Change the last token and see that no earlier prediction moves."""
    import torch

    ids = torch.arange(1, 9, device=language_model.device)[None]  # (batch 1, 8 tokens)
    other = ids.clone()
    other[0, -1] = 0
    kept, changed = (
        language_model.model(input_ids=x, use_cache=False).logits[:, :-1] for x in (ids, other)
    )
    if not torch.allclose(kept, changed, atol=1e-3 + 1e-2 * kept.abs().max().item()):
        raise ModelError(
            f"{source} looks at later tokens when it predicts earlier ones: it is an encoder, "
            "not a causal language model. Choose a decoder such as a Llama, Qwen or GPT model."
        )


@contextmanager
def _quiet_loading():
    """Keep progress bars, advice and retries out of notebooks while a model loads."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    hub = logging.getLogger("huggingface_hub")
    hub_level = hub.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        hub.setLevel(hub_level)
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def _hub_errors(source):
    """Turn the many ways of not finding a model into one sentence."""
    from safetensors import SafetensorError

    try:
        yield
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        where = "folder" if Path(str(source)).exists() else "Hugging Face id"
        raise ModelError(
            f"The model {str(source)!r} could not be loaded as a {where}; give 'embedded', a "
            "folder with config.json, tokenizer.json and safetensors, or an id that is cached or "
            f"reachable online (transformers said: {_first_line(error)})."
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
