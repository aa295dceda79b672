"""What notebook 16 asks: what each method costs, and what an answer on one's own text is worth."""

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_cases,
    lesson,
)


def stands_in(answer, sources):
    words = " ".join(answer.lower().split())
    return any(words in " ".join(source.lower().split()) for source in sources)


def _letter_by_letter(answer, sources):
    return any(answer in source for source in sources)


def _word_by_word(answer, sources):
    found = " ".join(sources).lower()
    return all(word in found for word in answer.lower().split())


def _in_the_first(answer, sources):
    return " ".join(answer.lower().split()) in " ".join(sources[0].lower().split())


def tokens_read(text, request, questions, reads_once):
    times = 1 if reads_once else questions
    return times * text + questions * request


def _request_once(text, request, questions, reads_once):
    return (1 if reads_once else questions) * text + request


def _always_anew(text, request, questions, reads_once):
    return questions * (text + request)


def _always_once(text, request, questions, reads_once):
    return text + questions * request


LESSON = lesson(
    16,
    Prediction(
        id="16.1",
        question=(
            "A document gets ten times as long. For which methods does a question, once the "
            "document is prepared, take about as long as before?"
        ),
        options=(
            "for none: each has to read ten times as much",
            "for retrieval and memory, which read only what they find",
            "for all: the document was read before",
        ),
        answer="B",
        feedback={
            "A": "Whoever looks something up reads a few sentences, however many there are.",
            "C": "map_reduce reads all of it for every question, and margins asks every segment.",
        },
        explanation=(
            "Retrieval and memory read what they found. Truncated stays at its limit, too, since "
            "it leaves the rest out."
        ),
    ),
    Prediction(
        id="16.2",
        question=(
            "We ask for something that the document does not say. How many of the methods say "
            "that it is not there?"
        ),
        options=("all of them", "those that read the whole document", "none of them"),
        answer="C",
        feedback={
            "A": "The model was asked to answer, and a small one always does.",
            "B": "To have read all of it is not to notice that something is missing.",
        },
        explanation=(
            "A small model continues with what is likely. So ask each text of your own something "
            "that you know is not in it, before you trust what it says."
        ),
    ),
    Exercise(
        id="16.1",
        task="Does an answer stand in one of its sources?",
        check=by_cases(
            Case(dict(answer="Ada", sources=["The keeper was called Ada."]), True),
            Case(dict(answer="Ada", sources=["Nobody.", "The keeper was called Ada."]), True),
            Case(dict(answer="grey cat", sources=["She had a grey\n  cat."]), True),
            Case(dict(answer="ada", sources=["The keeper was called Ada."]), True),
            Case(dict(answer="two cats", sources=["She had two dogs.", "The cats ran."]), False),
            Case(dict(answer="Ada", sources=[]), False),
        ),
        hints=(
            "Capitals and line ends do not matter: make both small, and join what split() gives "
            "by single spaces.",
            "It has to stand in one source as a whole, so look at them one by one: any(...).",
        ),
        solution=stands_in,
        wrong_answers=(
            WrongAnswer(_letter_by_letter, "A line end in a source is as good as a space."),
            WrongAnswer(_word_by_word, "Words from here and there are no quotation."),
            WrongAnswer(_in_the_first, "There may be several sources, or none."),
        ),
    ),
    Exercise(
        id="16.2",
        task="How many tokens are read for all questions together?",
        check=by_cases(
            Case(dict(text=1000, request=50, questions=1, reads_once=True), 1050),
            Case(dict(text=1000, request=50, questions=10, reads_once=True), 1500),
            Case(dict(text=1000, request=50, questions=10, reads_once=False), 10_500),
        ),
        hints=(
            "How often is the text read? Once, or once for each question.",
            "Every question brings its own request, whoever reads the text.",
        ),
        solution=tokens_read,
        wrong_answers=(
            WrongAnswer(_request_once, "Every question has a request of its own."),
            WrongAnswer(_always_anew, "Where reads_once is true the text is read one time."),
            WrongAnswer(_always_once, "Where reads_once is false each question reads the text."),
        ),
    ),
    Question(
        id="16.1",
        question="Four methods give the same answer about your document. What do you know?",
        options=(
            "that it is right",
            "that the same model finds it likely; look at the sources",
            "nothing, since they all read the same text",
        ),
        answer="B",
        feedback={
            "A": "All of them ask one model, and it can be wrong four times.",
            "C": "If they had found different places, they would often disagree.",
        },
        explanation="Agreement is cheap. A source that says it, read by you, is worth more.",
    ),
    Question(
        id="16.2",
        question="The sentence that an answer cites is taken out, and the answer stays. Why?",
        options=(
            "the citation was forged",
            "it stands elsewhere too, or the model did not take it from the text",
            "the document was not read again",
        ),
        answer="B",
        feedback={
            "A": "Sources are places in the document; their words are the document's.",
            "C": "It is another document, so it is read as a new one.",
        },
        explanation="To take something away and to ask again is an experiment. Do it on your text.",
    ),
    Question(
        id="16.3",
        question="Your document has 300,000 tokens, and you have one question. What do you try?",
        options=(
            "plain, since it sees everything",
            "retrieval first; then memory, if the question uses other words than the text",
            "map_reduce, since it reads everything",
        ),
        answer="B",
        feedback={
            "A": "The window holds 8,192 tokens.",
            "C": "It would, but reading 300,000 tokens on a laptop is a matter of many minutes.",
        },
        explanation="Start with what costs least, and look at what it found.",
    ),
    Question(
        id="16.4",
        question="Why is the report written with every < of the document as &lt;?",
        options=(
            "it looks better",
            "so that words of a document are shown and never run as a page's code",
            "to save bytes",
        ),
        answer="B",
        feedback={"A": "It looks the same.", "C": "It takes more of them."},
        explanation="A text from elsewhere may hold anything, a script too.",
    ),
)
