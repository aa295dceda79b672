"""What notebook 17 asks: what a cluster, a server, a class and a million readers change."""

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_cases,
    lesson,
)


def hub_gigabytes(people, at_once, each, spare):
    return people * at_once * each + spare


def _everybody(people, at_once, each, spare):
    return people * each + spare


def _spare_for_each(people, at_once, each, spare):
    return people * at_once * (each + spare)


def _no_spare(people, at_once, each, spare):
    return people * at_once * each


def gpus(users, questions_a_day, seconds, busiest):
    return users * questions_a_day / 86_400 * seconds * busiest


def _average_hour(users, questions_a_day, seconds, busiest):
    return users * questions_a_day / 86_400 * seconds


def _an_hour_as_a_day(users, questions_a_day, seconds, busiest):
    return users * questions_a_day / 3_600 * seconds * busiest


def _questions_a_second(users, questions_a_day, seconds, busiest):
    return users * questions_a_day / 86_400 * busiest


LESSON = lesson(
    17,
    Prediction(
        id="17.1",
        question=(
            "Two workers share the cells of a sweep. In the middle one of them is killed. What "
            "becomes of the result?"
        ),
        options=(
            "the cells of the dead worker are missing",
            "it is the same; what the worker had not finished is done again elsewhere",
            "the sweep has to start anew",
        ),
        answer="B",
        feedback={
            "A": "Each finished cell was written down before the next one was begun.",
            "C": "Finished cells stand in a file; only those under way are done again.",
        },
        explanation=(
            "A cell depends on its description and the model alone, not on who works on it or "
            "when. That is what makes it safe to do it twice."
        ),
    ),
    Prediction(
        id="17.2",
        question=(
            "Every margin is one request to a server, and each prompt holds all of the text so "
            "far. How many tokens of the text does the server read, if it keeps what it has read?"
        ),
        options=(
            "about as many as the text has",
            "the sum of all prompts",
            "none: the text was read here",
        ),
        answer="A",
        feedback={
            "B": "That is what is sent. A prompt goes on from a beginning that is known already.",
            "C": "The server has no part in what this machine knows.",
        },
        explanation=(
            "Every prompt begins with one that was read before, so a cache of prefixes does what "
            "rolling back did in notebook 11."
        ),
    ),
    Prediction(
        id="17.3",
        question=(
            "Llama 3 8B reads 100,000 tokens, then a million. How many times as long does the "
            "second take at the least?"
        ),
        options=("10 times", "about 70 times", "100 times"),
        answer="B",
        feedback={
            "A": "So it would be if only the matrices counted.",
            "C": "So it would be if only attention counted.",
        },
        explanation=(
            "The matrices take 10 times as long and attention 100 times; at 100,000 tokens "
            "attention is two thirds of the work already."
        ),
    ),
    Exercise(
        id="17.1",
        task="How much memory does a hub for a class need?",
        check=by_cases(
            Case(dict(people=10, at_once=1, each=2, spare=1), 21),
            Case(dict(people=30, at_once=0.5, each=2, spare=1), 31),
            Case(dict(people=100, at_once=0.4, each=1.5, spare=0.128), 60.128),
        ),
        hints=(
            "Not everybody works at the same time: how many people do?",
            "Each of these needs `each`. The hub itself needs `spare`, once.",
        ),
        solution=hub_gigabytes,
        wrong_answers=(
            WrongAnswer(_everybody, "Count the people who work at once, a share of all."),
            WrongAnswer(_spare_for_each, "The hub runs once, not once for each person."),
            WrongAnswer(_no_spare, "The hub itself needs memory, too."),
        ),
    ),
    Exercise(
        id="17.2",
        task="How many GPUs are busy in the busiest hour?",
        check=by_cases(
            Case(dict(users=86_400, questions_a_day=1, seconds=1, busiest=1), 1),
            Case(dict(users=86_400, questions_a_day=2, seconds=3, busiest=2), 12),
            Case(dict(users=1_000_000, questions_a_day=5, seconds=10, busiest=3), 1_736.111111),
        ),
        hints=(
            "A day has 86,400 seconds. How many questions come in one of them, on average?",
            "Each keeps a GPU busy for `seconds`. In the busiest hour there are `busiest` times "
            "as many.",
        ),
        solution=gpus,
        wrong_answers=(
            WrongAnswer(_average_hour, "That is the average hour; people do not sleep in turns."),
            WrongAnswer(_an_hour_as_a_day, "The questions are those of a day, not of an hour."),
            WrongAnswer(_questions_a_second, "Each question keeps a GPU busy for a while."),
        ),
    ),
    Question(
        id="17.1",
        question="Why is a cell of the sweep a whole document, and not one question?",
        options=(
            "so that a document is read once, and all its questions are asked of that",
            "because Dask allows no small tasks",
            "so that the file has fewer lines",
        ),
        answer="A",
        feedback={
            "B": "It allows them; it would be a waste here.",
            "C": "It has, but that is no reason.",
        },
        explanation="Reading is what costs. Whoever cuts finer reads the same text many times.",
    ),
    Question(
        id="17.2",
        question="What can margins not do when the model is behind a server?",
        options=(
            "write notes on all segments at once",
            "judge a note by where the model looked",
            "read a text once",
        ),
        answer="B",
        feedback={
            "A": "They can: several requests may be under way together.",
            "C": "They do, if the server keeps prefixes.",
        },
        explanation="Keys and attention stay in the server; words and probabilities come out.",
    ),
    Question(
        id="17.3",
        question="A bound by published rates says 15 minutes, and 30 were measured. Is it wrong?",
        options=(
            "yes, by a factor of two",
            "no: it says what cannot be beaten, and real programs reach about half of it",
            "one cannot say",
        ),
        answer="B",
        feedback={
            "A": "A bound from below is kept by everything above it.",
            "C": "One can: the time lies above the bound, and within the usual factor.",
        },
        explanation="A bound and a measurement together say how much there is still to be gained.",
    ),
    Question(
        id="17.4",
        question="Many readers ask about the same long text. What helps most?",
        options=(
            "to write shorter answers",
            "to keep what was read of it, so that it is not read for each question",
            "weights of fewer bits",
        ),
        answer="B",
        feedback={
            "A": "Writing is less than half of the time, and the longer the text the less.",
            "C": "They save bytes of weights; reading a long text waits for arithmetic.",
        },
        explanation="More than half of the time is reading, and the longer the text the more.",
    ),
)
