"""The figures of attention that skips, and of attention to look at: speed, growth, quality.

Speed is a ratio taken in one run. What a skipped key costs is measured on the embedded model,
which was trained to see them all.
"""

import functools

from longctx_edu.evaluation.figures import Run, figure, interleaved_ratio, median_seconds
from longctx_edu.evaluation.samples import sample

_HEADS, _KV_HEADS, _HEAD_DIM = 9, 3, 64  # of the embedded model
_WIDTH = 512
_ROUNDING = 1e-5


@functools.cache
def _model():
    from longctx_edu import models

    return models.load()


# --- what is saved by skipping ---


def _inputs(tokens: int, seed: int):
    import torch

    generator = torch.Generator().manual_seed(seed)
    heads = (_HEADS, _KV_HEADS, _KV_HEADS)
    return [torch.randn(1, own, tokens, _HEAD_DIM, generator=generator) for own in heads]


def _dense(query, key, value):
    """Return the quickest dense causal attention of PyTorch, with keys repeated beforehand."""
    import torch.nn.functional as F

    key, value = (x.repeat_interleave(_HEADS // _KV_HEADS, 1) for x in (key, value))
    return functools.partial(F.scaled_dot_product_attention, query, key, value, is_causal=True)


def _worst_row(query, key, value, output, pattern) -> float:
    """Return the largest difference from the masked dense form, over rows from all of the text."""
    from longctx_edu.attention import masked_attention

    tokens, worst = query.shape[2], 0.0
    for end in range(tokens // 8, tokens + 1, tokens // 8):
        rows = slice(end - min(64, end), end)
        seen = (query[:, :, rows], key[:, :, :end], value[:, :, :end])
        exact = masked_attention(*seen, pattern)
        worst = max(worst, float((output[:, :, rows] - exact).abs().max()))
    return worst


@figure("window_speed", unit="ratio", target=">= 5")
def window_speed(run: Run) -> float:
    """How many times as quick as dense causal attention a window of 512 is, at 16,384 tokens.

    Not a number if it differs from the masked dense form by more than rounding. Table: seconds,
    and floating-point operations (needed by the rule, and done, which is whole blocks).
    """
    from longctx_edu.attention import block_sparse_attention, causal, sliding_window
    from longctx_edu.attention.block_sparse import BLOCK_TOKENS

    tokens, repeats = run.choose(quick=2048, plain=16_384), run.choose(quick=3, plain=5, record=9)
    inputs, pattern = _inputs(tokens, run.seed), sliding_window(_WIDTH)
    dense, window = _dense(*inputs), functools.partial(block_sparse_attention, *inputs, pattern)
    difference = _worst_row(*inputs, window(), pattern)
    ratio = interleaved_ratio(dense, window, repeats=repeats)
    flops_of_a_pair = 4 * _HEADS * _HEAD_DIM
    done = (tokens - _WIDTH + 1) * (_WIDTH + BLOCK_TOKENS - 1) + _WIDTH * (_WIDTH - 1) // 2
    pairs = {"dense": causal().cells(tokens), "window": pattern.cells(tokens), "done": done}
    run.table(
        "window_speed",
        [
            {
                "tokens": tokens,
                "width": _WIDTH,
                "dense_seconds": median_seconds(dense),
                "window_seconds": median_seconds(window),
                "ratio": ratio,
                **{f"{name}_flops": flops_of_a_pair * count for name, count in pairs.items()},
                "difference": difference,
            }
        ],
    )
    return ratio if difference <= _ROUNDING else float("nan")


@figure("forms", unit="ratio")
def forms(run: Run) -> float:
    """Dense attention with the window as a mask, over dense causal attention: a mask saves nothing.

    At 4,096 tokens. Table: seconds and share of the causal pairs of every form and pattern.
    """
    import torch
    import torch.nn.functional as F

    from longctx_edu.attention import block_sparse_attention, patterns, top_k_attention

    tokens, repeats = run.choose(quick=1024, plain=4096), run.choose(quick=1, plain=5)
    query, key, value = _inputs(tokens, run.seed)
    repeated = [x.repeat_interleave(_HEADS // _KV_HEADS, 1) for x in (key, value)]
    kinds = (
        patterns.sliding_window(_WIDTH),
        patterns.longformer(_WIDTH, 4),
        patterns.longformer(_WIDTH, range(0, tokens, 64)),
        patterns.dilated_window(_WIDTH, 4),
        patterns.bigbird(_WIDTH // 2, 4, 4),
    )
    window = kinds[0].mask(tokens)
    masked = functools.partial(F.scaled_dot_product_attention, query, *repeated, attn_mask=window)
    dense, full = _dense(query, key, value), patterns.causal().cells(tokens)
    tasks = {("dense", "causal()", 1.0): dense}
    tasks["masked", str(kinds[0]), 1.0] = masked
    for kind in kinds:
        attend = functools.partial(block_sparse_attention, query, key, value, kind)
        tasks["block-sparse", str(kind), kind.cells(tokens) / full] = attend
    for form in ("masked", "gather"):
        attend = functools.partial(top_k_attention, query, key, value, k=64, form=form)
        tasks[f"top-k, {form}", "TopK(64)", 1.0] = attend
    with torch.no_grad():
        rows = [
            {
                "form": form,
                "rule": rule[:80],
                "tokens": tokens,
                "pairs": pairs,
                "seconds": median_seconds(task, repeats=repeats),
            }
            for (form, rule, pairs), task in tasks.items()
        ]
        run.table("forms", rows)
        return interleaved_ratio(masked, dense, repeats=repeats)


@figure("slope_window", unit="exponent", target="0.9 to 1.15")
def slope_window(run: Run) -> float:
    """Exponent of the time of a window of 512 in the length, 2,048 to 32,768 tokens."""
    from longctx_edu.attention import block_sparse_attention, sliding_window
    from longctx_edu.evaluation.scaling import time_slope

    longest, rounds = run.choose(quick=8192, plain=32_768), run.choose(quick=2, plain=7)
    attend = functools.partial(block_sparse_attention, pattern=sliding_window(_WIDTH))
    lengths = [longest // 2**halved for halved in (4, 3, 2, 1, 0)]
    slope, rows = time_slope(attend, lengths, rounds=rounds, seed=run.seed)
    run.table("time_window", rows)
    return slope


# --- what it costs to skip ---

_TOKENS = 2048
_REPORT_SEED = 2


@figure("patterns_quality", unit="patterns")
def patterns_quality(run: Run) -> float:
    """Rules under which the embedded model was measured, its own included.

    Tables: ``patterns``, perplexity on real text and recall of facts in it for each rule, both
    with intervals; ``patterns_answers``, every question.
    """
    from longctx_edu.evaluation.pattern_quality import compare, facts

    tokens, tokenizer = run.choose(quick=512, plain=_TOKENS), _model().tokenizer
    documents = run.choose(quick=1, plain=1, record=3)
    questions = run.choose(quick=1, plain=8)
    items = facts(
        tokenizer, tokens=tokens, documents=documents, questions=questions, seed=_REPORT_SEED
    )
    table, answers = compare(_model(), items, tokens=tokens)
    run.table("patterns", table)
    run.table("patterns_answers", answers)
    return len(table)


@sample("patterns_answers", needs_model=True)
def one_answer_again() -> dict[str, object]:
    """One question of the record, asked again of the model with a window and the first tokens."""
    from longctx_edu.evaluation.pattern_quality import facts, read_and_ask, rules, under

    name, tokenizer = "window + sinks", _model().tokenizer
    items = facts(tokenizer, tokens=_TOKENS, documents=1, questions=8, seed=_REPORT_SEED)
    with under(_model(), rules(_TOKENS)[name]):
        _, (row,) = read_and_ask(_model(), items[-1:])
    told = {cell: row[cell] for cell in ("document", "question", "gold", "told")}
    return {"pattern": name, **told}


# --- a picture of 8,192 tokens by 270 heads ---


@functools.cache
def _seen(tokens: int) -> dict[str, float]:
    from longctx_edu.evaluation.view_latency import attention_to_screen

    return attention_to_screen(tokens=tokens)


def _view(run: Run) -> dict[str, float]:
    return _seen(run.choose(quick=512, plain=8192))


@figure("first_picture", unit="s", target="<= 2")
def first_picture(run: Run) -> float:
    """Seconds in JupyterLab until one head and its row are shown, of 8,192 tokens and 270 heads.

    Table: what else the same page was measured for.
    """
    seen = _view(run)
    run.table("view", [{"tokens": run.choose(quick=512, plain=8192), **seen}])
    return seen["first_picture"]


@figure("full_grid", unit="s", target="<= 12")
def full_grid(run: Run) -> float:
    """Seconds until the small pictures of all heads are there."""
    return _view(run)["full_grid"]


@figure("zoom_latency", unit="ms", target="<= 400")
def zoom_latency(run: Run) -> float:
    """From a turn of the wheel to sharp tiles; median of twelve."""
    return 1000 * _view(run)["zoom"]


@figure("hover_latency", unit="ms", target="<= 150")
def hover_latency(run: Run) -> float:
    """From the pointer to the exact numbers of its row; median of twenty."""
    return 1000 * _view(run)["hover"]


@figure("output_size", unit="MB", target="<= 2")
def output_size(run: Run) -> float:
    """The larger of the output saved in the notebook and the file saved without a kernel."""
    seen = _view(run)
    return max(seen["output_bytes"], seen["saved_bytes"]) / 1e6


@figure("script_size", unit="kB", target="<= 60")
def script_size(run: Run) -> float:
    """JavaScript of the view as it is sent, without its style sheet."""
    from longctx_edu.widgets.parts import module

    return len(module("attention").encode()) / 1e3
