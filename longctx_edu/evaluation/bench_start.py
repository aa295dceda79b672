"""What notebook 00 shows, at full length: every method on the whole log, or on what fits.

Each method runs as ``longctx ask`` does, in a process of its own, so that its
peak memory is its own. Questions are spread evenly over the text.
"""

import json
import sys
import tempfile
from pathlib import Path

from longctx_edu.evaluation.figures import Run, figure
from longctx_edu.evaluation.machine import peak_rss_of
from longctx_edu.evaluation.samples import sample
from longctx_edu.text import Document, LogQuestion, lighthouse_log, lighthouse_questions

WHOLE, QUARTER = "whole log", "June to August"


@figure("truncated", unit="share right")
def truncated(run: Run) -> float:
    return _share_right("truncated", WHOLE, run, "--max-prompt-tokens", "2048")


@figure("retrieval", unit="share right")
def retrieval(run: Run) -> float:
    return _share_right("retrieval", WHOLE, run)


@figure("map_reduce", unit="share right")
def map_reduce(run: Run) -> float:
    return _share_right("map_reduce", WHOLE, run)


@figure("memory", unit="share right")
def memory(run: Run) -> float:
    return _share_right("memory", WHOLE, run)


@figure("plain_quarter", unit="share right")
def plain_quarter(run: Run) -> float:
    return _share_right("plain", QUARTER, run)


@figure("margins_quarter", unit="share right")
def margins_quarter(run: Run) -> float:
    return _share_right("margins", QUARTER, run)


def _share_right(method: str, part: str, run: Run, *options: str) -> float:
    document, questions = _part(part, run.choose(quick=1, plain=6))
    report, peak = _ask(method, document, questions, *options)
    answers = [
        {
            "method": method,
            "text": part,
            "question": asked.question,
            "gold": asked.gold,
            "answer": given["answer"],
            "right": asked.gold in given["answer"],
            "tokens_read": given["ledger"]["prefilled"] + given["ledger"]["decoded"],
            "seconds": round(given["seconds"], 2),
        }
        for asked, given in zip(questions, report["answers"], strict=True)
    ]
    share = sum(answer["right"] for answer in answers) / len(answers)
    run.table(f"answers.{method}", answers)
    run.table(
        f"method.{method}",
        [
            {
                "method": method,
                "text": part,
                "text_tokens": report["documents"][0]["tokens"],
                "right": share,
                "questions": len(answers),
                "tokens_to_prepare": report["read_ledger"]["prefilled"],
                "tokens_a_question": sum(a["tokens_read"] for a in answers) / len(answers),
                "seconds_to_prepare": round(report["read_seconds"], 2),
                "seconds_a_question": round(sum(a["seconds"] for a in answers) / len(answers), 2),
                "peak_memory_mb": round(peak / 1e6),
            }
        ],
    )
    return share


def _part(part: str, count: int) -> tuple[Document, list[LogQuestion]]:
    """Return the text and ``count`` questions whose answers lie evenly in it."""
    log, questions = lighthouse_log(), lighthouse_questions()
    start, end = 0, len(log.text)
    if part == QUARTER:
        start, end = log.text.index("## 2 June"), log.text.index("## 6 September")
    inside = [asked for asked in questions if start <= asked.start and asked.end <= end]
    chosen = [inside[(2 * n + 1) * len(inside) // (2 * count)] for n in range(count)]
    return Document("lighthouse_log.md", log.text[start:end], log.source), chosen


def _ask(method: str, document: Document, questions: list[LogQuestion], *options: str):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, document.id)
        path.write_text(document.text, encoding="utf-8")
        command = [sys.executable, "-m", "longctx_edu", "ask", "--json", "--method", method]
        command += ["--document", str(path), "--max-new-tokens", "12", *options]
        for asked in questions:
            command += ["--question", asked.question, "--answer-prefix", asked.answer_prefix]
        peak, _, completed = peak_rss_of(command)
    if completed.returncode:
        raise RuntimeError(completed.stderr.strip()[-500:])
    return json.loads(completed.stdout), peak


@sample("answers.retrieval", needs_model=True)
def one_answer_by_retrieval() -> dict[str, object]:
    """One question of the record, asked again."""
    from longctx_edu import read

    asked = _part(WHOLE, 6)[1][2]
    answer = read(lighthouse_log(), method="retrieval").ask(
        asked.question, answer_prefix=asked.answer_prefix, max_new_tokens=12
    )
    return {
        "question": asked.question,
        "right": asked.gold in answer.text,
        "tokens_read": answer.ledger.prefilled + answer.ledger.decoded,
    }
