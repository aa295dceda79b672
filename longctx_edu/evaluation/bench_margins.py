"""The figures of Writing in the Margins: what margins cost beside a plain answer, and their worth.

Times are ratios, taken in one run, in alternation: a text of 4,096 tokens in 8 segments, margins
and answers of 24 tokens each with end tokens held back, and no margin stopped early, so that
every run does the same work. The model is the embedded one.
"""

import functools
import statistics
import time
from dataclasses import dataclass, replace

from longctx_edu.evaluation.figures import Run, figure
from longctx_edu.evaluation.samples import sample
from longctx_edu.margins.prompts import CopySentence

_SEGMENTS = 8
_WRITTEN = 24
_QUESTIONS = (
    "What was repaired after the storm in October?",
    "Who brought the new lamp to the lighthouse?",
)


@dataclass(frozen=True)
class _ToTheEnd(CopySentence):
    """The default request, whose margins are written to the last token."""

    def is_over(self, written: str) -> bool:
        return False


@functools.cache
def _model():
    from longctx_edu import models

    return models.load()


@functools.cache
def _endless_model():
    return replace(_model(), end_ids=frozenset())


def _text(run: Run) -> str:
    """Return the beginning of the lighthouse log."""
    from longctx_edu.text import lighthouse_log, tokenize

    count = run.choose(quick=512, plain=4096)
    tokens = tokenize(_model().tokenizer, lighthouse_log().text)
    return lighthouse_log().text[: tokens.spans[count][0]]


@functools.cache
def _segment_size(text: str) -> int:
    """Return the size at which the text has 8 segments, which end with sentences."""
    from longctx_edu.text import segment_tokens, tokenize

    tokens = tokenize(_model().tokenizer, text)
    size = len(tokens.ids) // _SEGMENTS
    while len(segment_tokens(tokens, text, size)) > _SEGMENTS:
        size += 1
    return size


def _reading(text: str):
    from longctx_edu import read

    options = dict(segment_tokens=_segment_size(text), margin_tokens=_WRITTEN, prompt=_ToTheEnd())
    return read(text, method="margins", model=_endless_model(), **options)


def _seconds(reading, question: str, **options) -> float:
    if options:
        reading.options = replace(reading.options, **options)
    return reading.ask(question, max_new_tokens=_WRITTEN).seconds


@functools.cache
def _rounds(quick: bool, record: bool) -> list[dict[str, float]]:
    """Return the seconds of each part, measured in turn."""
    from longctx_edu import read

    run, rows = Run(quick=quick, record=record), []
    text = _text(run)
    for warm in (True, *(False,) * run.choose(quick=1, plain=3, record=4)):
        plain = read(text, method="plain", model=_endless_model())
        row = {"plain_reading": plain.seconds, "plain_answer": _seconds(plain, _QUESTIONS[0])}
        del plain
        reading = _reading(text)
        row["reading"] = reading.seconds
        row["together"] = _seconds(reading, _QUESTIONS[0])
        row["second_question"] = _seconds(reading, _QUESTIONS[1])
        row["one_by_one"] = _seconds(reading, _QUESTIONS[0], writing="one_by_one")
        if not warm or quick:
            rows.append(row)
    return rows


def _median_ratio(run: Run, ratio) -> float:
    rows = _rounds(run.quick, run.record)
    if "seconds" not in run.tables:
        table = [{name: round(value, 2) for name, value in row.items()} for row in rows]
        run.table("seconds", table)
    return statistics.median(map(ratio, rows))


def _plain(row: dict) -> float:
    return row["plain_reading"] + row["plain_answer"]


@figure("time_ratio", unit="ratio", target="<= 1.4")
def time_ratio(run: Run) -> float:
    """A full answer by margins, written together, over the plain one; both read the text."""
    return _median_ratio(run, lambda row: (row["reading"] + row["together"]) / _plain(row))


@figure("time_ratio_sequential", unit="ratio")
def time_ratio_sequential(run: Run) -> float:
    """The same with margins written one after another."""
    return _median_ratio(run, lambda row: (row["reading"] + row["one_by_one"]) / _plain(row))


@figure("second_question", unit="ratio", target="<= 0.35")
def second_question(run: Run) -> float:
    """Time of a second question over the first, reading included."""
    return _median_ratio(
        run, lambda row: row["second_question"] / (row["reading"] + row["together"])
    )


# --- decoding ---


@functools.cache
def _context(tokens: int):
    """Return a context that has read the text, and the ends of its segments."""
    from longctx_edu.inference import Context
    from longctx_edu.text import lighthouse_log, tokenize

    ids = tokenize(_model().tokenizer, lighthouse_log().text).ids[:tokens]
    context = Context(_endless_model(), reserve=len(ids) + 256)
    list(context.prefill(ids))
    return context, [tokens * number // _SEGMENTS for number in range(1, _SEGMENTS + 1)]


def _request(question: str):
    from longctx_edu.inference import continue_turn
    from longctx_edu.margins import Request

    words = CopySentence().request(question)
    return Request(continue_turn(_endless_model(), f"\n\n{words}"), _WRITTEN)


@figure("decode_gain", unit="ratio", target=">= 4")
def decode_gain(run: Run) -> float:
    """Tokens a second of 8 margins in one batch over one row by ``model.generate``.

    Both after the whole text and the request; neither figure holds any prefill.
    """
    rows = _decoding(run)
    run.table("decoding", rows)
    return statistics.median(row["generate_ms"] / row["together_ms"] for row in rows)


@figure("decode_gain_sequential", unit="ratio")
def decode_gain_sequential(run: Run) -> float:
    """The same over the engine's own margins, one after another."""
    return statistics.median(row["one_by_one_ms"] / row["together_ms"] for row in _decoding(run))


@functools.cache
def _decoding_of(tokens: int, repeats: int) -> list[dict[str, float]]:
    """Return milliseconds for each token, written in the three ways in turn."""
    import torch
    from transformers import DynamicCache

    from longctx_edu.inference import Continuations

    context, _ = _context(tokens)
    request = _request(_QUESTIONS[0])
    model = _model().model
    with context.branch() as branch:
        list(branch.prefill(request.ids))
        keys = [(layer.keys.clone(), layer.values.clone()) for layer in branch.cache.layers]
        first, prompt = int(branch.next_logits.argmax()), list(branch.ids)

    def generate() -> float:
        cache = DynamicCache(config=model.config)
        for layer, (key, value) in enumerate(keys):
            cache.update(key, value, layer)
        start = time.perf_counter()
        model.generate(
            torch.tensor([[*prompt, first]]),
            past_key_values=cache,
            do_sample=False,
            min_new_tokens=_WRITTEN,
            max_new_tokens=_WRITTEN,
            eos_token_id=-1,
        )
        return (time.perf_counter() - start) / _WRITTEN

    def one_by_one() -> float:
        with context.branch() as branch:
            list(branch.prefill(request.ids))
            return _step_seconds(branch.decode(max_new_tokens=_WRITTEN))

    def together() -> float:
        rows = Continuations(
            context, [len(context)] * _SEGMENTS, reserve=len(request.ids) + _WRITTEN
        )
        rows.prefill(request.ids)
        return _step_seconds(rows.decode(max_new_tokens=_WRITTEN)) / _SEGMENTS

    ways = {"generate_ms": generate, "one_by_one_ms": one_by_one, "together_ms": together}
    rows = [{name: round(1e3 * way(), 2) for name, way in ways.items()} for _ in range(repeats + 1)]
    return rows[1:]  # the first round warms up


def _step_seconds(steps) -> float:
    """Return the mean seconds of a step after the first, which only reads off what is known."""
    next(steps)
    start = time.perf_counter()
    count = sum(1 for _ in steps)
    return (time.perf_counter() - start) / count


def _decoding(run: Run) -> list[dict[str, float]]:
    return _decoding_of(run.choose(quick=512, plain=4096), run.choose(quick=1, plain=3, record=4))


# --- memory ---


@figure("extra_memory", unit="ratio", target="<= 0.25")
def extra_memory(run: Run) -> float:
    """Memory that 8 margins in one batch add, over the keys and values of the text.

    The larger of the rows' own keys and values and what the resident memory grows by meanwhile.
    """
    import psutil

    from longctx_edu.inference import Continuations

    context, ends = _context(run.choose(quick=512, plain=4096))
    request, process = _request(_QUESTIONS[0]), psutil.Process()
    text_bytes = sum(
        tensor.nbytes for layer in context.cache.layers for tensor in (layer.keys, layer.values)
    )
    before = peak = process.memory_info().rss
    rows = Continuations(context, ends, reserve=len(request.ids) + _WRITTEN)
    rows.prefill(request.ids)
    peak = max(peak, process.memory_info().rss)
    for _ in rows.decode(max_new_tokens=_WRITTEN):
        peak = max(peak, process.memory_info().rss)
    table = {
        "text_megabytes": round(text_bytes / 1e6, 1),
        "own_megabytes": round(rows.nbytes / 1e6, 1),
        "resident_growth_megabytes": round((peak - before) / 1e6, 1),
        "request_tokens": len(request.ids),
    }
    run.table("memory", [table])
    return max(rows.nbytes, peak - before) / text_bytes


@figure("cache_equal", unit="yes/no", target=">= 1")
def cache_equal(run: Run) -> float:
    """Whether the text's cache is bitwise the same after margins, in one batch and in turn."""
    import torch

    from longctx_edu.margins import write_margins, write_margins_together

    context, ends = _context(run.choose(quick=512, plain=2048))
    request = _request(_QUESTIONS[0])

    def snapshot():
        return [
            tensor.clone()
            for layer in context.cache.layers
            for tensor in (layer.keys, layer.values)
        ]

    before = snapshot()
    for _ in write_margins_together(context, ends, request):
        pass
    for _ in write_margins([context.fork(end) for end in ends], request):
        pass
    return float(all(map(torch.equal, before, snapshot())))


@sample("margins.cache_equal", needs_model=True)
def cache_equal_again() -> float:
    return cache_equal(Run(quick=True))


@figure("same_tokens", unit="yes/no", target=">= 1")
def same_tokens(run: Run) -> float:
    """Whether both forms write the same margins; close calls are counted in the table.

    A margin may differ from a token on at which the two best logits are closer than 1e-3.
    """
    from longctx_edu.margins import Margin, write_margins, write_margins_together

    context, ends = _context(run.choose(quick=512, plain=4096))
    rows = []
    for question in _QUESTIONS:
        request = _request(question)
        forms = [
            write_margins_together(context, ends, request),
            write_margins([context.fork(end) for end in ends], request),
        ]
        together, apart = (
            sorted((e for e in form if isinstance(e, Margin)), key=lambda margin: margin.segment)
            for form in forms
        )
        for one, other in zip(together, apart, strict=True):
            rows.append(
                {
                    "question": question,
                    "segment": one.segment,
                    "equal": one.ids == other.ids,
                    "close_calls": one.close_calls,
                }
            )
    run.table("same_tokens", rows)
    return float(all(row["equal"] or row["close_calls"] for row in rows))


# --- the view ---


@figure("view_latency", unit="ms", target="<= 150")
def view_latency(run: Run) -> float:
    """Median time from an event to the screen: real JupyterLab, headless Chromium, real model."""
    from longctx_edu.evaluation.view_latency import event_to_screen

    found = event_to_screen()
    run.table("latency", [found])
    return 1e3 * found["median"]


# --- verdicts and quality ---

_REPORT_SEED = 2  # verdicts and thresholds were chosen on the items of seed 101


@figure("verdict_auc", unit="area")
def verdict_auc(run: Run) -> float:
    """How well the default verdict ranks relevant segments of ``facts`` before others.

    Tables: ``verdicts``, all verdicts on two tasks; ``roc``, their curves on ``facts``. What the
    default is and its threshold were chosen on the items of another seed.
    """
    from longctx_edu.evaluation.margin_verdicts import judge_all, roc, summary
    from longctx_edu.evaluation.tasks import generate
    from longctx_edu.margins.verdicts import SureAndSeen

    rows, curves = [], []
    for task, most in (("facts", 24), ("multi-value", 8)):
        count = run.choose(quick=2, plain=8, record=most)
        items = generate(
            task, run.choose(quick=1024, plain=2048), count, _REPORT_SEED, _model().tokenizer
        )
        judged = judge_all(items, _model())
        for name in dict.fromkeys(one.verdict for one in judged):
            under = [one for one in judged if one.verdict == name]
            rows.append({"task": task, **summary(under)})
            curves += roc(under) if task == "facts" else []
    run.table("verdicts", rows)
    run.table("roc", curves)
    return next(row["auc"] for row in rows if row["verdict"] == SureAndSeen.name)


_QUALITY = {"facts": (2048, 40), "multi-value": (2048, 16), "common-words": (2048, 8)}


@figure("quality", unit="paired items", target=">= 60")
def quality(run: Run) -> float:
    """Questions answered by margins, by the plain prompt and by every control.

    Tables: ``quality``, the mean recall by task and way with the gain over plain; ``answers``,
    every answer.
    """
    from longctx_edu.evaluation.margin_quality import answers, compared
    from longctx_edu.evaluation.tasks import generate

    rows = []
    for task, (tokens, count) in _QUALITY.items():
        tokens = run.choose(quick=1024, plain=tokens)
        count = run.choose(quick=2, plain=8, record=count)
        items = generate(task, tokens, count, _REPORT_SEED, _model().tokenizer)
        rows += answers(items, _model(), half=tokens // 2)
    run.table("quality", compared(rows))
    run.table("answers", rows)
    return len(rows) / len({row["way"] for row in rows})


@sample("answers", needs_model=True)
def one_answer_again() -> dict[str, object]:
    """One question of the record, answered by margins again."""
    from longctx_edu import read
    from longctx_edu.evaluation.scoring import answer_tokens
    from longctx_edu.evaluation.tasks import generate

    item = generate("facts", _QUALITY["facts"][0], 1, _REPORT_SEED, _model().tokenizer)[0]
    answer = read(item.documents, method="margins", model=_model()).ask(
        item.question,
        answer_prefix=item.answer_prefix,
        max_new_tokens=answer_tokens(item, _model().tokenizer),
    )
    return {"way": "margins", "question": item.question, "answer": answer.text}
