"""What notebook 15 asks: what a follow-up needs, how a text shrinks, how settings are chosen."""

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_cases,
    lesson,
)


def sentences_kept(scores, lengths, room):
    kept = []
    for n in sorted(range(len(scores)), key=lambda n: -scores[n]):
        if not kept or lengths[n] <= room:
            kept.append(n)
            room -= lengths[n]
    return sorted(kept)


def _until_one_does_not_fit(scores, lengths, room):
    kept = []
    for n in sorted(range(len(scores)), key=lambda n: -scores[n]):
        if kept and lengths[n] > room:
            break
        kept.append(n)
        room -= lengths[n]
    return sorted(kept)


def _best_first(scores, lengths, room):
    kept = []
    for n in sorted(range(len(scores)), key=lambda n: -scores[n]):
        if not kept or lengths[n] <= room:
            kept.append(n)
            room -= lengths[n]
    return kept


def _from_the_beginning(scores, lengths, room):
    kept = []
    for n in range(len(scores)):
        if not kept or lengths[n] <= room:
            kept.append(n)
            room -= lengths[n]
    return kept


def _maybe_nothing(scores, lengths, room):
    kept = []
    for n in sorted(range(len(scores)), key=lambda n: -scores[n]):
        if lengths[n] <= room:
            kept.append(n)
            room -= lengths[n]
    return sorted(kept)


def turns_told(lengths, room):
    told = 0
    for length in reversed(lengths):  # the newest turn first
        if length > room:
            break
        room -= length
        told += 1
    return told


def _oldest_first(lengths, room):
    told = 0
    for length in lengths:
        if length > room:
            break
        room -= length
        told += 1
    return told


def _with_holes(lengths, room):
    told = 0
    for length in reversed(lengths):
        if length <= room:
            room -= length
            told += 1
    return told


def _strictly_less(lengths, room):
    told = 0
    for length in reversed(lengths):
        if length >= room:
            break
        room -= length
        told += 1
    return told


LESSON = lesson(
    15,
    Prediction(
        id="15.1",
        question=(
            "A text of about 1,000 tokens is cut to a tenth for each of eight questions, by whole "
            "sentences. In how many of the eight is the sentence with the answer kept, if the "
            "question's attention chooses? If chance chooses?"
        ),
        options=("8 and about 1", "5 and about 4", "8 and about 8"),
        answer="A",
        feedback={
            "B": "Attention is better than that where a question shares words with its fact.",
            "C": "Chance keeps a tenth of the text, and so about a tenth of the facts.",
        },
        explanation="A question looks at its own fact, which is one sentence among some fifty.",
    ),
    Prediction(
        id="15.2",
        question=(
            "A tuner tries many settings of margins on a few questions and takes the best. On "
            "other questions, how will these settings do, if this is done again and again?"
        ),
        options=("as well", "often worse", "often better"),
        answer="B",
        feedback={
            "A": "They would, if the best had been the best for its merits alone.",
            "C": "Nothing was chosen for the other questions.",
        },
        explanation=(
            "The best of many is good and lucky, and the luck stays behind. On a few questions "
            "this may not show, so measure on others, and on many."
        ),
    ),
    Exercise(
        id="15.1",
        task="Which sentences of a text are kept?",
        check=by_cases(
            Case(dict(scores=[1, 3, 2], lengths=[4, 4, 4], room=8), [1, 2]),
            Case(dict(scores=[3, 1, 2], lengths=[5, 2, 9], room=8), [0, 1]),
            Case(dict(scores=[1, 2, 9], lengths=[2, 3, 4], room=9), [0, 1, 2]),
            Case(dict(scores=[1, 5], lengths=[2, 30], room=8), [1]),
            Case(dict(scores=[2, 9, 4, 7], lengths=[1, 5, 6, 5], room=11), [0, 1, 3]),
        ),
        hints=(
            "Go through the numbers of the sentences, the one with the best score first, and keep "
            "an account of the room that is left.",
            "`sorted(range(len(scores)), key=lambda n: -scores[n])` gives the order. Pass over "
            "what does not fit, keep the first in any case, and sort what was kept at the end.",
        ),
        solution=sentences_kept,
        wrong_answers=(
            WrongAnswer(
                _until_one_does_not_fit,
                "A shorter sentence after one that does not fit may still find room.",
            ),
            WrongAnswer(_best_first, "Give the sentences in the order of the text."),
            WrongAnswer(_from_the_beginning, "The scores say which come first."),
            WrongAnswer(_maybe_nothing, "The best sentence is kept, however long it is."),
        ),
    ),
    Exercise(
        id="15.2",
        task="How many turns of a conversation fit in front of a message?",
        check=by_cases(
            Case(dict(lengths=[5, 5], room=5), 1),
            Case(dict(lengths=[30, 5, 5], room=12), 2),
            Case(dict(lengths=[5, 30, 5], room=12), 1),
            Case(dict(lengths=[], room=12), 0),
            Case(dict(lengths=[3, 4, 5], room=100), 3),
        ),
        hints=(
            "What was said last matters most. Where do you begin?",
            "Go through `reversed(lengths)`, take each from the room, and stop at the first turn "
            "that does not fit: a conversation with a hole in it misleads.",
        ),
        solution=turns_told,
        wrong_answers=(
            WrongAnswer(_oldest_first, "The newest turns are told first; begin at the end."),
            WrongAnswer(_with_holes, "Stop at the first turn that does not fit; leave no hole."),
            WrongAnswer(_strictly_less, "A turn that fills the room exactly does fit."),
        ),
    ),
    Question(
        id="15.1",
        question="Why does a chat put the last turn in front of a message?",
        options=(
            "because the model keeps nothing of it otherwise",
            "to make the answer longer",
            "because the document must be read again",
        ),
        answer="A",
        feedback={
            "B": "It makes the prompt longer, not the answer.",
            "C": "The document is read once, for all turns.",
        },
        explanation="Words such as “he” and “there” point at what was said, which must be told.",
    ),
    Question(
        id="15.2",
        question="What can be lost when a text is compressed for a question?",
        options=(
            "nothing, since the best sentences are kept",
            "the sentence that says who “she” is in a kept one",
            "only sentences without any meaning",
        ),
        answer="B",
        feedback={
            "A": "Best for the question's attention, sentence by sentence.",
            "C": "Most of what goes has meaning, for another question.",
        },
        explanation="Sentences lean on their neighbours, and are judged one by one.",
    ),
    Question(
        id="15.3",
        question="Settings score 3 of 3 on the questions they were chosen by. What is it worth?",
        options=(
            "they are right for this kind of text",
            "little, before they were tried on other questions",
            "nothing at all; settings cannot be tuned",
        ),
        answer="B",
        feedback={
            "A": "Several settings may have been lucky on three questions.",
            "C": "With more questions, and others to check on, they can.",
        },
        explanation="What was used to choose cannot be used to judge.",
    ),
    Question(
        id="15.4",
        question="A document holds `<script>`. What should a report on it show?",
        options=(
            "what the script makes of the page",
            "the very letters of the document",
            "nothing there",
        ),
        answer="B",
        feedback={
            "A": "Then whoever writes a document decides what its reader's browser does.",
            "C": "The reader could not compare the report with its source.",
        },
        explanation="Words of a document are words, and nothing else.",
    ),
)
