"""What notebook 02 asks: who finds a fact outside the window, and what a full memory drops."""

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


def most_alike(query, keys, k):
    cosines = keys @ query / keys.norm(dim=1)  # the query's length changes no rank
    return cosines.topk(k).indices


def _by_product(query, keys, k):
    return (keys @ query).topk(k).indices


def _least_alike(query, keys, k):
    return (keys @ query / keys.norm(dim=1)).topk(k, largest=False).indices


def _scores_instead(query, keys, k):
    return (keys @ query / keys.norm(dim=1)).topk(k).values


def _divided_twice(query, keys, k):
    return (keys @ query / keys.norm(dim=1) ** 2).topk(k).indices


def _alike_cases():
    import torch

    small = {
        "query": torch.tensor([1.0, 0.0]),
        "keys": torch.tensor([[0.5, 0.0], [2.0, 2.0], [0.0, 3.0], [-1.0, 0.0]]),
        "k": 2,
    }
    drawn = torch.Generator().manual_seed(2)
    large = {
        "query": torch.randn(8, generator=drawn),
        "keys": torch.randn(40, 8, generator=drawn) * torch.rand(40, 1, generator=drawn) * 9,
        "k": 5,
    }
    return [Case(arguments, most_alike(*arguments.values())) for arguments in (small, large)]


def slot_to_give_up(written, reads):
    return min(range(len(reads)), key=lambda slot: (reads[slot], written[slot]))


def _oldest(written, reads):
    return written.index(min(written))


def _first_of_equals(written, reads):
    return reads.index(min(reads))


def _newest_of_equals(written, reads):
    return min(range(len(reads)), key=lambda slot: (reads[slot], -written[slot]))


def _most_read(written, reads):
    return max(range(len(reads)), key=lambda slot: (reads[slot], -written[slot]))


LESSON = lesson(
    2,
    Prediction(
        id="2.1",
        question=(
            "Each of the 270 heads picks the one key that is most like its query. How many pick a "
            "key of the right sentence for at least four of the eight questions?"
        ),
        options=("more than 200", "about 100", "fewer than 20"),
        answer="C",
        feedback={
            "A": "Most heads look for something else, such as the token before.",
            "B": "About so many find some sentence once. To find half of them is rarer.",
        },
        explanation="Who finds it is a handful of heads, most of them in the middle layers.",
    ),
    Prediction(
        id="2.2",
        question=(
            "Now the first token of the text is a key among the others again. Ranked by cosine: "
            "what do most heads rank first?"
        ),
        options=("a key of the right sentence", "the first token of the text", "neither"),
        answer="B",
        feedback={
            "A": "That is what we want, and few heads do.",
            "C": "Heads that have nothing to fetch have one place to look at.",
        },
        explanation=(
            "Its key points to where most queries point. But it is short, so that by product it "
            "wins less often."
        ),
    ),
    Prediction(
        id="2.3",
        question=(
            "A memory has 128 slots for 1,512 tokens. Four facts are asked for once, right after "
            "they were written. At the end we ask for all eight. What does `least_read` still find?"
        ),
        options=("all eight", "the four that were asked for", "only the last one"),
        answer="B",
        feedback={
            "A": "Slots that nobody read are given up first, whatever they hold.",
            "C": "That is what `oldest` still finds.",
        },
        explanation=(
            "What was read once stays; what was never asked for goes, however important it is."
        ),
    ),
    Exercise(
        id="2.1",
        task="Which k keys are most like the query by cosine, best first?",
        check=by_late_cases(_alike_cases),
        hints=(
            "The cosine of two vectors is their product divided by both lengths. `keys @ query` "
            "gives the products with all keys at once.",
            "Divide by `keys.norm(dim=1)`, one length for each key. Then `topk(k)` has `values` "
            "and `indices`; the addresses are the indices.",
        ),
        solution=most_alike,
        wrong_answers=(
            WrongAnswer(
                _by_product, "That ranks by product; divide by the length of each key, norm(dim=1)."
            ),
            WrongAnswer(_least_alike, "These are the least alike; the greatest cosine is wanted."),
            WrongAnswer(_scores_instead, "These are the cosines; give the addresses."),
            WrongAnswer(_divided_twice, "Divide by the length once, not by its square."),
        ),
    ),
    Exercise(
        id="2.2",
        task="Which slot does a full memory give up by `least_read`?",
        check=by_cases(
            Case(dict(written=[0, 1, 2], reads=[1, 0, 2]), 1),
            Case(dict(written=[5, 3, 7], reads=[0, 0, 0]), 1),
            Case(dict(written=[7, 2, 9, 4], reads=[1, 3, 1, 1]), 3),
            Case(dict(written=[8, 6, 7, 5], reads=[2, 2, 1, 1]), 3),
        ),
        hints=(
            "Find the smallest number of reads first. Which slots have it?",
            "Among these the one with the smallest `written` goes. Pairs compare by their first "
            "entry, then by their second: `min(..., key=lambda slot: (reads[slot], ...))`.",
        ),
        solution=slot_to_give_up,
        wrong_answers=(
            WrongAnswer(_oldest, "That is the rule `oldest`; reads come first here."),
            WrongAnswer(_first_of_equals, "Of equally read slots the oldest goes, not the first."),
            WrongAnswer(
                _newest_of_equals, "Of equally read slots the oldest goes, not the newest."
            ),
            WrongAnswer(_most_read, "What is read most is what we want to keep."),
        ),
    ),
    Question(
        id="2.1",
        question="Why does the memory hold keys before their rotation?",
        options=(
            "They take fewer bytes.",
            "Then what is found does not depend on where text and question stand.",
            "A rotation cannot be taken off again.",
        ),
        answer="B",
        feedback={
            "A": "A rotated key has as many numbers.",
            "C": "It can, exactly: turn back by the same angle.",
        },
        explanation="A place can be given to a key later, when it is used.",
    ),
    Question(
        id="2.2",
        question="One key is made three times as long. What can change?",
        options=(
            "its rank by cosine",
            "its rank by product",
            "both",
        ),
        answer="B",
        feedback={
            "A": "Its direction is the same, and cosine knows nothing else.",
            "C": "By cosine nothing changes: lengths are divided out.",
        },
        explanation="And the softmax of attention goes by products.",
    ),
    Question(
        id="2.3",
        question="A vector is written into a memory without detaching it. What stays with it?",
        options=(
            "everything that it was computed from, step after step",
            "its gradient",
            "nothing: a memory holds numbers",
        ),
        answer="A",
        feedback={
            "B": "There is no gradient before a backward pass; there is the way to compute one.",
            "C": "A tensor knows how it was made, as long as it may need a gradient.",
        },
        explanation="So a memory that lives for many steps should hold detached copies.",
    ),
    Question(
        id="2.4",
        question="A full memory gives up what is least read. Which fact is lost?",
        options=(
            "the oldest one, always",
            "none, if it is important",
            "one that nobody asked for in time",
        ),
        answer="C",
        feedback={
            "A": "An old one that was read stays.",
            "B": "The rule knows reads, not importance.",
        },
        explanation="No rule of this kind knows which question will come.",
    ),
)
