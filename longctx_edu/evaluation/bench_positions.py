"""The figures of notebook 10: the same questions with their lines at five places of a text.

Every figure is a difference or a share, none is a time. Whether the middle is lost is reported,
so no figure has a target.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from longctx_edu.evaluation import positions
from longctx_edu.evaluation.attention_by_place import look
from longctx_edu.evaluation.figures import Run, figure
from longctx_edu.evaluation.positions import Placed, compare, curve
from longctx_edu.evaluation.samples import sample
from longctx_edu.evaluation.tasks import DEPTHS

SHORT, LONG = 1000, 2000  # tokens of a text
TEXTS = {("kv-list", SHORT): 6, ("facts", SHORT): 2, ("kv-list", LONG): 2}
"""How many texts are recorded for each curve; ten questions each, at five places."""

SOME = (0, 4, 8)  # questions where each takes a reading of its own
MIDDLE, ENDS = [0.5], [0.0, 1.0]


@functools.cache
def _model():
    from longctx_edu import models

    return models.load()


@functools.cache
def _rows(task: str, length: int, documents: int, seed: int, order="after", questions=None):
    return positions.measure(
        task,
        _model(),
        length_tokens=length,
        documents=documents,
        seed=seed,
        order=order,
        questions=questions,
    )


def _length(run: Run, length: int) -> int:
    return run.choose(quick=400, plain=length)


def _middle(run: Run, task: str, length: int) -> float:
    """Measure a curve; return how much better the middle is than the mean of both ends."""
    tokens, texts = _length(run, length), TEXTS[task, length]
    documents = run.choose(quick=2, plain=min(3, texts), record=texts)
    questions = run.choose(quick=SOME, plain=None)
    rows = _rows(task, tokens, documents, run.seed, questions=questions)
    name = f"{task}.{length}"
    run.table(f"curve.{name}", [score.as_dict() for score in curve(rows)])
    run.table(f"questions.{name}", _by_question(rows))
    run.table(f"middle.{name}", _comparisons(rows))
    return compare(rows, MIDDLE, ENDS).mean


def _by_question(rows: Sequence[Placed]) -> list[dict]:
    """Return a row for each question, with what came at each place, first to last, as text."""
    found: dict[tuple[int, int], list[Placed]] = {}
    for row in sorted(rows, key=lambda row: (row.document, row.question, row.place)):
        found.setdefault((row.document, row.question), []).append(row)
    return [
        {
            "document": document,
            "question": question,
            "right": " ".join(str(int(row.right)) for row in group),
            "rank": " ".join(str(row.rank) for row in group),
            "log_probability": " ".join(f"{row.log_probability:.3f}" for row in group),
        }
        for (document, question), group in found.items()
    ]


def _comparisons(rows: Sequence[Placed]) -> list[dict]:
    table = []
    for of in ("right", "log_probability"):
        for against, others in (("ends", ENDS), ("first", ENDS[:1]), ("last", ENDS[1:])):
            found = compare(rows, MIDDLE, others, of=of)
            low, high = found.interval
            table.append(
                {
                    "of": of,
                    "against": against,
                    "mean": found.mean,
                    "low": low,
                    "high": high,
                    "p": found.p,
                }
            )
    return table


@figure("kv_short", unit="share right")
def kv_short(run: Run) -> float:
    """Middle less ends, key-value lines in a text of 1,000 tokens."""
    return _middle(run, "kv-list", SHORT)


@figure("kv_long", unit="share right")
def kv_long(run: Run) -> float:
    """Middle less ends, key-value lines in a text of 2,000 tokens."""
    return _middle(run, "kv-list", LONG)


@figure("facts_short", unit="share right")
def facts_short(run: Run) -> float:
    """Middle less ends, facts in a text of 1,000 tokens."""
    return _middle(run, "facts", SHORT)


@figure("floor", unit="share right")
def floor(run: Run) -> float:
    """Right answers where the lines were taken out, the larger one of both tasks."""
    return max(row["right"] for row in _control(run, "floor"))


@figure("ceiling", unit="share right")
def ceiling(run: Run) -> float:
    """Right answers from the line alone, the smaller one of both tasks."""
    return min(row["right"] for row in _control(run, "ceiling"))


def _control(run: Run, control: str) -> list[dict]:
    table = []
    for task in positions.TASKS:
        rows = positions.measure_control(
            control,
            task,
            _model(),
            length_tokens=_length(run, SHORT),
            documents=1,
            seed=run.seed,
        )
        table.append({"task": task, **curve(rows)[0].as_dict()})
    run.table(control, table)
    return table


@figure("asked_before", unit="share right")
def asked_before(run: Run) -> float:
    """What it brings to ask before the text as well as after it; key-value, 1,000 tokens."""
    right = {}
    for order in positions.ORDERS:
        rows = _rows("kv-list", _length(run, SHORT), 1, run.seed, order, SOME)
        run.table(f"asked.{order}", [score.as_dict() for score in curve(rows)])
        right[order] = fmean(row.right for row in rows)
    return right["around"] - right["after"]


@figure("as_written", unit="share")
def as_written(run: Run) -> float:
    """Cells where what greedy decoding would write is judged as what it did write."""
    from longctx_edu.evaluation.scoring import score

    tokens, agree = _length(run, SHORT), []
    for task in positions.TASKS:
        items = positions.items_at_places(task, tokens, 1, run.seed, _model().tokenizer)[0]
        rows = positions.measure(
            task, _model(), length_tokens=tokens, documents=1, seed=run.seed, turns=[0]
        )
        written = score("plain", items, _model(), likelihood=False)
        agree += [row.right == one.right for row, one in zip(rows, written, strict=True)]
    return sum(agree) / len(agree)


@figure("attention_first", unit="ratio")
def attention_first(run: Run) -> float:
    """Attention on the first tenth of a text over that on a tenth in the middle, as it is."""
    tenths = _attention(run)["mass"]
    return tenths[0] / fmean(tenths[4:6])


@figure("attention_first_typical", unit="ratio")
def attention_first_typical(run: Run) -> float:
    """The same for what a typical token gets, which a few heavy tokens do not change."""
    tenths = _attention(run)["typical"]
    return tenths[0] / fmean(tenths[4:6])


@figure("attention_last_typical", unit="ratio")
def attention_last_typical(run: Run) -> float:
    """The same for the last tenth."""
    tenths = _attention(run)["typical"]
    return tenths[-1] / fmean(tenths[4:6])


def _attention(run: Run) -> dict[str, list[float]]:
    """Return the mean over questions and places of each tenth's mass, and of its typical one."""
    looks = _looks(_length(run, SHORT), 1, run.seed)
    shares = [one.shares for one in looks]
    tenths = {
        name: [fmean(column) for column in zip(*(getattr(one, of) for one in shares), strict=True)]
        for name, of in (("mass", "tenths"), ("typical", "typical"))
    }
    if "attention.tenths" not in run.tables:
        rows = zip(tenths["mass"], tenths["typical"], strict=True)
        run.table(
            "attention.tenths",
            [{"tenth": n, "mass": mass, "typical": t} for n, (mass, t) in enumerate(rows, 1)],
        )
        names = ("sink", "template", "line", "asked", "heaviest")
        means = {name: fmean(getattr(one, name) for one in shares) for name in names}
        run.table("attention.shares", [{**means, "text": sum(tenths["mass"])}])
        run.table(
            "attention.line",
            [
                {"place": at, "mass": fmean(one.shares.line for one in looks if one.place == at)}
                for at in DEPTHS
            ],
        )
        heavy = Counter(one.heaviest_token for one in shares)
        run.table(
            "attention.heaviest",
            [{"token": token, "looks": count} for token, count in heavy.most_common()],
        )
    return tenths


@functools.cache
def _looks(length: int, documents: int, seed: int):
    return look(
        "kv-list",
        _model(),
        length_tokens=length,
        documents=documents,
        seed=seed,
        questions=SOME,
    )


@sample("floor", needs_model=True)
def floor_again() -> dict[str, object]:
    """The key-value questions of the record, asked again of the text without their lines."""
    rows = positions.measure_control("floor", "kv-list", _model(), length_tokens=SHORT, documents=1)
    again = curve(rows)[0].as_dict()
    return {"task": "kv-list", **{key: again[key] for key in ("right", "rank", "n")}}
