"""Predictions, checks, hints and quizzes tell learners what they need and never raise."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx_edu.teaching import kit, lessons
from longctx_edu.teaching.kit import Kit, Progress
from longctx_edu.teaching.lesson import (
    NOT_ATTEMPTED,
    Case,
    Exercise,
    Prediction,
    WrongAnswer,
    by_cases,
    by_late_cases,
    by_value,
    lesson,
    same,
    shown,
)

LESSONS = list(lessons.every())
EXERCISES = [one for found in LESSONS for one in found.exercises.values()]
PREDICTIONS = [one for found in LESSONS for one in found.predictions.values()]
QUESTIONS = [one for found in LESSONS for one in found.questions.values()]
BY_ID = {"ids": lambda one: one.id if hasattr(one, "id") else None}


@pytest.fixture
def desk(tmp_path, capsys):
    """A kit with its own progress file, and what the last call printed."""

    class Desk:
        file = tmp_path / "progress.json"
        kit = Kit(Progress(file))

        def __getattr__(self, name):
            def call(*arguments):
                assert getattr(self.kit, name)(*arguments) is None
                return " ".join(capsys.readouterr().out.split())  # as if it were one line

            return call

    return Desk()


# --- the content of the lessons


@pytest.mark.parametrize("exercise", EXERCISES, **BY_ID)
def test_the_solution_passes_its_check(exercise, desk):
    assert exercise.fault(exercise.solution) is None
    assert desk.check(exercise.id, exercise.solution) == f"Exercise {exercise.id}: correct."


@pytest.mark.parametrize(
    ("exercise", "wrong"),
    [(exercise, wrong) for exercise in EXERCISES for wrong in exercise.wrong_answers],
    ids=lambda one: one.id if isinstance(one, Exercise) else one.says,
)
def test_a_wrong_answer_is_rejected_with_its_hint(exercise, wrong, desk):
    said = desk.check(exercise.id, wrong.answer)
    assert said.startswith(f"Exercise {exercise.id}: not yet - ")
    assert said.endswith(wrong.says)


@pytest.mark.parametrize("exercise", EXERCISES, **BY_ID)
def test_wrong_answers_fail_in_ways_that_can_be_told_apart(exercise):
    faults = [exercise.check(wrong.answer) for wrong in exercise.wrong_answers]
    assert len(set(faults)) == len(faults) >= 2


@pytest.mark.parametrize("exercise", EXERCISES, **BY_ID)
def test_an_exercise_has_staged_hints_that_do_not_end_early(exercise, desk):
    count = len(exercise.hints)
    assert count >= 2
    said = [desk.hint(exercise.id) for _ in range(count + 1)]
    assert [text.split(" for ")[0] for text in said[:-1]] == [
        f"Hint {n} of {count}" for n in range(1, count + 1)
    ]
    assert said[-1] == said[-2]


@pytest.mark.parametrize("asked", PREDICTIONS + QUESTIONS, **BY_ID)
def test_every_wrong_option_has_its_own_feedback(asked):
    assert len(asked.options) >= 2
    assert len(set(asked.feedback.values())) == len(asked.options) - 1


@pytest.mark.parametrize("found", LESSONS, ids=lambda found: f"lesson {found.number}")
def test_a_lesson_asks_enough(found):
    assert len(found.predictions) >= 2
    assert len(found.exercises) >= 2
    assert 3 <= len(found.questions) <= 5


# --- predict and reveal


def test_without_a_prediction_nothing_is_revealed(desk):
    said = desk.predict("0.1", None)
    assert said.startswith("Prediction 0.1. A text is too long")
    assert "A) " in said
    assert "No prediction yet: put A, B or C in place of None" in said
    assert "no prediction yet" in desk.reveal("0.1")


def test_a_prediction_is_noted_first_and_explained_after(desk):
    asked = lessons.find(0).predictions["0.1"]
    assert desk.predict("0.1", " b ") == "Prediction 0.1: B noted. Run on to see what happens."
    assert asked.explanation in desk.reveal("0.1")
    assert "you said B, and so it is" in desk.reveal("0.1")


def test_a_wrong_prediction_hears_what_was_behind_it(desk):
    asked = lessons.find(0).predictions["0.1"]
    desk.predict("0.1", "A")
    said = desk.reveal("0.1")
    assert "you said A; it is B." in said
    assert asked.feedback["A"] in said
    assert asked.explanation in said


def test_taking_a_prediction_back_hides_the_explanation_again(desk):
    desk.predict("0.1", "A")
    desk.predict("0.1", None)
    assert "no prediction yet" in desk.reveal("0.1")


@pytest.mark.parametrize("choice", ["Z", "", "AB", 1, [], object()])
def test_a_choice_that_is_not_offered_is_named(desk, choice):
    assert "is not one of A, B or C." in desk.predict("0.1", choice)
    assert "no prediction yet" in desk.reveal("0.1")


# --- check


def stub(window, document, question): ...


def unfinished(window, document, question):
    raise NotImplementedError


@pytest.mark.parametrize("answer", [None, ..., stub, unfinished])
def test_an_untouched_stub_is_not_attempted(desk, answer):
    assert desk.check("0.1", answer) == "Exercise 0.1: not attempted yet."


def test_the_smallest_failing_case_is_shown(desk):
    assert desk.check("0.1", lambda window, document, question: 7) == (
        "Exercise 0.1: not yet - window=10, document=6, question=1: got 7, expected 3."
    )


def test_a_mistake_that_raises_is_told_and_not_raised(desk):
    assert desk.check("0.1", lambda w, d, q: w // 0) == (
        "Exercise 0.1: not yet - window=10, document=6, question=1: "
        "it raised ZeroDivisionError, expected 3."
    )
    assert "raised TypeError" in desk.check("0.1", lambda: 3)
    assert "raised SystemExit" in desk.check("0.1", lambda w, d, q: exit())


def test_a_value_in_place_of_a_function_is_named(desk):
    assert "give the function itself, not 3." in desk.check("0.1", 3)


def test_a_function_that_changes_its_arguments_harms_nothing(desk):
    def greedy(tokens, budget):
        taken = 0
        while tokens and tokens[0] <= budget:
            budget -= tokens.pop(0)
            taken += 1
        return taken

    assert desk.check("0.2", greedy) == desk.check("0.2", greedy) == "Exercise 0.2: correct."


class Nasty:
    def __getattribute__(self, name):
        raise RuntimeError("hands off")

    def __eq__(self, other):
        raise RuntimeError("hands off")

    __hash__ = None

    def __repr__(self):
        raise SystemExit

    def __bool__(self):
        raise RuntimeError("hands off")

    def __len__(self):
        return -1


class CallableNasty(Nasty):
    def __call__(self, *arguments):
        return Nasty()


class Odd(BaseException):
    """Neither an Exception nor SystemExit."""


def odd(*arguments):
    raise Odd


def recursion(*arguments):
    return recursion(*arguments)


def endless():
    inside = []
    inside.append(inside)
    return inside


NASTY = [
    Nasty(),
    CallableNasty(),
    Nasty,
    endless(),
    lambda *a: endless(),
    lambda *a: 10**400,
    lambda *a: float("nan"),
    lambda *a: np.arange(3),
    lambda *a: "x" * 10**6,
    lambda *a: {1, 2},
    lambda *a: (_ for _ in ()),
    odd,
    recursion,
    print,
    type,
    np.array([[1.0]]),
    np.array([None]),
    lambda *a: np.array(["a", None]),
    lambda *a: np.zeros((0, 3)),
    lambda *a: np.full((2, 2), np.nan),
    np.ndarray,
    b"bytes",
    "text",
    {"a": 1},
    NotImplemented,
]


@pytest.mark.parametrize("exercise", EXERCISES, **BY_ID)
@pytest.mark.parametrize("number", range(len(NASTY)))  # pytest itself would look at the objects
def test_no_answer_makes_a_check_raise(exercise, number, desk):
    assert desk.check(exercise.id, NASTY[number])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    )
)
def test_no_value_makes_a_check_raise(value):
    for exercise in EXERCISES:
        assert exercise.fault(value) is None or isinstance(exercise.fault(value), str)
        assert exercise.fault(lambda *arguments: value) != ""


# --- comparing


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (0.1 + 0.2, 0.3),
        (3, 3.0),
        (np.float32(0.1), 0.1),
        (np.array([1, 2]), [1, 2]),
        ((1, [2.0]), [1, (2,)]),
        ({"a": 1.0}, {"a": 1}),
        (np.True_, True),
        ("a", "a"),
        ({1}, {1}),
        (1.000001, 1),
        ([0.0, 1.0], np.array([3e-6, 1.0], np.float32)),
        ((np.ones(2), 3), (np.ones(2), 3)),
        (float("-inf"), float("-inf")),
    ],
)
def test_equal_values_are_the_same(got, expected):
    assert same(got, expected)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (0.31, 0.3),
        (1.0001, 1),
        (10**9 + 1, 10**9),
        (1, True),
        (True, 1),
        ([1], [1, 2]),
        ("1", 1),
        ({"a": 1}, {"b": 1}),
        (None, 0),
        (3e-6, 0.0),
        (float("nan"), 1.0),
        (np.zeros((0, 3)), np.zeros((0, 5))),
        (np.ones((2, 1)), np.ones((1, 2))),
        (np.array([1, 0]), np.array([True, False])),
    ],
)
def test_different_values_are_not(got, expected):
    assert not same(got, expected)


def test_what_is_shown_of_a_value_is_short_and_has_no_address():
    assert len(shown(list(range(10**6)))) < 100
    assert "0x" not in shown(object())
    assert "0x" not in shown(lambda: 0)
    assert shown(Nasty()) == "a value that cannot be shown"


def test_a_value_can_be_asked_for_as_well():
    asked = Exercise("9.1", "t", by_value(0.5), ("a", "b"), 0.5, (WrongAnswer(2, "Upside down."),))
    assert asked.fault(0.5000000001) is None
    assert asked.fault(2) == "2 is not the value (tolerance 1e-05). Upside down."
    assert asked.fault(3) == "3 is not the value (tolerance 1e-05)."
    assert "give a value" in asked.fault(lambda: 0.5)


# --- functions of tensors


def scores(scale=0.5, size=4):
    """An exercise of the kind that attention asks for: a matrix of scores from a tensor."""
    import torch

    def cases():
        yield Case({"query": torch.eye(2)}, scale * torch.eye(2))
        query = torch.arange(float(size * size)).reshape(size, size) / 10
        yield Case({"query": query}, scale * query @ query.T)

    return Exercise(
        "9.1",
        "scores",
        by_late_cases(cases),
        ("a", "b"),
        lambda query: scale * query @ query.T,
        (WrongAnswer(lambda query: query @ query.T, "The scale is missing."),),
    )


def test_a_right_tensor_passes_in_any_float_dtype_as_an_array_or_with_a_gradient():
    asked = scores()
    for answer in (
        asked.solution,
        lambda query: asked.solution(query.double()),
        lambda query: asked.solution(query).numpy(),
        lambda query: asked.solution(query.requires_grad_()),
        lambda query: asked.solution(query).tolist(),
        lambda query: query.mul_(0.5) @ (2 * query).T,  # writes into its argument
    ):
        assert asked.fault(answer) is None


def test_a_tensor_that_is_wrong_is_shown_with_its_smallest_case():
    fault = scores().fault(lambda query: query @ query.T)
    assert fault == (
        "query=[[1.0, 0.0], [0.0, 1.0]]: got [[1.0, 0.0], [0.0, 1.0]], "
        "expected [[0.5, 0.0], [0.0, 0.5]] (tolerance 1e-05). The scale is missing."
    )


def test_a_tensor_of_the_wrong_shape_hears_both_shapes():
    fault = scores().fault(lambda query: query[None])
    assert "got a tensor of shape (1, 2, 2), expected a tensor of shape (2, 2)." in fault
    fault = scores().fault(lambda query: query.sum().numpy())
    assert "got an array of shape (), expected a tensor of shape (2, 2)." in fault


def test_of_a_large_tensor_only_the_first_place_that_differs_is_shown():
    import torch

    def last_one_off(query):
        right = 0.5 * query @ query.T
        if len(query) > 2:
            right[-1, -1] += 1
        return right

    fault = scores(size=5).fault(last_one_off)
    assert fault == (
        "query=a tensor of shape (5, 5): at [4, 4] got 13.15, expected 12.15 (tolerance 1e-05)."
    )
    assert shown(torch.zeros(10**6)) == "a tensor of shape (1000000,)"


def test_a_mask_of_numbers_is_not_a_mask():
    import torch

    check = by_cases(Case({"n": 2}, torch.ones(2, 2).tril().bool()))
    assert check(lambda n: torch.ones(n, n).tril().bool()) is None
    assert check(lambda n: torch.ones(n, n).tril()) == (
        "n=2: got values of torch.float32, expected torch.bool."
    )


def test_the_tolerance_is_a_choice_of_the_exercise():
    cases = Case({"n": 3}, 1 / 3)
    assert by_cases(cases)(lambda n: 0.333) == (
        "n=3: got 0.333, expected 0.333333 (tolerance 1e-05)."
    )
    assert by_cases(cases, tolerance=0.01)(lambda n: 0.333) is None
    assert by_value(1 / 3, tolerance=0.01)(0.333) is None


@pytest.mark.parametrize("number", range(len(NASTY)))
def test_no_answer_makes_a_check_of_tensors_raise(number):
    import torch

    nasty = [NASTY[number], lambda query: NASTY[number], lambda query: [query, NASTY[number]]]
    for answer in (*nasty, lambda query: torch.full_like(query, torch.nan), torch.zeros(1)):
        assert isinstance(scores().fault(answer), str)
    for odd_tensor in (
        torch.zeros(2, 2, device="meta"),
        torch.eye(2).to_sparse(),
        torch.eye(2, dtype=torch.complex64),
    ):
        assert isinstance(scores().fault(lambda query, got=odd_tensor: got), str)


def test_whoever_interrupts_a_check_is_obeyed(desk):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.check("0.1", interrupted)


def test_the_lessons_are_listed_without_loading_torch():
    code = (
        "import sys; from longctx_edu.teaching import lessons, progress; progress(); "
        "assert list(lessons.every()); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "False"


def test_none_for_some_cases_is_an_attempt():
    check = by_cases(Case({"n": 1}, 1), Case({"n": 2}, 2))
    assert check(lambda n: None) == NOT_ATTEMPTED
    assert check(lambda n: 1 if n == 1 else None) == "n=2: got None, expected 2."


def test_a_lesson_whose_ids_do_not_fit_is_refused():
    asked = Prediction("1.1", "?", ("a", "b"), "A", {"B": "no"}, "yes")
    with pytest.raises(ValueError, match=r"begin with '0\.'"):
        lesson(0, asked)
    with pytest.raises(ValueError, match="once per kind"):
        lesson(1, asked, asked)
    with pytest.raises(ValueError, match="each once"):
        Prediction("1.1", "?", ("a", "b"), "A", {}, "yes")


# --- solution and quiz


@pytest.mark.parametrize("exercise", EXERCISES, **BY_ID)
def test_a_solution_is_shown_as_source_that_runs(exercise, desk, capsys):
    desk.kit.solution(exercise.id)
    first, _, source = capsys.readouterr().out.partition("\n")
    assert first == f"One solution of exercise {exercise.id}:"
    if callable(exercise.solution):  # else a value, which is shown as it is
        names = {}
        exec(source, names)
        assert exercise.fault(names[exercise.solution.__name__]) is None


def test_a_quiz_asks_then_judges(desk):
    asked = lessons.find(0).questions["0.1"]
    assert "No answer yet: put A, B or C in place of None" in desk.quiz("0.1", None)
    assert desk.quiz("0.1", "a") == f"Question 0.1: A is not it. {asked.feedback['A']}"
    assert desk.quiz("0.1", "C") == f"Question 0.1: C is right. {asked.explanation}"
    assert desk.quiz("0.1", "D") == "Question 0.1: 'D' is not one of A, B or C."


@pytest.mark.parametrize("name", ["predict", "reveal", "check", "hint", "solution", "quiz"])
@pytest.mark.parametrize("id", ["0.99", "98.1", "x", "", None, 0.1 + 0.2])
def test_an_unknown_id_is_answered_and_not_raised(desk, name, id):
    assert getattr(desk, name)(id).startswith("There is nothing with the id")


def test_lines_fit_a_page(desk, capsys):
    for name, items in (("predict", PREDICTIONS), ("quiz", QUESTIONS)):
        for item in items:
            for letter in (None, *item.letters):
                getattr(desk.kit, name)(item.id, letter)
                if name == "predict":
                    desk.kit.reveal(item.id)
    assert max(len(line) for line in capsys.readouterr().out.splitlines()) <= 79


# --- progress


def untouched(desk):
    calls = [desk.predict("0.1", None), desk.reveal("0.1"), desk.check("0.1", stub)]
    return [*calls, desk.quiz("0.1", None)]


def test_run_all_prints_the_same_whatever_was_done_before(desk):
    before = untouched(desk)
    assert not desk.file.exists()
    desk.check("0.1", lessons.find(0).exercises["0.1"].solution)
    desk.predict("0.1", "B")
    desk.quiz("0.1", "C")
    assert untouched(desk) == before
    assert untouched(type(desk)()) == before


def test_progress_counts_what_is_done_tried_and_open(desk):
    assert "0 exercises 0 0 2" in desk.progress()
    desk.check("0.1", lambda *a: 7)
    desk.predict("0.1", "A")
    desk.quiz("0.2", "A")
    desk.quiz("0.3", "A")
    desk.quiz("0.3", "B")
    assert "0 predictions 1 0 1" in desk.progress()
    assert "0 exercises 0 1 1" in desk.progress()
    assert "0 questions 1 1 2" in desk.progress()


def test_what_is_done_stays_done_in_the_next_session(desk):
    desk.check("0.1", lessons.find(0).exercises["0.1"].solution)
    desk.check("0.1", lambda *a: 7)
    assert Progress(desk.file).items() == {"exercises 0.1": "done"}
    assert json.loads(desk.file.read_text())["schema"] == 1


def test_two_kernels_do_not_forget_each_other(desk):
    other = Progress(desk.file)
    desk.check("0.1", lambda *a: 7)
    other.note("questions", "0.1", "done")
    assert Progress(desk.file).items() == {"exercises 0.1": "tried", "questions 0.1": "done"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"items": 3}', '{"items": null}', "\xff"])
def test_a_damaged_file_counts_as_none(desk, text):
    desk.file.write_bytes(text.encode("latin-1"))
    assert "0 exercises 0 0 2" in desk.progress()
    desk.quiz("0.1", "C")
    assert Progress(desk.file).items() == {"questions 0.1": "done"}


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, capsys):
    (tmp_path / "file").touch()
    own = Kit(Progress(tmp_path / "file" / "folder" / "progress.json"))
    own.quiz("0.1", "C")
    own.progress()
    counts = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["0", "questions", "1", "0", "3"] in counts


def test_the_environment_says_where_progress_lies(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LONGCTX_EDU_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LONGCTX_EDU_PROGRESS", raising=False)
    Kit().quiz("0.1", "C")
    assert (tmp_path / "cache" / "progress.json").exists()
    monkeypatch.setenv("LONGCTX_EDU_PROGRESS", str(tmp_path / "elsewhere.json"))
    Kit().quiz("0.1", "C")
    assert (tmp_path / "elsewhere.json").exists()


def test_the_names_of_the_package_are_those_of_one_kit():
    import longctx_edu.teaching as teaching

    assert {name: getattr(teaching, name) for name in teaching.__all__} == {
        name: getattr(kit, name) for name in teaching.__all__
    }
    with pytest.raises(AttributeError, match="no attribute 'grade'"):
        _ = teaching.grade
