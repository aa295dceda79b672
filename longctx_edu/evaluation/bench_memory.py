"""The figures of memory outside the window: exactness, questions far beyond it, cost, comparison.

What is looked up and how much of it was chosen on the items of another seed. Times are ratios,
taken in one run. The model is the embedded one, whose trained window holds 8,192 tokens.
"""

import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.figures import Run, figure, interleaved_ratio
from longctx_edu.evaluation.samples import sample

_REPORT_SEED = 2
_FAMILIES = ("llama", "qwen3", "gpt_neox")
_WRITTEN = 24


@functools.cache
def _model():
    from longctx_edu import models

    return models.load()


# --- exactness ---


@figure("exact", unit="logit", target="<= 1e-4")
def exact(run: Run) -> float:
    """Largest difference to ordinary attention: one window, all memory, true positions.

    Table: the same for every position policy; only "true" may be small.
    """
    from longctx_edu import models
    from longctx_edu.memory.attention import POSITIONS
    from longctx_edu.text import lighthouse_log

    text = lighthouse_log().text
    cases = [(family, models.tiny(family, seed=1), text[:300]) for family in _FAMILIES]
    cases.append(("embedded", _model(), text[: run.choose(quick=300, plain=1500)]))
    rows = [
        {"model": name, **{at: _difference(model, told, at) for at in POSITIONS}}
        for name, model, told in cases
    ]
    run.table("exact", rows)
    return max(row["true"] for row in rows)


def _difference(model, text: str, positions: str) -> float:
    """Return the largest difference of logits between memory and the text before the question."""
    import torch

    from longctx_edu.memory import MemoryBank, Recall, Storage, remembering

    bank = MemoryBank(model, storage=Storage("float32"))
    for _ in bank.add(text):
        pass
    ids = model.tokenizer.encode("Who keeps the light?", add_special_tokens=False)
    with torch.no_grad():
        whole = model.model(torch.tensor([[*bank.ids, *ids]])).logits[0, len(bank) :]
        with remembering(bank, Recall(k=len(bank), positions=positions)):
            found = model.model(torch.tensor([ids])).logits[0]
    return float((found - whole).abs().max())


@sample("memory.exact", needs_model=True)
def exact_again() -> float:
    return exact(Run(quick=True))


# --- beyond the window ---


@functools.cache
def _far(tokens: int, documents: int, lookups: tuple[str, ...], **options):
    from longctx_edu.evaluation.far_facts import far_facts

    seed = _REPORT_SEED
    return far_facts(
        _model(), tokens=tokens, documents=documents, seed=seed, lookups=lookups, **options
    )


def _beyond(run: Run):
    """Return answers and builds for texts three and a half times as long as the window."""
    tokens = run.choose(quick=9000, plain=28_672)
    return _far(tokens, run.choose(quick=1, plain=2, record=12), ("passages",))


def _share(rows: list[dict], name: str) -> float:
    return statistics.mean(row[name] for row in rows)


def _summary(rows: list[dict]) -> dict:
    """Return shares with intervals; documents count as independent, not questions."""
    from longctx_edu.evaluation.intervals import effective_n, wilson

    clusters, table = [row["document"] for row in rows], {}
    for name in ("block_chosen", "passage_chosen", "cited_first", "right", "plain_right"):
        if rows[0][name] is None:  # this way to look up chooses none
            continue
        values = [float(row[name]) for row in rows]
        share, n = statistics.mean(values), effective_n(values, clusters)
        low, high = wilson(share * n, n)
        table |= {name: share, f"{name}_low": low, f"{name}_high": high}
    return {"n": len(rows), "documents": len({*clusters}), **table}


@figure("beyond_window_recall", unit="share", target=">= 0.95")
def beyond_window_recall(run: Run) -> float:
    """Questions on 28,672 tokens for which the block with the fact is among the twelve chosen.

    Tables: ``beyond``, shares with intervals; ``beyond_answers``, every question.
    """
    answers, _ = _beyond(run)
    run.table("beyond", [_summary(answers)])
    run.table("beyond_answers", answers)
    return _share(answers, "block_chosen")


@figure("beyond_window_accuracy", unit="ratio", target=">= 0.8")
def beyond_window_accuracy(run: Run) -> float:
    """Lower end of the interval of: share right, over that of a plain prompt of 2,048 tokens.

    The same facts, asked in the same words. Table: the ratio and its interval.
    """
    from longctx_edu.evaluation.intervals import ratio_bootstrap

    answers, _ = _beyond(run)
    far, near = ([float(row[name]) for row in answers] for name in ("right", "plain_right"))
    clusters = [row["document"] for row in answers]
    ratio = sum(far) / sum(near) if any(near) else float("nan")
    low, high = (ratio, ratio) if run.quick else ratio_bootstrap(far, near, clusters=clusters)
    run.table("beyond_ratio", [{"ratio": ratio, "low": low, "high": high, "n": len(far)}])
    return low


@figure("lookups", unit="ways")
def lookups(run: Run) -> float:
    """Ways to look up, compared as the memory grows; table ``lookups``.

    Flat top-k (128 keys for each query), whole blocks' own keys and values, and passages read
    again.
    """
    from longctx_edu.evaluation.memory_quality import TOP_K

    ways, rows = ("passages", "blocks", "topk"), []
    for tokens in run.choose(quick=(2048,), plain=(2048, 8192), record=(2048, 8192, 28_672)):
        documents = run.choose(quick=1, plain=1, record=2)
        answers, _ = _far(tokens, documents, ways, holds="everything", k=TOP_K)
        for way in ways:
            under = [row for row in answers if row["lookup"] == way]
            seconds = statistics.median(row["seconds"] for row in under)
            k = TOP_K if way == "topk" else None
            facts = {"tokens": tokens, "lookup": way, "k": k}
            rows.append({**facts, **_summary(under), "seconds": seconds})
    run.table("lookups", rows)
    return len(ways)


@functools.cache
def _book(tokens: int, documents: int) -> dict:
    """Return what a process of its own finds in very long texts."""
    command = [sys.executable, "-m", "longctx_edu.evaluation.far_facts"]
    command += map(str, (tokens, documents, _REPORT_SEED))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise LongctxError(f"The book could not be read: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def _book_of(run: Run) -> dict:
    return _book(run.choose(quick=9000, plain=100_000), run.choose(quick=1, plain=1, record=2))


@figure("book_recall", unit="share", target=">= 0.9")
def book_recall(run: Run) -> float:
    """The same as ``beyond_window_recall`` on 100,000 tokens. Tables as there, and ``builds``."""
    book = _book_of(run)
    run.table("book", [_summary(book["answers"])])
    run.table("book_answers", book["answers"])
    run.table("builds", [{k: v for k, v in row.items() if k != "marks"} for row in book["builds"]])
    return _share(book["answers"], "block_chosen")


@figure("book_memory", unit="GB", target="<= 2")
def book_memory(run: Run) -> float:
    """Peak of the whole process that builds a memory of 100,000 tokens and asks it."""
    return _book_of(run)["peak_bytes"] / 1e9


@figure("build_tokens", unit="ratio", target="<= 1.35")
def build_tokens(run: Run) -> float:
    """Tokens forwarded while building over those of the document, 100,000."""
    builds = _book_of(run)["builds"]
    return sum(row["forwarded"] for row in builds) / sum(row["tokens"] for row in builds)


@figure("build_growth", unit="ratio", target="<= 4.4")
def build_growth(run: Run) -> float:
    """Time until 96,000 tokens are held over time until 24,000 are, in one build; median."""
    whole = run.choose(quick=8000, plain=96_000)
    ratios = []
    for build in _book_of(run)["builds"]:
        ratios.append(_seconds_at(build["marks"], whole) / _seconds_at(build["marks"], whole / 4))
    return statistics.median(ratios)


def _seconds_at(marks, tokens: float) -> float:
    """Return the seconds when so many tokens were held, between two marks in proportion."""
    for (a, start), (b, end) in zip(marks, marks[1:], strict=False):
        if a <= tokens <= b:
            return start + (end - start) * (tokens - a) / (b - a)
    raise LongctxError(f"The build has no {tokens:,.0f} tokens.")


# --- asking and reloading ---


@functools.cache
def _reading(tokens: int):
    from longctx_edu import read
    from longctx_edu.evaluation.tasks import generate

    items = generate("facts", tokens, 8, _REPORT_SEED, _model().tokenizer)
    endless = replace(_model(), end_ids=frozenset())
    return read(items[0].documents, method="memory", model=endless), items


def _reading_of(run: Run):
    return _reading(run.choose(quick=4096, plain=32_768))


@figure("ask_ratio", unit="ratio", target="<= 3")
def ask_ratio(run: Run) -> float:
    """Time of a question over a memory of 32,768 tokens over the same question with none.

    Answers of 24 tokens. Table: seconds of both.
    """
    from longctx_edu.events import returned_by
    from longctx_edu.inference import Context, chat_prompt, write

    reading, items = _reading_of(run)
    item, seconds = items[0], {"memory": [], "none": []}
    ids = chat_prompt(reading.model, item.question, answer_prefix=item.answer_prefix).ids

    def timed(name: str, task) -> None:
        start = time.perf_counter()
        task()
        seconds[name].append(time.perf_counter() - start)

    def memory() -> None:
        reading.ask(item.question, answer_prefix=item.answer_prefix, max_new_tokens=_WRITTEN)

    def none() -> None:
        returned_by(write(Context(reading.model), ids, max_new_tokens=_WRITTEN))

    ratio = interleaved_ratio(
        lambda: timed("memory", memory),
        lambda: timed("none", none),
        repeats=run.choose(quick=1, plain=5, record=9),
    )
    medians = {f"{name}_seconds": statistics.median(own) for name, own in seconds.items()}
    run.table("ask", [{"tokens": len(reading.bank), **medians}])
    return ratio


@figure("reload", unit="s", target="<= 2")
def reload(run: Run) -> float:
    """Seconds to load a saved memory of 32,768 tokens; not a number if an answer differs.

    Median of five. Table: bytes, and whether three answers were the same.
    """
    from longctx_edu import read
    from longctx_edu.memory import MemoryBank

    reading, items = _reading_of(run)
    with tempfile.TemporaryDirectory() as folder:
        path, seconds = Path(folder, "memory.safetensors"), []
        reading.bank.save(path)
        for _ in range(5):
            start = time.perf_counter()
            MemoryBank.load(path, reading.model)
            seconds.append(time.perf_counter() - start)
        again = read(None, method="memory", model=reading.model, memory_file=path)
        pairs = [
            [
                one.ask(item.question, answer_prefix=item.answer_prefix, max_new_tokens=8).text
                for one in (reading, again)
            ]
            for item in items[:3]
        ]
        size = path.stat().st_size
        del again
    same = all(first == second for first, second in pairs)
    run.table("reload", [{"tokens": len(reading.bank), "bytes": size, "same_answers": same}])
    return statistics.median(seconds) if same else float("nan")


# --- beside other methods ---

_TEXT_TOKENS = 2048


@figure("quality", unit="questions", target=">= 16")
def quality(run: Run) -> float:
    """The same questions by every way to look up and every position policy, and by other methods.

    Tables: ``quality``, share right with its interval and the gain over the plain prompt, which is
    the cached prefix; ``answers``.
    """
    from longctx_edu.evaluation.margin_quality import compared
    from longctx_edu.evaluation.memory_quality import answers
    from longctx_edu.evaluation.tasks import generate

    tokens, count = (
        run.choose(quick=700, plain=_TEXT_TOKENS),
        run.choose(quick=2, plain=8, record=16),
    )
    rows = answers(generate("facts", tokens, count, _REPORT_SEED, _model().tokenizer), _model())
    run.table("quality", compared(rows))
    run.table("answers", rows)
    return len(rows) / len({row["way"] for row in rows})


@sample("answers", needs_model=True)
def one_answer_again() -> dict[str, object]:
    """One question of the record, answered from memory again."""
    from longctx_edu.evaluation.memory_quality import answers
    from longctx_edu.evaluation.tasks import generate

    items = generate("facts", _TEXT_TOKENS, 1, _REPORT_SEED, _model().tokenizer)
    row = answers(items, _model(), ways=("memory: passages",))[0]
    return {name: row[name] for name in ("way", "question", "answer")}
