"""How long each method will take on a text, said before it starts.

A short trial on this machine tells what reading and writing a token take, and how much more it is
late in a text; what a method reads and writes follows from its options. Attention makes the time
grow with the square of the length (Kaplan et al. 2020, section 2.1). It is an estimate: other
work on the machine, and a longer or shorter note, move it by a factor of two.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from longctx_edu.cost import Range
from longctx_edu.inference import Context
from longctx_edu.readers.interface import METHOD_NAMES, options_for
from longctx_edu.readers.joined import JoinedText
from longctx_edu.text import as_documents, segment_sentences, tokenize

SURE_WITHIN = Range(0.5, 2.0)
"""Between which multiples of an estimate the true time usually lies."""

_TRIAL_TOKENS, _TRIAL_WRITTEN = 128, 4
_LATE = 1024  # tokens after which reading is timed again
_REQUEST_TOKENS = 60  # a question with the words around it
_NOTE_SHARE = 0.6  # of the longest note that a note usually has
_TOGETHER = 0.5  # time of notes written in one batch, as a share of one after the other
_MEMORY_WINDOW, _MEMORY_STRIDE = 4096, 3072  # see MemoryBank.add
_MEMORY_ASK = 2  # a question is read to search, and again with what was found


@dataclass(frozen=True)
class Pace:
    """What a model takes on this machine, in seconds.

    Attributes:
        token: to read one at the beginning of a text.
        pair: more for each token that stands before it.
        written: to write one.
    """

    token: float
    pair: float
    written: float

    def reading(self, tokens: float, *, past: float = 0) -> float:
        """Return the seconds of reading ``tokens`` after ``past``."""
        return self.token * tokens + self.pair * tokens * (past + tokens / 2)


@dataclass(frozen=True)
class Forecast:
    """What a method will take.

    Attributes:
        method: its name.
        tokens: of the text.
        refusal: why it cannot take the text; empty if it can.
        preparing: seconds before the first question.
        asking: seconds of each question.
    """

    method: str
    tokens: int
    refusal: str
    preparing: Range
    asking: Range

    def seconds(self, questions: int) -> Range:
        """Return the seconds of preparing and so many questions."""
        return self.preparing + self.asking * questions


def measure_pace(model) -> Pace:
    """Try out how fast a model reads and writes here; a second or a few.

    It times the same number of tokens at the beginning of a text and 1,024 tokens later (half
    the window, if that is less), and four written ones.
    """
    size = min(_TRIAL_TOKENS, model.window // 8)
    word = tokenize(model.tokenizer, "the ").ids[0]
    context = Context(model)
    _read(context, [word] * size)  # the first time PyTorch prepares
    early = _seconds(Context(model), [word] * size)
    _read(context, [word] * min(_LATE, model.window // 2))
    late, past = _seconds(context, [word] * size), len(context) - size
    start = time.perf_counter()
    steps = sum(1 for _ in context.decode(max_new_tokens=_TRIAL_WRITTEN))
    written = (time.perf_counter() - start) / max(1, steps)
    # Early tokens have their own pairs too, half of ``size`` each.
    pair = max(0.0, (late - early) / size / past)
    return Pace(max(early / size - pair * size / 2, early / size / 2), pair, written)


def forecasts(
    documents,
    *,
    model,
    pace: Pace | None = None,
    methods: Sequence[str] = METHOD_NAMES,
    max_new_tokens: int = 64,
    options: dict | None = None,
) -> list[Forecast]:
    """Return what each method will take on these documents; nothing is read for it.

    Args:
        documents: as ``read`` takes them.
        model: the ``LanguageModel`` that will read.
        pace: of ``measure_pace``, which is asked if it is left out.
        methods: their names.
        max_new_tokens: the longest answer; half of it is counted.
        options: for each method its own options.

    Raises:
        LongctxError: for an unknown method or option, or a document that cannot be read.
    """
    text = JoinedText(as_documents(documents)).text
    tokens = len(tokenize(model.tokenizer, text).ids)
    chosen = {name: options_for(name, **(options or {}).get(name, {})) for name in methods}
    pace = pace or measure_pace(model)
    told = []
    for name in methods:
        room = model.window - max_new_tokens - _REQUEST_TOKENS
        needs_window = name == "plain" or (
            name == "margins" and chosen[name].beyond_window == "refuse"
        )
        refusal = ""
        if needs_window and tokens > room:
            refusal = f"{tokens:,} tokens do not fit the window of {model.window:,}"
        preparing, asking = _WORK[name](pace, text, tokens, model.window, chosen[name])
        asking += pace.written * max_new_tokens / 2
        told.append(Forecast(name, tokens, refusal, SURE_WITHIN * preparing, SURE_WITHIN * asking))
    return told


def _plain(pace, text, tokens, window, options):
    return pace.reading(tokens), pace.reading(_REQUEST_TOKENS, past=tokens)


def _truncated(pace, text, tokens, window, options):
    kept = min(tokens, options.max_prompt_tokens or window)
    return pace.reading(kept), pace.reading(_REQUEST_TOKENS, past=kept)


def _retrieval(pace, text, tokens, window, options):
    sentences = max(1, len(segment_sentences(text)))
    found = min(sentences, options.sentences * (1 + 2 * options.neighbours))
    return 0.0, pace.reading(_REQUEST_TOKENS + tokens * found / sentences)


def _map_reduce(pace, text, tokens, window, options):
    segments = ceil(tokens / options.segment_tokens)
    note = options.note_tokens * _NOTE_SHARE
    one = pace.reading(_REQUEST_TOKENS + min(tokens, options.segment_tokens)) + note * pace.written
    return 0.0, segments * one + pace.reading(_REQUEST_TOKENS + segments * note)


def _margins(pace, text, tokens, window, options):
    segments = ceil(tokens / options.segment_tokens)
    note = options.margin_tokens * _NOTE_SHARE
    requests = segments * pace.reading(_REQUEST_TOKENS, past=tokens / 2)
    writing = segments * note * pace.written
    if options.writing == "together" and segments > 1:
        writing *= _TOGETHER
    answer = pace.reading(_REQUEST_TOKENS + segments * note, past=min(tokens, window))
    held = min(tokens, window)
    runs = ceil(tokens / window)
    reading = runs * pace.reading(held) if runs > 1 else pace.reading(tokens)
    asking = requests + writing + answer
    return (reading, asking) if runs == 1 else (0.0, reading + asking)


def _memory(pace, text, tokens, window, options):
    size = min(options.window or _MEMORY_WINDOW, window)
    stride = min(options.stride or _MEMORY_STRIDE, size)
    more = ceil(max(0, tokens - size) / stride)
    reading = pace.reading(min(tokens, size)) + more * pace.reading(size)
    sentences = max(1, len(segment_sentences(text)))
    found = tokens * min(1, options.passages / sentences)
    return reading, _MEMORY_ASK * pace.reading(_REQUEST_TOKENS + found)


_WORK = {
    "plain": _plain,
    "truncated": _truncated,
    "retrieval": _retrieval,
    "map_reduce": _map_reduce,
    "margins": _margins,
    "memory": _memory,
}


def _read(context: Context, ids: Sequence[int]) -> None:
    for _ in context.prefill(ids):
        pass


def _seconds(context: Context, ids: Sequence[int]) -> float:
    start = time.perf_counter()
    _read(context, ids)
    return time.perf_counter() - start
