"""Another attention function in a model's place, for a while.

Transformers looks its attention up by name, and the mask that goes with it. Whoever captures,
batches or remembers puts a function of its own there and takes it away again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from transformers import AttentionInterface, AttentionMaskInterface


@contextmanager
def attention_exchanged(
    model, name: str, attend: Callable, *, mask: Callable | None = None
) -> Iterator[None]:
    """Let ``model`` attend by ``attend`` within the block.

    Args:
        name: under which the function is known meanwhile; nobody else's.
        attend: takes ``(module, query, key, value, attention_mask, scaling=..., ...)``.
        mask: makes the mask that ``attend`` is given; by default it is given none.
    """
    own = model.config._attn_implementation
    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, mask or (lambda *_, **__: None))
    try:
        model.set_attn_implementation(name)
        yield
    finally:
        model.set_attn_implementation(own)
