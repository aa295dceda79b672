"""The figures of the common parts: capture of attention, where a question looks, scaling.

Ratios are taken in one run, in alternation. Texts are the lighthouse log and generated ones;
the model is the embedded one.
"""

import functools
import math
import random
import statistics
import time

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.figures import Run, figure
from longctx_edu.evaluation.samples import sample

_WINDOW = 8192
_CALIBRATED = ("facts", "kv-list", "common-words", "multi-value")  # in a run of minutes


@functools.cache
def _model():
    from longctx_edu import models

    return models.load()


def _text_ids(count: int) -> list[int]:
    """Return the ids of the lighthouse log, over again until there are ``count``."""
    from longctx_edu.text import lighthouse_log, tokenize

    ids = tokenize(_model().tokenizer, lighthouse_log().text).ids
    return (ids * math.ceil(count / len(ids)))[:count]


@functools.cache
def _captures(tokens: int, pairs: int):
    """Read ``tokens`` with and without capture, in turn.

    Returns the pairs' seconds and megabytes, and the last captured context and record.
    """
    import psutil

    from longctx_edu.attention import capturing
    from longctx_edu.inference import Context

    ids, memory = _text_ids(tokens), psutil.Process().memory_info

    def read(*, captured: bool):
        before, start = memory().rss, time.perf_counter()
        context, record = Context(_model(), reserve=len(ids)), None
        if captured:
            with capturing(_model(), reserve=len(ids)) as record:
                list(context.prefill(ids))
        else:
            list(context.prefill(ids))
        seconds = time.perf_counter() - start
        return seconds, memory().rss - before, context, record

    list(Context(_model()).prefill(ids[:256]))  # warms up
    rows = []
    for _ in range(pairs):
        context = record = None  # gives back the memory of the pair before
        plain_seconds, plain_bytes = read(captured=False)[:2]
        seconds, held_bytes, context, record = read(captured=True)
        rows.append(
            {
                "tokens": tokens,
                "plain_seconds": round(plain_seconds, 2),
                "captured_seconds": round(seconds, 2),
                "extra_megabytes": round((held_bytes - plain_bytes) / 1e6),
                "record_megabytes": round(record.nbytes / 1e6),
                "ratio": seconds / plain_seconds,
            }
        )
    return rows, context, record


def _captures_of(run: Run):
    return _captures(run.choose(quick=512, plain=_WINDOW), run.choose(quick=1, plain=1, record=2))


@figure("capture_time", unit="ratio", target="<= 1.25")
def capture_time(run: Run) -> float:
    """Prefill with capture of all layers and heads over prefill without."""
    rows, _, _ = _captures_of(run)
    run.table("capture", rows)
    return statistics.median(row["ratio"] for row in rows)


@figure("capture_memory", unit="GB", target="<= 0.5")
def capture_memory(run: Run) -> float:
    """Resident memory that a prefill with capture adds beyond one without; at least the record."""
    rows, _, record = _captures_of(run)
    extra = statistics.median(row["extra_megabytes"] for row in rows) / 1e3
    return max(extra, record.nbytes / 1e9)


@figure("tile_error", unit="weight", target="<= 1e-5")
def tile_error(run: Run) -> float:
    """Largest difference of tiles from the softmax of the stored queries and keys in float64."""
    import torch

    _, _, record = _captures_of(run)
    largest, draw = 0.0, random.Random(run.seed)
    for _ in range(run.choose(quick=6, plain=60)):
        layer, head = draw.choice(record.layers), draw.randrange(record.heads)
        rows, columns = _tile_place(record, draw)
        query = record.queries(layer, head)[rows.start : rows.stop].double()
        scores = query @ record.keys(layer, head).double().T * record.scale(layer)
        later = torch.arange(record.tokens) > torch.arange(rows.start, rows.stop)[:, None]
        expected = scores.masked_fill(later, -torch.inf).softmax(-1)
        tile = record.tile(layer, head, rows, columns)
        error = (tile - expected[:, columns.start : columns.stop]).abs().max()
        largest = max(largest, float(error))
    return largest


@sample("common.tile_error", needs_model=True)
def tile_error_again() -> float:
    return tile_error(Run(quick=True))


def _tile_place(record, draw) -> tuple[range, range]:
    """Draw rows and columns of a 256 x 256 tile; every second one lies on the diagonal."""
    row = draw.randrange(0, record.tokens - 255)
    column = row if draw.random() < 0.5 else draw.randrange(0, row + 1)
    return range(row, row + 256), range(column, column + 256)


@figure("capture_error", unit="weight")
def capture_error(run: Run) -> float:
    """Largest difference of tiles from the model's own eager weights, last 16 rows, all heads.

    This is what rounding queries and keys to float16 does.
    """
    import torch

    _, context, record = _captures_of(run)
    rows, model = range(record.tokens - 16, record.tokens), _model().model
    own = model.config._attn_implementation
    with context.branch(rows.start) as branch, torch.no_grad():
        model.set_attn_implementation("eager")
        try:
            output = model(
                input_ids=torch.tensor([context.ids[rows.start :]]),
                past_key_values=branch.cache,
                output_attentions=True,
                logits_to_keep=1,
            )
        finally:
            model.set_attn_implementation(own)
    differences = [
        (record.tile(layer, head, rows, range(record.tokens)) - weights[0, head]).abs().max()
        for layer, weights in enumerate(output.attentions)
        for head in range(record.heads)
    ]
    return float(max(differences))


@figure("tile_time", unit="ms", target="<= 5")
def tile_time(run: Run) -> float:
    """A 256 x 256 tile at full resolution where nobody looked before, median over places.

    So it includes the rows' log-sum-exps; a second look, in the table, does not.
    """
    _, _, record = _captures_of(run)
    record.tile(0, 0, range(256), range(256))
    draw, first, again = random.Random(run.seed + 1), [], []
    for _ in range(run.choose(quick=5, plain=40)):
        layer, head = draw.choice(record.layers), draw.randrange(record.heads)
        rows, columns = _tile_place(record, draw)
        for seconds in (first, again):
            start = time.perf_counter()
            record.tile(layer, head, rows, columns)
            seconds.append(time.perf_counter() - start)
    medians = {"first_ms": statistics.median(first), "again_ms": statistics.median(again)}
    run.table("tile", [{name: round(1e3 * value, 2) for name, value in medians.items()}])
    return 1e3 * statistics.median(first)


@figure("row_time", unit="ms", target="<= 5")
def row_time(run: Run) -> float:
    """All weights of the last query and the 16 largest, median over heads."""
    _, _, record = _captures_of(run)
    record.row(0, 0, 0)
    draw, seconds = random.Random(run.seed + 2), []
    for _ in range(run.choose(quick=5, plain=40)):
        layer, head = draw.choice(record.layers), draw.randrange(record.heads)
        start = time.perf_counter()
        record.row(layer, head, record.tokens - 1)
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


@figure("block_recall", unit="share", target=">= 0.95")
def block_recall(run: Run) -> float:
    """Share of questions whose answer lies in one of the four blocks they put most mass on."""
    from longctx_edu.attention import question_mass
    from longctx_edu.evaluation.tasks import by_document, generate
    from longctx_edu.inference import Context
    from longctx_edu.text import tokenize

    tokenizer = _model().tokenizer
    length, count = run.choose(quick=1024, plain=4096), run.choose(quick=8, plain=64)
    ranks = []
    for items in by_document(generate("facts", length, count, run.seed, tokenizer)):
        tokens = tokenize(tokenizer, items[0].documents[0].text)
        context = Context(_model(), reserve=len(tokens) + 128)
        list(context.prefill(tokens.ids))
        for item in items:
            asked = f"\n\nQuestion: {item.question}\nAnswer: {item.answer_prefix}"
            score = question_mass(context, tokenize(tokenizer, asked).ids)
            gold = _blocks_of_span(tokens, item.gold_spans[0])
            order = score.argsort(descending=True).tolist()
            ranks.append(min(order.index(block) for block in gold) + 1)
    run.table(
        "block_recall",
        [{"best": best, "share": statistics.mean(r <= best for r in ranks)} for best in (1, 2, 4)],
    )
    return statistics.mean(rank <= 4 for rank in ranks)


def _blocks_of_span(tokens, span) -> set[int]:
    """Return the numbers of the blocks that hold tokens of a span of the text."""
    from longctx_edu.attention.block_mass import BLOCK_TOKENS

    return {
        number // BLOCK_TOKENS
        for number, (start, end) in enumerate(tokens.spans)
        if start < span.end and end > span.start
    }


@figure("slope_full", unit="exponent", target="1.8 to 2.1")
def slope_full(run: Run) -> float:
    """Exponent of causal softmax attention's time in the length, the operation alone."""
    import torch.nn.functional as F

    attend = functools.partial(F.scaled_dot_product_attention, is_causal=True)
    return _slope(run, "full", attend)


@figure("slope_linear", unit="exponent", target="0.9 to 1.15")
def slope_linear(run: Run) -> float:
    """Exponent of causal linear attention's time in the length, the operation alone."""
    from longctx_edu.attention import linear_attention

    return _slope(run, "linear", linear_attention)


def _slope(run: Run, name: str, attend) -> float:
    """Return the slope of log time against log length, from 2,048 to 16,384 tokens."""
    from longctx_edu.evaluation.scaling import time_slope

    longest, rounds = run.choose(quick=2048, plain=16384), run.choose(quick=2, plain=5)
    lengths = [longest // 8, longest // 4, longest // 2, longest]
    slope, rows = time_slope(attend, lengths, rounds=rounds, seed=run.seed)
    run.table(f"time_{name}", rows)
    return slope


# --- tasks: neither too easy nor too hard to tell methods apart ---


@figure("calibration", unit="tasks", target=">= 3")
def calibration(run: Run) -> float:
    """Tasks whose score by the plain method at 512 tokens lies between 0.7 and 0.95.

    Difficulties were chosen on the items of another seed (``longctx_edu.evaluation.calibration``
    prints such a sweep). Table: score, interval and controls.
    """
    from longctx_edu.evaluation.calibration import REPORT_SEED, SWEEP, SWEEP_SEED, calibrate

    tasks = run.choose(quick=_CALIBRATED, plain=_CALIBRATED, record=(*SWEEP,))
    n, controls = run.choose(quick=8, plain=40), run.choose(quick=4, plain=16, record=40)
    seed = REPORT_SEED + run.seed
    if seed == SWEEP_SEED:
        raise LongctxError(f"Seed {run.seed} leads to the items that chose the difficulties.")
    found = [calibrate(task, _model(), n=n, control_n=controls, seed=seed) for task in tasks]
    run.table("calibration", [one.as_dict() for one in found])
    return sum(one.tells_apart for one in found)
