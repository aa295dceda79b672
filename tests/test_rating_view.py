"""Rating by a person: blind, in an order of the seed, kept in a file and found again."""

import csv
import subprocess
import sys

import matplotlib as mpl
import pytest
import traitlets

from longctx_edu.errors import LongctxError
from longctx_edu.widgets import RatingView
from longctx_edu.widgets.plots import png

mpl.use("Agg")

QUESTIONS = [f"Question {number}?" for number in range(6)]
ANSWERS = {
    method: [f"{word} answer to {question}" for question in QUESTIONS]
    for method, word in (("plain", "Short"), ("margins", "Long"), ("memory", "Fine"))
}
PAIR = {name: ANSWERS[name] for name in ("plain", "margins")}


def method_of(text):
    return {"Short": "plain", "Long": "margins", "Fine": "memory"}[text.split()[0]]


def test_each_answer_is_rated_once_by_itself_or_against_each_other_method():
    points = RatingView(QUESTIONS, ANSWERS)
    assert sorted(sheet["texts"][0] for sheet in points.sheets) == sorted(sum(ANSWERS.values(), []))
    better = RatingView(QUESTIONS, ANSWERS, scale="better")
    shown = [(s["question"], *sorted(map(method_of, s["texts"]))) for s in better.sheets]
    assert len(shown) == len(set(shown)) == 3 * len(QUESTIONS)
    for sheet in better.sheets:
        assert all(sheet["question"] in text for text in sheet["texts"])


def test_the_order_is_the_seeds_and_not_that_of_the_call():
    view = RatingView(QUESTIONS, PAIR, scale="better", seed=1)
    turned = RatingView(QUESTIONS, dict(reversed(PAIR.items())), scale="better", seed=1)
    assert view.sheets == turned.sheets
    other = RatingView(QUESTIONS, PAIR, scale="better", seed=2)
    assert [s["texts"] for s in view.sheets] != [s["texts"] for s in other.sheets]
    many = [f"Question {number}?" for number in range(200)]
    answers = {name: [f"{name} {q}" for q in many] for name in ("a", "b")}
    left = [
        s["texts"][0].split()[0] for s in RatingView(many, answers, scale="better", seed=3).sheets
    ]
    assert 70 < left.count("a") < 130  # neither side is a method's own


@pytest.mark.parametrize("scale", ["points", "better"])
def test_no_name_of_a_method_leaves_python_before_all_is_rated(scale):
    names = {f"SECRET{n}": answers for n, answers in enumerate(ANSWERS.values())}
    view = RatingView(QUESTIONS, names, scale=scale)
    view.ratings = [1, *view.ratings[1:]]
    assert "SECRET" not in repr({name: getattr(view, name) for name in view._state_names()})
    assert "SECRET" not in view.to_html()
    assert "SECRET" not in view.describe()
    assert "SECRET" not in "".join(
        text.get_text() for axes in view.picture().axes for text in (axes.title, *axes.texts)
    )


def test_the_rows_name_the_method_of_each_text():
    view = RatingView(QUESTIONS, ANSWERS, scale="better", seed=4, rater="Ada")
    view.ratings = [1, 2, 3] * 6
    for sheet, row in zip(view.sheets, view.rows(), strict=True):
        assert [row["first"], row["second"]] == [method_of(text) for text in sheet["texts"]]
        assert (row["question"], row["rater"]) == (sheet["question"], "Ada")
    assert [row["rating"] for row in view.rows()[:3]] == ["first", "second", "equal"]


def test_points_are_summed_up_by_method():
    view = RatingView(QUESTIONS, PAIR)
    view.ratings = [
        {"plain": 2, "margins": 4}[method_of(sheet["texts"][0])] for sheet in view.sheets
    ]
    assert view.summary() == [
        {"method": "margins", "n": 6, "mean": 4},
        {"method": "plain", "n": 6, "mean": 2},
    ]


def test_who_is_better_is_counted_for_the_method_and_not_for_the_side():
    view = RatingView(QUESTIONS, PAIR, scale="better", seed=5)
    sides = [[method_of(text) for text in sheet["texts"]] for sheet in view.sheets]
    assert len({*map(tuple, sides)}) == 2
    view.ratings = [1 + side.index("margins") for side in sides[:-1]] + [3]
    (row,) = view.summary()
    assert (row["first"], row["second"]) == ("margins", "plain")
    assert (row["first_better"], row["second_better"], row["equal"]) == (5, 0, 1)
    assert row["p"] == pytest.approx(2 / 2**5)
    assert RatingView(QUESTIONS, PAIR, scale="better").summary() == []


def test_ratings_are_kept_as_they_are_given_and_a_new_view_goes_on_there(tmp_path):
    path = tmp_path / "ratings.csv"
    view = RatingView(QUESTIONS, ANSWERS, path=path, seed=7, rater="Ada")
    view.ratings = [5, 0, 3, *view.ratings[3:]]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rating"] for row in rows[:4]] == ["5", "", "3", ""]
    assert [row["first"] for row in rows] == [row["first"] for row in view.rows()]
    again = RatingView(QUESTIONS, ANSWERS, path=path, seed=7)
    assert again.ratings == view.ratings
    assert again.at == 1
    again.ratings = [4] * 18
    assert RatingView(QUESTIONS, ANSWERS, path=path, seed=7).done


@pytest.mark.parametrize(
    "other",
    [
        dict(seed=8),
        dict(scale="better"),
        dict(answers={**ANSWERS, "plain": [*ANSWERS["plain"][:-1], "changed"]}),
    ],
)
def test_ratings_of_other_answers_are_refused_and_left_alone(tmp_path, other):
    path = tmp_path / "ratings.csv"
    view = RatingView(QUESTIONS, ANSWERS, path=path, seed=7)
    view.ratings = [5] * 18
    before = path.read_bytes()
    options = dict(answers=ANSWERS, seed=7, scale="points") | other
    with pytest.raises(LongctxError, match="not of these answers, seed and scale"):
        RatingView(QUESTIONS, path=path, **options)
    assert path.read_bytes() == before


def test_a_file_that_is_none_of_ratings_is_refused(tmp_path):
    view = RatingView(QUESTIONS, PAIR)
    with pytest.raises(LongctxError, match="cannot be read"):
        view.load(tmp_path / "missing.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LongctxError, match="not of these answers"):
        view.load(tmp_path / "other.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LongctxError, match="cannot be read"):
        view.load(tmp_path / "bytes.csv")


def test_what_no_sheet_can_have_is_refused():
    view = RatingView(QUESTIONS, PAIR)
    for ratings, message in (([1], "12 sheets"), ([6] * 12, "not 6"), ([-1] * 12, "not -1")):
        with pytest.raises(traitlets.TraitError, match=message):
            view.ratings = ratings
    with pytest.raises(traitlets.TraitError, match="0 to 11"):
        view.at = 12
    better = RatingView(QUESTIONS, PAIR, scale="better")
    with pytest.raises(traitlets.TraitError, match="1, 2, 3, or 0"):
        better.ratings = [4] * 6


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], {}), {}, "at least one question"),
        (("Why?", PAIR), {}, "at least one question"),
        ((QUESTIONS, {"plain": ["one"]}), {}, "6 questions and 1 answers of 'plain'"),
        ((QUESTIONS, PAIR), dict(references=["one"]), "1 answers of 'references'"),
        ((QUESTIONS, {"plain": ANSWERS["plain"]}), dict(scale="better"), "two methods"),
    ],
)
def test_answers_that_do_not_fit_are_refused(arguments, options, message):
    with pytest.raises(LongctxError, match=message):
        RatingView(*arguments, **options)


def test_the_picture_counts_all_answers_until_every_sheet_is_rated():
    view = RatingView(QUESTIONS, PAIR)
    view.ratings = [5, 5, 1, *view.ratings[3:]]
    (axes,) = view.picture().axes
    assert [bar.get_width() for bar in axes.patches] == [1, 0, 0, 0, 2]
    view.ratings = [
        {"plain": 2, "margins": 4}[method_of(sheet["texts"][0])] for sheet in view.sheets
    ]
    margins, plain = view.picture().axes
    assert (margins.get_title(), plain.get_title()) == ("margins", "plain")
    assert [bar.get_width() for bar in margins.patches] == [0, 0, 0, 6, 0]
    assert png(view.picture()) == png(view.picture())


def test_the_picture_of_two_methods_counts_for_the_method():
    view = RatingView(QUESTIONS, PAIR, scale="better")
    sides = [[method_of(text) for text in sheet["texts"]] for sheet in view.sheets]
    view.ratings = [1 + side.index("plain") for side in sides]
    (axes,) = view.picture().axes
    assert axes.get_title() == "margins (first) and plain (second)"
    assert [bar.get_width() for bar in axes.patches] == [0, 6, 0]
    assert axes.figure.get_suptitle() == "6 of 6 sheets rated"


def test_rating_loads_no_torch():
    program = (
        "import sys; from longctx_edu.widgets import RatingView as R; "
        "R(['a?'], {'m': ['b'], 'n': ['c']}, scale='better').describe(); "
        "print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "False\n", ran.stderr
