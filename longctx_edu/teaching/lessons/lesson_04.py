"""What notebook 04 asks: who decides where information goes, and what goes wrong if nobody does."""

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


def couplings(logits):
    import math

    rows = []
    for row in logits:  # one sender
        exps = [math.exp(one) for one in row]
        rows.append([one / sum(exps) for one in exps])
    return rows


def _columns(rows):
    return [list(column) for column in zip(*rows, strict=True)]


def _over_the_senders(logits):
    return _columns(couplings(_columns(logits)))


def _over_all(logits):
    total = sum(math.exp(one) for row in logits for one in row)
    return [[math.exp(one) / total for one in row] for row in logits]


def _without_the_exponential(logits):
    return [[one / (sum(row) or 1.0) for one in row] for row in logits]


def _all_to_the_best(logits):
    return [[float(n == row.index(max(row))) for n in range(len(row))] for row in logits]


def assign(choices, capacity):
    room = {}
    kept = []
    for expert in choices:
        taken = room.get(expert, 0)
        kept.append(taken < capacity)
        room[expert] = taken + 1
    return kept


def _one_too_many(choices, capacity):
    return [choices[:n].count(one) <= capacity for n, one in enumerate(choices)]


def _room_for_all_together(choices, capacity):
    return [n < capacity for n in range(len(choices))]


def _last_come(choices, capacity):
    return assign(choices[::-1], capacity)[::-1]


def _all_or_none(choices, capacity):
    return [choices.count(one) <= capacity for one in choices]


def _always_room(choices, capacity):
    return [True for _ in choices]


LESSON = lesson(
    4,
    Prediction(
        id="4.1",
        question=(
            "A question's last token looks into a memory of several days of the log, with 270 "
            "heads. Nobody tells a head where to look. Of the heads that use the memory, how many "
            "look most at the day that holds the answer?"
        ),
        options=(
            "nearly all: they all have the same question",
            "about half",
            "fewer than a quarter",
        ),
        answer="C",
        feedback={
            "A": "The question is the same, but each head asks something of its own about it.",
            "B": "Half of them do agree, but on a place that says nothing.",
        },
        explanation=(
            "Each head looks for what its own query is like, and many have nothing to look for. A "
            "few that find the right place are enough for an answer."
        ),
    ),
    Prediction(
        id="4.2",
        question=(
            "The slide's routing gets the first 16 tokens of the log, and then the first 256. What "
            "becomes of the results of those 16?"
        ),
        options=(
            "nothing: they stand before the others",
            "they change",
            "they cannot be computed any more",
        ),
        answer="B",
        feedback={
            "A": "They stand before, but the agreement is a sum over all tokens, later ones too.",
            "C": "It is a sum and a product for any number of tokens.",
        },
        explanation=(
            "What adds up over the whole text tells every token something of every other one. A "
            "language model that is trained so sees the word that it has to guess."
        ),
    ),
    Prediction(
        id="4.3",
        question=(
            "A layer of eight experts is trained to predict the next letter, and nothing is said "
            "of how to share the work. How is the work shared in the end?"
        ),
        options=(
            "evenly: an expert that has little to do is the better choice",
            "a few experts do most of it",
            "all experts learn the same",
        ),
        answer="B",
        feedback={
            "A": "The router looks at who is good now, not at who has room.",
            "C": "Each learns from its own tokens only, and they start differently.",
        },
        explanation=(
            "Whoever gets more tokens learns more, and is chosen more. Only a loss on the load "
            "works against it."
        ),
    ),
    Exercise(
        id="4.1",
        task="From routing logits to couplings: how does each sender share itself out?",
        check=by_cases(
            Case(dict(logits=[[0.0, 0.0]]), couplings([[0.0, 0.0]])),
            Case(dict(logits=[[1.0, 0.0], [0.0, 3.0]]), couplings([[1.0, 0.0], [0.0, 3.0]])),
            Case(
                dict(logits=[[0.5, -1.0, 2.0], [0.0, 0.0, 1.0]]),
                couplings([[0.5, -1.0, 2.0], [0.0, 0.0, 1.0]]),
            ),
        ),
        hints=(
            "A sender is a row. It has 1 to give, and shares it out among the receivers, which are "
            "the columns.",
            "So each row gets its own softmax: e to the power of each number, divided by the sum "
            "of the row.",
        ),
        solution=couplings,
        wrong_answers=(
            WrongAnswer(
                _over_the_senders,
                "These columns add up to 1, but it is each row, a sender, that has 1 to give.",
            ),
            WrongAnswer(_over_all, "Each sender has 1 to give, not all of them together."),
            WrongAnswer(_without_the_exponential, "It is a softmax: e to the power of each first."),
            WrongAnswer(_all_to_the_best, "Routing by agreement is soft: all get something."),
        ),
    ),
    Exercise(
        id="4.2",
        task="Which tokens find room with the expert that they chose?",
        check=by_cases(
            Case(dict(choices=[0], capacity=1), assign([0], 1)),
            Case(dict(choices=[2, 2, 2, 0], capacity=1), assign([2, 2, 2, 0], 1)),
            Case(dict(choices=[1, 1, 0, 1, 1, 0], capacity=3), assign([1, 1, 0, 1, 1, 0], 3)),
            Case(dict(choices=[0, 1], capacity=0), assign([0, 1], 0)),
        ),
        hints=(
            "Go through the tokens in order, and count for each expert how many have come so far.",
            "A token is kept if fewer than `capacity` came to its expert before it.",
        ),
        solution=assign,
        wrong_answers=(
            WrongAnswer(_one_too_many, "Fewer than `capacity` before it, not as many."),
            WrongAnswer(_room_for_all_together, "Each expert has room of its own."),
            WrongAnswer(_last_come, "First come, first served: a later token takes no room away."),
            WrongAnswer(_all_or_none, "The first ones keep their room if others come later."),
            WrongAnswer(_always_room, "An expert takes `capacity` tokens, the others are dropped."),
        ),
    ),
    Question(
        id="4.1",
        question="In an Extended Mind Transformer, who decides which memory a token looks at?",
        options=(
            "a router that was trained for it",
            "each head of each layer by itself, by its query",
            "routing by agreement between the heads",
        ),
        answer="B",
        feedback={
            "A": "Nothing was trained, and there is no router.",
            "C": "The heads of a layer do not hear of each other's choice.",
        },
        explanation="It is attention: a query against keys, for each token anew.",
    ),
    Question(
        id="4.2",
        question="Over what does the softmax of routing by agreement go?",
        options=(
            "over the receivers, for each sender",
            "over the senders, for each receiver",
            "over the numbers of a sender's vector",
        ),
        answer="A",
        feedback={
            "B": "That is closer to attention, where a receiver shares out its looking.",
            "C": "That is the slide's mistake: it scales features and sends nothing anywhere.",
        },
        explanation="A sender has 1 to give, and chooses between those who may get it.",
    ),
    Question(
        id="4.3",
        question="The load-balance loss of four experts is 4. What does the router do?",
        options=(
            "It sends the same number of tokens to each.",
            "It sends all tokens to one, and is sure of it.",
            "It sends each token to all four.",
        ),
        answer="B",
        feedback={
            "A": "Then the loss is 1.",
            "C": "With top-1 routing a token goes to one.",
        },
        explanation="The number of experts is the maximum, and means that all goes to one.",
    ),
    Question(
        id="4.4",
        question="Most heads look at one passage. What do you know?",
        options=(
            "The answer comes from it.",
            "Where they look; what is needed shows when it is taken away.",
            "The other passages can be left out.",
        ),
        answer="B",
        feedback={
            "A": "Heads also go to places that only look like what they want.",
            "C": "Take them away and measure before you say so.",
        },
        explanation="A route is not a reason. The test is the answer without it.",
    ),
)
