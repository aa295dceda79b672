"""Who looks on while a model attends: the one place where forward passes ask.

A capture takes the place of a model's attention function by name. Forward passes of our own,
which do not go through that name, find here what the model's attention is called without
the capture, and whom to show their queries and keys. Nothing is stored here.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Observer:
    """A capture under way.

    Attributes:
        own: name of the attention function that the model has without the capture.
        show: takes ``(layer, query, key, value)`` and the keywords ``scale``, ``window``, ``past``
            (see ``record.LayerRecord.append`` for the shapes).
    """

    own: str
    show: Callable[..., None]


# By the identity of the configuration, which a model's attention layers share.
_OBSERVERS: dict[int, Observer] = {}


def observer_of(config) -> Observer | None:
    """Return who observes the model of this configuration, or None."""
    return _OBSERVERS.get(id(config))


def attention_name(config) -> str:
    """Return the name of the model's attention function, with captures looked through."""
    observer = observer_of(config)
    return config._attn_implementation if observer is None else observer.own


def observe(config, observer: Observer) -> None:
    """Let ``observer`` look on.

    Raises:
        ValueError: if somebody does already.
    """
    if observer_of(config) is not None:
        raise ValueError("This model is being captured already; end that capture first.")
    _OBSERVERS[id(config)] = observer


def forget(config) -> None:
    """End the observation of the model of this configuration."""
    _OBSERVERS.pop(id(config), None)
