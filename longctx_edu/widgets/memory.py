"""Answers from memory: which blocks a question finds, and which of them each token looks at.

``MemoryView`` shows Extended Mind Transformers (Klett and Ahle 2024, arXiv 2406.02332) at work:
live on a reading, whose lookup can be changed in the view, or from a recorded trace without a
model. The static twin is in ``memory_picture``.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace

import numpy as np
import traitlets

from longctx_edu.errors import LongctxError
from longctx_edu.events import Answered, TokenDecoded
from longctx_edu.memory.trace import KIND
from longctx_edu.readers.joined import JoinedText
from longctx_edu.readers.run import Run
from longctx_edu.widgets.asking import AskingView, answered_state, trace_of
from longctx_edu.widgets.memory_picture import draw
from longctx_edu.widgets.units import how_many

CHANGES = ("lookup", "passages", "blocks", "k", "positions", "similarity")
"""The options that can be changed from question to question."""

NONE = -1
_AMOUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True)
class Asked:
    """First event of every attempt at a question: what an earlier one wrote no longer counts."""


@dataclass(frozen=True, eq=False)
class _Wish:
    """What is to be answered, and how the memory is looked up for it."""

    question: str
    prefix: str
    longest: int
    changes: dict


class MemoryView(AskingView):
    """A memory, a question, and where each token of the question and the answer looks in it.

    On a reading, a question is asked in the view or by ``ask``; ``change``, or the controls of
    the view, look the memory up in another way and ask it again. On a trace, which
    ``answer.trace`` holds, all of it is shown without a model.

    Args:
        source: a reading by ``read(..., method="memory")``; or a trace; or the path of one.
        answer_prefix: first words of the answers to questions asked in the view.
        max_new_tokens: the longest answer to these.
        theme: ``auto``, ``light`` or ``dark``.
        measure: whether to keep how long each event took to be seen, see ``latencies``.

    Raises:
        LongctxError: if ``source`` is neither a reading with a memory nor a trace.
    """

    _part = "memory"

    blocks = traitlets.List().tag(sync=True)  # {start, end, score, chosen} in code points
    tokens = traitlets.List().tag(sync=True)  # {text, kind, window}: the queries, in order
    mass = traitlets.Bytes().tag(sync=True)  # float32 (tokens, blocks): attention on each block
    passages = traitlets.List().tag(sync=True)  # {start, end, score}: what was read again
    captured = traitlets.List().tag(sync=True)  # [k, share of the memory's attention]
    options = traitlets.Dict().tag(sync=True)
    allowed = traitlets.Dict().tag(sync=True)  # values for each option that may be changed here
    query = traitlets.Int(NONE).tag(sync=True)
    block = traitlets.Int(NONE).tag(sync=True)
    place = traitlets.List().tag(sync=True)

    def __init__(
        self,
        source,
        *,
        answer_prefix: str = "",
        max_new_tokens: int = 64,
        theme: str = "auto",
        measure: bool = False,
    ):
        self._wish: _Wish | None = None
        reading = source if hasattr(source, "bank") else None
        if reading is None:
            state = _recorded(trace_of(source, KIND, "MemoryView"))
        else:
            state = _unasked(reading)
            state["answer_prefix"] = answer_prefix
        options = dict(max_new_tokens=max_new_tokens, measure=measure, theme=theme)
        super().__init__(reading=reading, **options, **state)

    # ----------------------------------------------------------------- asking

    def ask(
        self,
        question: str,
        *,
        answer_prefix: str | None = None,
        max_new_tokens: int | None = None,
        **changes,
    ) -> Run:
        """Ask a question in the background; ``wait`` waits for its answer.

        Args:
            question: in words.
            answer_prefix: the answer's first words; those of the view by default.
            max_new_tokens: the most tokens of the answer; those of the view by default.
            changes: of ``CHANGES``, as in ``change``.

        Raises:
            LongctxError: for a recording, while a question is under way, for an empty one, or
                an option that there is not.
        """
        options = self._changed(changes)
        self._join_follower()
        with self._turn:
            self._assert_idle()
            prefix = self.answer_prefix if answer_prefix is None else answer_prefix
            longest = self._longest if max_new_tokens is None else max_new_tokens
            wish = _Wish(question.strip(), prefix, longest, _changes_in(options))
            events = self._events(wish)  # raises here what would be wrong with the question
            self._wish, self._longest_last = wish, longest
            return self._begin(
                self._wished(wish, events),
                options=options,
                question=wish.question,
                answer_prefix=prefix,
                answer_text="",
                stage="answering",
                **dict(citations=[], notice="", problem="", seconds=0.0, cost={}, place=[]),
            )

    def change(self, **changes) -> Run | None:
        """Look the memory up in another way, and ask the last question again in the background.

        A question under way begins anew; of several changes only the last is answered.

        Args:
            changes: of ``CHANGES``, to values as for ``read``.

        Raises:
            LongctxError: for a recording, or an option or value that there is not.
        """
        options = self._changed(changes)
        with self._turn:
            if self._wish is not None:
                self._wish = replace(self._wish, changes=_changes_in(options))
                self._show(options=options)
                return self.run
            if not self.question:
                self._show(options=options)
                return None
        if self.run is not None:  # it has ended, or is about to
            with suppress(Exception):
                self.run.result()
        return self.ask(self.question, max_new_tokens=self._longest_last, **changes)

    def _changed(self, changes: Mapping) -> dict:
        """Return the options with some of them changed."""
        self._assert_live()
        for name, value in changes.items():
            if name not in CHANGES:
                raise LongctxError(
                    f"A question cannot change {name!r}; it may change {', '.join(CHANGES)}."
                )
            if type(value) is not type(self.options[name]):
                wanted = "a word" if isinstance(self.options[name], str) else "a whole number"
                raise LongctxError(f"{name} is {wanted}, not {value!r}.")
        chosen = {**_changes_in(self.options), **changes}
        return _shown_options(replace(self.reading.options, **chosen))

    def _events(self, wish: _Wish) -> Iterator:
        return self.reading.events(
            wish.question,
            answer_prefix=wish.prefix,
            max_new_tokens=wish.longest,
            **wish.changes,
        )

    def _wished(self, wish: _Wish, events: Iterator) -> Iterator:
        """Yield the events of what is wished for, anew each time that the wish changes."""
        try:
            while True:
                yield Asked()
                with closing(events):
                    for event in events:
                        with self._turn:
                            if self._wish is not wish:
                                break
                            if isinstance(event, Answered):
                                self._wish = None
                        yield event
                        if isinstance(event, Answered):
                            return
                wish = self._wish
                events = self._events(wish)
        finally:
            with self._turn:
                self._wish = None

    def _state(self) -> dict:
        return {"stage": self.stage, "answer_text": self.answer_text}

    def _take(self, state: dict, event) -> None:
        match event:
            case Asked():
                state.update(stage="answering", answer_text="")
            case TokenDecoded(text=text):
                state["answer_text"] += text

    def _with_answer(self, state: dict, answer) -> dict:
        # Notes on options and question are the view's own: others may have been chosen since.
        found = _recorded(answer.trace)
        left_out = ("text", "question", "answer_prefix", "options")
        notice = dict(notice=answer.notice)
        selected = {} if self.query < len(found["tokens"]) else dict(query=NONE)
        return {n: v for n, v in found.items() if n not in left_out} | notice | selected

    # ----------------------------------------------------------------- messages

    def answer(self, ask: dict) -> tuple[dict, list[bytes]]:
        """Do what a person asks for in the browser: ask, change the lookup, stop.

        Raises:
            LongctxError: as the methods of the same names.
        """
        match ask:
            case {"op": "ask", "question": str(question)}:
                self.ask(question)
            case {"op": "change", "name": str(name), "value": int() | str() as value}:
                self.change(**{name: value})
            case _:
                return super().answer(ask)
        return {}, []

    # ----------------------------------------------------------------- what it says

    @property
    def masses(self) -> np.ndarray:
        """Attention of each token on each block, ``(tokens, blocks)``; rows add up to 1 - window.

        Means over heads and layers.
        """
        return np.frombuffer(self.mass, dtype="<f4").reshape(len(self.tokens), -1)

    def used(self) -> list[int]:
        """Return the numbers of the blocks that the answer's tokens look at, most looked at first.

        Those of the question's tokens, where there is no answer.
        """
        kinds = np.array([token["kind"] == "answer" for token in self.tokens], dtype=bool)
        if not len(kinds) or not self.blocks:
            return []
        total = self.masses[kinds if kinds.any() else ~kinds].sum(axis=0)
        return [int(n) for n in np.argsort(-total, kind="stable") if total[n] > 0]

    def describe(self) -> str:
        """Say what was asked, how it was looked up and where it was found, and the answer."""
        found = f"a memory of {len(self.blocks):,} blocks"
        if not self.question:
            return f"{found}; nothing was asked yet"
        best = ", ".join(map(str, self.used()[:3]))
        said = self.answer_text.strip()
        return (
            f"{found}, asked {self.question!r} with {lookup_in_words(self.options)}"
            + (
                f"; most looked at: {'block' if best.isdigit() else 'blocks'} {best}"
                if best
                else ""
            )
            + (f"; answer {said!r}" if said else "; no answer yet")
        )

    def picture(self):
        """Draw where the tokens look, the passages most looked at, and the answer."""
        return draw(
            text=self.text,
            blocks=self.blocks,
            tokens=self.tokens,
            masses=self.masses if self.tokens else np.zeros((0, len(self.blocks)), "f4"),
            passages=self.passages,
            captured=self.captured,
            options=self.options,
            used=self.used(),
            question=self.question,
            answer=f"{self.answer_prefix} {self.answer_text.strip()}".strip(),
            selected=self.block,
        )

    def _saved(self) -> dict:
        """A saved file shows what was found; nothing can be changed there."""
        saved = super()._saved()
        saved["state"]["allowed"] = {}
        return saved


def lookup_in_words(options: Mapping) -> str:
    """Say how a memory was looked up; ``static/memory.js`` says the same."""
    blocks = how_many(options["blocks"], "block")
    if options["lookup"] == "passages":
        return f"{how_many(options['passages'], 'passage')} out of {blocks}"
    if options["lookup"] == "blocks":
        return f"{blocks} of {options['block_tokens']} tokens"
    return (
        f"the {options['k']} best keys of each head ({options['similarity']}, "
        f"positions {options['positions']})"
    )


def _recorded(trace: dict) -> dict:
    """Return the state that shows a trace."""
    tokens, blocks = trace["tokens"], trace["blocks"]
    mass = np.zeros((len(tokens), len(blocks)), dtype="<f4")
    for row, token in zip(mass, tokens, strict=True):
        for block, share in token["mass"]:
            row[block] = share
    return {
        **answered_state(trace),
        "blocks": blocks,
        "tokens": [{name: one[name] for name in ("text", "kind", "window")} for one in tokens],
        "mass": mass.tobytes(),
        "passages": trace["passages"],
        "captured": trace["captured"],
        "options": {name: trace["options"][name] for name in (*CHANGES, "block_tokens")},
    }


def _unasked(reading) -> dict:
    """Return the state before the first question: the memory's text in its blocks."""
    options = _shown_options(reading.options)
    from longctx_edu.memory.blocks import memory_blocks

    starts = {one["id"]: one["start"] for one in JoinedText(reading.documents).places()}
    blocks = []
    for tokens in memory_blocks(reading.bank, options["block_tokens"]):
        document, start, end = next(reading.bank.citations(tokens))
        offset = starts[document.id]
        place = {"start": offset + start, "end": offset + end}
        blocks.append({**place, "score": None, "chosen": False})
    return {
        "text": reading.text,
        "blocks": blocks,
        "options": options,
        "allowed": _allowed(reading, options, len(blocks)),
    }


def _allowed(reading, options: Mapping, blocks: int) -> dict:
    """Return the values among which a person may choose; a lookup needs what the memory holds."""
    from longctx_edu.memory.attention import POSITIONS, SIMILARITIES
    from longctx_edu.readers.memory import LOOKUPS

    def amounts(name: str, most: int) -> list[int]:
        return sorted({n for n in _AMOUNTS if n <= most} | {options[name]})

    everything = reading.bank.storage.holds == "everything"
    return {
        "lookup": list(LOOKUPS) if everything else ["passages"],
        "passages": amounts("passages", 16),
        "blocks": amounts("blocks", min(blocks, 32)),
        "k": amounts("k", min(len(reading.bank), 256)),
        "positions": list(POSITIONS),
        "similarity": list(SIMILARITIES),
    }


def _shown_options(options) -> dict:
    return {name: getattr(options, name) for name in (*CHANGES, "block_tokens")}


def _changes_in(options: Mapping) -> dict:
    return {name: options[name] for name in CHANGES}
