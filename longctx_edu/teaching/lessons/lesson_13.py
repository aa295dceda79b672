"""What notebook 13 asks: which metric prefers what, what chance does, and what perplexity sees."""

import math
from collections import Counter

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_cases,
    lesson,
)


def word_f1(answer, gold):
    from collections import Counter

    shared = (Counter(answer) & Counter(gold)).total()
    if shared == 0:
        return 0.0
    precision, recall = shared / len(answer), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def _counted_once(answer, gold):
    shared = len({*answer} & {*gold})
    return 2 * shared / (len({*answer}) + len({*gold}))


def _counted_each_time(answer, gold):
    shared = sum(word in gold for word in answer)
    return 2 * shared / (len(answer) + len(gold))


def _recall_alone(answer, gold):
    return (Counter(answer) & Counter(gold)).total() / len(gold)


def _precision_alone(answer, gold):
    return (Counter(answer) & Counter(gold)).total() / len(answer)


def _plain_mean(answer, gold):
    return (_recall_alone(answer, gold) + _precision_alone(answer, gold)) / 2


def answer_perplexity(log_probabilities, prompt):
    import math

    answer = log_probabilities[prompt:]
    return math.exp(-sum(answer) / len(answer))


def _prompt_too(log_probabilities, prompt):
    return math.exp(-sum(log_probabilities) / len(log_probabilities))


def _one_short(log_probabilities, prompt):
    answer = log_probabilities[prompt + 1 :] or log_probabilities[-1:]
    return math.exp(-sum(answer) / len(answer))


def _sign_forgotten(log_probabilities, prompt):
    answer = log_probabilities[prompt:]
    return math.exp(sum(answer) / len(answer))


def _not_a_mean(log_probabilities, prompt):
    return math.exp(-sum(log_probabilities[prompt:]))


def _mean_of_exponentials(log_probabilities, prompt):
    answer = log_probabilities[prompt:]
    return sum(math.exp(-one) for one in answer) / len(answer)


LESSON = lesson(
    13,
    Prediction(
        id="13.1",
        question=(
            "The reference is 'The fog bell was cast in the year 1783.' One answer is right in "
            "other words, one copies the sentence with a wrong year. Which does a metric of "
            "common words, such as ROUGE-L or BLEU, rate higher?"
        ),
        options=(
            "the right one",
            "the one with the wrong year",
            "both alike",
        ),
        answer="B",
        feedback={
            "A": "It would have to know which word matters.",
            "C": "They share very different numbers of words with the reference.",
        },
        explanation=(
            "To these metrics each word is worth the same, so a wrong year costs one word of "
            "nine, and other words for the same thing cost nearly all of them."
        ),
    ),
    Prediction(
        id="13.2",
        question=(
            "Two methods are equally good: each answers 70 of 100 questions. You ask each 20 "
            "questions of its own. How often is one of them ahead by 2 right answers or more?"
        ),
        options=("about once in 20", "about once in 5", "more than every second time"),
        answer="C",
        feedback={
            "A": "That is how often a 95 % interval misses; two right answers are well inside it.",
            "B": "Chance does more: with 20 questions it moves a count by two either way, "
            "and here there are two counts.",
        },
        explanation=(
            "Two in twenty are 0.10 of the score. A lead of that size says nothing until you know "
            "what chance alone would do."
        ),
    ),
    Prediction(
        id="13.3",
        question=(
            "In the page of the log the year 1783 is changed to 1738. What happens to the page's "
            "perplexity?"
        ),
        options=(
            "it changes by less than a hundredth",
            "it rises by about a tenth",
            "it at least doubles",
        ),
        answer="A",
        feedback={
            "B": "One token of hundreds would have to be very much more surprising.",
            "C": "The model has no idea when the bell was cast: either year surprises it.",
        },
        explanation=(
            "Perplexity is a mean over all tokens, and most of them hold no fact. It says how "
            "well a text reads, not whether what it says is so."
        ),
    ),
    Exercise(
        id="13.1",
        task="F1 of two lists of words",
        check=by_cases(
            Case(dict(answer=["in", "may"], gold=["may"]), 2 / 3),
            Case(dict(answer=["june"], gold=["may"]), 0.0),
            Case(dict(answer=["may", "may", "may", "may"], gold=["may"]), 0.4),
            Case(dict(answer=["may"], gold=["may", "and", "june"]), 0.5),
            Case(dict(answer=["so", "so", "far"], gold=["so", "so", "good"]), 2 / 3),
        ),
        hints=(
            "How many words do both share? A word that stands in one list three times and in the "
            "other once is shared once. `Counter(answer) & Counter(gold)` counts just that.",
            "Precision is shared words per word of the answer, recall per word of gold. F1 is "
            "2 * precision * recall / (precision + recall), and 0 where nothing is shared.",
        ),
        solution=word_f1,
        wrong_answers=(
            WrongAnswer(_counted_once, "A word that is said four times is four words."),
            WrongAnswer(_counted_each_time, "A word of gold can be found once, not four times."),
            WrongAnswer(_recall_alone, "That is recall: extra words cost nothing."),
            WrongAnswer(_precision_alone, "That is precision: missing words cost nothing."),
            WrongAnswer(_plain_mean, "F1 is the harmonic mean, below the plain one."),
        ),
    ),
    Exercise(
        id="13.2",
        task="Perplexity of an answer, given its prompt",
        check=by_cases(
            Case(dict(log_probabilities=[-3.0, math.log(0.5)], prompt=1), 2.0),
            Case(dict(log_probabilities=[-9.0, -9.0, -1.0, -3.0], prompt=2), math.exp(2.0)),
            Case(dict(log_probabilities=[-0.5, -0.1, -0.4, -0.7], prompt=1), math.exp(0.4)),
        ),
        hints=(
            "Which log-probabilities count? Those of the answer; it begins after `prompt` tokens.",
            "Take minus their mean and then the exponential, `math.exp`.",
        ),
        solution=answer_perplexity,
        wrong_answers=(
            WrongAnswer(_prompt_too, "The prompt was given: its tokens do not count."),
            WrongAnswer(_one_short, "The answer's first token counts, too."),
            WrongAnswer(_sign_forgotten, "Minus the mean: a perplexity is 1 at least."),
            WrongAnswer(_not_a_mean, "Divide by the number of the answer's tokens."),
            WrongAnswer(_mean_of_exponentials, "First the mean, then the exponential."),
        ),
    ),
    Question(
        id="13.1",
        question="An answer names all eight candidates. Which number gives it away?",
        options=("recall", "precision", "perplexity"),
        answer="B",
        feedback={
            "A": "Its recall is perfect: the right one is among the eight.",
            "C": "That is the model's surprise at a text; it does not look at what was named.",
        },
        explanation="One of eight is right. Capping the answer's length helps as well.",
    ),
    Question(
        id="13.2",
        question="40 questions on 5 documents: what are the independent units?",
        options=("the 40 questions", "the 5 documents", "the tokens of all answers"),
        answer="B",
        feedback={
            "A": "Questions on one document share its luck: they rise and fall together.",
            "C": "Tokens of one answer depend on one another most of all.",
        },
        explanation="More questions on the same five documents cannot replace more documents.",
    ),
    Question(
        id="13.3",
        question="A method is right on 0.08 of the questions of a task, a gain. What do you ask?",
        options=(
            "how right the model is without the text, and how many questions there were",
            "how many parameters the model has",
            "nothing: right is right",
        ),
        answer="A",
        feedback={
            "B": "That explains a score at best; it does not say what this one is worth.",
            "C": "Right by guessing is no reading.",
        },
        explanation=(
            "The most common word of a list was named in 0.075 of cases here even where it came no "
            "more often than others."
        ),
    ),
    Question(
        id="13.4",
        question="Method B took 1.5 times as long as A, in one run. What makes it believable?",
        options=(
            "more digits",
            "a warm-up, several rounds in turn, and the tokens beside the seconds",
            "a faster machine",
        ),
        answer="B",
        feedback={
            "A": "They would be digits of what else the machine was doing.",
            "C": "It has other things to do, too.",
        },
        explanation="Tokens are the same everywhere; seconds belong to one machine and one moment.",
    ),
)
