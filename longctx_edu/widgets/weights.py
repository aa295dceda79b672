"""Attention weights of a short text, one head at a time: matrix, row, text and table.

``WeightsView`` shows where each token looks (Vaswani et al. 2017, section 3.2.1). Weights
say how information is routed, not why. For long texts, and all heads at a glance, there
are other views on the same parts; this one takes up to ``LONGEST`` tokens.
"""

from collections.abc import Sequence

import numpy as np
import traitlets

from longctx_edu.errors import LongctxError
from longctx_edu.text import Tokens
from longctx_edu.widgets.base import View
from longctx_edu.widgets.matrix import (
    MARK,
    draw_matrix,
    draw_scale,
    mark_cell,
    short,
    written,
)
from longctx_edu.widgets.plots import style
from longctx_edu.widgets.sources import (
    MOST_KEYS,
    ArraySource,
    Recorded,
    RecordSource,
    WeightsSource,
    answer,
    codes,
)

LONGEST = 256
NONE = -1


class WeightsView(View):
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

    shape = traitlets.List(traitlets.Int()).tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    spans = traitlets.Bytes().tag(sync=True)  # int32: start, end of each token in code points
    codes = traitlets.Bytes().tag(sync=True)  # of the head in `shown`, see sources.codes
    shown = traitlets.List(traitlets.Int()).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    query = traitlets.Int(NONE).tag(sync=True)
    key = traitlets.Int(NONE).tag(sync=True)
    scale = traitlets.Enum(["relative", "log", "linear"], default_value="relative").tag(sync=True)
    top_k = traitlets.Int(8, min=1, max=MOST_KEYS).tag(sync=True)

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
        self._source = _source(weights, visible)
        words, spans = _text_and_spans(tokens, text)
        self._pieces = pieces(words, spans)
        self._assert_fits(len(spans))
        super().__init__(
            shape=list(map(int, self._source.shape)),
            text=words,
            spans=np.asarray(spans, dtype="<i4").tobytes(),
            layer=layer,
            head=head,
            query=len(spans) - 1 if query is None else query,
            key=key,
            scale=scale,
            theme=theme,
            top_k=top_k,
            **self._state_of(*self._checked(layer=layer, head=head)),
        )

    # ----------------------------------------------------------------- state

    @traitlets.validate("layer", "head", "query", "key")
    def _existing(self, proposal):
        self._checked(**{proposal["trait"].name: proposal["value"]})
        return proposal["value"]

    def _checked(self, **places: int) -> list[int]:
        """Return the places if all exist."""
        for name, value in places.items():
            axis = ("layer", "head", "query", "key").index(name)
            least, count = (0 if axis < 2 else NONE), self._source.shape[axis]
            if not least <= value < count:
                raise traitlets.TraitError(
                    f"{name} is {value}, but there are {count}: choose from {least} to {count - 1}"
                    f"{', where -1 is none' if least else ''}."
                )
        return list(places.values())

    @traitlets.observe("layer", "head")
    def _show_head(self, _):
        if self.shape:  # not while the first state is set
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

    # ----------------------------------------------------------------- what it says

    def describe(self) -> str:
        """Say which head is shown, and where the chosen query looks most."""
        layers, heads, queries, _ = self._source.shape
        where = (
            f"attention of layer {self.layer} of {layers}, head {self.head} of {heads}, "
            f"over {queries} tokens"
        )
        if self.query < 0:
            return where
        row = self._source.row(self.layer, self.head, self.query, top_k=1)
        chosen = f"{where}; query {self.query} {self._pieces[self.query]!r}"
        if not len(row.keys):  # of padding, say
            return f"{chosen} sees no key"
        best = int(row.keys[0])
        return (
            f"{chosen} looks most at key {best} {self._pieces[best]!r}, "
            f"weight {written(row.values[0])}"
        )

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

    def _draw_row(self, axes) -> None:
        axes.set_axis_off()
        if self.query < 0:
            return
        row = self._source.row(self.layer, self.head, self.query, top_k=self.top_k)
        names = [f"{key} {short(self._pieces[key])}" for key in row.keys]
        places = range(len(names))
        axes.set_axis_on()
        bars = axes.barh(
            places, row.values, color=[MARK if key == self.key else "#00224e" for key in row.keys]
        )
        axes.bar_label(bars, [written(value) for value in row.values], padding=4)
        axes.set_yticks(places, names)
        for tick in axes.get_yticklabels():
            tick.set_parse_math(False)
        axes.invert_yaxis()
        axes.set(xticks=[], xlim=(0, max(row.values, default=0) * 1.4 or 1))
        axes.set_title(
            f"Query {self.query} “{short(self._pieces[self.query])}”\n"
            f"{'looks most at' if names else 'sees no key'}",
            parse_math=False,
        )
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0)
        axes.spines["bottom"].set_visible(False)

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


def _source(weights, visible) -> WeightsSource:
    recorded = isinstance(weights, Recorded)
    if not recorded and not isinstance(weights, WeightsSource):
        return ArraySource(weights, visible=visible)
    if visible is not None:
        raise LongctxError("A source knows what is visible; leave out visible.")
    return RecordSource(weights) if recorded else weights


def pieces(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """Return the text of each token; of tokens that share a character, the first shows it.

    ``static/offsets.js`` has the same rule.
    """
    found, reached = [], 0
    for start, end in spans:
        found.append(text[max(start, reached) : end])
        reached = max(reached, end)
    return found


def _text_and_spans(tokens, text: str | None) -> tuple[str, list[tuple[int, int]]]:
    if isinstance(tokens, Tokens):
        if text is None:
            raise LongctxError("Tokens know their places only; give the text as well: text=...")
        return _whole(text), tokens.spans
    if text is not None or isinstance(tokens, str) or not all(isinstance(t, str) for t in tokens):
        raise LongctxError(
            "tokens is the text of each token, one after another, or Tokens together with "
            "text=...; see longctx_edu.text.tokenize."
        )
    ends = np.cumsum([len(token) for token in tokens]).tolist()
    return _whole("".join(tokens)), list(zip([0, *ends[:-1]], ends, strict=True))


def _whole(text: str) -> str:
    """Return the text if neither a browser nor a file would refuse it."""
    half = next((place for place, one in enumerate(text) if "\ud800" <= one <= "\udfff"), None)
    if half is not None:
        raise LongctxError(
            f"The text holds half a character (U+{ord(text[half]):04X}, a lone surrogate) at "
            f"offset {half}; replace it, for example by U+FFFD."
        )
    return text
