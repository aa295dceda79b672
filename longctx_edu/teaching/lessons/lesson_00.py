"""What notebook 00 asks: tokens and characters, what fits a window, what reading costs."""

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_cases,
    lesson,
)


def tokens_left(window, document, question):
    return max(0, window - document - question)


def _question_forgotten(window, document, question):
    return max(0, window - document)


def _below_zero(window, document, question):
    return window - document - question


def _whole_window(window, document, question):
    return window


def sentences_that_fit(tokens, budget):
    used = 0
    for count, needed in enumerate(tokens):
        if used + needed > budget:
            return count
        used += needed
    return len(tokens)


def _full_budget_refused(tokens, budget):
    used = 0
    for count, needed in enumerate(tokens):
        if used + needed >= budget:
            return count
        used += needed
    return len(tokens)


def _gaps_allowed(tokens, budget):
    count = 0
    for needed in tokens:
        if needed <= budget:
            count += 1
            budget -= needed
    return count


def _shortest_first(tokens, budget):
    return sentences_that_fit(sorted(tokens), budget)


def _last_one_too_many(tokens, budget):
    used = 0
    for count, needed in enumerate(tokens):
        if used > budget:
            return count
        used += needed
    return len(tokens)


def _tokens_counted(tokens, budget):
    return sum(tokens[: sentences_that_fit(tokens, budget)])


LESSON = lesson(
    0,
    Prediction(
        id="0.1",
        question=(
            "A text is too long for the window, so its middle is cut out before the model reads "
            "it. The question asks for a fact that stood in the middle. What about the answer?"
        ),
        options=(
            "It is right: the model fills in what is missing.",
            "It is not right: the fact was not in what the model read.",
            "It is right, but takes longer than with the whole text.",
        ),
        answer="B",
        feedback={
            "A": "A fact made up for one text stands nowhere else, so it cannot be filled in.",
            "C": "It is the other way round: less text is read faster, and the fact is gone.",
        },
        explanation=(
            "What was not read cannot be answered from, and a language model writes a likely "
            "continuation either way."
        ),
    ),
    Prediction(
        id="0.2",
        question="Which method gives the model the fewest tokens to read for one question?",
        options=(
            "truncated: the beginning and the end of the text",
            "retrieval: the sentences that share the most telling words with the question",
            "map_reduce: every part of the text by itself, then the notes",
            "margins: the whole text, with a note after every segment",
        ),
        answer="B",
        feedback={
            "A": "Truncation fills the prompt up to its limit, whatever the question is.",
            "C": "Map-reduce reads every part once, each time with the question beside it.",
            "D": "Margins read the whole text, and the instruction and the notes besides.",
        },
        explanation=(
            "Retrieval ranks the sentences by counting words, without the model, which then reads "
            "a handful of them. It stays cheap for as long as the right ones are among them."
        ),
    ),
    Exercise(
        id="0.1",
        task="How many tokens of the window are left for the answer?",
        check=by_cases(
            Case({"window": 10, "document": 6, "question": 1}, 3),
            Case({"window": 10, "document": 9, "question": 1}, 0),
            Case({"window": 10, "document": 10, "question": 2}, 0),
            Case({"window": 8192, "document": 6000, "question": 40}, 2152),
        ),
        hints=(
            "One window holds everything the model reads and everything it writes.",
            "Take the document and the question from the window. What if both together are longer?",
        ),
        solution=tokens_left,
        wrong_answers=(
            WrongAnswer(_question_forgotten, "The question stands in the window, too."),
            WrongAnswer(_below_zero, "Fewer than no tokens cannot be left."),
            WrongAnswer(_whole_window, "What is read takes up room in the window."),
        ),
    ),
    Exercise(
        id="0.2",
        task="How many sentences, taken from the first on and in order, fit into a budget?",
        check=by_cases(
            Case({"tokens": [3], "budget": 3}, 1),
            Case({"tokens": [4], "budget": 3}, 0),
            Case({"tokens": [3, 2, 2], "budget": 4}, 1),
            Case({"tokens": [2, 9, 1], "budget": 4}, 1),
            Case({"tokens": [5, 1, 2], "budget": 4}, 0),
            Case({"tokens": [], "budget": 4}, 0),
            Case({"tokens": [12, 30, 8, 25, 14], "budget": 60}, 3),
        ),
        hints=(
            "Go through the sentences in order and keep count of the tokens used so far.",
            "Before taking a sentence: would the used tokens and its own exceed the budget? "
            "Then stop and return how many were taken.",
        ),
        solution=sentences_that_fit,
        wrong_answers=(
            WrongAnswer(
                _full_budget_refused, "A sentence that fills the budget exactly still fits."
            ),
            WrongAnswer(
                _gaps_allowed, "Skipping a sentence leaves a gap: stop at the first misfit."
            ),
            WrongAnswer(_shortest_first, "The sentences stay in order; do not sort them."),
            WrongAnswer(_last_one_too_many, "Look before you take a sentence, not after."),
            WrongAnswer(_tokens_counted, "Return the number of sentences, not of tokens."),
        ),
    ),
    Question(
        id="0.1",
        question="A model has a window of 8,192 tokens. What must fit into it?",
        options=(
            "the document",
            "the document and the question",
            "the document, the question, the chat template's own tokens, and the answer",
        ),
        answer="C",
        feedback={
            "A": "The question is read from the same window.",
            "B": "The answer is written into the same window, token by token.",
        },
        explanation="Everything that the model reads or writes takes up places in one window.",
    ),
    Question(
        id="0.2",
        question="What is a token?",
        options=(
            "a word",
            "a piece of text from the tokenizer's list: a word, a part of one, a digit, a space",
            "a character",
        ),
        answer="B",
        feedback={
            "A": "Common words are single tokens, but rare ones are cut into several.",
            "C": "One token often covers several characters: windows are longer than they look.",
        },
        explanation="How many tokens a text has depends on the tokenizer, so count, do not guess.",
    ),
    Question(
        id="0.3",
        question="A second question about the same text is faster than the first. Why?",
        options=(
            "The keys and values of the text are still in the KV cache.",
            "The model has learned the text.",
            "Second questions are shorter.",
        ),
        answer="A",
        feedback={
            "B": "No weight changes while a model answers; drop the cache and the text is gone.",
            "C": "Reading the text costs far more than reading a question of any length.",
        },
        explanation="Prefill of the text is done once; the ledger counts these tokens as reused.",
    ),
    Question(
        id="0.4",
        question="Retrieval answers wrongly, though the document holds the fact. Look where first?",
        options=(
            "at the citations: was the sentence with the fact among those that the model read?",
            "at the size of the model",
            "at the length of the window",
        ),
        answer="A",
        feedback={
            "B": "A larger model cannot answer from a sentence that it was not given.",
            "C": "Retrieval reads a few sentences only, far fewer than the window holds.",
        },
        explanation="Finding and answering fail separately; the citations tell which one it was.",
    ),
)
