"""What a small model is trained on: documents in segments, and what is asked of them.

One batch serves three readers: of the whole document, of each segment alone, and of each segment
with notes on what stands before it. Where the documents come from is for the tasks to say.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from longctx_edu.errors import LongctxError

IGNORED = -100
"""The target of a token after which nothing is asked; cross-entropy leaves it out."""


@dataclass(frozen=True)
class Batch:
    """Documents of equal length, cut into segments of equal length.

    Attributes:
        ids: ``(documents, tokens)``.
        targets: the token to come, where one is asked for, else ``IGNORED``: shifted by one
            already, so that the logits of a place are compared with its own target.
        distances: how many tokens back the answer was told, where one is asked for, else 0.
        segment_tokens: tokens of a segment.
        margins: notes on what stands before each segment, ``(documents, segments,
            margin_tokens)``; None where the task has none.
        margin_padding: True where a margin has no token, of the same shape.
    """

    ids: torch.Tensor
    targets: torch.Tensor
    distances: torch.Tensor
    segment_tokens: int
    margins: torch.Tensor | None = None
    margin_padding: torch.Tensor | None = None

    def __post_init__(self):
        documents, tokens = self.ids.shape
        for name in ("targets", "distances"):
            if getattr(self, name).shape != self.ids.shape:
                raise LongctxError(
                    f"{name} must have the shape of ids, ({documents}, {tokens}), got "
                    f"{tuple(getattr(self, name).shape)}."
                )
        if self.segment_tokens < 1 or tokens % self.segment_tokens:
            raise LongctxError(
                f"A document must be whole segments, but {tokens} tokens are no multiple of "
                f"{self.segment_tokens}."
            )
        if (self.margins is None) != (self.margin_padding is None):
            raise LongctxError("Margins and their padding come together; give both or neither.")

    @property
    def segments(self) -> int:
        """Segments of a document."""
        return self.ids.shape[1] // self.segment_tokens

    @property
    def tokens(self) -> int:
        """Tokens of all documents together."""
        return self.ids.numel()

    def by_segment(self, numbers: torch.Tensor) -> torch.Tensor:
        """Cut ``(documents, tokens)`` into rows of a segment, ``(documents * segments, ...)``."""
        return numbers.reshape(-1, self.segment_tokens)

    def documents(self, rows: slice) -> "Batch":
        """Return some of the documents."""
        return self._mapped(lambda numbers: numbers[rows])

    def to(self, device) -> "Batch":
        """Return the batch on a device."""
        return self._mapped(lambda numbers: numbers.to(device))

    def without_margins(self) -> "Batch":
        """Return the same text with empty margins: all of their places are padding."""
        return replace(self, margin_padding=torch.ones_like(self._padding()))

    def with_strange_margins(self) -> "Batch":
        """Return the same text with the margins of the next document, as many and as long."""
        padding = self._padding()
        return replace(self, margins=self.margins.roll(1, 0), margin_padding=padding.roll(1, 0))

    def _padding(self) -> torch.Tensor:
        if self.margin_padding is None:
            raise LongctxError("These documents have no margins; draw them from a task with notes.")
        return self.margin_padding

    def _mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        tensors = {name: x for name, x in vars(self).items() if isinstance(x, torch.Tensor)}
        return replace(self, **{name: change(x) for name, x in tensors.items()})
