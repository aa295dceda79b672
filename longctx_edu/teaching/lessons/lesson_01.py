"""What notebook 01 asks: what grows with a text's length, what a cache takes, how parts join."""

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_cases,
    by_late_cases,
    lesson,
)


def cache_bytes(layers, heads, kv_heads, head_dim, tokens, number_bytes):
    return 2 * layers * kv_heads * head_dim * tokens * number_bytes


def _values_forgotten(layers, heads, kv_heads, head_dim, tokens, number_bytes):
    return layers * kv_heads * head_dim * tokens * number_bytes


def _one_layer(layers, heads, kv_heads, head_dim, tokens, number_bytes):
    return 2 * kv_heads * head_dim * tokens * number_bytes


def _query_heads(layers, heads, kv_heads, head_dim, tokens, number_bytes):
    return 2 * layers * heads * head_dim * tokens * number_bytes


def _numbers_counted(layers, heads, kv_heads, head_dim, tokens, number_bytes):
    return 2 * layers * kv_heads * head_dim * tokens


def _pairs_kept(layers, heads, kv_heads, head_dim, tokens, number_bytes):
    return 2 * layers * kv_heads * head_dim * tokens**2 * number_bytes


def join(output, lse, other, other_lse):
    share = (other_lse - lse).sigmoid()[:, None]  # exp(b) / (exp(a) + exp(b))
    return (1 - share) * output + share * other


def _halves(output, lse, other, other_lse):
    return (output + other) / 2


def _not_divided(output, lse, other, other_lse):
    return lse.exp()[:, None] * output + other_lse.exp()[:, None] * other


def _swapped(output, lse, other, other_lse):
    return join(output, other_lse, other, lse)


def _without_exponential(output, lse, other, other_lse):
    share = (other_lse / (lse + other_lse))[:, None]
    return (1 - share) * output + share * other


def _overflowing(output, lse, other, other_lse):
    first, second = lse.exp()[:, None], other_lse.exp()[:, None]
    return (first * output + second * other) / (first + second)


def _join_cases():
    import torch

    small = {
        "output": torch.tensor([[1.0, 0.0], [2.0, 4.0]]),
        "lse": torch.tensor([0.0, 2.0]),
        "other": torch.tensor([[3.0, 1.0], [0.0, 1.0]]),
        "other_lse": torch.tensor([1.0, 0.5]),
    }
    large = {**small, "lse": torch.tensor([200.0, 2.0]), "other_lse": torch.tensor([199.0, 300.0])}
    return [Case(arguments, join(*arguments.values())) for arguments in (small, large)]


LESSON = lesson(
    1,
    Prediction(
        id="1.1",
        question=(
            "Reading 256 tokens takes this model a second or so. How long will 2,048 tokens take, "
            "eight times as many?"
        ),
        options=(
            "about 8 times as long",
            "about 10 times as long",
            "about 64 times as long, since attention is quadratic",
        ),
        answer="B",
        feedback={
            "A": "Most of the work grows like that, but attention grows faster.",
            "C": "Only attention is quadratic, and at this length it is the smaller part.",
        },
        explanation=(
            "Counted in operations it is 10 times; a clock says something near that, as far as the "
            "machine has nothing else to do."
        ),
    ),
    Prediction(
        id="1.2",
        question=(
            "Nine query heads share three heads of keys and values. What becomes a third of what "
            "it would be with nine of them?"
        ),
        options=(
            "the bytes of the cache",
            "the operations of attention",
            "both",
        ),
        answer="A",
        feedback={
            "B": "Each of the nine query heads still has a score for each pair of tokens.",
            "C": "The cache, yes. But each of the nine query heads still has all its scores.",
        },
        explanation="Sharing saves memory, and the time to fetch it, not arithmetic.",
    ),
    Prediction(
        id="1.3",
        question=(
            "Llama 3 8B reads 1,000 tokens. Which share of its operations is attention, with its "
            "million pairs?"
        ),
        options=("more than nine tenths", "about a half", "less than a twentieth"),
        answer="C",
        feedback={
            "A": "The matrices that every token goes through are not free: 7 billion numbers.",
            "B": "That is the share at the crossover, some fifty thousand tokens further on.",
        },
        explanation=(
            "How fast a cost grows does not say where it matters; for that one needs its constants."
        ),
    ),
    Exercise(
        id="1.1",
        task="How many bytes does the KV cache of a text take?",
        check=by_cases(
            Case(
                dict(layers=1, heads=2, kv_heads=1, head_dim=4, tokens=3, number_bytes=4),
                96,
            ),
            Case(
                dict(layers=30, heads=9, kv_heads=3, head_dim=64, tokens=2048, number_bytes=4),
                94_371_840,
            ),
            Case(
                dict(layers=32, heads=32, kv_heads=8, head_dim=128, tokens=131072, number_bytes=2),
                17_179_869_184,
            ),
        ),
        hints=(
            "What is kept for one token in one layer? A key and a value for each KV head, each of "
            "head_dim numbers.",
            "Numbers of one token in one layer: 2 * kv_heads * head_dim. Then times layers, times "
            "tokens, times bytes of one number. Queries are not kept.",
        ),
        solution=cache_bytes,
        wrong_answers=(
            WrongAnswer(_values_forgotten, "Keys and values are kept: twice as many numbers."),
            WrongAnswer(_one_layer, "Every layer has keys and values of its own."),
            WrongAnswer(_query_heads, "Queries are not kept; count the heads of keys and values."),
            WrongAnswer(_numbers_counted, "These are numbers; how many bytes has each?"),
            WrongAnswer(_pairs_kept, "Keys are kept for each token, not for each pair of tokens."),
        ),
    ),
    Exercise(
        id="1.2",
        task="Join two attentions over disjoint parts of the keys by their log-sum-exps.",
        check=by_late_cases(_join_cases),
        hints=(
            "exp(lse) is the sum of the exponentials of one part. So the two parts have to be "
            "weighted by exp(lse) and exp(other_lse), divided by their sum.",
            "exp(b) / (exp(a) + exp(b)) is 1 / (1 + exp(a - b)), which is the sigmoid of b - a; so "
            "written it does not overflow. Give it a last axis with [:, None] for the columns.",
        ),
        solution=join,
        wrong_answers=(
            WrongAnswer(_halves, "The parts do not weigh the same: their sums of exponentials do."),
            WrongAnswer(_not_divided, "Divide by the sum of the two exponentials."),
            WrongAnswer(_swapped, "Each output belongs to its own log-sum-exp."),
            WrongAnswer(_without_exponential, "Weigh by exp(lse), not by lse itself."),
            WrongAnswer(_overflowing, "exp(200) is too large for float32; use their difference."),
        ),
    ),
    Question(
        id="1.1",
        question="A model reads 4,000 tokens at once. Which pairs of tokens get a score?",
        options=(
            "each token with itself and all before it",
            "each token with the one before it",
            "each token with all others, before and after",
        ),
        answer="A",
        feedback={
            "B": "That would be linear. A query is compared with all keys that it may see.",
            "C": "A causal model does not look ahead: that halves the pairs.",
        },
        explanation="n (n + 1) / 2 pairs, in each head of each layer: 8 million for 4,000 tokens.",
    ),
    Question(
        id="1.2",
        question="Why is writing one token nearly as fast after 2,000 tokens as after 200?",
        options=(
            "Attention is skipped while writing.",
            "Most of the time goes into fetching the model's weights, whatever the length.",
            "Old tokens drop out of the cache.",
        ),
        answer="B",
        feedback={
            "A": "The new token is compared with every key in the cache.",
            "C": "Nothing drops out; the cache grows with each token.",
        },
        explanation="The cache of 2,000 tokens is a seventh of the bytes that a step reads here.",
    ),
    Question(
        id="1.3",
        question="Softmax attention in a trained model is replaced by linear attention. What now?",
        options=(
            "The same answers, faster.",
            "Slightly rounded answers, faster.",
            "Another function: the model has to be trained for it.",
        ),
        answer="C",
        feedback={
            "A": "Its weights are other weights; the cells above compare the outputs.",
            "B": "The difference is no rounding: it was larger than the output itself.",
        },
        explanation="Chunks, recurrence and definition agree with each other, not with softmax.",
    ),
    Question(
        id="1.4",
        question="What must be known of two parts of a row to join their attention exactly?",
        options=(
            "all weights of both parts",
            "how many keys each part has",
            "the output and one number, the log-sum-exp, of each part",
        ),
        answer="C",
        feedback={
            "A": "That works, but the weights need not be kept: one number stands for them.",
            "B": "A part with few keys may hold most of the mass.",
        },
        explanation="Text and memory outside of the window will be joined like this later.",
    ),
)
