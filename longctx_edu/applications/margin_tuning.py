"""Which segments, margins and threshold suit a kind of text, found on examples with known answers.

A walk over a grid, one step at a time: margins are written once for all thresholds, so that these
cost no more than answers. The best of many settings on few examples is partly luck; measure it
on other examples before believing it (``MarginOptimizer.measure``).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from longctx_edu.errors import LongctxError
from longctx_edu.margins.verdicts import VERDICTS, Verdict
from longctx_edu.models import as_language_model
from longctx_edu.readers import Answer, read
from longctx_edu.text import as_documents


@dataclass(frozen=True)
class MarginSettings:
    """What is tuned.

    Attributes:
        segment_tokens, margin_tokens: as the method ``margins`` takes them.
        threshold: the score from which on a note counts.
        verdict: the name of the verdict that gives the scores.
    """

    segment_tokens: int = 512
    margin_tokens: int = 32
    threshold: float = 0.7
    verdict: str = "sure_and_seen"

    def judge(self) -> Verdict:
        """Return the verdict with this threshold.

        Raises:
            LongctxError: for a verdict that has no threshold.
        """
        return _verdict(self.verdict, self.threshold)

    def options(self) -> dict:
        """Return the settings as options of the method ``margins``."""
        options = dict(
            segment_tokens=self.segment_tokens,
            margin_tokens=self.margin_tokens,
            verdict=self.judge(),
        )
        if self.verdict == "first_token":
            options["prompt"] = "yes_no"  # asks for the token that is judged
        return options


def _verdict(name: str, threshold: float) -> Verdict:
    tunable = [key for key, kind in VERDICTS.items() if hasattr(kind, "threshold")]
    if name not in tunable:
        raise LongctxError(
            f"The verdict {name!r} has no threshold to tune; choose one of {', '.join(tunable)}."
        )
    return VERDICTS[name](threshold=threshold)


@dataclass(frozen=True)
class Trial:
    """What came of some settings.

    Attributes:
        settings: as tried.
        score: mean over the examples.
        scores: of each example.
        tokens: the most that a question costs, read and written; a mean over the examples.
    """

    settings: MarginSettings
    score: float
    scores: tuple[float, ...]
    tokens: float


class MarginOptimizer:
    """Settings for Writing in the Margins, tuned on a validation set.

    Attributes:
        trials: what was tried so far, by settings.
    """

    def __init__(
        self,
        examples: Sequence,
        score: Callable[[Answer, object], float],
        *,
        model=None,
        segment_tokens: Sequence[int] = (256, 512, 1024),
        margin_tokens: Sequence[int] = (16, 32, 48),
        thresholds: Sequence[float] = (0.5, 0.6, 0.7, 0.8, 0.9),
        verdict: str = "sure_and_seen",
        max_new_tokens: int = 16,
    ):
        """Take the examples; nothing is read yet.

        Args:
            examples: with ``documents``, ``question`` and ``answer_prefix``, such as the items of
                ``evaluation.tasks``. Those that share their documents share a reading.
            score: how good an answer to an example is, more is better; for instance
                ``lambda answer, item: evaluation.metrics.recall(answer.text, item.gold)``. The
                notes stand in ``answer.trace["margins"]``.
            model: a ``LanguageModel``, or what ``models.load`` takes.
            segment_tokens, margin_tokens, thresholds: what there is to choose from, in order.
            verdict: the verdict that has the threshold.
            max_new_tokens: the most tokens of an answer.

        Raises:
            LongctxError: for no example, a choice of nothing or out of order, or a verdict without
                a threshold.
        """
        if not examples:
            raise LongctxError("There is no example to tune on; give some with known answers.")
        for name, values in (
            ("segment_tokens", segment_tokens),
            ("margin_tokens", margin_tokens),
            ("thresholds", thresholds),
        ):
            if not values or sorted({*values}) != list(values):
                raise LongctxError(
                    f"{name} are different values in rising order, one at least, got {values}."
                )
        _verdict(verdict, thresholds[0])
        self.examples, self.score = tuple(examples), score
        self.model = as_language_model(model)
        self.trials: dict[MarginSettings, Trial] = {}
        self._segments, self._margins = tuple(segment_tokens), tuple(margin_tokens)
        self._thresholds, self._verdict = tuple(thresholds), verdict
        self._max_new_tokens = max_new_tokens

    def initialize_margin(self) -> MarginSettings:
        """Return where the walk begins: the middle of every choice."""
        middle = (values[len(values) // 2] for values in self._choices())
        return MarginSettings(*middle, self._verdict)

    def update_margin(self, settings: MarginSettings) -> MarginSettings:
        """Try the neighbours of some settings; return the best, which may be the same.

        A neighbour has the next smaller or larger segments or margins; all thresholds are tried
        with each. Of equally good ones the cheapest is taken.

        Raises:
            LongctxError: for settings that are not on the grid.
        """
        self._assert_on_grid(settings)
        near = list(self._neighbours(settings))
        for one in near:
            self._try(one)
        pairs = {(one.segment_tokens, one.margin_tokens) for one in near}
        tried = (
            trial
            for one, trial in self.trials.items()
            if (one.segment_tokens, one.margin_tokens) in pairs
        )
        # Where nothing is better, the walk stays.
        best = max(tried, key=lambda one: (one.score, -one.tokens, one.settings == settings))
        return best.settings

    def optimize(self, *, steps: int = 4) -> MarginSettings:
        """Walk from the middle until no neighbour is better; return where it ends.

        Args:
            steps: the most steps; every step tries up to five pairs of segment and margin.
        """
        settings = self.initialize_margin()
        for _ in range(steps):
            before, settings = settings, self.update_margin(settings)
            if settings == before:
                break
        return settings

    def measure(self, settings: MarginSettings, examples: Sequence) -> Trial:
        """Return what settings are worth on other examples; nothing is remembered of it."""
        (trial,) = self._measured(settings, [settings.threshold], examples)
        return trial

    def _choices(self) -> tuple[tuple, ...]:
        return self._segments, self._margins, self._thresholds

    def _assert_on_grid(self, settings: MarginSettings) -> None:
        values = (settings.segment_tokens, settings.margin_tokens, settings.threshold)
        pairs = zip(values, self._choices(), strict=True)
        if settings.verdict != self._verdict or any(one not in many for one, many in pairs):
            raise LongctxError(
                f"{settings} is not among what there is to choose from: segments of "
                f"{self._segments}, margins of {self._margins} tokens, thresholds "
                f"{self._thresholds} of {self._verdict!r}; begin with initialize_margin()."
            )

    def _neighbours(self, settings: MarginSettings) -> Iterator[MarginSettings]:
        """Yield the settings and those one step away in segments or margins."""
        yield settings
        for name, values in (("segment_tokens", self._segments), ("margin_tokens", self._margins)):
            place = values.index(getattr(settings, name))
            for other in (place - 1, place + 1):
                if 0 <= other < len(values):
                    yield replace(settings, **{name: values[other]})

    def _try(self, settings: MarginSettings) -> None:
        """Measure settings with all thresholds, unless that was done."""
        if settings in self.trials:
            return
        for trial in self._measured(settings, self._thresholds, self.examples):
            self.trials[trial.settings] = trial

    def _measured(
        self, settings: MarginSettings, thresholds: Sequence[float], examples: Sequence
    ) -> list[Trial]:
        """Return a trial for each threshold; margins are written once for all of them."""
        options = settings.options()
        verdicts = [_verdict(settings.verdict, one) for one in thresholds]
        scores: list[list[float]] = [[] for _ in thresholds]
        tokens, reading = [], None
        for example in examples:
            documents = as_documents(example.documents)
            if reading is None or reading.documents != documents:
                reading = read(documents, method="margins", model=self.model, **options)
            asked = dict(answer_prefix=example.answer_prefix, max_new_tokens=self._max_new_tokens)
            cost = reading.predicted_cost(example.question, **asked)
            tokens.append(cost.prefilled + cost.decoded)
            answers: dict[tuple[bool, ...], Answer] = {}
            for own, notes in zip(scores, reading.judge(example.question, verdicts), strict=True):
                kept = tuple(note.kept for note in notes)
                if kept not in answers:
                    answers[kept] = reading.ask(example.question, **asked, notes=notes)
                own.append(float(self.score(answers[kept], example)))
        return [
            Trial(replace(settings, threshold=one), fmean(own), tuple(own), fmean(tokens))
            for one, own in zip(thresholds, scores, strict=True)
        ]
