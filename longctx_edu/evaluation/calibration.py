"""How hard must a task be to tell methods apart? So hard that a short text is not always enough.

A task that the model fails at 512 tokens measures ability, not length; one that it never fails
shows only the end of the window (RULER, Hsieh et al. 2024, section 4, chose its tasks likewise).
``python -m longctx_edu.evaluation.calibration`` measures every difficulty in ``SWEEP``. The
embedded model with 16 to 40 questions, on the items that chose: facts without distractors 0.93,
with one 0.78; 12 pairs 0.78; words that make up 0.3 of a list 0.75, 0.35 of it 0.88; two values
with one, two and four keys 0.58, 0.61 and 0.59. The last never got to 0.7: asked for two values,
the model finds one and makes up the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.intervals import Interval, effective_n, wilson
from longctx_edu.evaluation.scoring import ceiling_of, floor_of, mean_recall, score
from longctx_edu.evaluation.tasks import difficulty_of, generate
from longctx_edu.models import LanguageModel

LENGTH_TOKENS = 512
LOWEST, HIGHEST = 0.7, 0.95  # where a score can still go both ways
SWEEP_SEED = 101  # difficulties are chosen on these items
REPORT_SEED = 2  # and reported on these, which had no part in any choice

SWEEP: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "facts": (dict(distractors=0), dict(distractors=1), dict(distractors=2)),
    "kv-list": (dict(pairs=8), dict(pairs=12), dict(pairs=16)),
    "common-words": (dict(share=0.25), dict(share=0.3), dict(share=0.35)),
    "multi-value": (dict(keys=1), dict(keys=2), dict(keys=4)),
    "needle": (dict(distractors=0), dict(distractors=3), dict(distractors=15)),
    "needles-everywhere": (dict(needles=5), dict(needles=10), dict(needles=15)),
    "var-trace": (dict(hops=0), dict(hops=1), dict(hops=2)),
    "freq-words": (dict(alpha=1.5), dict(alpha=2.0), dict(alpha=2.5)),
    "moves": (dict(events=4), dict(events=8), dict(hops=2, events=8)),
    "docs-qa": (dict(questions=1), dict(questions=2)),
    "second-question": (dict(distractors=0), dict(distractors=1), dict(distractors=2)),
}
"""Options of each task's difficulties, each task's default among them; not of those that are scored
by log-probability alone (``tasks.LIKELIHOOD_TASKS``), which is never all or nothing."""


@dataclass(frozen=True)
class Calibration:
    """A task at one difficulty on a short text.

    Attributes:
        score: mean recall, from 0 to 1.
        interval: Wilson's 95 % interval of the score, for as many independent questions as
            those of shared documents are worth.
        n: questions asked.
        floor: mean recall without the gold sentences.
        ceiling: mean recall with nothing but the gold sentences.
    """

    task: str
    difficulty: Any
    score: float
    interval: Interval
    n: int
    floor: float
    ceiling: float

    @property
    def tells_apart(self) -> bool:
        """Whether the score leaves room on both sides, and lies above what guessing gives."""
        return LOWEST <= self.score <= HIGHEST and self.floor < self.score

    def as_dict(self) -> dict:
        """Return the calibration as plain values, for a table."""
        options = ", ".join(f"{key}={value}" for key, value in asdict(self.difficulty).items())
        return {
            "task": self.task,
            "difficulty": options,
            "score": self.score,
            "low": self.interval.low,
            "high": self.interval.high,
            "n": self.n,
            "floor": self.floor,
            "ceiling": self.ceiling,
        }


def calibrate(
    task: str,
    model: LanguageModel,
    *,
    difficulty: Any = None,
    length_tokens: int = LENGTH_TOKENS,
    n: int = 40,
    control_n: int | None = None,
    seed: int = SWEEP_SEED,
) -> Calibration:
    """Score a task by the plain method on a short text, with its floor and its ceiling.

    Args:
        task: one of ``tasks.TASK_NAMES``.
        difficulty: an instance of ``difficulty_of(task)``; the task's default if None.
        n: questions to ask.
        control_n: how many of them to ask on each control; all if None.
        seed: seed of the items.

    Raises:
        LongctxError: as ``tasks.generate`` does.
    """
    chosen = difficulty_of(task)() if difficulty is None else difficulty
    items = generate(task, length_tokens, n, seed, model.tokenizer, difficulty=chosen)
    rows = score("plain", items, model, likelihood=False)
    floor, ceiling = (
        mean_recall(score("plain", control(items[:control_n]), model, likelihood=False))
        for control in (floor_of, ceiling_of)
    )
    recalls = [row.recall for row in rows]
    independent = effective_n(recalls, [row.cluster for row in rows])
    mean = mean_recall(rows)
    return Calibration(
        task, chosen, mean, wilson(mean * independent, independent), len(rows), floor, ceiling
    )


def sweep(task: str, model: LanguageModel, **options) -> list[Calibration]:
    """Calibrate a task at every difficulty in ``SWEEP``; options as in ``calibrate``."""
    kind = difficulty_of(task)
    return [calibrate(task, model, difficulty=kind(**chosen), **options) for chosen in SWEEP[task]]


def best(calibrations: Sequence[Calibration]) -> Calibration:
    """Return the one whose score lies nearest to the middle of the wanted range.

    >>> from longctx_edu.evaluation.intervals import Interval
    >>> def easy(score):
    ...     return Calibration("facts", None, score, Interval(0, 1), 40, 0, 1)
    >>> best([easy(1.0), easy(0.8), easy(0.4)]).score
    0.8
    """
    return min(calibrations, key=lambda one: abs(one.score - (LOWEST + HIGHEST) / 2))


def main() -> None:
    """Print the sweep as a table, task by task."""
    import argparse

    parser = argparse.ArgumentParser(description="Score each task at several difficulties.")
    parser.add_argument("tasks", nargs="*", help=f"{', '.join(SWEEP)}; all by default")
    parser.add_argument("--n", type=int, default=40, help="questions for each difficulty")
    parser.add_argument("--control-n", type=int, help="questions for each control")
    arguments = parser.parse_args()
    try:
        _print_sweeps(arguments.tasks or [*SWEEP], arguments.n, arguments.control_n)
    except LongctxError as error:
        parser.error(str(error))


def _print_sweeps(tasks: Sequence[str], n: int, control_n: int | None) -> None:
    from longctx_edu.models import load

    if unknown := sorted({*tasks} - {*SWEEP}):
        raise LongctxError(f"There is no task {unknown[0]!r}; tasks are {', '.join(SWEEP)}.")
    model = load()
    for task in tasks:
        found = sweep(task, model, n=n, control_n=control_n)
        for one in found:
            row = one.as_dict()
            print(
                f"{row['task']:<14}{row['difficulty']:<36}"
                f"{one.score:5.2f} [{one.interval.low:.2f}, {one.interval.high:.2f}]"
                f"  n {one.n}  floor {one.floor:.2f}  ceiling {one.ceiling:.2f}"
                f"{'  <- best' if one is best(found) else ''}",
                flush=True,
            )


if __name__ == "__main__":
    main()
