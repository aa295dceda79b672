"""What notebook 06 asks: a gate between memory and segment, and targets that are shifted by one."""

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


def gated(own, found, gate):
    import math

    share = 1 / (1 + math.exp(-gate))
    return [(1 - share) * a + share * b for a, b in zip(own, found, strict=True)]


def _gate_as_share(own, found, gate):
    return [(1 - gate) * a + gate * b for a, b in zip(own, found, strict=True)]


def _the_other_way_round(own, found, gate):
    return gated(found, own, gate)


def _added_on_top(own, found, gate):
    share = 1 / (1 + math.exp(-gate))
    return [a + share * b for a, b in zip(own, found, strict=True)]


def _half_each(own, found, gate):
    return [(a + b) / 2 for a, b in zip(own, found, strict=True)]


def targets(ids, asked):
    return [
        ids[place + 1] if place in asked and place + 1 < len(ids) else -100
        for place in range(len(ids))
    ]


def _not_shifted(ids, asked):
    return [id if place in asked else -100 for place, id in enumerate(ids)]


def _shifted_back(ids, asked):
    return [ids[place - 1] if place in asked and place else -100 for place in range(len(ids))]


def _all_asked(ids, asked):
    return ids[1:] + [-100]


def _zeros_elsewhere(ids, asked):
    return [0 if one == -100 else one for one in targets(ids, asked)]


def _one_too_few(ids, asked):
    return targets(ids, asked)[:-1]


LESSON = lesson(
    6,
    Prediction(
        id="6.1",
        question=(
            "Three models of equal size are trained alike, on documents of three segments. Then "
            "they are asked for a value that was told four segments before. There are 16 values. "
            "What will the plain model say, which sees one segment at a time?"
        ),
        options=(
            "the right value nearly always: it has learnt the pairs",
            "the right value about once in 16 times",
            "the right value about half of the time",
        ),
        answer="B",
        feedback={
            "A": "Every document has pairs of its own, drawn anew; there is nothing to learn by "
            "heart.",
            "C": "For half it would have to see something of the pair, and it sees nothing.",
        },
        explanation=(
            "The value stands nowhere in its segment. It can only guess, however well it was "
            "trained; this is the floor that the others are compared with."
        ),
    ),
    Prediction(
        id="6.2",
        question=(
            "A document is read into memory. Then the model is trained for 40 steps, and the "
            "memory stays. How like are its keys to those that the model would write now? (1 is "
            "the same, 0 is nothing in common.)"
        ),
        options=(
            "the same: what is written is written",
            "clearly less than 1",
            "0: a trained model has nothing in common with a new one",
        ),
        answer="B",
        feedback={
            "A": "The keys are the same as before, but the weights that read them are not.",
            "C": "The weights move in small steps, and much of a key is where it began.",
        },
        explanation=(
            "Old keys, new queries: the memory grows stale as training goes on. So each document "
            "gets a new memory here, and is read to its end before the weights move."
        ),
    ),
    Prediction(
        id="6.3",
        question=(
            "The memory was trained with the 8 best keys of each query. Now a trained model gets "
            "*all* keys of 16 segments, about a thousand. What happens to its answers?"
        ),
        options=(
            "they stay as they are: the best keys are among them",
            "they get worse: a thousand small weights add up",
            "they get better: more is known",
        ),
        answer="A",
        feedback={
            "B": "They would where scores are flatter, or keys many more; here the others pull "
            "towards all values, and the right one stays ahead.",
            "C": "Nothing more is known of the pair that is asked for; it stands there once.",
        },
        explanation=(
            "The right key keeps the greatest weight by far, and the others share the rest among "
            "many values. So what top-k saves here is work; with several thousand keys, or the "
            "flatter scores of a large model, it saves answers, too."
        ),
    ),
    Exercise(
        id="6.1",
        task="Join what the segment gives and what memory gives, by a head's learned gate.",
        check=by_cases(
            Case(dict(own=[1.0], found=[3.0], gate=0.0), [2.0]),
            Case(
                dict(own=[1.0, -2.0], found=[0.0, 4.0], gate=1.5),
                gated([1.0, -2.0], [0.0, 4.0], 1.5),
            ),
            Case(
                dict(own=[0.5, 0.5, 2.0], found=[1.0, 0.0, -1.0], gate=-2.0),
                gated([0.5, 0.5, 2.0], [1.0, 0.0, -1.0], -2.0),
            ),
        ),
        hints=(
            "The gate is any number; its sigmoid, 1 / (1 + e^-gate), lies between 0 and 1: that "
            "is memory's share.",
            "Number by number: the share of found, and the rest, 1 minus the share, of own.",
        ),
        solution=gated,
        wrong_answers=(
            WrongAnswer(_gate_as_share, "The share is the gate's sigmoid, not the gate itself."),
            WrongAnswer(_the_other_way_round, "A greater gate means more of memory, found."),
            WrongAnswer(_added_on_top, "What memory gets, the segment loses: the two add up to 1."),
            WrongAnswer(_half_each, "The gate says how much; only at 0 is it one half."),
        ),
    ),
    Exercise(
        id="6.2",
        task="The targets of a row of ids, where something is asked at some places only.",
        check=by_cases(
            Case(dict(ids=[7, 8], asked=[0]), [8, -100]),
            Case(dict(ids=[5, 6, 7, 8], asked=[1, 2]), [-100, 7, 8, -100]),
            Case(dict(ids=[5, 6, 7], asked=[2]), [-100, -100, -100]),
            Case(dict(ids=[1, 2, 3, 4, 5], asked=[]), [-100] * 5),
        ),
        hints=(
            "At a place that is asked, the target is the id that comes next: ids[place + 1].",
            "Everywhere else it is -100, also at the last place, after which nothing comes.",
        ),
        solution=targets,
        wrong_answers=(
            WrongAnswer(_not_shifted, "That asks a model to repeat what it has just read."),
            WrongAnswer(_shifted_back, "That asks for the past; the target is what comes next."),
            WrongAnswer(_all_asked, "Only the places in asked count; the others are -100."),
            WrongAnswer(_zeros_elsewhere, "0 is a token, too; -100 says that nothing is asked."),
            WrongAnswer(_one_too_few, "There is a target for each id, also for the last."),
        ),
    ),
    Question(
        id="6.1",
        question="Why is a model's memory detached while it is trained?",
        options=(
            "So that a step costs the same however long the document is.",
            "Because keys cannot have gradients.",
            "So that the memory is never stale.",
        ),
        answer="A",
        feedback={
            "B": "They can; keep_graph=True lets the gradient flow, and everything that was "
            "computed for it stays in the computer's memory.",
            "C": "Detached or not, keys are as old as the weights that wrote them.",
        },
        explanation=(
            "The gradient stops at what was written. The layer still learns to write, since the "
            "same weights make keys for questions within a segment."
        ),
    ),
    Question(
        id="6.2",
        question=(
            "A training is cut and goes on from a checkpoint, but its losses differ from those of "
            "an uncut one. What was forgotten most likely?"
        ),
        options=(
            "the learning rate's decay at the end",
            "the optimizer's state or a random generator's",
            "the name of the file",
        ),
        answer="B",
        feedback={
            "A": "It follows from the step, which every checkpoint holds.",
            "C": "The losses do not know it.",
        },
        explanation=(
            "Weights alone are not enough: the next step depends on the optimizer's means, and the "
            "next document on the generator."
        ),
    ),
    Question(
        id="6.3",
        question="The model with margins is right at every distance. What has it learnt?",
        options=(
            "to write notes",
            "to read notes that somebody else has written",
            "to remember earlier segments",
        ),
        answer="B",
        feedback={
            "A": "Here a perfect reader writes them; no note comes from the model.",
            "C": "It sees its segment and the note, and nothing else.",
        },
        explanation=(
            "Whoever writes the notes does the finding. With the notes of another text it knows "
            "nothing."
        ),
    ),
    Question(
        id="6.4",
        question="Why do Extended Mind and Writing in the Margins train nothing?",
        options=(
            "The models they use have learnt to look up by query and key, and to read notes, "
            "from ordinary text.",
            "Training never helps a memory.",
            "Their models are too small.",
        ),
        answer="A",
        feedback={
            "B": "It helped here, from chance to nearly always right.",
            "C": "Theirs are thousands of times as large as these.",
        },
        explanation=(
            "A large model brings both along. A small new one has to learn it, and that can be "
            "watched."
        ),
    ),
)
