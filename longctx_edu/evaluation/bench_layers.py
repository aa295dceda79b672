"""The figures of small models trained with memory and with margins: recall, time, exact resume.

Three seeds; the worst counts. Models are of equal size (within 5 %) and see equal documents in
equal steps. Each training leaves a checkpoint in the cache folder, so that a recording that was
cut goes on where it was.
"""

import functools
import sys
import time
from collections.abc import Callable

from longctx_edu.evaluation.figures import Run, figure, interleaved_ratio
from longctx_edu.evaluation.samples import sample

_SEEDS = (0, 1, 2)
_FAR = 4  # segments back, where recall is claimed
_BACK = (1, 2, 4, 8, 16, 32, 64)
_STEPS_TIMED = 5


# --- training, once for all figures ---


def _sizes(run: Run):
    """Return the recipe, the seeds, and the distances that are asked."""
    from dataclasses import replace

    from longctx_edu.evaluation.small_models import LIVE, RECORDED

    short = replace(LIVE.options, steps=4, documents=2, validate_every=2)
    recipe = run.choose(quick=replace(LIVE, options=short), plain=LIVE, record=RECORDED)
    return (
        recipe,
        run.choose(quick=(0,), plain=(0,), record=_SEEDS),
        run.choose(quick=(1, _FAR), plain=(1, _FAR, 16), record=_BACK),
    )


@functools.cache
def _trained(recipe, kind: str, seed: int, strange: bool = False, changes: tuple = ()):
    """Return a training, from its checkpoint if it is there; progress goes to stderr."""
    from longctx_edu.evaluation.small_models import source_fingerprint
    from longctx_edu.events import Trained, Validated
    from longctx_edu.models import cache_folder

    how = ["strange"] * strange + [f"{name}-{value}" for name, value in changes]
    name = "-".join([kind, str(seed), *how])
    path = cache_folder() / "layers" / source_fingerprint(recipe) / f"{name}.pt"
    events = recipe.training(kind, seed=seed, strange=strange, checkpoint=path, **dict(changes))
    for event in events:
        if isinstance(event, Validated):
            _tell(f"{name}: step {event.step}, loss {event.loss:.2f}, right {event.recall:.2f}")
        elif isinstance(event, Trained):
            return event.training
    raise AssertionError("A training ends in Trained.")


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


@functools.cache
def _distances(recipe, kind: str, seed: int, back: tuple[int, ...]) -> list[dict]:
    from longctx_edu.evaluation.small_models import WHOLE, by_distance

    trained = _trained(recipe, "plain" if kind == WHOLE else kind, seed)
    rows = by_distance(kind, trained.model, recipe, back)
    return [{"model": kind, "seed": seed, **row} for row in rows]


def _at_far(run: Run, kind: str) -> list[float]:
    """Return the share right four segments back, for each seed."""
    recipe, seeds, back = _sizes(run)
    rows = [row for seed in seeds for row in _distances(recipe, kind, seed, back)]
    return [row["share"] for row in rows if row["segments_back"] == _FAR]


# --- memory ---


@figure("memory_recall", unit="share", target=">= 0.95")
def memory_recall(run: Run) -> float:
    """Right answers on what was told four segments before, by the model with memory; worst seed.

    Tables: ``curves``, validation by step; ``by_distance``; ``trainings``, sizes and seconds.
    """
    from longctx_edu.evaluation.small_models import KINDS, WHOLE
    from longctx_edu.layers import parameter_count

    recipe, seeds, back = _sizes(run)
    trainings = {(kind, seed): _trained(recipe, kind, seed) for seed in seeds for kind in KINDS}
    run.table(
        "curves",
        [
            {"model": kind, "seed": seed, "step": one.step, "loss": one.loss, "share": one.recall}
            for (kind, seed), training in trainings.items()
            for one in training.validations
        ],
    )
    run.table(
        "trainings",
        [
            {
                "model": kind,
                "seed": seed,
                "parameters": parameter_count(training.model),
                "steps": training.step,
                "tokens": training.tokens,
                "seconds": training.seconds,
            }
            for (kind, seed), training in trainings.items()
        ],
    )
    kinds = (*KINDS, WHOLE)
    far = [row for kind in kinds for seed in seeds for row in _distances(recipe, kind, seed, back)]
    run.table("by_distance", far)
    return min(_at_far(run, "memory"))


@figure("memory_recall_without", unit="x chance", target="<= 1.5")
def memory_recall_without(run: Run) -> float:
    """The same by the plain model of equal size, over the share right by guessing; worst seed."""
    return max(_at_far(run, "plain")) / _sizes(run)[0].chance


# --- margins ---


@figure("margins_recall", unit="share", target=">= 0.9")
def margins_recall(run: Run) -> float:
    """The same by the model with margins, which hold the pairs asked for among others."""
    return min(_at_far(run, "margins"))


@figure("margins_recall_without", unit="x chance", target="<= 1.5")
def margins_recall_without(run: Run) -> float:
    """The same model with empty margins, over the share right by guessing; worst seed."""
    from longctx_edu.evaluation.small_models import ABLATIONS, without

    recipe, seeds, _ = _sizes(run)
    empty = next(one for one in ABLATIONS if one.name == "no margins")
    batch = recipe.far(_FAR)
    shares = [without(empty, _trained(recipe, "margins", seed).model, batch) for seed in seeds]
    return max(shares) / recipe.chance


@figure("ablations", unit="kinds")
def ablations(run: Run) -> float:
    """What recall becomes with one thing taken away. Table: ``ablations``.

    Models asked so, of every seed; and models trained so, of the first seed. Asked four segments
    back, and as far back as ``by_distance`` goes.
    """
    from longctx_edu.evaluation.small_models import ABLATIONS, share_right, without

    (recipe, seeds, back), rows = _sizes(run), []
    batches = {one: recipe.far(one) for one in (_FAR, max(back))}
    for one in ABLATIONS:
        for seed in seeds[:1] if one.trained else seeds:
            strange = one.trained and one.kind == "margins"
            changes = one.changes if one.trained else ()
            model = _trained(recipe, one.kind, seed, strange, changes).model
            for segments_back, batch in batches.items():
                if one.trained:
                    asked = batch.with_strange_margins() if strange else batch
                    share = share_right(one.kind, model, asked)
                else:
                    share = without(one, model, batch)
                facts = {"name": one.name, "model": one.kind, "trained": one.trained}
                rows.append({**facts, "seed": seed, "segments_back": segments_back, "share": share})
    run.table("ablations", rows)
    return len(ABLATIONS)


# --- the live part ---


@functools.cache
def _live(run_quick: bool) -> tuple[float, float]:
    """Return the seconds of the notebook's live part, and memory's gain over plain."""
    from longctx_edu.evaluation.small_models import KINDS, share_right
    from longctx_edu.events import returned_by

    recipe = _sizes(Run(quick=run_quick))[0]
    began, shares = time.perf_counter(), {}
    for kind in KINDS:
        training = returned_by(recipe.training(kind, seed=0))
        shares[kind] = share_right(kind, training.model, recipe.far(_FAR))
    return time.perf_counter() - began, shares["memory"] - shares["plain"]


@figure("live_time", unit="s", target="<= 60")
def live_time(run: Run) -> float:
    """Seconds of the short trainings of all three models, with validation and one test."""
    return _live(run.quick)[0]


@figure("live_gap", unit="share", target=">= 0.2")
def live_gap(run: Run) -> float:
    """Recall four segments back after the short training: with memory, less without."""
    return _live(run.quick)[1]


# --- speed ---


def _ordinary_loop(recipe, batch) -> Callable[[], object]:
    """Return some steps of an ordinary training loop, on a GPT as it is commonly written.

    Fused query, key and value, learned positions, LayerNorm, GELU, tied head; the documents are
    read as rows of a segment. Nothing of this package is in it.
    """
    import torch
    import torch.nn.functional as F
    from torch import nn

    config = recipe.model("plain", seed=0).config
    width, heads = config.width, config.heads

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            hidden = round(config.mlp_ratio * width)
            self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

        def forward(self, x):
            rows, tokens, _ = x.shape
            q, k, v = (
                part.view(rows, tokens, heads, -1).transpose(1, 2)
                for part in self.qkv(self.one(x)).split(width, dim=2)
            )
            seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(seen.transpose(1, 2).reshape(rows, tokens, width))
            return x + self.down(F.gelu(self.up(self.two(x))))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(config.vocabulary, width)
            self.places = nn.Embedding(config.segment_tokens, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(config.layers)))
            self.norm = nn.LayerNorm(width)

        def forward(self, ids):
            places = torch.arange(ids.shape[1])
            x = self.blocks(self.tokens(ids) + self.places(places))
            return self.norm(x) @ self.tokens.weight.T

    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.options.rate)
    ids, targets = batch.by_segment(batch.ids), batch.by_segment(batch.targets)

    def steps() -> None:
        for _ in range(_STEPS_TIMED):
            logits = model(ids)
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.options.clip)
            optimizer.step()

    return steps


def _speed(run: Run, kind: str) -> float:
    """Return tokens a second in our loop over those in an ordinary one, on the same documents."""
    from dataclasses import replace

    import torch

    from longctx_edu.evaluation.small_models import LIVE, READ
    from longctx_edu.layers import train

    documents = run.choose(quick=2, plain=LIVE.options.documents)
    batch = LIVE.task.draw(documents, torch.Generator().manual_seed(run.seed))
    endless = replace(LIVE.options, steps=10**6)
    model = LIVE.model(kind, seed=0)
    events = train(model, lambda *_: batch, options=endless, read=READ[kind])

    def ours() -> None:
        for _ in range(_STEPS_TIMED):
            next(events)

    theirs = _ordinary_loop(LIVE, batch)
    return interleaved_ratio(theirs, ours, repeats=run.choose(quick=1, plain=5, record=15))


@figure("train_speed_plain", unit="ratio", target=">= 0.9")
def train_speed_plain(run: Run) -> float:
    """Tokens a second of training the plain model, over those of an ordinary loop and model."""
    return _speed(run, "plain")


@figure("train_speed_memory", unit="ratio", target=">= 0.6")
def train_speed_memory(run: Run) -> float:
    """The same with memory: written, searched and read."""
    return _speed(run, "memory")


# --- exactness ---


@figure("resume", unit="yes/no", target=">= 1")
def resume(run: Run) -> float:
    """Whether trainings that were cut and went on have bitwise the losses of uncut ones."""
    return float(all(_resumes(kind) for kind in ("plain", "memory", "margins")))


def _resumes(kind: str) -> bool:
    import tempfile
    from dataclasses import replace
    from pathlib import Path

    from longctx_edu.evaluation.small_models import LIVE, READ
    from longctx_edu.events import Step, returned_by
    from longctx_edu.layers import train

    how = dict(options=replace(LIVE.options, steps=6, documents=2), read=READ[kind])
    whole = returned_by(train(LIVE.model(kind, seed=0), LIVE.task.draw, **how))
    with tempfile.TemporaryDirectory() as folder:
        how["checkpoint"] = Path(folder, "cut.pt")
        events = train(LIVE.model(kind, seed=0), LIVE.task.draw, **how)
        next(event for event in events if isinstance(event, Step) and event.step == 3)
        events.close()
        # Other weights at first, so that those of the file count.
        again = returned_by(train(LIVE.model(kind, seed=5), LIVE.task.draw, **how))
    return again.losses == whole.losses


@sample("layers.resume", needs_model=False)
def resume_again() -> float:
    return float(_resumes("memory"))
