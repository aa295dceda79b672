"""How good a summary is: how much of what matters it tells, and whether what it tells is so.

Measured on minutes whose decisions are known (``applications.minutes``), by the words that a
sentence holds; no judge model. Coverage and faithfulness fail apart: copying everything covers all,
saying nothing is faithful. ``support`` and ``invented`` work on any text.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from longctx_edu.applications.minutes import DECIDED, PEOPLE, Matter, Minutes
from longctx_edu.applications.summaries import Summary, summarize_document
from longctx_edu.errors import DoesNotFit, LongctxError
from longctx_edu.evaluation.metrics import holds, normalised
from longctx_edu.text import segment_sentences, tokenize

_DATES = re.compile(r"\b\d{1,2} (?:March|April|May|June|July|August|September|October)\b")
_NUMBERS = re.compile(r"\b\d{3,}\b")
_OTHERWISE = re.compile(r"\b(reject|postpon|refus|declin|defer|not )", re.IGNORECASE)
_AGREED = re.compile(r"\b(decided|agreed|approved|will)\b", re.IGNORECASE)


def sentences_of(text: str) -> list[str]:
    """Return the sentences of a summary, list marks and headings' marks left out."""
    spans = segment_sentences(text)
    every = (text[start:end].strip().lstrip("-*•# ").strip() for start, end in spans)
    return [one for one in every if re.search(r"\w", one)]


def coverage(summary: str, minutes: Minutes) -> float:
    """Return how much of the decisions the summary tells, 0 to 1.

    For each decision the share of its details (who, for how much, by when) that stand in one
    sentence with its subject; the mean over the decisions.
    """
    shares = [_told(summary, matter) for matter in minutes.decisions]
    return sum(shares) / len(shares)


def complete(summary: str, minutes: Minutes) -> float:
    """Return which share of the decisions the summary tells with all their details, 0 to 1."""
    shares = [_told(summary, matter) for matter in minutes.decisions]
    return sum(share == 1 for share in shares) / len(shares)


def touched(summary: str, minutes: Minutes) -> float:
    """Return which share of the decisions' subjects the summary names at all, 0 to 1."""
    named = [holds(summary, matter.subject) for matter in minutes.decisions]
    return sum(named) / len(named)


def _told(summary: str, matter: Matter) -> float:
    """Return the share of a matter's details in the sentence that holds most of them."""
    about = [one for one in sentences_of(summary) if holds(one, matter.subject)]
    counts = (sum(holds(one, detail) for detail in matter.details) for one in about)
    return max(counts, default=0) / len(matter.details)


def faithfulness(summary: str, minutes: Minutes) -> float | None:
    """Return which share of what a summary claims of the matters is so; None if it claims nothing.

    A sentence claims something if it names matters and a person, a sum or a day, or says what
    became of them. It is so if these details are those of the matters that it names, and if nothing
    is told as decided that was not, or the other way round.
    """
    claims = [right for one in sentences_of(summary) if (right := _is_so(one, minutes)) is not None]
    return sum(claims) / len(claims) if claims else None


def _is_so(sentence: str, minutes: Minutes) -> bool | None:
    named = [matter for matter in minutes.matters if holds(sentence, matter.subject)]
    if named and normalised(sentence) in normalised(minutes.document.text):
        return True
    rest = _DATES.sub(" ", sentence)
    said = {*_DATES.findall(sentence), *_NUMBERS.findall(rest)}
    said |= {name for name in PEOPLE if holds(rest, name)}
    otherwise = _OTHERWISE.search(sentence) is not None
    agreed = not otherwise and _AGREED.search(sentence) is not None
    if not named or not (said or otherwise or agreed):
        return None
    decided = {matter.fate == DECIDED for matter in named}
    if (agreed and True not in decided) or (otherwise and False not in decided):
        return False
    return said <= {detail for matter in named for detail in matter.details}


def invented(summary: str, source: str) -> list[str]:
    """Return the numbers and names in a summary that the source does not hold, each once.

    A name is a word in capitals inside a sentence. Right for any text; blind to things that are
    made up without names, and to names at the beginning of a sentence.

    >>> invented("In 1912 Ada met Bo. She left.", "Ada met a man in the harbour in 1911.")
    ['1912', 'Bo']
    """
    said: dict[str, None] = {}
    for sentence in sentences_of(summary):
        first = re.search(r"\w", sentence).start()
        for match in re.finditer(r"\d+(?:[.,]\d+)*|\b[A-Z]\w*", sentence):
            if match.start() > first or match[0][0].isdigit():
                said[match[0]] = None
    return [one for one in said if one != "I" and not holds(source, one)]


def support(summary: str, source: str, *, least: float = 0.8) -> float | None:
    """Return which share of a summary's sentences one sentence of the source supports.

    It does if it holds at least the share ``least`` of the words. Right for copies and light
    rewording; blind to a "not" left out, and unfair to what is said in other words. None for an
    empty summary.

    >>> support("The boat is green. Ships sink.", "It rained. The old boat is green. Night fell.")
    0.5
    """
    words = [_words(one) for one in sentences_of(source)]
    shares = [
        max((_share(said, one) for one in words), default=0.0)
        for said in map(_words, sentences_of(summary))
    ]
    return sum(share >= least for share in shares) / len(shares) if shares else None


def _words(text: str) -> Counter:
    return Counter(re.findall(r"\w+", normalised(text)))


def _share(said: Counter, source: Counter) -> float:
    return (said & source).total() / max(1, said.total())


@dataclass(frozen=True)
class SummaryScore:
    """What came of summarising minutes by one method.

    Attributes:
        method: how they were read.
        what: "written" for the model's own words, "points" for the list that it wrote from.
        coverage, complete, touched, faithfulness, support: see the functions of these names.
        invented: how many numbers and names the source does not hold.
        share: tokens of the summary for each token of the source.
        tokens_read: tokens read and written, reading included.
        seconds: reading included.
        notice: why there is nothing, or what was left out.
    """

    method: str
    what: str
    coverage: float
    complete: float
    touched: float
    faithfulness: float | None
    support: float | None
    invented: int
    share: float
    tokens_read: int
    seconds: float
    notice: str = ""

    def as_dict(self) -> dict:
        """Return the score as plain values, for JSON."""
        return asdict(self)


def score_summary(
    summary: str, minutes: Minutes, tokenizer, *, method: str, what: str = "written", **cost
) -> SummaryScore:
    """Score a text as a summary of minutes; ``cost`` goes into the fields of these names."""
    source = minutes.document.text
    return SummaryScore(
        method=method,
        what=what,
        coverage=coverage(summary, minutes),
        complete=complete(summary, minutes),
        touched=touched(summary, minutes),
        faithfulness=faithfulness(summary, minutes),
        support=support(summary, source),
        invented=len(invented(summary, source)),
        share=len(tokenize(tokenizer, summary)) / len(tokenize(tokenizer, source)),
        **{"tokens_read": 0, "seconds": 0.0, **cost},
    )


def compare_summaries(
    minutes: Minutes,
    methods: Sequence[str],
    model,
    *,
    focus: str = "",
    max_new_tokens: int = 192,
    **options,
) -> list[SummaryScore]:
    """Summarise minutes by several methods; return a score for what each wrote, and its points.

    Args:
        minutes: from ``generate_minutes``.
        methods: names of methods.
        model: a ``LanguageModel``.
        focus, max_new_tokens: as for ``summarize_document``.
        options: for each method a mapping with its own options.

    Raises:
        LongctxError: for options of a method that is not among ``methods``.
    """
    if unknown := [name for name in options if name not in methods]:
        raise LongctxError(f"There are options for {unknown[0]!r}, which is not compared.")
    scores = []
    for method in methods:
        own = options.get(method, {})
        try:
            summary = summarize_document(
                minutes.document,
                focus=focus,
                method=method,
                model=model,
                max_new_tokens=max_new_tokens,
                **own,
            )
        except DoesNotFit as error:
            summary = Summary("", notice=str(error), method=method)
        scores += _scores(summary, minutes, model.tokenizer)
    return scores


def _scores(summary: Summary, minutes: Minutes, tokenizer) -> list[SummaryScore]:
    cost = dict(
        tokens_read=sum(
            ledger.prefilled + ledger.decoded for ledger in (summary.reading, summary.ledger)
        ),
        seconds=round(summary.reading_seconds + summary.seconds, 2),
        notice=summary.notice,
    )
    told = dict(method=summary.method, **cost)
    scores = [score_summary(summary.text, minutes, tokenizer, what="written", **told)]
    if summary.points:
        scores.append(score_summary(summary.listed, minutes, tokenizer, what="points", **told))
    return scores
