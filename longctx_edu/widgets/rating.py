"""A person rates answers without knowing whose they are, in an order drawn by a seed.

What words in common cannot tell, a reader can (``evaluation.overlap`` says what they miss). Blind:
the browser gets the texts and no name of a method, until every sheet is rated; so does a saved
file. Nothing here asks a model to be the judge. The static twin is in ``rating_picture``.
"""

import csv
import hashlib
import io
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean

import traitlets

from longctx_edu.errors import LongctxError
from longctx_edu.widgets.base import View, write_file

SCALES = {
    "points": {1: "1", 2: "2", 3: "3", 4: "4", 5: "5"},
    "better": {1: "first", 2: "second", 3: "equal"},
}
"""What can be said of a sheet, by scale: the number that the view keeps and its name in a file."""
UNRATED = 0


@dataclass(frozen=True)
class Sheet:
    """What is rated at once: the answers of some methods to one question, in the shown order."""

    question: int
    methods: tuple[str, ...]
    key: str


class RatingView(View):
    """Answers to be rated by a person, one sheet after another, methods unnamed.

    A digit rates and goes on to the next sheet that is not rated; ``[`` and ``]`` turn over the
    sheets. Ratings are kept after each key in the file ``path``, if one is given, and a view made
    of the same answers and seed goes on there. In a file saved as ``.html`` a rater without Python
    saves a file of her own, which ``load`` takes in.

    >>> answers = {"plain": ["in May"], "margins": ["in June"]}
    >>> view = RatingView(["When?"], answers, scale="better")
    >>> view.ratings = [1]
    >>> print(view.describe())
    1 of 1 sheets rated: 1 first
    >>> view.rows()[0]["first"] in answers
    True

    Args:
        questions: one or more.
        answers: for each method its answers, question by question.
        references: right answers, shown beside; none by default.
        scale: ``points``, each answer by itself from 1 to 5; or ``better``, every two methods'
            answers side by side.
        seed: of the order of sheets and of the answers on them.
        rater: a name for the file.
        path: where ratings are kept, and found again.
        theme: ``auto``, ``light`` or ``dark``.

    Raises:
        LongctxError: if questions, answers and references do not fit together, or the file holds
            ratings of other answers.
        traitlets.TraitError: for a rating, sheet or scale that there is not.
    """

    _part = "rating"

    scale = traitlets.Enum(list(SCALES), default_value="points").tag(sync=True)
    sheets = traitlets.List(traitlets.Dict()).tag(sync=True)
    """For each sheet its ``key``, ``question``, ``texts`` in the shown order, ``reference``."""
    ratings = traitlets.List(traitlets.Int()).tag(sync=True)
    """For each sheet its rating, 0 if there is none yet; 1, 2 and 3 are first, second, equal."""
    at = traitlets.Int(0).tag(sync=True)
    """The sheet that is shown."""
    rater = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        questions: Sequence[str],
        answers: Mapping[str, Sequence[str]],
        *,
        references: Sequence[str] | None = None,
        scale: str = "points",
        seed: int = 0,
        rater: str = "",
        path: str | os.PathLike | None = None,
        theme: str = "auto",
    ):
        _assert_fits(questions, answers, references, scale)
        self._questions = list(questions)
        self._sheets, shown = _drawn(questions, answers, references, scale, seed)
        self._path = None if path is None else Path(path)
        super().__init__(
            scale=scale,
            sheets=shown,
            ratings=[UNRATED] * len(shown),
            rater=rater,
            theme=theme,
        )
        if self._path and self._path.exists():
            self.load(self._path)
            self.at = self._first_unrated()
        self.observe(self._keep, names="ratings")

    # ----------------------------------------------------------------- state

    @traitlets.validate("ratings")
    def _possible_ratings(self, proposal):
        ratings, known = proposal["value"], SCALES[self.scale]
        if len(ratings) != len(self._sheets):
            raise traitlets.TraitError(
                f"There are {len(self._sheets)} sheets and a rating for each, but {len(ratings)} "
                "ratings were given."
            )
        unknown = [one for one in ratings if one != UNRATED and one not in known]
        if unknown:
            raise traitlets.TraitError(
                f"A rating is {', '.join(map(str, known))}, or 0 for none, not {unknown[0]}."
            )
        return ratings

    @traitlets.validate("at")
    def _existing_sheet(self, proposal):
        if not 0 <= proposal["value"] < len(self._sheets):
            raise traitlets.TraitError(
                f"at is {proposal['value']}, but sheets are 0 to {len(self._sheets) - 1}."
            )
        return proposal["value"]

    @property
    def done(self) -> bool:
        """Whether every sheet is rated."""
        return UNRATED not in self.ratings

    def _first_unrated(self) -> int:
        return 0 if self.done else self.ratings.index(UNRATED)

    def _keep(self, _) -> None:
        if self._path:
            self.to_csv(self._path)

    # ----------------------------------------------------------------- what was said

    def rows(self) -> list[dict]:
        """Return a row for each sheet in the shown order, with the methods' names.

        Whoever reads them is no longer blind: rate first.

        Returns:
            ``sheet``, ``question``, ``first`` and ``second`` (the methods of the answers; no
            second with ``points``), ``rating`` (empty where there is none), ``rater``, ``key``.
        """
        names = {UNRATED: "", **SCALES[self.scale]}
        return [
            {
                "sheet": number + 1,
                "question": self._questions[sheet.question],
                "first": sheet.methods[0],
                "second": sheet.methods[1] if len(sheet.methods) > 1 else "",
                "rating": names[rating],
                "rater": self.rater,
                "key": sheet.key,
            }
            for number, (sheet, rating) in enumerate(zip(self._sheets, self.ratings, strict=True))
        ]

    def to_csv(self, path: str | os.PathLike) -> Path:
        """Write ``rows`` to a file, in one step, and return its path.

        Raises:
            LongctxError: if it cannot be written.
        """
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.rows()[0]))
        writer.writeheader()
        writer.writerows(self.rows())
        write_file(Path(path), text.getvalue().encode())
        return Path(path)

    def load(self, path: str | os.PathLike) -> None:
        """Take in the ratings of a file that ``to_csv`` or the browser wrote; the rest stays.

        Raises:
            LongctxError: if it cannot be read, or holds ratings of other answers or another scale.
        """
        path = Path(path)
        try:
            rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise LongctxError(
                f"{path} cannot be read ({error}); name a file of ratings."
            ) from None
        places = {sheet.key: place for place, sheet in enumerate(self._sheets)}
        numbers = {name: number for number, name in SCALES[self.scale].items()}
        ratings = list(self.ratings)
        for row in rows:
            key, said = row.get("key"), row.get("rating")
            if key not in places or said not in {"", *numbers}:
                raise LongctxError(
                    f"{path} has a row that is not of these answers, seed and scale "
                    f"(key {key!r}, rating {said!r}); rate into another file."
                )
            if said:
                ratings[places[key]] = numbers[said]
        self.ratings = ratings

    def summary(self) -> list[dict]:
        """Return how the methods fared, over what is rated so far; whoever reads it is not blind.

        Returns:
            With ``points``, for each method ``n`` and ``mean``. With ``better``, for every two
            methods (``first``, ``second``) how often each was ``better`` and ``equal``, and ``p``,
            how likely so great a lead is by chance (questions change sign together).
        """
        rated = [
            (sheet, rating)
            for sheet, rating in zip(self._sheets, self.ratings, strict=True)
            if rating != UNRATED
        ]
        if self.scale == "points":
            points: dict[str, list[int]] = {}
            for sheet, rating in rated:
                points.setdefault(sheet.methods[0], []).append(rating)
            return [
                {"method": method, "n": len(some), "mean": fmean(some)}
                for method, some in sorted(points.items())
            ]
        won: dict[tuple[str, ...], list[tuple[int, int]]] = {}
        for sheet, rating in rated:
            pair = tuple(sorted(sheet.methods))
            lead = {1: 1, 2: -1, 3: 0}[rating] * (1 if pair == sheet.methods else -1)
            won.setdefault(pair, []).append((lead, sheet.question))
        return [_lead(pair, leads) for pair, leads in sorted(won.items())]

    # ----------------------------------------------------------------- what it says

    def describe(self) -> str:
        """Say how much is rated and how, without the methods' names."""
        rated = [one for one in self.ratings if one != UNRATED]
        said = ", ".join(
            f"{rated.count(number)} {name}"
            if self.scale == "better"
            else f"{rated.count(number)} with {name}"
            for number, name in SCALES[self.scale].items()
            if number in rated
        )
        return f"{len(rated)} of {len(self.sheets)} sheets rated" + (f": {said}" if said else "")

    def picture(self):
        """Draw how often each rating was given; by method once every sheet is rated."""
        from longctx_edu.widgets.rating_picture import draw_ratings

        names, title = dict(SCALES[self.scale]), self.describe()
        if self.scale == "better":
            names = {1: "left answer better", 2: "right answer better", 3: "equal"}
        given: dict[str, list[int]] = {"all answers": [r for r in self.ratings if r != UNRATED]}
        if self.done and self.scale == "points":
            given = {}
            for sheet, rating in zip(self._sheets, self.ratings, strict=True):
                given.setdefault(sheet.methods[0], []).append(rating)
        elif self.done:
            names = {1: "first better", 2: "second better", 3: "equal"}
            title = title.partition(":")[0]  # the rest counts sides, the bars methods
            given = {}
            for row in self.summary():
                counts = (row["first_better"], row["second_better"], row["equal"])
                given[f"{row['first']} (first) and {row['second']} (second)"] = [
                    number for number, count in enumerate(counts, 1) for _ in range(count)
                ]
        return draw_ratings(dict(sorted(given.items())), names, title=title)


def _assert_fits(questions, answers, references, scale: str) -> None:
    if isinstance(questions, str) or not questions or not answers:
        raise LongctxError("There is at least one question, in a list, and one method's answers.")
    counts = {method: len(some) for method, some in answers.items()}
    if references is not None:
        counts["references"] = len(references)
    for name, count in counts.items():
        if count != len(questions):
            raise LongctxError(
                f"There are {len(questions)} questions and {count} answers of {name!r}; give one "
                "for each question."
            )
    if scale == "better" and len(answers) < 2:
        raise LongctxError("Which is better needs the answers of two methods; or choose 'points'.")


def _drawn(questions, answers, references, scale: str, seed: int):
    """Return the sheets in a random order, and what the browser is told of them."""
    draw = random.Random(f"rating-{seed}")
    methods = sorted(answers)  # the order in which they were named must not tell anything
    groups = combinations(methods, 2) if scale == "better" else ((one,) for one in methods)
    planned = [(number, group) for group in groups for number in range(len(questions))]
    draw.shuffle(planned)
    sheets, shown = [], []
    for number, group in planned:
        order = draw.sample(group, len(group))
        texts = [answers[method][number] for method in order]
        # Equal texts of two methods are two sheets; the number tells them apart.
        told = "\0".join([str(seed), scale, str(len(sheets)), questions[number], *texts])
        key = hashlib.sha256(told.encode()).hexdigest()[:12]
        sheets.append(Sheet(number, tuple(order), key))
        reference = "" if references is None else references[number]
        facts = {"key": key, "question": questions[number], "texts": texts, "reference": reference}
        shown.append(facts)
    return sheets, shown


def _lead(pair: tuple[str, ...], leads: Sequence[tuple[int, int]]) -> dict:
    from longctx_edu.evaluation.intervals import sign_flip

    signs, questions = zip(*leads, strict=True)
    return {
        "first": pair[0],
        "second": pair[1],
        "first_better": signs.count(1),
        "second_better": signs.count(-1),
        "equal": signs.count(0),
        "p": sign_flip(signs, [0] * len(signs), clusters=questions),
    }
