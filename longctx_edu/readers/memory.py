"""Memory outside the window as a method: read once into a bank, look up what a question needs.

Three ways to look up. "topk" is Extended Mind Transformers (Klett and Ahle 2024): every query of
every head takes its own best keys. "blocks" puts the keys and values of whole blocks before the
question (InfLLM, Xiao et al. 2024, section 3). "passages" goes one level further: it chooses
sentences in these blocks and reads them again. The window never holds more than that.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path

from longctx_edu.attention.block_mass import BLOCK_TOKENS
from longctx_edu.errors import LongctxError, MemoryFileError
from longctx_edu.events import Progress, TokenDecoded, returned_by, watched
from longctx_edu.inference import (
    Context,
    Ledger,
    Prompt,
    reading_events,
    turn_end,
    turn_start,
    write,
)
from longctx_edu.memory.attention import Recall, remembering
from longctx_edu.memory.bank import MemoryBank
from longctx_edu.memory.blocks import Chosen, choose, context_with
from longctx_edu.memory.storage import HOLDS, Storage
from longctx_edu.memory.trace import SCHEMA, VERSION
from longctx_edu.memory.uses import (
    Uses,
    citations_of,
    uses_in_context,
    uses_looked_up,
)
from longctx_edu.readers.interface import ANY_LENGTH
from longctx_edu.readers.joined import JoinedText
from longctx_edu.readers.prompting import assert_fits
from longctx_edu.readers.reading import Answer, Reading
from longctx_edu.text import Citation, Tokens, token_range, tokenize

LOOKUPS = ("passages", "blocks", "topk")
ASKED = ("lookup", "passages", "blocks", "block_tokens", "k", "similarity", "positions")
"""The options that may be different for one question."""

AUTO = "auto"
_GAP = "\n...\n"
_LEAST_MASS = 1e-4


@dataclass(frozen=True)
class Check:
    """What became of an answer when a cited place was taken away.

    Attributes:
        citation: the place.
        log_probability: of the answer with everything there, in nats.
        without: of the same answer, the place taken out of the memory.
    """

    citation: Citation
    log_probability: float
    without: float

    @property
    def drop(self) -> float:
        """Nats that the answer lost; near 0 if it did not need the place."""
        return self.log_probability - self.without


class MemoryReading(Reading):
    """Documents in a memory bank; answers see what they look up there.

    Attributes:
        bank: the ``MemoryBank``.
        text: the documents' text, joined.
    """

    @dataclass(frozen=True)
    class Options:
        """How the memory is built and looked up.

        Attributes:
            lookup: "passages", "blocks", or "topk".
            passages: sentences that "passages" reads again.
            blocks: blocks that are chosen, for "passages" and "blocks".
            block_tokens: size of a block.
            k: keys for each query of each head, for "topk".
            similarity: "cosine" or "dot", for "topk".
            positions: where memory stands, for "topk"; see ``memory.Recall``.
            precision: "float32", "float16" or "int8".
            holds: "everything"; "choosing_keys", which is enough for "passages" and takes a
                quarter of the bytes; or "auto", the less of both that ``lookup`` needs.
            memory_file: a file that the memory is built into, or read from if it is there.
            budget_bytes: the most bytes of the memory; None for what is free.
            window, stride: how documents are read into it; see ``MemoryBank.add``.
        """

        lookup: str = "passages"
        passages: int = 3
        blocks: int = 12
        block_tokens: int = BLOCK_TOKENS
        k: int = 32
        similarity: str = "cosine"
        positions: str = "before"
        precision: str = "float16"
        holds: str = AUTO
        memory_file: str | PathLike | None = None
        budget_bytes: int | None = None
        window: int | None = None
        stride: int | None = None

        def __post_init__(self):
            for name, allowed in (("lookup", LOOKUPS), ("holds", (AUTO, *HOLDS))):
                if getattr(self, name) not in allowed:
                    raise LongctxError(
                        f"{name} is one of {', '.join(allowed)}, got {getattr(self, name)!r}."
                    )
            for name in ("passages", "blocks", "block_tokens"):
                if getattr(self, name) < 1:
                    raise LongctxError(f"{name} is at least 1, got {getattr(self, name)}.")
            self.recall()
            self.storage()

        def recall(self) -> Recall:
            """Return how keys are looked up one by one."""
            return Recall(k=self.k, similarity=self.similarity, positions=self.positions)

        def storage(self) -> Storage:
            """Return how the memory is stored."""
            least = "choosing_keys" if self.lookup == "passages" else "everything"
            holds = least if self.holds == AUTO else self.holds
            return Storage(self.precision, holds, self.memory_file)

    # ----------------------------------------------------------------- building

    def _prepare(self) -> Iterator:
        path = self.options.memory_file
        if path is not None and Path(path).expanduser().exists():
            yield from self._loaded(path)
        elif not self.documents:
            raise MemoryFileError(
                f"{path} does not exist, and no document was given to build it from; check the "
                "path, or give a document."
            )
        else:
            storage, budget = self.options.storage(), self.options.budget_bytes
            self.bank = MemoryBank(self.model, storage=storage, budget_bytes=budget)
            windows = dict(window=self.options.window, stride=self.options.stride)
            yield from self.bank.add(self.documents, **windows)
            self.ledger = _dropped(self.bank.forwarded)
        self._join()

    def _join(self) -> None:
        self._joined = JoinedText(self.documents)
        self.text = self._joined.text
        self._starts = {place["id"]: place["start"] for place in self._joined.places()}

    def _loaded(self, path) -> Iterator:
        yield Progress("loading memory", 0, 1, "files")
        budget = self.options.budget_bytes
        self.bank = MemoryBank.load(path, self.model, budget_bytes=budget)
        wanted, found = self.options.storage(), self.bank.storage
        too_little = wanted.holds == "everything" and found.holds != "everything"
        # Whoever leaves the precision at its default takes what the file has.
        if too_little or wanted.precision not in (found.precision, Storage.precision):
            raise MemoryFileError(
                f"{path} holds {found}, and what was asked for needs {wanted}; name another file, "
                "or remove this one to build it anew."
            )
        held = tuple(one.document for one in self.bank.held)
        if self.documents and not self.bank.holds(self.documents):
            raise MemoryFileError(
                f"{path} is the memory of other documents or of other versions of them "
                f"({', '.join(one.id for one in held)}); name another file, or remove this one "
                "to build it anew."
            )
        self.documents = held
        yield Progress("loading memory", 1, 1, "files")

    # ----------------------------------------------------------------- asking

    def _answer(self, question, answer_prefix, max_new_tokens, **changes) -> Iterator:
        started = time.perf_counter()
        options = self._changed(changes)
        asked = f"\n\nQuestion: {question}\nAnswer: {answer_prefix}"
        question_ids = tokenize(self.model.tokenizer, asked).ids
        chosen = choose(
            self.bank,
            question_ids,
            blocks=options.blocks,
            passages=options.passages if options.lookup == "passages" else 0,
            block_tokens=options.block_tokens,
        )
        ranges = _in_order(options.lookup, chosen)
        tail = turn_end(self.model, f"\n\n{question}", answer_prefix=answer_prefix)
        gaps = len(ranges) * len(self._gap())
        read_ids = len(turn_start(self.model)) + sum(map(len, ranges)) + gaps + len(tail.ids)
        assert_fits(self.model, read_ids, max_new_tokens, any_length=ANY_LENGTH)
        yield Progress("looking up", 1, 1, "questions")
        looked_up: list = []

        def attending() -> AbstractContextManager:
            return self._attending(options, looked_up)

        context, sources = yield from _inside(attending, self._context(options, ranges))
        events = write(context, context.ids + tail.ids, max_new_tokens=max_new_tokens)
        seen: list = []
        written = yield from watched(_inside(attending, events), seen.append)
        said = [event for event in seen if isinstance(event, TokenDecoded)]
        rows = tail.ids + [event.token_id for event in said[:-1]]
        others = len(question_ids) + context.ledger.prefilled
        if options.lookup == "topk":
            uses = uses_looked_up(looked_up, len(self.bank.layers), last=len(rows))
        else:
            uses = uses_in_context(context, rows, sources)
            others += len(rows)
        ledger = _dropped(others) + written.ledger
        first = len(tail.ids) - 1  # the row that the answer's first token comes from
        words = [event.text for event in said if event.token_id not in self.model.end_ids]
        citations = citations_of(self.bank, uses, slice(first, first + max(1, len(words))))
        tokens = _question_tokens(tail, question)
        tokens += [(text, "answer", first + n) for n, text in enumerate(words)]
        trace = {
            "schema": SCHEMA,
            "version": VERSION,
            "model": {"name": self.model.name, "fingerprint": self.model.fingerprint},
            "options": {name: getattr(options, name) for name in ASKED},
            "documents": self._joined.places(),
            "text": self.text,
            "question": question,
            "answer_prefix": answer_prefix,
            "answer": {"text": written.text, "citations": [asdict(one) for one in citations]},
            "blocks": self._block_facts(chosen, options),
            "passages": [
                {**self._place(one), "score": score}
                for one, score in zip(chosen.passages, chosen.passage_scores, strict=True)
            ],
            "tokens": _looks(tokens, uses, chosen.blocks),
            "captured": chosen.captured,
            "ranges": [[one.start, one.stop] for one in ranges],
            "answer_ids": [event.token_id for event in said],
            "cost": {"reading": asdict(self.ledger), "question": asdict(ledger)},
            "seconds": {"reading": self.seconds, "question": time.perf_counter() - started},
        }
        return Answer(written.text, tuple(citations), ledger, trace=trace)

    def _changed(self, changes: dict):
        """Return the options with what is different for one question."""
        for name in changes:
            if name not in ASKED:
                raise LongctxError(
                    f"A question cannot change {name!r}; it can change {', '.join(ASKED)}."
                )
        options = replace(self.options, **changes)
        if options.lookup != "passages" and self.bank.storage.holds != "everything":
            raise LongctxError(
                f"lookup={options.lookup!r} needs all keys and values, and this memory holds "
                "choosing keys alone; read again with holds='everything'."
            )
        return options

    def _attending(self, options, looked_up: list, without=()) -> AbstractContextManager:
        if options.lookup != "topk":
            return nullcontext()
        hidden = [*self.bank.sinks(), *without]
        return _kept(remembering(self.bank, options.recall(), without=hidden), looked_up)

    def _context(self, options, ranges: Sequence[range]) -> Iterator:
        """Read the beginning of the prompt; return its context, and the memory's tokens in it."""
        head = turn_start(self.model)
        if options.lookup != "passages":
            context = context_with(self.bank, ranges, head)
            return context, [-1] * len(head) + [token for one in ranges for token in one]
        gap = [(token, -1) for token in self._gap()]
        pairs = [(token, -1) for token in head]
        for place, one in enumerate(ranges):
            if place and ranges[place - 1].stop != one.start:
                pairs += gap
            pairs += [(self.bank.ids[token], token) for token in one]
        context = Context(self.model, reserve=len(pairs) + 256)
        yield from reading_events(context, [token for token, _ in pairs])
        return context, [source for _, source in pairs]

    def _gap(self) -> list[int]:
        return tokenize(self.model.tokenizer, _GAP).ids

    # ----------------------------------------------------------------- what an answer rests on

    def checked(self, answer: Answer) -> list[Check]:
        """Take each cited place out of the memory and see how the answer's probability falls.

        What was chosen beside it stays as it was; for "topk" other keys take its place.
        """
        trace = answer.trace
        options = replace(self.options, **trace["options"])
        ranges = [range(*one) for one in trace["ranges"]]
        prefix = trace["answer_prefix"]
        tail = turn_end(self.model, f"\n\n{trace['question']}", answer_prefix=prefix).ids

        def log_probability(without: Sequence[range]) -> float:
            looked_up: list = []
            with self._attending(options, looked_up, without):
                context, _ = returned_by(self._context(options, _less(ranges, without)))
                list(context.prefill(tail))
                nats = 0.0
                for token in trace["answer_ids"]:
                    nats += context.log_probability(token)
                    list(context.prefill([token]))
            return nats

        everything = log_probability(())
        return [
            Check(one, everything, log_probability([self._tokens_at(one)]))
            for one in answer.citations
        ]

    def _tokens_at(self, citation: Citation) -> range:
        """Return the bank's tokens that a citation stands for."""
        held = next(one for one in self.bank.held if one.document.id == citation.document_id)
        spans = held.spans[:]
        first, stop = token_range(Tokens([0] * len(spans), spans), citation.start, citation.end)
        return range(held.tokens.start + first, held.tokens.start + stop)

    def _block_facts(self, chosen: Chosen, options) -> list[dict]:
        best = set() if options.lookup == "topk" else {*chosen.best_blocks}
        scores = chosen.block_scores.tolist()
        return [
            {**self._place(block), "score": score, "chosen": number in best}
            for number, (block, score) in enumerate(zip(chosen.blocks, scores, strict=True))
        ]

    def _place(self, tokens: range) -> dict:
        """Return the characters of the joined text that some tokens of one document stand for."""
        document, start, end = next(self.bank.citations(tokens))
        offset = self._starts[document.id]
        return {"start": offset + start, "end": offset + end}


def reading_of(bank: MemoryBank) -> MemoryReading:
    """Return a reading of what a memory holds now; nothing is read for it.

    Raises:
        LongctxError: for a memory that holds no document.
    """
    if not bank.held:
        raise LongctxError("The memory holds no document; add one before asking.")
    documents = tuple(one.document for one in bank.held)
    reading = MemoryReading(documents, bank.model, "memory", MemoryReading.Options())
    reading.bank = bank
    reading._join()
    return reading


def _in_order(lookup: str, chosen: Chosen) -> list[range]:
    """Return what stands before the question, in the order of the memory."""
    if lookup == "topk":
        return []
    found = (
        chosen.passages if lookup == "passages" else [chosen.blocks[n] for n in chosen.best_blocks]
    )
    return sorted(found, key=lambda one: one.start)


def _less(ranges: Sequence[range], without: Sequence[range]) -> list[range]:
    """Return what is left of some ranges when others are taken out."""
    for gone in without:
        parts = (
            (
                range(one.start, min(one.stop, gone.start)),
                range(max(one.start, gone.stop), one.stop),
            )
            for one in ranges
        )
        ranges = [part for pair in parts for part in pair if len(part)]
    return list(ranges)


def _inside(attending: Callable[[], AbstractContextManager], events: Iterator) -> Iterator:
    """Let a generator do its work inside a context, which does not hold while it is paused."""
    while True:
        with attending():
            try:
                event = next(events)
            except StopIteration as end:
                return end.value
        yield event


@contextmanager
def _kept(looking: AbstractContextManager, looked_up: list) -> Iterator[None]:
    """Attend as ``looking`` does; keep what it looks up."""
    with looking as seen:
        yield
    looked_up += seen


def _dropped(tokens: int) -> Ledger:
    return Ledger(prefilled=tokens, discarded=tokens)


def _question_tokens(tail: Prompt, question: str) -> list[tuple[str, str, int]]:
    """Return the text, kind and row of each token of the question."""
    begin = len(tail.text) - len(tail.text.lstrip())
    return [
        (tail.text[start:end], "question", row)
        for row, (start, end) in enumerate(tail.tokens.spans)
        if begin <= start and end <= begin + len(question)
    ]


def _looks(
    tokens: Sequence[tuple[str, str, int]], uses: Uses, blocks: Sequence[range]
) -> list[dict]:
    """Return for each token of question and answer where it looked, as plain data."""
    on_blocks = uses.on(blocks)
    looks = []
    for text, kind, row in tokens:
        mass = on_blocks[row]
        best = (mass > _LEAST_MASS).nonzero()[:, 0]
        best = best[mass[best].argsort(descending=True)]
        looks.append(
            {
                "text": text,
                "kind": kind,
                "window": 1 - float(mass.sum()),
                "mass": [[int(n), float(mass[n])] for n in best],
            }
        )
    return looks
