"""What notebook 07 asks: how a long text is cut, what windows cost, what a memory weighs."""

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_cases,
    lesson,
)


def seen_before(token, window, stride):
    if token < window:
        return token
    windows_before = (token - window) // stride + 1
    return token - windows_before * stride


def _since_a_stride(token, window, stride):
    return token % stride


def _without_overlap(token, window, stride):
    return token % window


def _the_least(token, window, stride):
    return token if token < window else window - stride


def _one_window_early(token, window, stride):
    return token if token < window else token - (token - window) // stride * stride


def longest_text(budget, layers, kv_heads, head_dim, number_bytes):
    return budget // (2 * layers * kv_heads * head_dim * number_bytes)  # 2: keys and values


def _keys_alone(budget, layers, kv_heads, head_dim, number_bytes):
    return budget // (layers * kv_heads * head_dim * number_bytes)


def _one_layer(budget, layers, kv_heads, head_dim, number_bytes):
    return budget // (2 * kv_heads * head_dim * number_bytes)


def _numbers_not_bytes(budget, layers, kv_heads, head_dim, number_bytes):
    return budget // (2 * layers * kv_heads * head_dim)


def _a_part_of_a_token(budget, layers, kv_heads, head_dim, number_bytes):
    return budget / (2 * layers * kv_heads * head_dim * number_bytes)


LESSON = lesson(
    7,
    Prediction(
        id="7.1",
        question=(
            "A text is cut every 512 letters, for a limit of 512 tokens. How many pieces are "
            "there, compared with a cut by tokens?"
        ),
        options=("about as many", "half as many", "about four times as many"),
        answer="C",
        feedback={
            "A": "Then a token would be one letter.",
            "B": "That would take tokens shorter than a letter; in Chinese they are, here.",
        },
        explanation=(
            "A token of this text covers four letters, so that each piece fills a quarter of its "
            "limit."
        ),
    ),
    Prediction(
        id="7.2",
        question=(
            "A window begins in the middle of the text, without overlap. Which of its 256 tokens "
            "are read clearly worse than in their place?"
        ),
        options=(
            "the first word only",
            "the first dozens, the very first most of all",
            "all of them alike",
        ),
        answer="B",
        feedback={
            "A": "A sentence or two is needed to know who speaks, and of what.",
            "C": "What stands near a token tells most about it, and later ones have that.",
        },
        explanation="What is missed falls fast with what can be seen, and never quite to nothing.",
    ),
    Prediction(
        id="7.3",
        question=(
            "A token stands for four letters, four bytes of text. How many bytes does a memory "
            "hold for it, with all keys and values in float16?"
        ),
        options=("about 40", "about 1,000", "more than 20,000"),
        answer="C",
        feedback={
            "A": "That would be ten numbers for each of keys and values.",
            "B": "About so many does a single layer hold: 768.",
        },
        explanation="Each of 30 layers keeps a key and a value of 3 heads, 64 numbers each.",
    ),
    Exercise(
        id="7.1",
        task="How many tokens stood before a token where it was new?",
        check=by_cases(
            Case(dict(token=5, window=8, stride=4), 5),
            Case(dict(token=8, window=8, stride=4), 4),
            Case(dict(token=11, window=8, stride=4), 7),
            Case(dict(token=12, window=8, stride=4), 4),
            Case(dict(token=9, window=3, stride=3), 0),
            Case(dict(token=4998, window=1024, stride=768), 390),
        ),
        hints=(
            "In the first window nothing stands before the text, so the answer is the token's own "
            "number. Which window is it in later on?",
            "Token `window` is the first of the second window's new ones, and each window brings "
            "`stride` of them. Find the window's start; what stood before the token is its number "
            "less that start.",
        ),
        solution=seen_before,
        wrong_answers=(
            WrongAnswer(_since_a_stride, "The first window keeps `window` tokens, not `stride`."),
            WrongAnswer(_without_overlap, "Later windows begin before their first new token."),
            WrongAnswer(_the_least, "That is the least; only a window's first new token has it."),
            WrongAnswer(_one_window_early, "More than window - 1 tokens cannot stand before it."),
        ),
    ),
    Exercise(
        id="7.2",
        task="How many tokens does a memory of so many bytes hold?",
        check=by_cases(
            Case(dict(budget=1000, layers=3, kv_heads=1, head_dim=4, number_bytes=4), 10),
            Case(dict(budget=10**9, layers=30, kv_heads=3, head_dim=64, number_bytes=2), 43402),
            Case(dict(budget=10**9, layers=32, kv_heads=8, head_dim=128, number_bytes=1), 15258),
        ),
        hints=(
            "How many numbers does one token take in one head of one layer? Do not forget the "
            "value beside the key.",
            "Multiply up to the bytes of a token, then divide the budget by them with `//`: a "
            "token is held whole or not at all.",
        ),
        solution=longest_text,
        wrong_answers=(
            WrongAnswer(_keys_alone, "Each token has a key and a value."),
            WrongAnswer(_one_layer, "Every layer holds keys and values of its own."),
            WrongAnswer(_numbers_not_bytes, "These are numbers; each takes number_bytes bytes."),
            WrongAnswer(_a_part_of_a_token, "A token is held whole or not at all: use `//`."),
        ),
    ),
    Question(
        id="7.1",
        question="Why is a text turned into tokens before it is cut, and not after?",
        options=(
            "It is quicker.",
            "The tokens of two halves are not the tokens of the whole, and limits count tokens.",
            "Tokens take fewer bytes than letters.",
        ),
        answer="B",
        feedback={
            "A": "It takes about as long.",
            "C": "An id takes more bytes than a letter; that is not the point.",
        },
        explanation="A cut through a word makes tokens that the model has seldom seen.",
    ),
    Question(
        id="7.2",
        question="Windows of 2,048 tokens, a new one every 512. What does a long text cost?",
        options=(
            "about four times its tokens",
            "about a quarter of its tokens",
            "its tokens, since each is kept once",
        ),
        answer="A",
        feedback={
            "B": "Nothing is skipped, so that it cannot be less than its tokens.",
            "C": "Kept once, but read in up to four windows.",
        },
        explanation="Each window reads 2,048 tokens and keeps 512 of them.",
    ),
    Question(
        id="7.3",
        question="An answer comes with sources. What do these tell you?",
        options=(
            "that the answer is right",
            "where the model looked while it answered, so that you can check",
            "that nothing else in the text says anything about it",
        ),
        answer="B",
        feedback={
            "A": "With its document removed, the answer was wrong and had sources all the same.",
            "C": "What was not looked up was not read at all.",
        },
        explanation="They make it quick to check; they do not do it for you.",
    ),
    Question(
        id="7.4",
        question="A saved memory is opened with another model. What should happen?",
        options=(
            "it is refused",
            "it works, a little worse",
            "the keys are converted",
        ),
        answer="A",
        feedback={
            "B": "Keys of one model are noise to another, and noise does not look like an error.",
            "C": "Nobody knows how; the text would have to be read anew.",
        },
        explanation="Keys mean something only to the weights that made them.",
    ),
)
