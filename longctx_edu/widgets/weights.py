"""Attention weights of a short text, one head at a time: matrix, row, text and table.

``WeightsView`` shows where each token looks (Vaswani et al. 2017, section 3.2.1). Weights
say how information is routed, not why. For long texts, and all heads at a glance, there is
``AttentionView`` on the same parts; this one takes up to ``LONGEST`` tokens.
"""

from collections.abc import Sequence

import numpy as np
import traitlets

from longctx_edu.errors import LongctxError
from longctx_edu.text import Tokens
from longctx_edu.widgets.heads import NONE, HeadsView
from longctx_edu.widgets.matrix import draw_matrix, draw_scale, mark_cell
from longctx_edu.widgets.plots import style
from longctx_edu.widgets.sources import answer, codes, source_of

LONGEST = 256


class WeightsView(HeadsView):
    """Attention weights of one head at a time, with pickers for layer and head.

    Move over the matrix or the text, or use the arrow keys there: the row of the query,
    its table of largest weights and the colours of the text follow. A click or Enter keeps
    the cell in ``query`` and ``key``, which can also be set from Python.

    Args:
        weights: (layers, heads, n, n) after the softmax, see ``ArraySource``; or what
            ``longctx_edu.attention.capture`` recorded; or any ``WeightsSource``. Of a whole
            text, as many queries as keys: capture it with a model, not with a context
            that has read something already.
        tokens: the n tokens: a text for each, or ``Tokens`` of ``text``.
        text: the text, where ``tokens`` are ``Tokens``.
        visible: (n, n), which keys a query may see; without it, those up to itself. Only
            for an array: a source knows.
        layer: shown first.
        head: shown first.
        query: chosen first, -1 for none; without it, the last token.
        key: chosen first, -1 for none.
        scale: of the colours: ``relative`` (to attention spread evenly), ``log``, ``linear``.
        theme: ``auto``, ``light`` or ``dark``.
        top_k: rows of the table, up to 1024.

    Raises:
        LongctxError: if weights and tokens do not fit together, there are fewer queries than
            keys or more tokens than ``LONGEST``, or the text holds half a character.
        traitlets.TraitError: for a layer, head, query or key that there is not, or another
            ``top_k``.
    """

    _part = "weights"

    codes = traitlets.Bytes().tag(sync=True)  # of the head in `shown`, see sources.codes
    shown = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(
        self,
        weights,
        tokens: Sequence[str] | Tokens,
        *,
        text: str | None = None,
        visible=None,
        layer: int = 0,
        head: int = 0,
        query: int | None = None,
        key: int = NONE,
        scale: str = "relative",
        theme: str = "auto",
        top_k: int = 8,
    ):
        super().__init__(
            source_of(weights, visible),
            tokens,
            text,
            layer=layer,
            head=head,
            query=query,
            key=key,
            scale=scale,
            theme=theme,
            top_k=top_k,
        )
        self._take_head()

    # ----------------------------------------------------------------- state

    @traitlets.observe("layer", "head")
    def _show_head(self, _):
        if self.shown:  # not while the first state is set
            self._take_head()

    def _take_head(self) -> None:
        with self.hold_sync():
            for name, value in self._state_of(self.layer, self.head).items():
                setattr(self, name, value)

    def _state_of(self, layer: int, head: int) -> dict:
        _, _, queries, keys = self._source.shape
        everything = range(queries), range(keys)
        found = codes(
            np.asarray(self._source.tile(layer, head, *everything)),
            np.asarray(self._source.visible(layer, *everything)),
        )
        return {"codes": found.tobytes(), "shown": [layer, head]}

    # ----------------------------------------------------------------- the picture

    def picture(self):
        """Draw the matrix beside the largest weights of the chosen query."""
        import matplotlib.pyplot as plt

        queries, keys = self._source.shape[2:]
        found = np.frombuffer(self.codes, np.uint8).reshape(queries, keys)
        with style():
            figure, (matrix, bars) = plt.subplots(
                1, 2, figsize=(10.4, 5.6), width_ratios=(3, 1.5), squeeze=True
            )
            draw_matrix(matrix, found, scale=self.scale, rows=self._pieces, columns=self._pieces)
            draw_scale(figure, matrix, self.scale)
            mark_cell(matrix, found, row=self.query, column=self.key)
            matrix.set_ylabel("query")
            matrix.set_xlabel("key")
            matrix.xaxis.set_label_position("top")
            matrix.set_title(f"Layer {self.layer}, head {self.head}")
            self._draw_row(bars)
        return figure

    # ----------------------------------------------------------------- what the browser asks for

    def answer(self, ask: dict) -> tuple[dict, list[bytes]]:
        """Answer for a row or a tile, see ``sources.answer``."""
        return answer(self._source, ask)

    def variants(self):
        """A saved file holds the heads of the layer that is shown."""
        heads = range(self._source.shape[1])
        return ["layer", "head"], {
            (self.layer, head): self._state_of(self.layer, head) for head in heads
        }

    def saved_asks(self):
        """A saved file holds exact rows of the head that is shown; others come from codes."""
        return [
            dict(op="row", layer=self.layer, head=self.head, query=query, top_k=self.top_k)
            for query in range(self._source.shape[2])
        ]

    def _assert_fits(self, count: int) -> None:
        queries, keys = self._source.shape[2:]
        if queries != keys:
            raise LongctxError(
                f"This view takes a whole text, but the weights are of {queries} queries and "
                f"{keys} keys; capture the text from an empty context."
            )
        if keys != count:
            raise LongctxError(
                f"The weights are of {keys} tokens, but there are {count} tokens; give those "
                "that the weights were computed for."
            )
        if count > LONGEST:
            raise LongctxError(
                f"There are {count} tokens, and this view shows up to {LONGEST}; give the "
                "weights and tokens of a shorter text."
            )
