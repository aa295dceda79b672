"""Who looks on while a model attends: the one place where forward passes ask.

A capture takes the place of a model's attention function by name. Forward passes of our own,
which do not go through that name, find here what the model's attention is called without
the capture, and whom to show their queries and keys. Nothing is stored here.
"""

from collections.abc import Callable
from dataclasses import dataclass

CAPTURE = "longctx_capture"
"""The name under which a capture stands in the place of a model's attention function."""


@dataclass
class Observer:
    """A capture under way.

    Attributes:
        own: name of the attention function that the model has without the capture.
        show: takes ``(layer, query, key, value)`` and the keywords ``scale``, ``window``, ``past``
            and ``memory`` (see ``record.LayerRecord.append``).
        first: where the tokens stand that are being read, by the last mask that was made.
        padding: how many of the tokens before them, or of them, are padding.
    """

    own: str
    show: Callable[..., None]
    first: int = 0
    padding: int = 0


# By the identity of the configuration, which a model's attention layers share.
_OBSERVERS: dict[int, Observer] = {}


def observer_of(config) -> Observer | None:
    """Return who observes the model of this configuration, or None."""
    return _OBSERVERS.get(id(config))


def attention_name(config) -> str:
    """Return the name of the model's attention function, with captures looked through."""
    name, observer = config._attn_implementation, observer_of(config)
    return observer.own if observer is not None and name == CAPTURE else name


def observe(config, observer: Observer) -> None:
    """Let ``observer`` look on.

    Raises:
        ValueError: if somebody does already.
    """
    if observer_of(config) is not None:
        raise ValueError("This model is being captured already; end that capture first.")
    _OBSERVERS[id(config)] = observer


def note_mask(config, *, q_offset=0, attention_mask=None, **_) -> None:
    """Tell the observer, if there is one, what a mask is made of: where, and after what padding.

    Args:
        q_offset: where the new tokens stand.
        attention_mask: ``(batch, tokens)``, yes for all that is no padding.
    """
    if observer := observer_of(config):
        observer.first = int(q_offset)
        # What comes first counts; whether there is other padding is seen in the mask itself.
        known = attention_mask is not None
        observer.padding = int((attention_mask[0].cumsum(0) == 0).sum()) if known else 0


def forget(config) -> None:
    """End the observation of the model of this configuration."""
    _OBSERVERS.pop(id(config), None)
