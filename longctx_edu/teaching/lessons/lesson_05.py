"""What notebook 05 asks: one softmax over memory and window, and how far away memory stands."""

import math

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_cases,
    lesson,
)


def joint_weights(memory, local, k):
    import math

    ranked = sorted(range(len(memory)), key=lambda place: -memory[place])
    best = ranked[:k]
    exps = [math.exp(score) if place in best else 0.0 for place, score in enumerate(memory)]
    exps += [math.exp(score) for score in local]
    return [one / sum(exps) for one in exps]


def _softmax(scores):
    exps = [math.exp(score) for score in scores]
    return [one / sum(exps) for one in exps]


def _two_softmaxes(memory, local, k):
    far = joint_weights(memory, [], k) if memory and k else [0.0] * len(memory)
    return far + _softmax(local)


def _everything(memory, local, k):
    return _softmax(memory + local)


def _zeros_for_the_rest(memory, local, k):
    best = sorted(range(len(memory)), key=lambda place: -memory[place])[:k]
    kept = [score if place in best else 0.0 for place, score in enumerate(memory)]
    return _softmax(kept + local)


def _chosen_from_all(memory, local, k):
    scores = memory + local
    best = sorted(range(len(scores)), key=lambda place: -scores[place])[:k]
    exps = [math.exp(score) if place in best else 0.0 for place, score in enumerate(scores)]
    return [one / (sum(exps) or 1.0) for one in exps]


def _left_out_afterwards(memory, local, k):
    best = sorted(range(len(memory)), key=lambda place: -memory[place])[:k]
    weights = _softmax(memory + local)
    return [
        weight if place >= len(memory) or place in best else 0.0
        for place, weight in enumerate(weights)
    ]


def _local_first(memory, local, k):
    weights = joint_weights(memory, local, k)
    return weights[len(memory) :] + weights[: len(memory)]


def distances(i, j, m):
    return i, i + 1, i + m - j


def _without_the_query(i, j, m):
    return 0, 1, m - j


def _places_instead(i, j, m):
    return 0, -1, j - m


def _from_the_front(i, j, m):
    return i, i + 1, i + j


def _one_too_near(i, j, m):
    return i, i + 1, i + m - j - 1


def _all_true(i, j, m):
    return i + m - j, i + m - j, i + m - j


LESSON = lesson(
    5,
    Prediction(
        id="5.1",
        question=(
            "The model has never been trained to use a memory. How many of eight facts, each told "
            "once in 1,024 tokens outside its window, will it tell?"
        ),
        options=(
            "none: it must be trained for that first",
            "more than half",
            "all of them, as if the text stood before the question",
        ),
        answer="B",
        feedback={
            "A": "Its heads have always compared queries with keys; where a key lies is nothing "
            "to them.",
            "C": "Each head is given a few keys of its choice, and at another distance than in a "
            "text.",
        },
        explanation=(
            "Looking up by query and key is what attention does anyhow. What is new is where the "
            "keys lie, and how few of them a head is given."
        ),
    ),
    Prediction(
        id="5.2",
        question=(
            "All keys of the memory are handed over, to every head. Under which of the five "
            "positions does the model say exactly what it says with the text in its window?"
        ),
        options=(
            "under all of them: the keys and values are the same",
            "under 'true' alone",
            "under none: the memory was read beforehand",
        ),
        answer="B",
        feedback={
            "A": "A key's angle is part of it, and the angle comes from the position.",
            "C": "The text does not see what comes after it, so it can be read beforehand.",
        },
        explanation=(
            "With true positions every product of query and key is the one of ordinary attention. "
            "All others are another computation, and must fail this test."
        ),
    ),
    Prediction(
        id="5.3",
        question=(
            "A question's last token looks at a memory of 1,024 tokens. Which share of that "
            "attention do the best 32 keys of each head hold, as a mean?"
        ),
        options=("about 3 %, their share of the keys", "a good half", "nearly all of it"),
        answer="B",
        feedback={
            "A": "That would be attention spread evenly; a softmax is far from even.",
            "C": "Many small weights add up: the tail is long.",
        },
        explanation=(
            "Three in a hundred keys hold more than half of the mass, which is why k can be small. "
            "The rest is a tail that grows with the memory."
        ),
    ),
    Exercise(
        id="5.1",
        task="The weights of one query over memory and window, under one softmax.",
        check=by_cases(
            Case(dict(memory=[2.0, 1.0], local=[0.0], k=1), joint_weights([2.0, 1.0], [0.0], 1)),
            Case(dict(memory=[1.0, 2.0], local=[0.5], k=0), joint_weights([1.0, 2.0], [0.5], 0)),
            Case(
                dict(memory=[0.5, -2.0, 2.0, 1.0], local=[1.5, -1.0], k=2),
                joint_weights([0.5, -2.0, 2.0, 1.0], [1.5, -1.0], 2),
            ),
            Case(dict(memory=[-1.0], local=[0.0, 3.0], k=9), joint_weights([-1.0], [0.0, 3.0], 9)),
        ),
        hints=(
            "Choose first: the numbers of the k greatest scores of the memory. "
            "sorted(range(len(memory)), key=...) ranks the numbers.",
            "Then e to the power of each score, 0 for those of the memory that were not chosen. "
            "Then one sum over both lists, and divide all of them by it.",
        ),
        solution=joint_weights,
        wrong_answers=(
            WrongAnswer(_two_softmaxes, "There is one sum for both, so that they compete."),
            WrongAnswer(_everything, "Only the k best of the memory take part."),
            WrongAnswer(
                _zeros_for_the_rest,
                "A score of 0 is not a weight of 0: e to the 0 is 1. Leave those keys out.",
            ),
            WrongAnswer(_chosen_from_all, "k counts the memory's keys; all local ones stay."),
            WrongAnswer(
                _left_out_afterwards, "Choose before the softmax, so that all add up to 1."
            ),
            WrongAnswer(_local_first, "The memory's weights come first."),
        ),
    ),
    Exercise(
        id="5.2",
        task="How far before a query does a memory token stand under zero, before and true?",
        check=by_cases(
            Case(dict(i=0, j=0, m=10), distances(0, 0, 10)),
            Case(dict(i=7, j=9, m=10), distances(7, 9, 10)),
            Case(dict(i=3, j=200, m=1000), distances(3, 200, 1000)),
        ),
        hints=(
            "The query stands at i. Where does the memory token stand? Under zero at 0, under "
            "before at -1.",
            "Under true the last of the m tokens, j = m - 1, stands at -1, so token j at j - m. "
            "A distance is the query's place minus the token's.",
        ),
        solution=distances,
        wrong_answers=(
            WrongAnswer(_without_the_query, "The query is not at 0 but at i."),
            WrongAnswer(_places_instead, "These are places; a distance is i minus the place."),
            WrongAnswer(
                _from_the_front, "The first token of the memory is the farthest, not the nearest."
            ),
            WrongAnswer(_one_too_near, "The memory's last token stands at -1, not at 0."),
            WrongAnswer(_all_true, "Zero and before put all of the memory at one place."),
        ),
    ),
    Question(
        id="5.1",
        question="Why does memory share one softmax with the window?",
        options=(
            "It is faster than two.",
            "So that they compete: where memory holds nothing that fits, the weight stays local.",
            "So that memory gets half of the weight.",
        ),
        answer="B",
        feedback={
            "A": "The time goes into finding the keys, not into the softmax.",
            "C": "Nothing fixes its share; it comes from the scores alone.",
        },
        explanation="No gate has to be learned: the scores themselves say how much memory counts.",
    ),
    Question(
        id="5.2",
        question="Why are keys kept without their position?",
        options=(
            "They take less room so.",
            "They can be turned to any place when they are looked up.",
            "The model was trained so.",
        ),
        answer="B",
        feedback={
            "A": "A turned key has as many numbers.",
            "C": "It was trained with keys that had been turned; that is why a place is needed.",
        },
        explanation="A turn can be done later; where a key is to stand is known only then.",
    ),
    Question(
        id="5.3",
        question="A sentence gets most of the attention that goes to the memory. What follows?",
        options=(
            "The answer comes from it.",
            "It is a candidate: take it away and see what the answer loses.",
            "It holds the words of the question.",
        ),
        answer="B",
        feedback={
            "A": "A weight says where a head looks, not what comes of it.",
            "C": "Often it does, but heads also park their weight on tokens that say nothing.",
        },
        explanation="Weights name candidates; the probability without them is the test.",
    ),
    Question(
        id="5.4",
        question="A text fits into the window and is asked many questions. What is the measure?",
        options=(
            "the model without the text",
            "a prompt that is read anew for each question",
            "the cached prefix: read once, exact, and as quick for each question",
        ),
        answer="C",
        feedback={
            "A": "That is the floor; it shows that the text is needed.",
            "B": "Nobody has to read it anew, so beating that is no merit of memory.",
        },
        explanation="Memory has to earn its place beyond the window, where no prefix can be kept.",
    ),
)
