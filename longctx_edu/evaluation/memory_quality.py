"""Does memory help? The same questions by every way to look up, and by other methods.

All in the same words with the same room for an answer, greedily, with one reading for each
document: what differs is what the model sees of the text.
"""

from collections.abc import Callable, Sequence

from longctx_edu import read
from longctx_edu.evaluation.margin_quality import PLAIN, row_of
from longctx_edu.evaluation.scoring import answer_tokens
from longctx_edu.evaluation.tasks import Item, by_document
from longctx_edu.memory.attention import POSITIONS

TOP_K = 128
MEMORY = "memory: passages"


def answers(items: Sequence[Item], model, *, ways: Sequence[str] | None = None) -> list[dict]:
    """Answer every item by every way; return a row for each: item, way, answer, recall.

    Args:
        ways: names of those that are wanted; all of them by default.
    """
    rows = []
    for group in by_document(items):
        asking = _ways(group[0].documents, model, wanted=ways)
        for item in group:
            for way, ask in asking.items():
                text = ask(
                    item.question,
                    answer_prefix=item.answer_prefix,
                    max_new_tokens=answer_tokens(item, model.tokenizer),
                ).text
                rows.append(row_of(item, way, text))
    return rows


def _ways(documents, model, *, wanted: Sequence[str] | None) -> dict[str, Callable]:
    """Return how to ask by each way; a method's reading is made if any way of it is wanted."""
    readings = {}

    def asking(method: str, options: dict, **changes) -> Callable:
        key = method, *options.items()
        if key not in readings:
            readings[key] = read(documents, method=method, model=model, **options)
        return lambda question, **more: readings[key].ask(question, **more, **changes)

    half = sum(len(model.tokenizer.encode(one.text)) for one in documents) // 2
    whole = {"holds": "everything"}
    ways = {
        PLAIN: ("plain", {}, {}),
        "truncated to half": ("truncated", {"max_prompt_tokens": half}, {}),
        "retrieval": ("retrieval", {}, {}),
        "margins": ("margins", {}, {}),
        MEMORY: ("memory", whole, {"lookup": "passages"}),
        "memory: blocks": ("memory", whole, {"lookup": "blocks"}),
        **{
            f"memory: top-k, {name}": (
                "memory",
                whole,
                {"lookup": "topk", "k": TOP_K, "positions": name},
            )
            for name in POSITIONS
        },
        "memory: top-k by dot, before": (
            "memory",
            whole,
            {"lookup": "topk", "k": TOP_K, "positions": "before", "similarity": "dot"},
        ),
    }
    return {
        way: asking(method, options, **changes)
        for way, (method, options, changes) in ways.items()
        if wanted is None or way in wanted
    }
