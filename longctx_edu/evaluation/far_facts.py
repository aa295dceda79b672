"""Questions about a text far longer than the window, answered from memory.

The same facts are asked of a plain prompt of 2,048 tokens in the same words, so that what the
memory loses on its way can be told from what the model cannot do. As a program (a process of its
own, whose peak of memory is the memory's): ``python -m longctx_edu.evaluation.far_facts``.
"""

import argparse
import json
import time
from collections.abc import Sequence

from longctx_edu import read
from longctx_edu.evaluation.machine import peak_rss_bytes
from longctx_edu.evaluation.metrics import recall
from longctx_edu.evaluation.scoring import answer_tokens
from longctx_edu.evaluation.tasks import Item, by_document, difficulty_of, generate
from longctx_edu.events import Progress, Ready
from longctx_edu.readers import prepare

FACTS = 10
PLAIN_TOKENS = 2048
LOOKUPS = ("passages",)


def far_facts(
    model, *, tokens: int, documents: int, seed: int, lookups: Sequence[str] = LOOKUPS, **options
) -> tuple[list[dict], list[dict]]:
    """Ask every fact of some long texts; return a row for each question and for each text.

    Args:
        tokens: length of a text.
        documents: how many texts, of ten facts and ten distractors each.
        lookups: ways to look up that are asked one after another.
        options: of the method "memory".

    Returns:
        answers: document, question, gold, lookup, answer, right; where in the order of the blocks
        the one with the fact stands (from 1), whether that one was chosen, whether the passage
        with it was (None where none is chosen), whether the first citation is it; whether the
        plain prompt was right; seconds.
        builds: document, tokens, forwarded, seconds, and ``marks``, seconds at tokens done.
    """
    difficulty = difficulty_of("facts")(facts=FACTS)
    lengths = [
        generate("facts", n, FACTS * documents, seed, model.tokenizer, difficulty=difficulty)
        for n in (tokens, PLAIN_TOKENS)
    ]
    answers, builds = [], []
    for far, near in zip(*map(by_document, lengths), strict=True):
        reading, build = _built(far, model, options)
        builds.append(build)
        plain = read(near[0].documents, method="plain", model=model)
        for item, short in zip(far, near, strict=True):
            right = asked(plain, short)[1]
            for lookup in lookups:
                answers.append({**_row(reading, item, lookup), "plain_right": right})
        del reading, plain
    return answers, builds


def _built(items: Sequence[Item], model, options: dict):
    events = prepare(items[0].documents, method="memory", model=model, **options)
    start, marks, reading = time.perf_counter(), [], None
    for event in events:
        if isinstance(event, Progress):
            marks.append([event.done, round(time.perf_counter() - start, 2)])
        if isinstance(event, Ready):
            reading = event.reading
    build = {
        "document": items[0].document_ids[0],
        "tokens": len(reading.bank),
        "forwarded": reading.bank.forwarded,
        "megabytes": round(reading.bank.nbytes / 1e6, 1),
        "seconds": round(reading.seconds, 1),
        "marks": marks,
    }
    return reading, build


def _row(reading, item: Item, lookup: str) -> dict:
    answer, right = asked(reading, item, lookup=lookup)
    gold, trace = item.gold_spans[0], answer.trace

    def is_gold(place: dict) -> bool:
        return place["start"] < gold.end and place["end"] > gold.start

    def among(places: list[dict]) -> bool | None:
        return any(map(is_gold, places)) if places else None

    blocks = sorted(trace["blocks"], key=lambda block: -block["score"])
    return {
        "document": item.document_ids[0],
        "question": item.question,
        "gold": item.gold[0],
        "lookup": lookup,
        "answer": answer.text,
        "right": right,
        "block_rank": 1 + next(n for n, block in enumerate(blocks) if is_gold(block)),
        "block_chosen": among([block for block in blocks if block["chosen"]]),
        "passage_chosen": among(trace["passages"]),
        "cited_first": any(is_gold(vars(one)) for one in answer.citations[:1]),
        "seconds": round(answer.seconds, 2),
    }


def asked(reading, item: Item, **options):
    """Return the answer to an item, and whether it is right."""
    answer = reading.ask(
        item.question,
        answer_prefix=item.answer_prefix,
        max_new_tokens=answer_tokens(item, reading.model.tokenizer),
        **options,
    )
    return answer, recall(answer.text, item.gold) == 1


def main() -> None:
    """Print answers, builds and the peak of this process's memory, as one JSON object."""
    from longctx_edu import models

    parser = argparse.ArgumentParser(description=main.__doc__)
    for name in ("tokens", "documents", "seed"):
        parser.add_argument(name, type=int)
    chosen = vars(parser.parse_args())
    answers, builds = far_facts(models.load(), **chosen)
    print(json.dumps({"answers": answers, "builds": builds, "peak_bytes": peak_rss_bytes()}))


if __name__ == "__main__":
    main()
