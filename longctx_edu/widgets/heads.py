"""What the views of attention weights share: the text, the choice of a head, and a row's bars.

Layer, head, query and key are one selection, held in synced traits, so that Python, the browser
and other views drive and read the same (Vaswani et al. 2017, section 3.2.1, for the words).
What is drawn of a matrix, and what of it travels to the browser, is for the views themselves.
"""

from collections.abc import Sequence

import numpy as np
import traitlets

from longctx_edu.errors import LongctxError
from longctx_edu.text import Tokens
from longctx_edu.widgets.base import View
from longctx_edu.widgets.matrix import MARK, short, written
from longctx_edu.widgets.plots import bare_bars
from longctx_edu.widgets.sources import MOST_KEYS, WeightsSource

NONE = -1


class HeadsView(View):
    """A text and the attention weights of a model's heads over it; see its subclasses."""

    shape = traitlets.List(traitlets.Int()).tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    spans = traitlets.Bytes().tag(sync=True)  # int32: start, end of each token in code points
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    query = traitlets.Int(NONE).tag(sync=True)
    key = traitlets.Int(NONE).tag(sync=True)
    scale = traitlets.Enum(["relative", "log", "linear"], default_value="relative").tag(sync=True)
    top_k = traitlets.Int(8, min=1, max=MOST_KEYS).tag(sync=True)

    def __init__(self, source: WeightsSource, tokens, text: str | None, **state):
        self._source = source
        words, spans = _text_and_spans(tokens, text)
        self._pieces = pieces(words, spans)
        self._assert_fits(len(spans))
        if state.get("query") is None:
            state["query"] = source.shape[3] - 1
        super().__init__(
            shape=list(map(int, source.shape)),
            text=words,
            spans=np.asarray(spans, dtype="<i4").tobytes(),
            **state,
        )

    def _assert_fits(self, count: int) -> None:
        """Raise LongctxError if the source is not of so many tokens."""
        raise NotImplementedError

    @property
    def _first_query(self) -> int:
        """The token that the first row belongs to: the last row is the last token's."""
        return self._source.shape[3] - self._source.shape[2]

    def _row(self, top_k: int):
        return self._source.row(self.layer, self.head, self.query - self._first_query, top_k=top_k)

    def _name(self, key: int) -> str:
        """Return the text of a column."""
        return self._pieces[key]

    # ----------------------------------------------------------------- state

    @traitlets.validate("layer", "head", "query", "key")
    def _existing(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        layers, heads, queries, keys = self._source.shape
        rows = range(keys - queries, keys)
        there = dict(layer=range(layers), head=range(heads), query=rows, key=range(keys))
        may_be_none, found = name in ("query", "key"), there[name]
        if value not in found and not (may_be_none and value == NONE):
            least = NONE if may_be_none and not found.start else found.start
            raise traitlets.TraitError(
                f"{name} is {value}, but there are {len(found)}: choose from {least} to "
                f"{found[-1]}{', where -1 is none' if may_be_none else ''}."
            )
        return value

    # ----------------------------------------------------------------- what it says

    def describe(self) -> str:
        """Say which head is shown, and where the chosen query looks most."""
        layers, heads, _, keys = self._source.shape
        where = (
            f"attention of layer {self.layer} of {layers}, head {self.head} of {heads}, "
            f"over {keys} tokens"
        )
        if self.query < 0:
            return where
        row = self._row(1)
        chosen = f"{where}; query {self.query} {self._name(self.query)!r}"
        if not len(row.keys):  # of padding, say
            return f"{chosen} sees no key"
        best = int(row.keys[0])
        return (
            f"{chosen} looks most at key {best} {self._name(best)!r}, "
            f"weight {written(row.values[0])}"
        )

    def _draw_row(self, axes) -> None:
        axes.set_axis_off()
        if self.query < 0:
            return
        row = self._row(self.top_k)
        names = [f"{key} {short(self._name(key))}" for key in row.keys]
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
        axes.set(xlim=(0, max(row.values, default=0) * 1.4 or 1))
        axes.set_title(
            f"Query {self.query} “{short(self._name(self.query))}”\n"
            f"{'looks most at' if names else 'sees no key'}",
            parse_math=False,
        )
        bare_bars(axes)


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
