"""What notebook 09 asks: how a question finds its block, then its sentence, in a large memory."""

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_late_cases,
    lesson,
)


def block_scores(mass):
    return mass.amax(0) - mass.mean(0)


def _mean_alone(mass):
    return mass.mean(0)


def _largest_alone(mass):
    return mass.amax(0)


def _over_blocks(mass):
    return mass.amax(1) - mass.mean(1)


def _from_the_least(mass):
    return mass.amax(0) - mass.amin(0)


def _rise_cases():
    import torch

    small = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.0, 0.5]])
    drawn = torch.Generator().manual_seed(9)
    large = torch.randn(12, 30, generator=drawn).softmax(-1)
    return [Case({"mass": mass}, block_scores(mass)) for mass in (small, large)]


def share_of_all(scores, lse):
    return (scores - lse).exp().sum()


def _softmax_among_them(scores, lse):
    return scores.softmax(0).sum()


def _not_subtracted(scores, lse):
    return scores.exp().sum() / lse


def _logarithm(scores, lse):
    return scores.logsumexp(0) - lse


def _mean_weight(scores, lse):
    return (scores - lse).exp().mean()


def _share_cases():
    import torch

    zeros = {"scores": torch.zeros(2), "lse": torch.tensor(4.0).log()}
    every = torch.randn(50, generator=torch.Generator().manual_seed(9)) * 3
    some = {"scores": every[10:17], "lse": every.logsumexp(0)}
    return [Case(arguments, share_of_all(**arguments)) for arguments in (zeros, some)]


LESSON = lesson(
    9,
    Prediction(
        id="9.1",
        question=(
            "Suppose that we score a block by the mean, over the question's tokens, of the "
            "attention it gets, and keep the best five of 16. For how many of ten questions is "
            "the block with the fact among them?"
        ),
        options=("all ten", "eight or nine", "half of them, or fewer"),
        answer="C",
        feedback={
            "A": "Most tokens of a question do not look for the fact at all.",
            "B": "One word may find it, but in the mean it counts as one among twenty.",
        },
        explanation="What one word finds is lost in what all others look at.",
    ),
    Prediction(
        id="9.2",
        question=(
            "The first token of the text is an attention sink. Hide it from all questions. For how "
            "many of the ten is block 0, the one with the text's first words, then still on top?"
        ),
        options=("for none", "for about half", "for all ten"),
        answer="C",
        feedback={
            "A": "The sink is gone, but block 0 has 127 tokens more.",
            "B": "It does not depend on the question, and that is the point.",
        },
        explanation=(
            "The first words of a text draw weight, whatever is asked. To find out how much, ask "
            "about nothing; to get rid of it, take that off."
        ),
    ),
    Prediction(
        id="9.3",
        question=(
            "The memory grows from 2,048 tokens to 28,672. Which way of looking up answers most "
            "questions there?"
        ),
        options=(
            "every head takes its own best keys",
            "whole blocks, with their stored keys and values",
            "a few sentences, read again",
        ),
        answer="C",
        feedback={
            "A": "With more keys there are more near misses, and each head falls for its own.",
            "B": "The right block is there, and yet the answer often is not.",
        },
        explanation="What is read again is plain text in a short prompt, as the model knows it.",
    ),
    Exercise(
        id="9.1",
        task="How much does a question look at each block: largest minus mean?",
        check=by_late_cases(_rise_cases),
        hints=(
            "Two numbers for each block: the largest mass that any token of the question gives "
            "it, and the mean over the tokens. Tokens are the first axis, 0.",
            "`mass.amax(0)` is the largest, `mass.mean(0)` the mean; both have one entry a block.",
        ),
        solution=block_scores,
        wrong_answers=(
            WrongAnswer(_mean_alone, "That is the mean alone; what one word finds drowns."),
            WrongAnswer(_largest_alone, "That is the largest alone; take the mean off."),
            WrongAnswer(_over_blocks, "That goes over the blocks; tokens are axis 0."),
            WrongAnswer(_from_the_least, "Take off the mean over the tokens, not the least."),
        ),
    ),
    Exercise(
        id="9.2",
        task="Which share of the attention to all keys do some keys get?",
        check=by_late_cases(_share_cases),
        hints=(
            "The softmax weight of a key is the exponential of its score, divided by the sum of "
            "the exponentials of *all* scores. The log-sum-exp is the logarithm of that sum.",
            "So each weight is `(score - lse).exp()`. The share is the sum of these.",
        ),
        solution=share_of_all,
        wrong_answers=(
            WrongAnswer(
                _softmax_among_them,
                "A softmax among these keys alone always adds up to 1; use `lse`.",
            ),
            WrongAnswer(_not_subtracted, "`lse` is a logarithm: subtract it from the scores."),
            WrongAnswer(_logarithm, "That is the share's logarithm; take the exponential."),
            WrongAnswer(_mean_weight, "That is the mean weight; the share is the sum."),
        ),
    ),
    Question(
        id="9.1",
        question="Why is a block scored by the largest mass minus the mean?",
        options=(
            "so that all blocks get the same score",
            "one word may name the fact, and what all words look at alike is no answer",
            "it is faster to compute than the mean",
        ),
        answer="B",
        feedback={
            "A": "Then nothing could be chosen.",
            "C": "The mean is a part of it, and the masses take all the time anyhow.",
        },
        explanation="The largest alone finds seven of ten in five blocks; less the mean, all ten.",
    ),
    Question(
        id="9.2",
        question="Some sentences draw attention whatever is asked. What takes them down?",
        options=(
            "to take off what a question about nothing looks at",
            "to hide the first token of the text",
            "to choose more blocks",
        ),
        answer="A",
        feedback={
            "B": "That hides the sink alone; the sentences after it stay on top.",
            "C": "Then they are chosen all the same, and others beside them.",
        },
        explanation="What two questions share tells nothing of what either of them asks.",
    ),
    Question(
        id="9.3",
        question="A memory grows by ten. What does not grow with it?",
        options=(
            "the bytes of the memory",
            "the work of comparing a question with its keys",
            "the text that the model has before it when it answers",
        ),
        answer="C",
        feedback={
            "A": "Each token has its own keys, so bytes grow by ten.",
            "B": "Each key is compared with the question, so this grows by ten.",
        },
        explanation="Three sentences are three sentences, however large the memory is.",
    ),
    Question(
        id="9.4",
        question="The right block was chosen, and the answer is wrong. What follows?",
        options=(
            "The choice of blocks has to be improved.",
            "Finding and answering are two things, and have to be measured apart.",
            "The fact is not in the text.",
        ),
        answer="B",
        feedback={
            "A": "The block was found. What fails comes later.",
            "C": "It is: its block was chosen.",
        },
        explanation="So recall of blocks and right answers stand in two columns here.",
    ),
)
