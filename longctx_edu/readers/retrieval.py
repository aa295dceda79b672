"""Find the sentences that share words with the question, and put only those into the prompt.

BM25 (Robertson and Zaragoza 2009, section 3) by the library bm25s; no model is
involved in the search. Fast at any length, blind to what is said in other words.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from longctx_edu.errors import LongctxError
from longctx_edu.events import Progress
from longctx_edu.inference import Context, chat_prompt, write
from longctx_edu.readers.joined import JoinedText
from longctx_edu.readers.prompting import assert_fits
from longctx_edu.readers.reading import Answer, Reading
from longctx_edu.text import segment_sentences

# Scripts that do not separate words: every character is a word of its own.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


_LONGEST_SENTENCE = 1000  # characters


class RetrievalReading(Reading):
    """An index of the documents' sentences; answers see the best of them."""

    @dataclass(frozen=True)
    class Options:
        """``sentences`` to retrieve; ``neighbours`` that go with each of them on either side."""

        sentences: int = 4
        neighbours: int = 1

        def __post_init__(self):
            if self.sentences < 1 or self.neighbours < 0:
                raise LongctxError(
                    "retrieval needs sentences >= 1 and neighbours >= 0, got "
                    f"sentences={self.sentences}, neighbours={self.neighbours}."
                )

    def _prepare(self) -> Iterator:
        from bm25s import BM25

        self._joined = JoinedText(self.documents)
        # A table or a transcript may be one endless sentence.
        longest = min(_LONGEST_SENTENCE, max(1, self.model.window // 4))
        self._spans = segment_sentences(self._joined.text, max_characters=longest)
        yield Progress("indexing", 0, len(self._spans), "sentences")
        self._index = BM25(method="lucene")
        corpus = [_words(self.sentence(n)) for n in range(len(self._spans))]
        self._searchable = any(corpus)
        if self._searchable:
            self._index.index(corpus, show_progress=False)
        yield Progress("indexing", len(self._spans), len(self._spans), "sentences")

    def search(self, question: str) -> list[tuple[int, float]]:
        """Return the numbers and scores of the best sentences for ``question``, best first."""
        words = _words(question)
        if not (self._searchable and words):
            return []
        scores = self._index.get_scores(words)
        best = sorted(range(len(scores)), key=lambda n: (-scores[n], n))
        return [(n, float(scores[n])) for n in best[: self.options.sentences] if scores[n] > 0]

    def sentence(self, number: int) -> str:
        """Return the text of a sentence that ``search`` found."""
        start, end = self._spans[number]
        return self._joined.text[start:end]

    def _answer(self, question, answer_prefix, max_new_tokens) -> Iterator:
        found = self.search(f"{question} {answer_prefix}")
        prompt = self._prompt(found, question, answer_prefix)
        while len(prompt.ids) + max_new_tokens > self.model.window and len(found) > 1:
            found = found[:-1]
            prompt = self._prompt(found, question, answer_prefix)
        assert_fits(self.model, len(prompt.ids), max_new_tokens, any_length=("truncated",))
        written = yield from write(Context(self.model), prompt.ids, max_new_tokens=max_new_tokens)
        score_sum = sum(score for _, score in found)
        citations = [
            citation
            for number, score in found
            for citation in self._joined.citations(
                *self._spans[number], weight=score / score_sum, kind="retrieved"
            )
        ]
        trace = {"prompt_tokens": len(prompt.ids), "retrieved": found}
        return Answer(written.text, tuple(citations), written.ledger, trace=trace)

    def _prompt(self, found, question: str, answer_prefix: str):
        context = self._with_neighbours([number for number, _ in found] or [0])
        user = f"{context}\n\n{question}"
        return chat_prompt(self.model, user, answer_prefix=answer_prefix)

    def _with_neighbours(self, numbers: list[int]) -> str:
        """Return the sentences and their neighbours in the order of the text, gaps marked."""
        around = range(-self.options.neighbours, self.options.neighbours + 1)
        wanted = {n + step for n in numbers for step in around} & {*range(len(self._spans))}
        passages: list[str] = []
        previous = None
        for number in sorted(wanted):
            if previous is None or number != previous + 1:
                passages.append("")
            passages[-1] += self.sentence(number)
            previous = number
        return "\n...\n".join(passage.strip() for passage in passages)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
