"""What notebook 10 asks: does the place of a line matter, is a difference sure, what is a sink."""

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_cases,
    lesson,
)


def move(lines, index, place):
    rest = [*lines[:index], *lines[index + 1 :]]
    at = round(place * len(rest))
    return [*rest[:at], lines[index], *rest[at:]]


def _exchanged(lines, index, place):
    lines, at = list(lines), round(place * (len(lines) - 1))
    lines[index], lines[at] = lines[at], lines[index]
    return lines


def _copied(lines, index, place):
    at = round(place * (len(lines) - 1))
    return [*lines[:at], lines[index], *lines[at:]]


def _overwritten(lines, index, place):
    rest = [*lines[:index], *lines[index + 1 :]]
    at = round(place * len(rest))
    return [*rest[:at], lines[index], *rest[at + 1 :]]


def _from_the_end(lines, index, place):
    return move(lines, index, 1 - place)


def typical(weights, parts):
    size = len(weights) // parts
    slices = [weights[start : start + size] for start in range(0, len(weights), size)]
    return [size * sorted(part)[size // 2] for part in slices]


def _sums(weights, parts):
    size = len(weights) // parts
    return [sum(weights[start : start + size]) for start in range(0, len(weights), size)]


def _one_token(weights, parts):
    size = len(weights) // parts
    return [one / size for one in typical(weights, parts)]


def _median_of_all(weights, parts):
    size = len(weights) // parts
    return [size * sorted(weights)[len(weights) // 2]] * parts


def _not_sorted(weights, parts):
    size = len(weights) // parts
    return [size * weights[start + size // 2] for start in range(0, len(weights), size)]


def _first_left_out(weights, parts):
    return _sums([0.0, *weights[1:]], parts)


LESSON = lesson(
    10,
    Prediction(
        id="10.1",
        question=(
            "The same questions with their lines first, at a quarter, in the middle, at three "
            "quarters and last in a text of 1,000 or 2,000 tokens. At which place is this small "
            "model right most often?"
        ),
        options=(
            "first and last alike: the middle is lost",
            "last",
            "first",
        ),
        answer="B",
        feedback={
            "A": "That is what Liu et al. found in large models. Here one end is not the other.",
            "C": "What was read first is farthest from the question, and it shows.",
        },
        explanation=(
            "Each recorded curve is highest at the last place. Liu et al. "
            "(appendix E) find the same in Llama 2 with 7 billion numbers; a better beginning "
            "comes with larger models."
        ),
    ),
    Prediction(
        id="10.2",
        question=(
            "The question stands before the text as well, so that the model knows while it reads "
            "what it will be asked. What becomes of the right answers?"
        ),
        options=("more of them", "about as many", "fewer"),
        answer="A",
        feedback={
            "B": "So it is where documents have to be understood; here lines have to be found.",
            "C": "The prompt is longer by a question, which does no harm here.",
        },
        explanation="What is read with the question in mind can be kept for it.",
    ),
    Prediction(
        id="10.3",
        question=(
            "All weights that the question gives to the first tenth of the text are added up, and "
            "compared with a tenth in the middle. What does the first tenth get?"
        ),
        options=(
            "less: it is farthest away",
            "about the same",
            "more, and most of it goes to a few tokens",
        ),
        answer="C",
        feedback={
            "A": "So it is for most of its tokens, but a few make up for it.",
            "B": "For most of its tokens that is near the truth, but not for their sum.",
        },
        explanation="A few tokens early in the text are sinks, as the very first token is.",
    ),
    Exercise(
        id="10.1",
        task="Move one line of a list to a place, and leave the order of the others as it is.",
        check=by_cases(
            Case(dict(lines=["a", "b", "c"], index=2, place=0.0), ["c", "a", "b"]),
            Case(dict(lines=["a", "b", "c", "d", "e"], index=0, place=0.5), list("bcade")),
            Case(dict(lines=["a", "b", "c", "d", "e"], index=4, place=0.25), list("aebcd")),
            Case(dict(lines=["a", "b", "c", "d", "e"], index=1, place=1.0), list("acdeb")),
        ),
        hints=(
            "First take the line out: `rest` is the list without it. Place 0 is before all of "
            "`rest`, place 1 after all of it.",
            "So it goes in at number `round(place * len(rest))`. A slice before it, the line, and "
            "a slice after it make the new list.",
        ),
        solution=move,
        wrong_answers=(
            WrongAnswer(_exchanged, "This changes two lines; all but one must keep their order."),
            WrongAnswer(_copied, "The line is there twice; take it out before it goes in."),
            WrongAnswer(_overwritten, "A line is gone; the other lines must make room."),
            WrongAnswer(_from_the_end, "Place 0 is the beginning of the list, 1 its end."),
        ),
    ),
    Exercise(
        id="10.2",
        task="What does a typical token of each part of the text get?",
        check=by_cases(
            Case(dict(weights=[0.5, 0.01, 0.02, 0.03, 0.01, 0.02], parts=2), [0.06, 0.06]),
            Case(
                dict(weights=[0.01, 0.4, 0.02, 0.01, 0.03, 0.05, 0.01, 0.02, 0.1, 0.03], parts=2),
                [0.1, 0.15],
            ),
            Case(dict(weights=[0.1, 0.2, 0.6], parts=3), [0.1, 0.2, 0.6]),
        ),
        hints=(
            "Cut the weights into parts of equal length. The median of an odd number of values is "
            "the one in the middle when they are sorted.",
            "With `size = len(weights) // parts` a part is `weights[start : start + size]`, and "
            "its typical share `size * sorted(part)[size // 2]`.",
        ),
        solution=typical,
        wrong_answers=(
            WrongAnswer(_sums, "That is the sum, in which one heavy token decides."),
            WrongAnswer(_one_token, "That is one token's; times the number of tokens in the part."),
            WrongAnswer(_median_of_all, "Each part has a median of its own."),
            WrongAnswer(_not_sorted, "The middle token is not the median; sort the part first."),
            WrongAnswer(_first_left_out, "Sinks stand elsewhere too; a median needs no list."),
        ),
    ),
    Question(
        id="10.1",
        question="Why is the same question asked with its line at every place?",
        options=(
            "It saves time, since the text is read only once.",
            "Some lines are easier than others; so only the place differs.",
            "The model has to get used to the question.",
        ),
        answer="B",
        feedback={
            "A": "It costs time: the text is read again for each turn.",
            "C": "Nothing is learned between readings; each begins anew.",
        },
        explanation="Differences are taken question by question; luck with lines drops out.",
    ),
    Question(
        id="10.2",
        question="Right 0.60 at one place, 0.75 at another; their 95 % intervals overlap. So what?",
        options=(
            "There is no difference.",
            "The second place is better.",
            "These intervals do not say; look at the differences in pairs.",
        ),
        answer="C",
        feedback={
            "A": "Not shown is not the same as not there.",
            "B": "Perhaps. With few questions chance alone gives such a gap.",
        },
        explanation="A paired interval that leaves out 0, or a small p-value, would say so.",
    ),
    Question(
        id="10.3",
        question="Without the line nothing is right, from the line alone nearly all. What is that?",
        options=(
            "Floor and ceiling: what lies between them is due to the text around.",
            "A sign that the task is too easy.",
            "The error of the measurement.",
        ),
        answer="A",
        feedback={
            "B": "Easy is the line alone. Between floor and ceiling is where places can differ.",
            "C": "They are measured as the rest is, on the same questions.",
        },
        explanation="A place can be compared only where the score can go both up and down.",
    ),
    Question(
        id="10.4",
        question="The first tenth of a text gets more attention than the fifth. What follows?",
        options=(
            "So the model remembers beginnings best.",
            "So far nothing follows: look at which tokens get it, and at the answers.",
            "So sinks are needed for beginnings.",
        ),
        answer="B",
        feedback={
            "A": "Weight says where a head looks, not what it makes of it.",
            "C": "Sinks come first in texts because they are seen by all later tokens.",
        },
        explanation="Here a few tokens hold most of it, and the beginning is not found best.",
    ),
)
