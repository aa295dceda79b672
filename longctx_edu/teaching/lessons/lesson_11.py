"""What notebook 11 asks: what margins read, leave behind and cost, and what the cache holds."""

from longctx_edu.teaching.lesson import (
    Case,
    Exercise,
    Prediction,
    Question,
    WrongAnswer,
    by_cases,
    lesson,
)


def cache_lengths(segments, request, margins):
    lengths, text = [], 0
    for segment, margin in zip(segments, margins, strict=True):
        text += segment
        asked = text + request
        # The last token is read off and never fed back.
        lengths += [text, asked, asked + margin - 1, text]
    return lengths


def _last_one_fed_back(segments, request, margins):
    lengths, text = [], 0
    for segment, margin in zip(segments, margins, strict=True):
        text += segment
        lengths += [text, text + request, text + request + margin, text]
    return lengths


def _never_rolled_back(segments, request, margins):
    lengths, held = [], 0
    for segment, margin in zip(segments, margins, strict=True):
        read, asked = held + segment, held + segment + request
        held = asked + margin - 1
        lengths += [read, asked, held, held]
    return lengths


def _only_margin_off(segments, request, margins):
    lengths, text = [], 0
    for segment, margin in zip(segments, margins, strict=True):
        read, asked = text + segment, text + segment + request
        text = asked
        lengths += [read, asked, asked + margin - 1, asked]
    return lengths


def _segments_alone(segments, request, margins):
    lengths = []
    for segment, margin in zip(segments, margins, strict=True):
        asked = segment + request
        lengths += [segment, asked, asked + margin - 1, segment]
    return lengths


def margin_share(text, segment, request, margin):
    segments = -(-text // segment)  # rounded up
    return segments * (request + margin) / text


def _rounded_down(text, segment, request, margin):
    return text // segment * (request + margin) / text


def _request_forgotten(text, segment, request, margin):
    return -(-text // segment) * margin / text


def _text_read_again(text, segment, request, margin):
    segments = -(-text // segment)
    again = sum(min(n * segment, text) for n in range(1, segments + 1))
    return (again + segments * (request + margin)) / text


def _in_tokens(text, segment, request, margin):
    return -(-text // segment) * (request + margin)


LESSON = lesson(
    11,
    Prediction(
        id="11.1",
        question=(
            "The model has read a text in five segments. Now a question comes, and it writes a "
            "margin on each. Which tokens of the text must it read again for that?"
        ),
        options=(
            "none",
            "each segment once more",
            "for each segment, everything up to its end",
        ),
        answer="A",
        feedback={
            "B": "The keys and values of the segments are in the cache already.",
            "C": "That is what it would cost without a cache that can be cut anywhere.",
        },
        explanation=(
            "What a segment's end has to know is the beginning of the whole cache. Only the "
            "request and the margin's own tokens are new."
        ),
    ),
    Prediction(
        id="11.2",
        question=(
            "A margin is written into the cache and taken off again, then the next segment is "
            "read. How does the cache differ from one in which no margin was ever written?"
        ),
        options=(
            "in no bit",
            "by rounding, in the last digits",
            "clearly: later keys have seen the margin",
        ),
        answer="A",
        feedback={
            "B": "The same sums are added up in the same order: nothing is there to round.",
            "C": "They would have, if it had stayed. It was off before they were computed.",
        },
        explanation=(
            "Attention is causal: what comes off the end has left nothing in what stands before "
            "it, and what comes later is computed from what is there."
        ),
    ),
    Prediction(
        id="11.3",
        question=(
            "The same text in segments of 128 tokens in place of 512. How do the tokens that its "
            "margins cost change?"
        ),
        options=("hardly at all", "about four times as many", "about sixteen times as many"),
        answer="B",
        feedback={
            "A": "Each segment is asked anew, however short it is.",
            "C": "Four times as many margins, each about as long as before.",
        },
        explanation="A request and a margin for each segment: (e + m) / K of the text's tokens.",
    ),
    Exercise(
        id="11.1",
        task="How many tokens are in the cache after each step of the loop?",
        check=by_cases(
            Case(dict(segments=[100], request=30, margins=[12]), [100, 130, 141, 100]),
            Case(
                dict(segments=[120, 117], request=29, margins=[16, 13]),
                [120, 149, 164, 120, 237, 266, 278, 237],
            ),
            Case(
                dict(segments=[10, 10], request=5, margins=[1, 1]), [10, 15, 15, 10, 20, 25, 25, 20]
            ),
        ),
        hints=(
            "Keep one number for the text read so far. The steps of a segment are four lengths: "
            "text; text and request; these and the margin; text again.",
            "The first token of a margin comes from reading the request. A token enters the cache "
            "only when the next one is asked for: of m written tokens m - 1 are in it.",
        ),
        solution=cache_lengths,
        wrong_answers=(
            WrongAnswer(_last_one_fed_back, "The last token of a margin is never fed back."),
            WrongAnswer(_never_rolled_back, "The margin has to come off before the next segment."),
            WrongAnswer(_only_margin_off, "The request comes off together with the margin."),
            WrongAnswer(_segments_alone, "The segments before are still in the cache."),
        ),
    ),
    Exercise(
        id="11.2",
        task="What do margins cost, as a share of the text's own tokens?",
        check=by_cases(
            Case(dict(text=1000, segment=500, request=30, margin=20), 0.1),
            Case(dict(text=2000, segment=512, request=30, margin=14), 0.088),
            Case(dict(text=65536, segment=4096, request=120, margin=40), 0.0390625),
        ),
        hints=(
            "How many segments are there? The last one may be short, and it gets a margin, too.",
            "Each segment costs a request and a margin. Divide all of that by the text's tokens.",
        ),
        solution=margin_share,
        wrong_answers=(
            WrongAnswer(_rounded_down, "A last, short segment gets a margin as well."),
            WrongAnswer(_request_forgotten, "The request is read once for each segment."),
            WrongAnswer(_text_read_again, "The text is in the cache; it is not read again."),
            WrongAnswer(_in_tokens, "These are tokens; give them as a share of the text's."),
        ),
    ),
    Question(
        id="11.1",
        question="When is the margin on the second segment the same as if it were the only one?",
        options=(
            "always: it sees the text up to there, and no other margin",
            "only if the first margin was judged irrelevant",
            "never: every margin sees those before it",
        ),
        answer="A",
        feedback={
            "B": "The verdict comes later, and it changes the final prompt alone.",
            "C": "The first margin was off the cache before the second one was written.",
        },
        explanation="This is also why all margins can be written at the same time.",
    ),
    Question(
        id="11.2",
        question="A second question comes about the same text. What is read for it?",
        options=(
            "the text once more, since margins depend on the question",
            "for each margin its request, then kept notes and question",
            "nothing: the margins are there already",
        ),
        answer="B",
        feedback={
            "A": "The margins do; the text's keys and values do not.",
            "C": "They were about the first question.",
        },
        explanation="The ledger says it: text reused, requests prefilled, margins written anew.",
    ),
    Question(
        id="11.3",
        question="Why may a note on a segment be right though the fact does not stand in it?",
        options=(
            "the model knew the fact before",
            "its margin sees all of the text up to the segment's end",
            "notes are passed on from segment to segment",
        ),
        answer="B",
        feedback={
            "A": "The facts here are invented.",
            "C": "Every margin is off the cache before the next one.",
        },
        explanation="A verdict that asks where the fact stands has to look at something else.",
    ),
    Question(
        id="11.4",
        question="A cost of 'hardly anything' is claimed for margins. What do you ask first?",
        options=(
            "how long the text is",
            "how many layers the model has",
            "how long the segments are, and how slow decoding is beside prefill",
        ),
        answer="C",
        feedback={
            "A": "The share does not depend on it: twice the text, twice the margins.",
            "B": "Reading the text and reading a request go through the same layers.",
        },
        explanation="(e + m) / K in tokens; and of these the m are written one by one.",
    ),
)
