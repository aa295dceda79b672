"""What notebook 14 asks: what a small model words, what looking up finds, how notes count."""

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_cases,
    lesson,
)


def share_told(decisions, sentences):
    told = [any(all(word in one for word in words) for one in sentences) for words in decisions]
    return sum(told) / len(decisions)


def _anywhere(decisions, sentences):
    text = " ".join(sentences)
    return sum(all(word in text for word in words) for words in decisions) / len(decisions)


def _any_word(decisions, sentences):
    told = [any(any(word in one for word in words) for one in sentences) for words in decisions]
    return sum(told) / len(decisions)


def _counted(decisions, sentences):
    return sum(any(all(word in one for word in words) for one in sentences) for words in decisions)


def _of_the_sentences(decisions, sentences):
    right = [any(all(word in one for word in words) for words in decisions) for one in sentences]
    return sum(right) / max(1, len(sentences))


def rounds_of_notes(text, segment, note, window):
    rounds = 0
    while text > window:
        text = -(-text // segment) * note  # rounded up: the last segment may be short
        rounds += 1
    return rounds


def _one_round(text, segment, note, window):
    return int(text > window)


def _rounded_down(text, segment, note, window):
    rounds = 0
    while text > window:
        text = text // segment * note
        rounds += 1
    return rounds


def _answer_counted(text, segment, note, window):
    return rounds_of_notes(text, segment, note, window) + 1


_BOAT, _ROOF, _WELL = ("boat", "Ada", "120"), ("roof", "Bo", "300"), ("well", "Cy", "90")
_BOAT_TOLD, _ROOF_TOLD = "Ada buys a boat for 120.", "Bo mends the roof for 300."

LESSON = lesson(
    14,
    Prediction(
        id="14.1",
        question=(
            "The model has the passages before it that memory looked up. Of the eight decisions, "
            "how many will it tell with who, how much and by when, in its own words?"
        ),
        options=("none or one", "about half", "all that it was shown"),
        answer="A",
        feedback={
            "B": "It has three of them before it, and tells fewer than it has.",
            "C": "It could copy them. But a request to say what was decided is no request to copy.",
        },
        explanation=(
            "A model of 135 million weights copies a sentence or two; to put several into words of "
            "its own is more than it can."
        ),
    ),
    Prediction(
        id="14.2",
        question=(
            "By the words that both share, retrieval looks up twelve sentences for “What was "
            "decided?”: all eight decisions are among them. Now it is asked to summarize the text. "
            "How many of the decisions are among the twelve?"
        ),
        options=("eight again", "about half of them", "none or one"),
        answer="C",
        feedback={
            "A": "What is looked up depends on what is asked, and now nothing of this kind is.",
            "B": "Twelve are looked up, but there is no reason why any of these should decide.",
        },
        explanation="“Summarize the text above” shares no telling word with a decision.",
    ),
    Exercise(
        id="14.1",
        task="Which share of the decisions is told completely?",
        check=by_cases(
            Case(dict(decisions=[_BOAT], sentences=[_BOAT_TOLD]), 1.0),
            Case(
                dict(decisions=[_BOAT, _ROOF], sentences=["A boat.", "Ada pays 120.", "A roof."]),
                0.0,
            ),
            Case(dict(decisions=[_BOAT, _ROOF], sentences=[_ROOF_TOLD, _ROOF_TOLD, "Hm."]), 0.5),
            Case(
                dict(
                    decisions=[_BOAT, _ROOF, _WELL],
                    sentences=[_BOAT_TOLD, "Bo mends the roof and Cy the well for 300 and 90."],
                ),
                1.0,
            ),
            Case(dict(decisions=[_BOAT], sentences=[]), 0.0),
        ),
        hints=(
            "For one decision: is there any sentence that holds all of its words? `any` and "
            "`all` say it nearly as in English.",
            "`any(all(word in one for word in words) for one in sentences)` is True for a decision "
            "that is told. Count those, and divide by the number of decisions.",
        ),
        solution=share_told,
        wrong_answers=(
            WrongAnswer(_anywhere, "The words must stand together, in one and the same sentence."),
            WrongAnswer(_any_word, "All words of a decision must be there, not one of them."),
            WrongAnswer(_counted, "Divide by the number of decisions."),
            WrongAnswer(
                _of_the_sentences,
                "That is how many sentences are of use; asked is how many decisions are told.",
            ),
        ),
    ),
    Exercise(
        id="14.2",
        task="How many rounds of notes are needed until all notes fit the window?",
        check=by_cases(
            Case(dict(text=900, segment=512, note=48, window=1024), 0),
            Case(dict(text=1100, segment=512, note=48, window=1024), 1),
            Case(dict(text=1_000_000, segment=512, note=48, window=1024), 3),
            Case(dict(text=10_900, segment=512, note=48, window=1024), 2),
            Case(dict(text=1_000_000, segment=4096, note=32, window=8192), 1),
        ),
        hints=(
            "One round turns a text into notes: a note for every segment. How many tokens have "
            "these notes together?",
            "`-(-text // segment)` is the number of segments, the last short one included. Repeat "
            "with `text` set to the tokens of the notes, while it is more than `window`.",
        ),
        solution=rounds_of_notes,
        wrong_answers=(
            WrongAnswer(_one_round, "The notes of a very long text may not fit either."),
            WrongAnswer(_rounded_down, "The last segment may be short, and gets a note as well."),
            WrongAnswer(_answer_counted, "The summary written from the last notes is no round."),
        ),
    ),
    Question(
        id="14.1",
        question="Somebody hands in the whole minutes as their summary. What gives it away?",
        options=(
            "its coverage",
            "its faithfulness",
            "its length, as a share of the source",
        ),
        answer="C",
        feedback={
            "A": "Everything is told, so its coverage is 1.",
            "B": "All of it is so: it is the source.",
        },
        explanation="Coverage and faithfulness mean something beside the length alone.",
    ),
    Question(
        id="14.2",
        question="“Summarize this book.” Which method suits this least?",
        options=(
            "map-reduce, a note on every segment",
            "retrieval, which looks up sentences that share words with the request",
            "margins, a note on every segment, read in its place",
        ),
        answer="B",
        feedback={
            "A": "It covers all of the book; what a note leaves out is lost, however.",
            "C": "It covers all of the book, in runs of one window where the book is longer.",
        },
        explanation="To look up something, one has to ask for something.",
    ),
    Question(
        id="14.3",
        question="A summary has no invented names and no invented numbers. What follows?",
        options=(
            "it is faithful",
            "it is complete",
            "nothing yet: rejected may be told as decided, or two matters as one",
        ),
        answer="C",
        feedback={
            "A": "A sum of one matter with the name of another holds nothing invented.",
            "B": "The empty summary invents nothing.",
        },
        explanation="Each measure here is blind somewhere, which is why there are several.",
    ),
    Question(
        id="14.4",
        question="What do the points of a summary give to its reader?",
        options=(
            "a proof that the summary is right",
            "the places of the source to compare it with",
            "a shorter summary",
        ),
        answer="B",
        feedback={
            "A": "The model may have written something else than the points say.",
            "C": "They are often longer, and often better.",
        },
        explanation="Every point leads to its characters in the source.",
    ),
)
