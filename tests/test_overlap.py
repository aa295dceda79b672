"""Words in common: F1, sets, ROUGE-L and BLEU, against definitions and second implementations."""

import math
import warnings
from collections import Counter
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.overlap import (
    Overlap,
    bleu,
    marks,
    named_in,
    rouge_l,
    set_overlap,
    token_f1,
    words_of,
)

WORDS = st.lists(
    st.sampled_from(["boat", "lamp", "fog", "goat", "sea", "tower"]), min_size=1, max_size=9
)
LONG = WORDS.map(lambda words: " ".join([*words, *words, *words, *words]))


@given(WORDS)
def test_what_is_equal_overlaps_fully_and_what_shares_nothing_not_at_all(words):
    text = " ".join(words)
    assert token_f1(text, text.upper() + ".") == 1
    assert rouge_l(text, text.upper() + ".").f1 == 1
    assert token_f1("quite other things", text) == rouge_l("", text).f1 == 0


@given(WORDS, WORDS)
def test_f1_and_rouge_lie_between_and_change_sides_with_their_arguments(one, other):
    one, other = " ".join(one), " ".join(other)
    assert token_f1(one, other) == pytest.approx(token_f1(other, one))
    there, back = rouge_l(one, other), rouge_l(other, one)
    assert (there.precision, there.recall) == (back.recall, back.precision)
    assert 0 <= there.f1 <= token_f1(one, other) + 1e-9 <= 1 + 2e-9  # order can only cost


def by_recursion(one, other):
    """The longest common subsequence by its definition."""

    @cache
    def longest(i, j):
        if i == len(one) or j == len(other):
            return 0
        if one[i] == other[j]:
            return 1 + longest(i + 1, j + 1)
        return max(longest(i + 1, j), longest(i, j + 1))

    return longest(0, 0)


@given(WORDS, WORDS)
def test_rouge_l_is_the_longest_common_subsequence(one, other):
    found = rouge_l(" ".join(one), " ".join(other))
    assert found.precision == by_recursion(one, other) / len(one)
    assert found.recall == by_recursion(one, other) / len(other)


@pytest.mark.parametrize(
    ("answer", "gold", "f1"),
    [
        # Values of rouge-score 0.1.2, rougeL without stemming.
        ("the boat came back at noon", "the grey boat came back", 8 / 11),
        ("at noon the boat came", "the boat came at noon", 3 / 5),
        ("nothing at all", "the grey boat", 0.0),
    ],
)
def test_rouge_l_is_that_of_the_reference_implementation(answer, gold, f1):
    assert rouge_l(answer, gold).f1 == pytest.approx(f1)


def test_articles_count_in_no_f1_and_order_only_in_rouge():
    assert token_f1("a goat", "the goat") == 1
    assert rouge_l("a goat", "the goat").f1 == 0.5
    assert token_f1("lamp the fog and", "and fog the lamp") == 1
    assert rouge_l("lamp the fog and", "and fog the lamp").f1 == 0.25


def test_a_repeated_word_counts_as_often_as_both_have_it():
    assert token_f1("goat goat goat", "goat") == pytest.approx(0.5)
    assert words_of("12,345 Straße") == ["12345", "strasse"]


def test_naming_everything_has_full_recall_and_little_precision():
    among = ["tiger", "camel", "walrus", "giraffe"]
    answer = "They are tiger, camel, walrus and giraffe."
    said = named_in(answer, among)
    assert said == {*among}
    found = set_overlap(said, ["Camel"])
    assert (found.recall, found.precision, found.f1) == (1, 0.25, 0.4)
    assert set_overlap(set(), ["camel"]) == Overlap(0.0, 0.0)
    assert named_in("tigers", among) == set()


def by_definition(answers, references):
    """BLEU of a corpus by Papineni et al. 2002: no smoothing, one reference each."""

    def runs(words, n):
        return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))

    logs = 0.0
    for n in range(1, 5):
        pairs = [
            (runs(a.split(), n), runs(b.split(), n))
            for a, b in zip(answers, references, strict=True)
        ]
        shared = sum((one & other).total() for one, other in pairs)
        logs += math.log(shared / sum(one.total() for one, _ in pairs)) / 4
    said, right = (sum(len(one.split()) for one in some) for some in (answers, references))
    return math.exp(logs + min(0, 1 - right / said))


@given(st.lists(LONG, min_size=1, max_size=4), st.integers(0, 3))
def test_bleu_is_what_its_paper_says(references, dropped):
    # All share a run of four, without which sacrebleu smooths and the paper has no value.
    answers = ["by the old lamp " + " ".join(one.split()[dropped:]) for one in references]
    references = ["by the old lamp " + one + " at sea" for one in references]
    expected = by_definition(answers, references)
    assert bleu(answers, references) == pytest.approx(expected, abs=1e-6)


def test_bleu_of_a_short_answer_is_nothing_and_says_so():
    with pytest.warns(UserWarning, match="1 of 2 references have less than 4 words"):
        bleu(["Grey Petrel", "one two three four"], ["Grey Petrel", "one two three four"])
    with pytest.warns(UserWarning, match="says nothing about them"):
        assert bleu(["Grey Petrel"], ["Grey Petrel"]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bleu(["the boat came back"], ["the boat came back"]) == pytest.approx(1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: token_f1("x", "the"),
        lambda: rouge_l("x", "..."),
        lambda: set_overlap({"x"}, []),
        lambda: set_overlap("x", "x"),
        lambda: bleu([], []),
        lambda: bleu(["x"], []),
        lambda: bleu("xxxx", ["x", "x", "x", "x"]),
    ],
)
def test_what_cannot_be_compared_is_refused(call):
    with pytest.raises(LongctxError):
        call()


def test_a_right_answer_in_a_sentence_gets_five_different_marks():
    found = marks("The fog bell was cast in 1783.", ["1783"])
    assert found["recall"] == 1
    assert found["exact match"] == 0
    assert 0 < found["BLEU"] < found["ROUGE-L"] < found["F1"] < 1


def test_marks_are_those_of_the_metrics_for_several_gold_strings():
    answer, gold = "They are piano and guitar.", ["guitar", "piano"]
    found = marks(answer, gold)
    assert found["recall"] == 1
    assert found["F1"] == token_f1(answer, "guitar and piano")
    assert found["ROUGE-L"] == rouge_l(answer, "guitar and piano").f1
