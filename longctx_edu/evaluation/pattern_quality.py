"""What a model loses when it may not look everywhere: perplexity and retrieval under each rule.

Rules of position let a query see at most a quarter of the text, some fewer (the column of keys
says it); top-k rules see far fewer, and of their own choice. The model was trained to see
everything, so this measures what it can do without, not what a model trained with a rule could.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from statistics import fmean

import torch
import torch.nn.functional as F

from longctx_edu.attention.in_model import LINEAR, TopK, attending
from longctx_edu.attention.patterns import (
    Pattern,
    bigbird,
    causal,
    dilated_window,
    global_tokens,
    longformer,
    sliding_window,
)
from longctx_edu.evaluation.intervals import effective_n, paired_bootstrap, wilson
from longctx_edu.evaluation.metrics import answered
from longctx_edu.evaluation.perplexity import nats
from longctx_edu.evaluation.tasks import Item, by_document, difficulty_of, generate
from longctx_edu.inference.cache import fork, new_cache
from longctx_edu.readers.joined import JoinedText
from longctx_edu.readers.prompting import prefix_of_all_questions

FULL = "full"
_CLUSTER_TOKENS = 128  # neighbouring tokens share their luck


def rules(tokens: int) -> dict[str, object]:
    """Return the rules compared on a text of ``tokens``, by name; None for the model's own.

    All windows but the first keep the first tokens in sight (Xiao et al. 2023, section 3.2), as
    a dilated one would otherwise lose both these and its neighbours; ``longformer`` has global
    tokens all over the text, every 64th.
    """
    width = tokens // 4
    spread = range(0, tokens, 64)
    return {
        FULL: None,
        "window": sliding_window(width),
        "window + sinks": longformer(width - 4, 4),
        "dilated + sinks": dilated_window(width - 4, 4) | (global_tokens(4) & causal()),
        "longformer": longformer(width - len(spread), spread),
        "bigbird": bigbird(width // 2 - 4, 4, width // 2 // 64),
        "top 64": TopK(64),
        "top 16": TopK(16),
        "top 4": TopK(4),
        "linear": LINEAR,
    }


def under(model, rule):
    """Return ``attending(model, rule)``, or for None a context in which nothing changes."""
    return nullcontext() if rule is None else attending(model, rule)


def keys_seen(rule, tokens: int) -> float:
    """Return how many keys a query sees on average in a text of ``tokens``."""
    if isinstance(rule, TopK):
        return sum(min(place + 1, rule.k) for place in range(tokens)) / tokens
    return (rule if isinstance(rule, Pattern) else causal()).cells(tokens) / tokens


def facts(tokenizer, *, tokens: int, documents: int, questions: int, seed: int) -> list[Item]:
    """Return items on documents of real text with eight facts each and nothing like them."""
    easy = difficulty_of("facts")(distractors=0)
    items = generate("facts", tokens, 8 * documents, seed, tokenizer, difficulty=easy)
    return [item for number, item in enumerate(items) if number % 8 < questions]


def compare(model, items: Sequence[Item], *, tokens: int) -> tuple[list[dict], list[dict]]:
    """Measure a model under every rule; return a row for each rule, and one for each question.

    A document is read once for each rule: its perplexity is that of the tokens beyond the first
    quarter, and the questions are asked after it.

    Args:
        items: from ``facts``.
        tokens: the documents' length, which the rules are made for.

    Returns:
        For each rule ``keys`` that a query sees on average, ``perplexity`` and how many ``times``
        that of the full model it is, ``recall``, each with an interval. And every question.
    """
    groups, table, answers, base = by_document(items), [], [], None
    for name, rule in rules(tokens).items():
        losses, rows = [], []
        with under(model, rule):
            for group in groups:
                own, asked = read_and_ask(model, group)
                losses += own
                rows += [{"pattern": name, **row} for row in asked]
        base = losses if base is None else base
        seen = {"pattern": name, "rule": str(rule or causal()), "keys": keys_seen(rule, tokens)}
        table.append(seen | _perplexity(losses, base) | _recall(rows))
        answers += rows
    return table, answers


@torch.no_grad()
def read_and_ask(model, items: Sequence[Item]) -> tuple[list[float], list[dict]]:
    """Read the document that some items share, and ask each.

    The right answer is given to the model, and counts as told if each of its tokens is the one
    that the model finds most probable: then it would have written it itself.

    Returns:
        nats of the document's tokens beyond the first quarter, and a row for each item: document,
        question, gold, told, nats (of the whole answer).
    """
    beginning = _beginning(model, items)
    cache = new_cache(model.model, reserve=len(beginning) + 256)
    losses = nats(model, beginning, begin=len(beginning) // 4, cache=cache)
    rows = []
    for item in items:
        user = _text(item) + item.question
        (ids,), start = answered(model, user, item.answer_prefix, item.gold)
        answer, branch = torch.tensor(ids[start:]), fork(cache)
        logits = model.model(
            input_ids=torch.tensor([ids[len(beginning) : -1]]),
            past_key_values=branch,
            use_cache=True,
            logits_to_keep=len(answer),
        ).logits[0]
        rows.append(
            {
                "document": item.document_ids[0],
                "question": item.question,
                "gold": item.gold[0],
                "told": torch.equal(logits.argmax(-1), answer),
                "nats": float(F.cross_entropy(logits.float(), answer, reduction="sum")),
            }
        )
        branch.layers.clear()  # lets go of the shared storage
    return losses, rows


def _text(item: Item) -> str:
    return JoinedText(item.documents).text.strip() + "\n\n"


def _beginning(model, items: Sequence[Item]) -> list[int]:
    """Return the tokens that all prompts on one document begin with."""
    return prefix_of_all_questions(model, _text(items[0]))


def _perplexity(losses: list[float], base: list[float]) -> dict:
    clusters = [number // _CLUSTER_TOKENS for number in range(len(losses))]
    low, high = paired_bootstrap(losses, base, clusters=clusters)
    return {
        "perplexity": math.exp(fmean(losses)),
        "times": math.exp(fmean(losses) - fmean(base)),
        "times_low": math.exp(low),
        "times_high": math.exp(high),
        "tokens_scored": len(losses),
    }


def _recall(rows: list[dict]) -> dict:
    told = [float(row["told"]) for row in rows]
    share, n = fmean(told), effective_n(told, [row["document"] for row in rows])
    low, high = wilson(share * n, n)
    return {"recall": share, "low": low, "high": high, "n": len(rows)}
