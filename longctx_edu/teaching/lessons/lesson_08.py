"""What notebook 08 asks: where code stands, what a check is worth, what reading code can do."""

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_cases,
    lesson,
)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def _from_zero(text, offset):
    return text.count("\n", 0, offset)


def _with_its_own_end(text, offset):
    return text.count("\n", 0, offset + 1) + 1


def _last_line(text, offset):
    return text.count("\n") + 1


class _Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        return self.items.pop()

    def is_empty(self):
        return not self.items


class _FirstInFirstOut(_Stack):
    def pop(self):
        return self.items.pop(0)


class _KeepsWhatIsPopped(_Stack):
    def pop(self):
        return self.items[-1]


class _NeverEmpty(_Stack):
    def is_empty(self):
        return False


def is_a_stack(stack_class):
    stack = stack_class()
    if not stack.is_empty():
        return False
    stack.push(1)
    stack.push(2)
    return stack.pop() == 2 and stack.pop() == 1 and stack.is_empty()


def _one_item_only(stack_class):
    stack = stack_class()
    stack.push(1)
    return stack.pop() == 1


def _pops_once(stack_class):
    stack = stack_class()
    stack.push(1)
    stack.push(2)
    return stack.pop() == 2


def _never_asks_whether_empty(stack_class):
    stack = stack_class()
    stack.push(1)
    stack.push(2)
    return stack.pop() == 2 and stack.pop() == 1


LESSON = lesson(
    8,
    Prediction(
        id="8.1",
        question=(
            "The same four questions, but only 1,024 tokens of the file are kept, its beginning "
            "and its end (the method `truncated`). How many answers are right?"
        ),
        options=("none", "some", "all four"),
        answer="B",
        feedback={
            "A": "What stands in the parts that are kept can still be read.",
            "C": "Two of the four definitions stand in the part that was cut out.",
        },
        explanation=(
            "Right where the definition was kept, wrong where it was cut out. The wrong answers "
            "look like Python, too."
        ),
    ),
    Prediction(
        id="8.2",
        question=(
            "A function and its copy with one `<=` turned into `<` become one mean vector each. "
            "How alike are the two vectors (cosine, 1 is equal)?"
        ),
        options=("about 0.5", "about 0.9", "more than 0.999"),
        answer="C",
        feedback={
            "A": "So far apart are hardly two different functions.",
            "B": "One token of hundreds changed, and a mean hides it.",
        },
        explanation="What is one token of code and all of its meaning is lost in the mean.",
    ),
    Exercise(
        id="8.1",
        task="In which line does a character stand?",
        check=by_cases(
            Case(dict(text="a", offset=0), 1),
            Case(dict(text="a\nb", offset=2), 2),
            Case(dict(text="a\nb", offset=0), 1),
            Case(dict(text="a\nb", offset=1), 1),
            Case(dict(text="\n\n\nx = 1\ny = 2\n", offset=7), 4),
            Case(dict(text="def f(x):\n    return x\n", offset=14), 2),
        ),
        hints=(
            "The first line is line 1. What has to stand before a character so that it is in "
            "line 2?",
            'Count the `"\\n"` before the character: `text.count("\\n", 0, offset)`. The '
            "character itself does not count.",
        ),
        solution=line_of,
        wrong_answers=(
            WrongAnswer(_from_zero, "Editors and tracebacks count lines from 1."),
            WrongAnswer(_with_its_own_end, "The end of a line belongs to the line that it ends."),
            WrongAnswer(_last_line, "Only what stands before the character counts."),
        ),
    ),
    Exercise(
        id="8.2",
        task="Does a class do what a stack does?",
        check=by_cases(
            Case(dict(stack_class=_Stack), True),
            Case(dict(stack_class=_FirstInFirstOut), False),
            Case(dict(stack_class=_KeepsWhatIsPopped), False),
            Case(dict(stack_class=_NeverEmpty), False),
        ),
        hints=(
            "Four classes will be tried: a right one, one that gives back the oldest item, one "
            "that keeps what is popped, and one that is never empty.",
            "Make one, ask whether it is empty, push 1 and 2, pop twice and compare, ask again. "
            "Return True only if all of it holds.",
        ),
        solution=is_a_stack,
        wrong_answers=(
            WrongAnswer(_one_item_only, "With a single item the order does not show: push two."),
            WrongAnswer(_pops_once, "An item that is popped must be gone: pop once more."),
            WrongAnswer(_never_asks_whether_empty, "Nobody asked `is_empty` yet."),
        ),
    ),
    Question(
        id="8.1",
        question="Why must code that a model wrote not run in the kernel that asked for it?",
        options=(
            "It would be slower there.",
            "It may loop, delete files or change what is loaded; in a process with limits it "
            "is stopped, and the kernel is as before.",
            "The kernel cannot run code that was made by a model.",
        ),
        answer="B",
        feedback={
            "A": "A process of its own takes a little longer to start.",
            "C": "It can, with `exec`; that is the danger.",
        },
        explanation="And even so: limits stop accidents. Who means harm needs more than that.",
    ),
    Question(
        id="8.2",
        question="A class that a model wrote passes three of three checks. What do you know?",
        options=(
            "that it is right",
            "that these three checks held, and nothing more",
            "that the model has understood the package",
        ),
        answer="B",
        feedback={
            "A": "A class that gives back the oldest item passes a check with one item.",
            "C": "It may have seen such a class a thousand times in training.",
        },
        explanation="A check is worth as much as the faults that it would catch.",
    ),
    Question(
        id="8.3",
        question=(
            "Word search answers questions on named functions as well as memory does. When would "
            "you expect memory to do better?"
        ),
        options=(
            "when the question does not share words with the code",
            "when the file is shorter",
            "when functions have long names",
        ),
        answer="A",
        feedback={
            "B": "What fits the window needs neither of the two.",
            "C": "A rare name is what word search finds best.",
        },
        explanation="Where the name is in the question, the words are enough, and cheaper.",
    ),
    Question(
        id="8.4",
        question="An answer about code is given with file and line. What is that good for?",
        options=(
            "It proves the answer.",
            "You open that line and see for yourself in seconds.",
            "The code need not be read any more.",
        ),
        answer="B",
        feedback={
            "A": "Wrong answers had sources, too.",
            "C": "A small model's words about code are a guess; the line is not.",
        },
        explanation="In this notebook the place was often right where the words were not.",
    ),
)
