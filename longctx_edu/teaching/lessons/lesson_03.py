"""What notebook 03 asks: what a row needs, what a pattern allows, and what is saved by skipping."""

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


def attend_to_best(query, keys, values, k):
    scores = keys @ query / len(query) ** 0.5
    best = scores.topk(min(k, len(keys)))
    return best.values.softmax(0) @ values[best.indices]  # k rows of values, no more


def _not_scaled(query, keys, values, k):
    best = (keys @ query).topk(min(k, len(keys)))
    return best.values.softmax(0) @ values[best.indices]


def _weights_cut(query, keys, values, k):
    weights = (keys @ query / len(query) ** 0.5).softmax(0)
    best = weights.topk(min(k, len(keys)))
    return best.values @ values[best.indices]


def _zeros_left(query, keys, values, k):
    scores = keys @ query / len(query) ** 0.5
    best = scores.topk(min(k, len(keys)))
    kept = scores.new_zeros(len(keys)).scatter(0, best.indices, best.values)
    return kept.softmax(0) @ values


def _plain_mean(query, keys, values, k):
    best = (keys @ query).topk(min(k, len(keys)))
    return values[best.indices].mean(0)


def _first_k(query, keys, values, k):
    scores = keys @ query / len(query) ** 0.5
    return scores[:k].softmax(0) @ values[:k]


def _too_few_keys_fail(query, keys, values, k):
    scores = keys @ query / len(query) ** 0.5
    best = scores.topk(k)
    return best.values.softmax(0) @ values[best.indices]


def _best_cases():
    import torch

    small = {
        "query": torch.tensor([2.0, 0.0, 0.0, 0.0]),
        "keys": torch.tensor([[0.0], [-1.0], [1.0], [2.0]]) * torch.tensor([1.0, 0, 0, 0]),
        "values": torch.tensor([[1.0, 0.0], [5.0, 5.0], [0.0, 1.0], [1.0, 1.0]]),
        "k": 2,
    }
    drawn = torch.Generator().manual_seed(3)
    large = {
        "query": torch.randn(16, generator=drawn),
        "keys": torch.randn(50, 16, generator=drawn),
        "values": torch.randn(50, 16, generator=drawn),
        "k": 8,
    }
    few = {**small, "k": 6}
    cases = (small, large, few)
    return [Case(arguments, attend_to_best(*arguments.values())) for arguments in cases]


def pairs(tokens, width, first):
    return sum(min(place + 1, width + first) for place in range(tokens))


def _nothing_masked(tokens, width, first):
    return tokens * (width + first)


def _counted_twice(tokens, width, first):
    return sum(min(place + 1, width) + min(place + 1, first) for place in range(tokens))


def _without_itself(tokens, width, first):
    return sum(min(place, width + first) for place in range(tokens))


def _window_alone(tokens, width, first):
    return sum(min(place + 1, width) for place in range(tokens))


def _one_more(tokens, width, first):
    return sum(min(place + 1, width + first + 1) for place in range(tokens))


LESSON = lesson(
    3,
    Prediction(
        id="3.1",
        question=(
            "Every head of every layer may look at 64 tokens of up to 987, and at no others: "
            "at the 64 that it scores highest, or at the 64 nearest. Which of the two can the "
            "model bear, without having been trained for either?"
        ),
        options=(
            "neither: nine tenths of the text are missing",
            "the 64 it scores highest, but not the 64 nearest",
            "both: what matters stands nearby",
        ),
        answer="B",
        feedback={
            "A": "Most of what is left out had hardly any weight.",
            "C": "Much of the weight does lie nearby, but the text gets far harder to foretell.",
        },
        explanation=(
            "Which keys are left out counts for more than how many: the best by score hold most "
            "of the weight, the nearest lack a token that nearly all heads lean on."
        ),
    ),
    Prediction(
        id="3.2",
        question=(
            "Take the head in the middle, when all 270 are put in order. How many keys of some "
            "700 hold nine tenths of the weight of its rows?"
        ),
        options=("4 or so", "40 or so", "400 or so"),
        answer="B",
        feedback={
            "A": "Some heads are that sharp, but not the one in the middle.",
            "C": "That would be nearly even. In the first layer there are such heads.",
        },
        explanation="A twentieth of the keys. But heads differ by a factor of a hundred.",
    ),
    Prediction(
        id="3.3",
        question=(
            "The slide writes 0 in place of the scores that it leaves out, and then takes the "
            "softmax. Of random scores it keeps 10 in 100. Where does the weight go?"
        ),
        options=(
            "nearly all to the 10 that were kept",
            "more than half to the 90 that were left out",
            "a tenth to the 90 that were left out",
        ),
        answer="B",
        feedback={
            "A": "exp(0) is 1, not 0, and there are 90 of them.",
            "C": "Each gets little, but there are 90 of them.",
        },
        explanation="To leave a key out its score must be minus infinity: exp of that is 0.",
    ),
    Prediction(
        id="3.4",
        question=(
            "A window of 256 leaves one pair in eight of 4,096 tokens. We hand it to PyTorch's "
            "attention as a mask. How long does it take, against full causal attention?"
        ),
        options=(
            "about an eighth of the time",
            "about a half of the time",
            "as long or longer",
        ),
        answer="C",
        feedback={
            "A": "That is what would be saved if what is masked were not computed.",
            "B": "Half is what the causal mask saves, which the kernel knows and skips.",
        },
        explanation=(
            "A mask is looked at after the scores are there, and is itself read from memory. Work "
            "is saved where it is never begun."
        ),
    ),
    Exercise(
        id="3.1",
        task="Attention of one query to its k best keys, touching no other value.",
        check=by_late_cases(_best_cases),
        hints=(
            "Scores of all keys first: `keys @ query`, divided by the square root of the size of "
            "the query. `topk` gives both the best scores and where they stand.",
            "The softmax is taken of the k best scores alone; then these weights times "
            "`values[best.indices]`. If there are fewer than k keys, take them all: "
            "`min(k, len(keys))`.",
        ),
        solution=attend_to_best,
        wrong_answers=(
            WrongAnswer(_not_scaled, "Divide the scores by the square root of len(query)."),
            WrongAnswer(_weights_cut, "The k weights do not add up to 1; choose, then softmax."),
            WrongAnswer(_zeros_left, "A score of 0 still has weight; leave the others out."),
            WrongAnswer(_plain_mean, "The k values do not count alike; weigh them by softmax."),
            WrongAnswer(_first_k, "These are the first k keys, not those with the best scores."),
            WrongAnswer(_too_few_keys_fail, "With fewer than k keys take those there are."),
        ),
    ),
    Exercise(
        id="3.2",
        task="How many pairs of query and key does a window with first tokens allow?",
        check=by_cases(
            Case(dict(tokens=4, width=2, first=1), 9),
            Case(dict(tokens=3, width=8, first=2), 6),
            Case(dict(tokens=6, width=2, first=0), 11),
            Case(dict(tokens=1000, width=60, first=4), 61_984),
        ),
        hints=(
            "Count the keys of one query. That at place 0 sees itself, 1 key. Far down each sees "
            "`width + first` keys.",
            "In between window and first tokens touch, and no key counts twice. The query at "
            "place p has p + 1 keys up to itself, so it sees `min(p + 1, width + first)`.",
        ),
        solution=pairs,
        wrong_answers=(
            WrongAnswer(_nothing_masked, "The first queries have fewer keys before them."),
            WrongAnswer(_counted_twice, "A first token inside the window is one key, not two."),
            WrongAnswer(_without_itself, "A query sees itself; the one at place 0 sees 1 key."),
            WrongAnswer(_window_alone, "The first tokens are seen too, by all."),
            WrongAnswer(_one_more, "The window counts the token itself: width, not width + 1."),
        ),
    ),
    Question(
        id="3.1",
        question="Top-k is to be taken of a causal row. What comes first?",
        options=(
            "the k best of all scores; then later keys are hidden",
            "later keys are hidden; then the k best; then the softmax",
            "the softmax; then the k largest weights",
        ),
        answer="B",
        feedback={
            "A": "Later keys would take places among the k, and a row may be left with none.",
            "C": "What is left would not add up to 1, so that each row is weaker than it was.",
        },
        explanation="So each row has k keys, or as many as it sees, and its weights add up to 1.",
    ),
    Question(
        id="3.2",
        question=(
            "A window without the text's first tokens breaks the model, with them it lives. What "
            "do these tokens give?"
        ),
        options=(
            "the text's beginning, which says what it is about",
            "a place for weight that a head has no use for",
            "the position of all others",
        ),
        answer="B",
        feedback={
            "A": "The first of all may say nothing, and still takes a good part of the weight.",
            "C": "Positions come with the rotation of queries and keys.",
        },
        explanation=(
            "A softmax must put its weight somewhere. Without the sink it lands on tokens whose "
            "values then count."
        ),
    ),
    Question(
        id="3.3",
        question="30 layers with a window of 16 each. How far back can anything come from?",
        options=("15 tokens", "450 tokens", "any distance"),
        answer="B",
        feedback={
            "A": "That is one layer; the next one looks 15 further back through it.",
            "C": "Each layer adds 15 tokens, and there are 30.",
        },
        explanation=(
            "30 times 15. What *can* come through is not what *does*: a fact has to be handed on "
            "from layer to layer by a model that learned to."
        ),
    ),
    Question(
        id="3.4",
        question="Top-k with k = 64 over 8,192 tokens. Which work is not saved?",
        options=(
            "the scores of all pairs",
            "adding up the values",
            "neither: it takes 64 of 8,192 of the work",
        ),
        answer="A",
        feedback={
            "B": "Only 64 values a row are added up.",
            "C": "To know the best 64 one needs the scores of all.",
        },
        explanation=(
            "So it saves half of the products at most, and pays for the choice. Blocks, or an "
            "index, choose without looking at everything."
        ),
    ),
)
