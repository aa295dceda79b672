"""The handful of numbers that decide what a transformer costs.

They are read off a Hugging Face configuration, so that a cost can be stated for a
model that was never downloaded. Mixtures of experts and layers without attention are
refused: their cost depends on more than these numbers.
"""

from dataclasses import dataclass, field, replace

# Model types by their MLP: two matrices, up and down, or a gate as well.
_UNGATED = frozenset(
    ("codegen", "gpt2", "gpt_neox", "gptj", "opt", "persimmon", "phi", "starcoder2")
)
_GATED = frozenset(
    ("cohere", "cohere2", "ernie4_5", "exaone4", "gemma", "gemma2", "gemma3", "gemma3_text", "glm")
    + ("glm4", "granite", "helium", "llama", "ministral", "mistral", "olmo", "olmo2", "olmo3")
    + ("phi3", "qwen2", "qwen3", "seed_oss", "smollm3", "stablelm")
)


@dataclass(frozen=True)
class Architecture:
    """A decoder's shape.

    Attributes:
        layers: transformer blocks.
        hidden: width of the residual stream.
        heads: query heads of a layer.
        kv_heads: key and value heads of a layer; fewer than ``heads`` when queries are
            grouped (Ainslie et al. 2023).
        head_dim: width of one head.
        intermediate: inner width of the MLP.
        vocabulary: tokens that the model knows.
        mlp_matrices: 3 for a gated MLP (gate, up, down), 2 for a plain one (up, down).
        tied: whether the embedding serves as the head of the language model too.
        windows: for each layer the tokens it looks back on, itself included, or None for
            all of them; left out, every layer sees all.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    mlp_matrices: int = 3
    tied: bool = True
    windows: tuple[int | None, ...] = field(default=())

    def __post_init__(self):
        if not self.windows:
            object.__setattr__(self, "windows", (None,) * self.layers)
        if len(self.windows) != self.layers:
            raise ValueError(
                f"windows needs one entry for each of the {self.layers} layers, got "
                f"{len(self.windows)}; give None for a layer that sees everything."
            )

    @classmethod
    def of(cls, config) -> "Architecture":
        """Read the shape off a transformers configuration, or off a model that carries one.

        Raises:
            ValueError: for a model whose cost these numbers do not decide: a mixture of
                experts, compressed keys (multi-head latent attention), or layers of another
                kind than full or sliding attention; and for a type that is not known here.
        """
        for inner in ("model", "config"):  # of a LanguageModel, of a Hugging Face model
            config = getattr(config, inner, config)
        config = config.get_text_config() if hasattr(config, "get_text_config") else config
        _assert_dense(config)
        heads, hidden = config.num_attention_heads, config.hidden_size
        return cls(
            layers=config.num_hidden_layers,
            hidden=hidden,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or hidden // heads,
            intermediate=_intermediate(config),
            vocabulary=config.vocab_size,
            mlp_matrices=2 if config.model_type in _UNGATED else 3,
            tied=bool(getattr(config, "tie_word_embeddings", True)),
            windows=_windows(config),
        )

    @property
    def window(self) -> int | None:
        """The widest of the layers' windows, or None where every layer sees all."""
        return max((window for window in self.windows if window is not None), default=None)

    def resized(
        self,
        *,
        layers: int | None = None,
        heads: int | None = None,
        kv_heads: int | None = None,
        head_dim: int | None = None,
    ) -> "Architecture":
        """Return the same kind of decoder with more or fewer layers and heads.

        The residual stream and the MLP grow in step with ``heads · head_dim``, as they do
        within a family of models; the vocabulary stays, and windows repeat over the layers.

        Raises:
            ValueError: for a number below 1, or KV heads that do not divide the heads.
        """
        sizes = dict(layers=layers, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
        sizes = {
            name: getattr(self, name) if size is None else size for name, size in sizes.items()
        }
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be 1 or more, got {size}.")
        if sizes["heads"] % sizes["kv_heads"]:
            raise ValueError(
                f"{sizes['kv_heads']} KV heads cannot be shared evenly by {sizes['heads']} heads; "
                "choose a number that divides the heads."
            )
        grown = sizes["heads"] * sizes["head_dim"] / (self.heads * self.head_dim)
        return replace(
            self,
            **sizes,
            hidden=round(self.hidden * grown),
            intermediate=round(self.intermediate * grown),
            windows=tuple(self.windows[n % self.layers] for n in range(sizes["layers"])),
        )

    def with_window(self, window: int | None) -> "Architecture":
        """Return the decoder with another window, in the layers that have one, or else in all.

        Args:
            window: tokens that such a layer looks back on, itself included; None for all.

        Raises:
            ValueError: for a window below 1.
        """
        if window is not None and window < 1:
            raise ValueError(f"A window must be 1 token or more, or None for all, got {window}.")
        some = self.window is not None
        windows = (window if old is not None or not some else None for old in self.windows)
        return replace(self, windows=tuple(windows))

    @property
    def layer_weights(self) -> int:
        """Numbers in the matrices of one layer: query, key, value, output and the MLP."""
        projections = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return projections + self.mlp_matrices * self.hidden * self.intermediate

    @property
    def weights(self) -> int:
        """Numbers in all matrices; norms, biases and learned positions are left out (< 1 %)."""
        vocabularies = 1 if self.tied else 2
        return self.layers * self.layer_weights + vocabularies * self.vocabulary * self.hidden


def _intermediate(config) -> int:
    for name in ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"):
        if getattr(config, name, None):
            return getattr(config, name)
    return 4 * config.hidden_size  # GPT-2 and its kin leave it out and mean this


def _windows(config) -> tuple[int | None, ...]:
    window = getattr(config, "sliding_window", None)
    if getattr(config, "use_sliding_window", True) is False:
        window = None
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return (window,) * config.num_hidden_layers
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _assert_dense(config) -> None:
    reasons = {
        "is a mixture of experts": ("num_experts", "num_local_experts", "n_routed_experts"),
        "compresses its keys (multi-head latent attention)": ("kv_lora_rank",),
    }
    for reason, names in reasons.items():
        if any(getattr(config, name, None) for name in names):
            raise ValueError(_refusal(config, reason))
    if config.model_type not in _GATED | _UNGATED:
        raise ValueError(_refusal(config, "is not known here"))
    kinds = set(getattr(config, "layer_types", None) or ())
    if other := sorted(kinds - {"full_attention", "sliding_attention"}):
        raise ValueError(_refusal(config, f"has layers of the kind {', '.join(other)}"))


def _refusal(config, reason: str) -> str:
    return (
        f"A model of the type {config.model_type} {reason}, and its cost is not read off its "
        "configuration; choose a dense decoder such as a Llama, Qwen or GPT-2, or give "
        "the numbers yourself."
    )
