"""One-off conversion of the embedded model: GGUF in, safetensors and a mended tokenizer out.

Run as ``python -m longctx_edu.models.convert GGUF FOLDER`` in a process of its own.
"""

import functools
import json
import sys
from pathlib import Path


def convert(source: Path, folder: Path) -> None:
    """Read the GGUF file ``source`` with transformers' own loader; write a plain fp32 model."""
    import gguf
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # The loader opens the file for the configuration, the weights and the tokenizer; reading its
    # two hundred thousand fields takes seconds, and once is enough.
    gguf.GGUFReader = functools.cache(gguf.GGUFReader)
    place = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    # The weights are plain fp32 now; what is left of the file's quantisation would forbid saving.
    model.hf_quantizer = None
    vars(model.config).pop("quantization_config", None)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(**place)
    mend_tokenizer(tokenizer, model_max_length=model.config.max_position_embeddings)
    tokenizer.save_pretrained(folder)


def mend_tokenizer(tokenizer, *, model_max_length: int) -> None:
    """Give the tokenizer back what GGUF loaders drop or guess, each version in its own way.

    SmolLM2 was trained with every digit split off *before* the GPT-2 byte-level
    pattern. GGUF names that rule only by a word that the loader does not know
    and replaces by the pattern alone. The vocabulary holds no token of two
    digits, so plain numbers come out the same; runs of spaces before a number
    and characters such as ``²`` do not. Older loaders also take its bytes for
    sentencepiece's and its first special token for the last.
    """
    from tokenizers import decoders, models, pre_tokenizers

    backend = tokenizer.backend_tokenizer
    state = json.loads(backend.to_str())["model"]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in state["merges"]]
    backend.model = models.BPE(vocab=state["vocab"], merges=merges)
    backend.normalizer = None
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    tokenizer.bos_token, tokenizer.unk_token = "<|im_start|>", "<|endoftext|>"
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    tokenizer.model_max_length = model_max_length
    tokenizer.clean_up_tokenization_spaces = False


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
