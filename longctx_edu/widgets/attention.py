"""Attention of a whole model over a long text: all heads at a glance, any weight exactly.

``AttentionView`` keeps what a run left, queries and keys, and works out what is looked at: small
pictures of all heads, tiles of the matrix as fine as the screen, a row in exact numbers. Weights
say how information is routed, not why (Jain and Wallace 2019); with a model at hand the view
takes a key away and asks again.
"""

import math
import threading
from collections.abc import Sequence
from functools import partial

import numpy as np
import traitlets

from longctx_edu.errors import LongctxError
from longctx_edu.text import Tokens
from longctx_edu.widgets.attention_picture import CELLS, attention_picture
from longctx_edu.widgets.background import Lane, on_one_core
from longctx_edu.widgets.heads import HeadsView
from longctx_edu.widgets.pyramid import POOLINGS, Pyramid, Tile
from longctx_edu.widgets.sources import CellsSource, RecordSource, answer, source_of
from longctx_edu.widgets.tours import is_done

ORDERS = ("layer", "sink", "previous token", "itself", "induction", "spread")
"""How heads may be sorted: as in the model, or by ``attention.head_scores``, largest first."""

LONG = 1024
"""From so many tokens on, the relative scale reaches further."""

_SAVED_CELLS = 512
_PAGE_CELLS = 160  # of the picture in a saved page, which stands there without scripts only
_SAVED_ROWS = 256
_COUNTING = ("pooling", "by_value_norm", "hide_sink")


class AttentionView(HeadsView):
    """Where every head of a model looks, over a text of any length.

    The grid shows all heads; a click, or the arrow keys there, chooses one. Its matrix zooms from
    the whole text to single weights; a click or Enter keeps a cell in ``query`` and ``key``. The
    row of the query is shown as bars, as a table and as colours of the text. All of it can be set
    and read in Python as well.

    Args:
        weights: what ``longctx_edu.attention.capture`` recorded; or an array (layers, heads,
            queries, keys) after the softmax, see ``ArraySource``; or any ``CellsSource``. A query
            sees itself and what came before; ``WeightsView`` draws other masks.
        tokens: the tokens of all keys: a text for each, or ``Tokens`` of ``text``.
        text: the text, where ``tokens`` are ``Tokens``.
        model: a ``LanguageModel``, or a ``Context`` that has best read the text already: with it
            a key can be taken away, see ``without_key``.
        view: the stretch in view, [first key, first query, last key + 1, last query + 1]; all
            if left out.
        layer, head: chosen first, counted among those recorded.
        query, key: chosen first, as numbers of tokens; -1 for none. Without a query, the last.
        pooling: of many weights in a cell, ``max`` (finds needles) or ``mean`` (where the mass is).
        scale: of the colours: ``relative`` (to attention spread evenly), ``log``, ``linear``.
        hide_sink: whether the first token is left out, and the rest taken as the whole.
        by_value_norm: whether weights count times the lengths of the values.
        sort: order of the heads, one of ``ORDERS``.
        tour: steps, see ``tours``; such as ``tours.ATTENTION_TOUR``.
        theme: ``auto``, ``light`` or ``dark``.
        top_k: rows of the table, up to 1024.

    Raises:
        LongctxError: if weights and tokens do not fit together, the text holds half a
            character, or a query sees other keys than those up to its own.
        traitlets.TraitError: for a layer, head, query, key or stretch that there is not.
    """

    _part = "attention"

    view = traitlets.List(traitlets.Float()).tag(sync=True)
    pooling = traitlets.Enum(POOLINGS, default_value="max").tag(sync=True)
    hide_sink = traitlets.Bool(False).tag(sync=True)
    by_value_norm = traitlets.Bool(False).tag(sync=True)
    sort = traitlets.Enum(ORDERS, default_value="layer").tag(sync=True)
    predicting = traitlets.Bool(False).tag(sync=True)
    guesses = traitlets.List(traitlets.Int()).tag(sync=True)
    tour = traitlets.List(traitlets.Dict()).tag(sync=True)
    tour_step = traitlets.Int(0).tag(sync=True)
    tour_done = traitlets.List(traitlets.Bool()).tag(sync=True)
    offers = traitlets.Dict().tag(sync=True)  # what this source and model can tell
    finest = traitlets.Int(0).tag(sync=True)  # level of the tiles that there are

    def __init__(
        self,
        weights,
        tokens: Sequence[str] | Tokens,
        *,
        text: str | None = None,
        model=None,
        view: Sequence[float] | None = None,
        tour: Sequence[dict] = (),
        **state,
    ):
        source = source_of(weights)
        if not isinstance(source, CellsSource):
            raise LongctxError(
                f"{type(source).__name__} gives no pooled cells; give an array, or what "
                "longctx_edu.attention.capture recorded."
            )
        self._pyramid = Pyramid(source)
        memory = getattr(source, "memory_columns", 0)
        self._record = source.record if isinstance(source, RecordSource) else None
        if self._record is None:
            _assert_causal(source)
        self._model, self._reading = model, threading.Lock()
        self._scores: dict[str, list] | None = None
        self._entered: dict = {}
        self._picture_cells = CELLS
        lane = partial(Lane, self._send_answer, urgency=_urgency)
        self._lanes = {
            "numbers": lane(name="attention numbers", begin=on_one_core),
            "pictures": lane(name="attention pictures", begin=on_one_core),
            "model": lane(name="attention model"),
        }
        super().__init__(
            source,
            tokens,
            text,
            view=list(_whole(source) if view is None else view),
            tour=list(tour),
            tour_done=[False] * len(tour),
            offers=dict(
                orders=list(ORDERS),
                scores=self._record is not None and source.shape[3] > 1,
                values=self._record is not None,
                # A memory's tokens are not read again, so none can be hidden.
                model=None not in (model, self._record) and not memory,
                memory=memory,
                windows=_windows(self._record),
            ),
            **state,
        )
        self._enter_step()

    # ----------------------------------------------------------------- state

    def _assert_fits(self, count: int) -> None:
        keys, memory = self._source.shape[3], getattr(self._source, "memory_columns", 0)
        if count not in (keys, keys - memory):
            raise LongctxError(
                f"The weights are of {keys} tokens, but there are {count} tokens; give those "
                "that the weights were computed for, with or without those of a memory."
            )

    @property
    def _unnamed(self) -> int:
        """How many of the first keys have no text: those of a memory, where it was not given."""
        return self._source.shape[3] - len(self._pieces)

    def _name(self, key: int) -> str:
        return self._pieces[key - self._unnamed] if key >= self._unnamed else f"memory {key}"

    @traitlets.validate("view")
    def _stretch(self, proposal):
        left, top, right, bottom = whole = _whole(self._source)
        place = [float(edge) for edge in proposal["value"] or whole]
        inside = len(place) == 4 and left <= place[0] < place[2] <= right
        if not (inside and top <= place[1] < place[3] <= bottom):
            raise traitlets.TraitError(
                f"view is {proposal['value']}; it is [first key, first query, last key + 1, last "
                f"query + 1] within {whole}."
            )
        return place

    @traitlets.validate("tour_step")
    def _step_there_is(self, proposal):
        return min(max(proposal["value"], 0), max(len(self.tour) - 1, 0))

    @traitlets.observe("tour", "tour_step")
    def _enter_step(self, change=None):
        if not self.shape or not self.tour:
            return
        with self.hold_sync():
            if change and change["name"] == "tour":
                self.tour_done = [False] * len(self.tour)
            for name, value in self.tour[self.tour_step].get("state", {}).items():
                setattr(self, name, value)
            self._entered = self._tour_state()

    @traitlets.observe(
        "layer", "head", "query", "key", "view", "scale", "guesses", "sort", *_COUNTING
    )
    def _look_at_tour(self, _):
        if not self._entered or not self.tour or self.tour_done[self.tour_step]:
            return
        if is_done(self.tour[self.tour_step], self._tour_state(), self._entered):
            done = list(self.tour_done)
            done[self.tour_step] = True
            self.tour_done = done

    def _tour_state(self) -> dict:
        state = {name: getattr(self, name) for name in self._state_names() if name != "offers"}
        width = self.view[2] - self.view[0]
        return {**state, "place": [self.layer, self.head], "width": width}

    @traitlets.observe("predicting")
    def _begin_to_predict(self, _):
        if self.predicting:
            self.guesses = []

    @property
    def _counted(self) -> dict[str, bool]:
        names = ("by_value_norm", "hide_sink")
        return {name: True for name in names if getattr(self, name)}

    def _row(self, top_k: int):
        where = (self.layer, self.head, self.query - self._first_query)
        return self._source.row(*where, top_k=top_k, **self._counted)

    # ----------------------------------------------------------------- what it knows

    @property
    def scores(self) -> dict[str, list[list[float | None]]]:
        """How far each head follows each known pattern, by name: (layers, heads).

        None where a pattern does not come up in the text; empty for weights alone.
        """
        if self._scores is None:
            self._scores = self._worked_out_scores() if self.offers["scores"] else {}
        return self._scores

    def _worked_out_scores(self) -> dict[str, list]:
        from longctx_edu.attention.head_scores import head_scores

        def plain(score: float) -> float | None:
            return None if math.isnan(score) else round(score, 4)

        return {
            name: [list(map(plain, layer)) for layer in found.tolist()]
            for name, found in head_scores(self._record).items()
        }

    def without_key(self, query: int | None = None, key: int | None = None, *, where: str = "head"):
        """Say what the model says after a token, with a key in sight and without it.

        Args:
            query, key: tokens; those chosen if left out.
            where: the key is hidden in the chosen ``head``, in its ``layer``, or ``everywhere``.

        Returns:
            ``attention.ablation.Ablation``.

        Raises:
            LongctxError: without a model, a record of its run, or a query and key.
        """
        query, key = (
            one if one is not None else own for one, own in ((query, self.query), (key, self.key))
        )
        if not self.offers["model"] or where not in ("head", "layer", "everywhere"):
            raise LongctxError(
                "A key is taken away in the 'head', the 'layer' or 'everywhere', from a view of a "
                "record that was given its model: AttentionView(record, ..., model=...)."
            )
        if query < 0 or key < 0:
            raise LongctxError("Choose a query and a key first, or give them.")
        from longctx_edu.attention.ablation import margin_without

        layer = None if where == "everywhere" else self._record.layers[self.layer]
        head = self.head if where == "head" else None
        with self._reading:
            reader, ids = self._read_up_to(query), self._record.ids
            try:
                return margin_without(reader, ids, query, key, layer=layer, head=head)
            except ValueError as error:
                raise LongctxError(str(error)) from error

    def _read_up_to(self, query: int):
        """Return a context that has read the text before the query, kept for the next time."""
        from longctx_edu.inference import Context

        if not isinstance(self._model, Context):
            self._model = Context(self._model, reserve=self._source.shape[3])
        if self._model.shared_length(self._record.ids) == len(self._model) < query:
            for _ in self._model.prefill(self._record.ids[len(self._model) : query]):
                pass
        return self._model

    # ----------------------------------------------------------------- what the browser asks for

    def answer(self, ask: dict) -> tuple[dict, list[bytes]]:
        """Answer for a tile, small pictures of a layer, a row, scores, or a key taken away.

        ``{op: "tile", layer, head, level, row, column, ...}`` gives ``height``, ``width`` and
        codes, see ``pyramid.Tile``; ``{op: "heads", layer, ...}`` the codes of one small picture
        for each head; ``{op: "scores"}`` facts; ``{op: "without", query, key, where}`` facts; for
        ``{op: "row", ...}`` see ``sources.answer``.

        Raises:
            LongctxError: for another question, or one about what there is not.
        """
        match ask:
            case {"op": "tile", "layer": _, "head": _, "level": _}:
                found = self._pyramid.codes(Tile(**_plain(ask)))
                return _facts([found])
            case {"op": "heads", "layer": _}:
                heads, how = range(self._source.shape[1]), _plain(ask, places=("layer",))
                return _facts([self._pyramid.thumbnail(head=head, **how) for head in heads])
            case {"op": "scores"}:
                return {"scores": self.scores}, []
            case {"op": "without", "query": int(query), "key": int(key), "where": str(where)}:
                return {"without": self._in_words(self.without_key(query, key, where=where))}, []
        return answer(self._source, ask)

    def _in_words(self, found) -> dict:
        model = getattr(self._model, "language_model", self._model)

        def text(token: int) -> str:
            return model.tokenizer.decode([token])

        sides = {
            name: dict(
                margin=round(side.margin, 3),
                probability=round(math.exp(side.log_probability), 4),
                rival=text(side.rival),
            )
            for name, side in (("before", found.before), ("after", found.after))
        }
        return {"token": text(found.token), "says": text(found.token_after), **sides}

    def _reply(self, _, message, buffers) -> None:
        """Let a lane answer, so that the kernel is free at once."""
        asks = message.get("asks") if isinstance(message, dict) else None
        if isinstance(asks, list) and asks and all(isinstance(ask, dict) for ask in asks):
            lane = {"row": "numbers", "without": "model"}.get(asks[0].get("op"), "pictures")
            asker = str(message.get("id")).rpartition(":")[0]
            self._lanes[lane].put(asker, message)

    def _send_answer(self, message: dict) -> None:
        try:
            answered = self._answered(message)
        except Exception as error:  # told in the view, since no one waits for this thread
            answered = {"id": message.get("id"), "error": f"Error: {error}"}, []
        self.send(*answered)

    # ----------------------------------------------------------------- pictures and files

    def picture(self):
        """Draw the matrix in view, the heads of its layer and the largest weights of the query."""
        return attention_picture(self, cells=self._picture_cells)

    def to_html(self) -> str:
        self._picture_cells = _PAGE_CELLS
        try:
            return super().to_html()
        finally:
            self._picture_cells = CELLS

    @property
    def _colours(self) -> str:
        long = self._source.shape[3] > LONG
        return "wide" if self.scale == "relative" and long else self.scale

    def variants(self):
        """A saved file holds the heads of the layer that is shown."""
        heads = range(self._source.shape[1])
        return ["layer", "head"], {(self.layer, head): {} for head in heads}

    def saved_asks(self):
        """A saved file holds its layer's heads pooled, the shown one finer, and the chosen row."""
        how = {name: getattr(self, name) for name in _COUNTING}
        top, level = self._pyramid.top, self._saved_level
        yield dict(op="heads", layer=self.layer, **how)
        for head in range(self._source.shape[1]):
            place = dict(layer=self.layer, head=head, level=top, row=0, column=0)
            yield dict(op="tile", rough=False, **place, **how)
        high, wide = self._pyramid.tiles_of(level)
        for row in range(high) if level < top else ():
            seen = wide if self._first_query else row + 1
            for column in range(min(seen, wide)):
                place = dict(layer=self.layer, head=self.head, level=level, row=row, column=column)
                yield dict(op="tile", rough=False, **place, **how)
        rows = self._source.shape[2]
        short = rows <= _SAVED_ROWS
        for query in range(rows) if short else [self.query - self._first_query] * (self.query >= 0):
            place = dict(layer=self.layer, head=self.head, query=query, top_k=self.top_k)
            counted = {name: getattr(self, name) for name in _COUNTING[1:]}
            yield dict(op="row", **place, **counted)
        if self.offers["scores"]:
            yield dict(op="scores")

    @property
    def _saved_level(self) -> int:
        return self._pyramid.level_of(_SAVED_CELLS)

    def _saved(self) -> dict:
        saved = super()._saved()
        offers = {**self.offers, "model": False}
        saved["state"] |= dict(offers=offers, tour=[], tour_done=[], predicting=False)
        saved["state"]["finest"] = self._saved_level
        return saved


def _whole(source) -> list[float]:
    queries, keys = source.shape[2:]
    return [0.0, float(keys - queries), float(keys), float(keys)]


def _windows(record) -> list[int | None]:
    return [] if record is None else [record.window(layer) for layer in record.layers]


def _assert_causal(source) -> None:
    """Raise unless every query sees itself and what came before, as the page takes it."""
    layers, _, queries, keys = source.shape
    causal = np.tri(queries, keys, keys - queries, dtype=bool)
    for layer in range(layers):
        if not np.array_equal(source.visible(layer, range(queries), range(keys)), causal):
            raise LongctxError(
                "AttentionView draws causal attention, where every query sees itself and all "
                f"that came before, and in layer {layer} of these weights it is otherwise; give "
                "them to WeightsView, which draws any mask."
            )


def _plain(ask: dict, places: Sequence[str] = ("layer", "head", "level", "row", "column")) -> dict:
    """Return what an ask says beside what it asks for.

    Raises:
        LongctxError: for names or kinds of values that a tile at such places does not have.
    """
    kinds = dict.fromkeys(places, int)
    kinds |= {"pooling": str, "rough": bool, "by_value_norm": bool, "hide_sink": bool}
    told = {name: value for name, value in ask.items() if name != "op"}
    for name, value in told.items():
        if type(value) is not kinds.get(name):
            raise LongctxError(f"A tile is not told by {name} = {value!r}.")
    return told


def _facts(pictures: list[np.ndarray]) -> tuple[dict, list[bytes]]:
    height, width = pictures[0].shape
    return {"height": height, "width": width}, [one.tobytes() for one in pictures]


def _urgency(message: dict) -> int:
    """Sharp tiles before small pictures before scores."""
    return {"tile": 0, "heads": 1}.get(message["asks"][0].get("op"), 2)
