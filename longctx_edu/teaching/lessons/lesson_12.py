"""What notebook 12 asks: what attention says of an answer, what ablation says, who sees whom."""

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_cases,
    lesson,
)


def visible(tokens, margin_tokens):
    return [[j <= i for j in range(tokens)] + [True] * margin_tokens for i in range(tokens)]


def _everything(tokens, margin_tokens):
    return [[True] * (tokens + margin_tokens) for _ in range(tokens)]


def _only_earlier(tokens, margin_tokens):
    return [[j < i for j in range(tokens)] + [True] * margin_tokens for i in range(tokens)]


def _margins_hidden_too(tokens, margin_tokens):
    return [[j <= i for j in range(tokens + margin_tokens)] for i in range(tokens)]


def _margins_first(tokens, margin_tokens):
    return [[True] * margin_tokens + [j <= i for j in range(tokens)] for i in range(tokens)]


def _later(tokens, margin_tokens):
    return [[j >= i for j in range(tokens)] + [True] * margin_tokens for i in range(tokens)]


def _rows_for_margins(tokens, margin_tokens):
    rows = [[True] * (tokens + margin_tokens) for _ in range(margin_tokens)]
    return visible(tokens, margin_tokens) + rows


def needed(all_there, without_note, without_source, without_both):
    note = all_there - without_note > 1
    source = all_there - without_source > 1
    both = all_there - without_both > 1
    if note and source:
        return "both"
    if note or source:
        return "note" if note else "source"
    return "either" if both else "neither"


def _swapped(all_there, without_note, without_source, without_both):
    return needed(all_there, without_source, without_note, without_both)


def _signs_turned(all_there, without_note, without_source, without_both):
    return needed(-all_there, -without_note, -without_source, -without_both)


def _either_called_neither(all_there, without_note, without_source, without_both):
    found = needed(all_there, without_note, without_source, without_both)
    return "neither" if found == "either" else found


def _both_called_either(all_there, without_note, without_source, without_both):
    return "either" if all_there - without_both > 1 else "neither"


def _bare_values(all_there, without_note, without_source, without_both):
    return needed(0, without_note, without_source, without_both)


def _case(all_there, without_note, without_source, without_both, expected):
    return Case(
        dict(
            all_there=all_there,
            without_note=without_note,
            without_source=without_source,
            without_both=without_both,
        ),
        expected,
    )


LESSON = lesson(
    12,
    Prediction(
        id="12.1",
        question=(
            "Which of these gets the most of the attention of the token before the answer, as a "
            "mean over all heads of all layers?"
        ),
        options=(
            "the note with the right answer",
            "the sentence in the text that holds it",
            "the first token of all, which says nothing",
        ),
        answer="C",
        feedback={
            "A": "It gets many times its share of the tokens, but less than a tenth in all.",
            "B": "Some heads look at nothing else, but they are few.",
        },
        explanation=(
            "Most heads have nothing to fetch at this token, and the weights of a softmax must go "
            "somewhere: they are parked on the first token."
        ),
    ),
    Prediction(
        id="12.2",
        question=(
            "The note gets three times the attention of its source in the text. Now the answer "
            "may not look at the note. What becomes of the right answer's probability?"
        ),
        options=(
            "It falls to almost nothing.",
            "It falls by a third or so, and stays far ahead of all others.",
            "It falls to a quarter, as three quarters of the attention are gone.",
        ),
        answer="B",
        feedback={
            "A": "It would if the note were needed; but the same words stand in the text.",
            "C": "A weight says how much is taken over, not what the answer would be without it.",
        },
        explanation="The source is still there, and it is enough. Without both nothing is left.",
    ),
    Prediction(
        id="12.3",
        question=(
            "Scores of 768 random numbers are not divided by the square root of 768. A row has "
            "120 keys. What is its largest weight like, as a mean over rows?"
        ),
        options=(
            "near 1/120: untrained attention is spread evenly",
            "near a tenth",
            "above a half: one key takes most of it",
        ),
        answer="C",
        feedback={
            "A": "That is what it is like once the scores are scaled.",
            "B": "Sums of 768 products spread wider than that: e to the 9 is 8,000.",
        },
        explanation=(
            "A sum of 768 products is about 28 times as large as one of them. The exponential "
            "makes of that a choice, and a choice has almost no gradient."
        ),
    ),
    Exercise(
        id="12.1",
        task="Which keys may each token of a text with margins see?",
        check=by_cases(
            Case(dict(tokens=1, margin_tokens=1), visible(1, 1)),
            Case(dict(tokens=3, margin_tokens=0), visible(3, 0)),
            Case(dict(tokens=3, margin_tokens=2), visible(3, 2)),
        ),
        hints=(
            "Row i is about token i. Of the text it sees token j if j <= i: those before it, and "
            "itself. Of the margins it sees all.",
            "A row is one list for the text and one for the margins, put together with +. For "
            "the margins that is [True] * margin_tokens.",
        ),
        solution=visible,
        wrong_answers=(
            WrongAnswer(_everything, "A token must not see later ones of the text."),
            WrongAnswer(_only_earlier, "A token sees itself, too."),
            WrongAnswer(_margins_hidden_too, "The margins stand beside the text, not after it."),
            WrongAnswer(_margins_first, "The keys of the text come first, then the margins'."),
            WrongAnswer(_later, "This is turned round: row i sees what comes before it."),
            WrongAnswer(_rows_for_margins, "Margins are looked at; they ask nothing themselves."),
        ),
    ),
    Exercise(
        id="12.2",
        task="What was needed, by four log-probabilities of the right answer?",
        check=by_cases(
            _case(-0.2, -0.2, -4.5, -6.6, "source"),
            _case(-0.1, -0.5, -0.2, -7.7, "either"),
            _case(-1.1, -6.3, -1.9, -8.7, "note"),
            _case(-0.6, -3.2, -1.8, -6.9, "both"),
            _case(-3.0, -3.1, -3.2, -3.9, "neither"),
        ),
        hints=(
            "What is lost is all_there minus the other number. Three comparisons with 1 say all "
            "there is to say.",
            "Ask first whether each loss alone hurts. If none does, the loss of both decides "
            'between "either" and "neither".',
        ),
        solution=needed,
        wrong_answers=(
            WrongAnswer(_swapped, "Which number is without the note, and which without source?"),
            WrongAnswer(_signs_turned, "Log-probabilities fall when something needed is gone."),
            WrongAnswer(_either_called_neither, "Neither loss hurts alone; do both together?"),
            WrongAnswer(_both_called_either, "Look at each loss alone first."),
            WrongAnswer(_bare_values, "A loss is a difference from all_there."),
        ),
    ),
    Question(
        id="12.1",
        question="A head puts 0.9 of its weight on a note. What is certain?",
        options=(
            "The answer comes from the note.",
            "Nine tenths of the weights by which this head averages values lie on the note.",
            "Without the note the answer would be another one.",
        ),
        answer="B",
        feedback={
            "A": "Other heads look elsewhere, and later layers decide what is made of it.",
            "C": "That is a claim about a prompt without the note: it has to be tried.",
        },
        explanation="A weight is a fact about one average in one head, and no more than that.",
    ),
    Question(
        id="12.2",
        question="Hiding the note costs almost nothing. Was the note useless?",
        options=(
            "Yes, or its loss would hurt.",
            "One cannot say: its source may stand in for it; hide both to see.",
            "No, since it got the most attention.",
        ),
        answer="B",
        feedback={
            "A": "Each of two copies looks useless as long as the other is there.",
            "C": "A wrong note got the most attention, too, and did harm.",
        },
        explanation="What is there twice is missed only when both are gone.",
    ),
    Question(
        id="12.3",
        question="What is left of a note that is hidden from the answer, but not removed?",
        options=(
            "nothing at all",
            "what the tokens after it, such as the question's, took over when they read it",
            "its weights, which are only made smaller",
        ),
        answer="B",
        feedback={
            "A": "Only the answer's tokens do not see it; those in between did.",
            "C": "Its weights are exactly 0.",
        },
        explanation="Hence the second test, which builds the prompt without the note.",
    ),
    Question(
        id="12.4",
        question="Why may a token of the text see all margins, but no later token of the text?",
        options=(
            "Margins are short, so that they cost nothing.",
            "The model has to foretell the later tokens; margins are given beforehand.",
            "Margins have no keys.",
        ),
        answer="B",
        feedback={
            "A": "Cost is not the reason: later tokens would give the answer away in training.",
            "C": "They have keys and values like the text, made by the same matrices.",
        },
        explanation=(
            "This holds for margins written on what stands before the text. One written on its "
            "own later tokens would carry them back."
        ),
    ),
)
