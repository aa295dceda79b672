"""Writing in the Margins as a method: read once, note at every segment, answer from text and notes.

The method of Russak et al. 2024, section 3. The text is read before any question;
margins are written for each question anew, all in one batch where the model's cache
allows it, and judged. An answer can be had again from other notes without reading or
writing any of them. A text beyond the window is refused unless it may be read in runs.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from longctx_edu.errors import DoesNotFit, LongctxError, ModelError
from longctx_edu.events import Judged, NoteWritten, SegmentRead, returned_by, watched
from longctx_edu.inference import Context, Ledger, chat_prompt
from longctx_edu.margins.engine import LocalEngine, Margin, Request, request_for
from longctx_edu.margins.notes import Note, numbered, sources_of, within
from longctx_edu.margins.prompts import EXTRACTION_PROMPTS, FINAL_PROMPTS, chosen
from longctx_edu.margins.trace import SCHEMA, VERSION, as_plain, is_recorded
from longctx_edu.margins.verdicts import (
    VERDICTS,
    Case,
    FirstToken,
    Judgement,
    KeepAll,
    SureAndSeen,
    Surest,
    Verdict,
)
from longctx_edu.readers.interface import ANY_LENGTH
from longctx_edu.readers.joined import JoinedText
from longctx_edu.readers.prompting import assert_fits, prefix_of_all_questions, total
from longctx_edu.readers.reading import Answer, Reading
from longctx_edu.text import Tokens, character_span, segment_tokens, token_range, tokenize

PLACES = ("last", "first", "only")
BEYOND_WINDOW = ("refuse", "rolling")
AUTO = "auto"
_QUESTION_RESERVE = 128  # tokens of the window kept free for a request in a run


@dataclass(frozen=True)
class _Run:
    """A stretch of the text that is read in one window.

    Attributes:
        prefix: the tokens with which every prompt on this stretch begins.
        segments: characters (start, end) of the joined text.
        tokens: the same as tokens of ``prefix``.
    """

    prefix: list[int]
    segments: list[tuple[int, int]]
    tokens: list[range]


class MarginsReading(Reading):
    """Documents read once, with the place of every segment's end kept.

    Attributes:
        text: the documents' text, joined.
        segments: characters (start, end) of each segment in ``text``.
        notes: those of the last question, as far as they were written.
        final_prompt: the ``Prompt`` of the last answer.
    """

    @dataclass(frozen=True)
    class Options:
        """How margins are asked for, written, judged and handed over.

        Attributes:
            segment_tokens: size of a segment.
            margin_tokens: the longest margin.
            prompt: how a note is asked for: "copy", "yes_no", or an ``ExtractionPrompt``.
            verdict: which notes count: "all", "surest", "first_token", "classifier", "attention",
                "sure_and_seen", a ``Verdict`` with a threshold of its own, or "auto", the best
                that the model allows: "sure_and_seen", or "surest" where keys are out of reach.
            final: how kept notes are handed over: "labelled", "bare", "read_again", or a
                ``FinalPrompt``.
            place: notes "last", between text and question, "first", before the text (which has
                to be read again then), or "only", without the text.
            most_note_tokens: the most tokens of kept notes together; None for no limit.
            writing: "together" in one batch, or "one_by_one".
            beyond_window: what to do with a text that does not fit: "refuse", or "rolling":
                read it in runs of one window each and answer from the notes alone.
        """

        segment_tokens: int = 512
        margin_tokens: int = 32
        prompt: object = "copy"
        verdict: object = "auto"
        final: object = "labelled"
        place: str = "last"
        most_note_tokens: int | None = None
        writing: str = "together"
        beyond_window: str = "refuse"

        def __post_init__(self):
            if min(self.segment_tokens, self.margin_tokens) < 1:
                raise LongctxError(
                    "margins needs segment_tokens >= 1 and margin_tokens >= 1, got "
                    f"{self.segment_tokens} and {self.margin_tokens}."
                )
            if self.most_note_tokens is not None and self.most_note_tokens < 0:
                raise LongctxError(
                    f"most_note_tokens is at least 0, or None, got {self.most_note_tokens}."
                )
            for name, allowed in (
                ("place", PLACES),
                ("writing", ("together", "one_by_one")),
                ("beyond_window", BEYOND_WINDOW),
            ):
                if getattr(self, name) not in allowed:
                    raise LongctxError(
                        f"{name} is one of {', '.join(allowed)}, got {getattr(self, name)!r}."
                    )
            prompt = chosen(EXTRACTION_PROMPTS, self.prompt, "extraction prompt")
            verdict = chosen({AUTO: object, **VERDICTS}, self.verdict, "verdict")
            if isinstance(verdict, FirstToken) and prompt.says is None:
                raise LongctxError(
                    "The verdict 'first_token' needs a prompt that asks for YES or NO; choose "
                    "prompt='yes_no' with it, or another verdict."
                )
            chosen(FINAL_PROMPTS, self.final, "final prompt")

    def __init__(self, *given):
        super().__init__(*given)
        self.notes: list[Note] = []
        self.final_prompt = None
        self._prompt = chosen(EXTRACTION_PROMPTS, self.options.prompt, "extraction prompt")
        name = _best_verdict(self.model) if self.options.verdict == AUTO else self.options.verdict
        self._verdict = chosen(VERDICTS, name, "verdict")
        self._final = chosen(FINAL_PROMPTS, self.options.final, "final prompt")
        self._enough = threading.Event()
        if hasattr(self.model, "assert_serves"):
            self.model.assert_serves(self._verdict)

    # ----------------------------------------------------------------- reading

    def _prepare(self) -> Iterator:
        self._joined = JoinedText(self.documents)
        self.text = self._joined.text
        self._runs = self._planned()
        self.segments = [segment for run in self._runs for segment in run.segments]
        if len(self._runs) == 1:
            self._engine = self._engine_for(self._runs[0])
            yield from self._read(self._engine, self._runs[0], 0)
            self.ledger = self._engine.ledger

    @property
    def context(self):
        """What was read, as a ``Context``; only for a text in the window of a model that is here.

        Raises:
            LongctxError: for any other.
        """
        context = getattr(self._engine, "context", None) if len(self._runs) == 1 else None
        if context is None:
            raise LongctxError(
                "This reading keeps no cache here: the text is read in runs, or by a server."
            )
        return context

    def _planned(self) -> list[_Run]:
        """Return the runs in which the text is read: one if it fits."""
        start = len(self.text) - len(self.text.lstrip())
        whole = self._run(start, len(self.text.rstrip()))
        rolling = self.options.beyond_window == "rolling"
        beside = self.options.margin_tokens + 2 * _QUESTION_RESERVE if rolling else 0
        if len(whole.prefix) + beside < self.model.window:
            return [whole]
        if not rolling:
            raise DoesNotFit(
                f"The text makes a prompt of {len(whole.prefix)} tokens, and the model's window "
                f"holds {self.model.window}. Methods that take any length: {', '.join(ANY_LENGTH)}"
                "; or let margins read it in runs, beyond_window='rolling'."
            )
        template = len(chat_prompt(self.model, "").ids)
        room = self.model.window - template - self.options.margin_tokens - _QUESTION_RESERVE
        size = room // self.options.segment_tokens * self.options.segment_tokens
        if size < 1:
            raise DoesNotFit(
                f"A window of {self.model.window} tokens has room for {max(room, 0)} tokens of "
                f"text beside a margin, and a segment has {self.options.segment_tokens}; choose "
                "smaller segments or shorter margins."
            )
        tokens = tokenize(self.model.tokenizer, self.text)
        # A stretch in a prompt may have a token or two more than in the text.
        stretches = segment_tokens(tokens, self.text, max(size - 8, 1))
        return [self._run(*character_span(tokens, *stretch)) for stretch in stretches]

    def _run(self, start: int, end: int) -> _Run:
        text = self.text[start:end]
        start += len(text) - len(text.lstrip())
        text = text.strip()
        prompt = chat_prompt(self.model, text + "\n\n")
        tokens, first = _tokens_of_user(prompt, text)
        ranges = segment_tokens(tokens, text, self.options.segment_tokens)
        spans = [character_span(tokens, *chosen) for chosen in ranges]
        return _Run(
            prefix_of_all_questions(self.model, text + "\n\n"),
            [(start + a, start + b) for a, b in spans],
            [range(first + a, first + b) for a, b in ranges],
        )

    def _engine_for(self, run: _Run):
        if hasattr(self.model, "engine"):  # a server brings its own
            return self.model.engine()
        return LocalEngine(self.model, reserve=len(run.prefix) + 256)

    def _read(self, engine, run: _Run, first: int) -> Iterator:
        stops = [
            (tokens.stop, SegmentRead(n, len(self.segments), *segment))
            for n, (tokens, segment) in enumerate(zip(run.tokens, run.segments, strict=True), first)
        ]
        return engine.read(run.prefix, stops)

    # ----------------------------------------------------------------- asking

    def answer_now(self) -> None:
        """Let margins under way end at their next token; verdict and answer follow."""
        self._enough.set()

    def predicted_cost(
        self, question: str, *, answer_prefix: str = "", max_new_tokens: int = 64
    ) -> Ledger:
        """Return the most that a question can cost, if every margin and the answer are longest.

        Margins count with as many tokens when they are read as when they were written.
        """
        segments, request = len(self.segments), len(self._request(question, self._prompt).ids)
        end = len(self._final_prompt(question, answer_prefix, ["-"] * segments).ids)
        if len(self._runs) == 1 and self.options.place == "last":
            end -= len(self._runs[0].prefix)
        judging = segments, self.options.margin_tokens, len(self._runs)
        end += self._verdict.most_tokens(self.model, question, *judging)
        notes = segments * self.options.margin_tokens
        reading = 0 if len(self._runs) == 1 else sum(len(run.prefix) for run in self._runs)
        prefilled = reading + segments * request + notes + end
        return Ledger(
            prefilled=prefilled,
            decoded=notes + max_new_tokens,
            discarded=prefilled + notes + max_new_tokens - segments - 1,
        )

    def _answer(
        self, question, answer_prefix, max_new_tokens, notes: Sequence[Note] | None = None
    ) -> Iterator:
        """Answer; with ``notes``, from the kept ones among these, and none is written."""
        self._assert_on_segments(notes or ())
        started, timeline, close_calls = time.perf_counter(), [], 0
        before = getattr(self.model, "report", None)
        self._enough.clear()
        ledgers: list[Ledger] = []

        def keep(event) -> None:
            if is_recorded(event):
                seconds = round(time.perf_counter() - started, 4)
                timeline.append([seconds, as_plain(event)])

        if notes is None:
            close_calls = yield from watched(self._take_notes(question, ledgers), keep)
        else:
            self.notes = numbered(notes)
        notes = list(self.notes)
        sizes = [len(tokenize(self.model.tokenizer, note.text).ids) for note in notes]
        fitting = within(notes, sizes, self.options.most_note_tokens)
        notes = [replace(note, kept=n in fitting) for n, note in enumerate(notes)]
        kept = [note for note in notes if note.kept and note.text.strip()]
        prompt = self._final_prompt(question, answer_prefix, [note.text for note in kept])
        assert_fits(self.model, len(prompt.ids), max_new_tokens, any_length=ANY_LENGTH)
        self.final_prompt = prompt
        engine = self._engine if len(self._runs) == 1 else self._engine_for(self._runs[0])
        written = yield from watched(engine.answer(prompt.ids, max_new_tokens=max_new_tokens), keep)
        ledger = total([*ledgers, written.ledger])
        citations, notice = self._citations(kept), self._notice()
        told = {}
        if before is not None:
            report = self.model.report - before
            told = {"server": report.as_plain()}
            notice = f"{notice} {report.notice}".strip()
        trace = {
            "schema": SCHEMA,
            "version": VERSION,
            "model": {
                "name": self.model.name,
                "fingerprint": self.model.fingerprint,
                "window": self.model.window,
            },
            "options": {
                **vars(self.options),
                "prompt": self._prompt.name,
                "verdict": self._verdict.name,
                "final": self._final.name,
            },
            "documents": self._joined.places(),
            "text": self.text,
            "segments": [{"start": start, "end": end} for start, end in self.segments],
            "question": question,
            "answer_prefix": answer_prefix,
            "margins": [asdict(note) for note in notes],
            "answer": {
                "text": written.text,
                "notice": notice,
                "citations": [asdict(citation) for citation in citations],
            },
            "cost": {
                "reading": asdict(self.ledger),
                "question": asdict(ledger),
                "predicted": asdict(
                    self.predicted_cost(
                        question, answer_prefix=answer_prefix, max_new_tokens=max_new_tokens
                    )
                ),
            },
            "seconds": {
                "reading": self.seconds,
                "question": time.perf_counter() - started,
            },
            "close_calls": close_calls,
            "prompt_tokens": len(prompt.ids),
            "events": timeline,
            **told,
        }
        return Answer(written.text, citations, ledger, trace=trace, notice=notice)

    def _assert_on_segments(self, notes: Sequence[Note]) -> None:
        last = len(self.segments) - 1
        for note in notes:
            if note.segment is not None and not 0 <= note.segment <= last:
                raise LongctxError(
                    f"A note is on segment {note.segment}, but the segments are 0 to {last}; give "
                    "one of these, or None for a note on the whole text."
                )

    # ----------------------------------------------------------------- notes

    def _request(self, question: str, prompt) -> Request:
        return request_for(
            self.model,
            question,
            prompt,
            max_tokens=self.options.margin_tokens,
            is_enough=self._enough.is_set,
        )

    def judge(
        self, question: str, verdicts: Sequence[Verdict], *, prompt: object = None
    ) -> list[list[Note]]:
        """Write margins once and return them as every one of ``verdicts`` judges them.

        Args:
            prompt: another way to ask for a note than the reading's own.
        """
        prompt = self._prompt if prompt is None else chosen(EXTRACTION_PROMPTS, prompt, "prompt")
        self._enough.clear()
        work = self._write_and_judge(question, prompt, verdicts, [])
        return returned_by(work)[0]

    def _take_notes(self, question: str, ledgers: list[Ledger]) -> Iterator:
        """Write and judge the notes; return how many tokens were close calls."""
        work = self._write_and_judge(question, self._prompt, [self._verdict], ledgers)
        (self.notes,), margins = yield from work
        for note in self.notes:
            yield Judged(note.segment, note.kept, note.score, note.by)
        return sum(margin.close_calls for margin in margins)

    def _write_and_judge(
        self, question: str, prompt, verdicts: Sequence[Verdict], ledgers: list[Ledger]
    ) -> Iterator:
        """Write margins; yield events, return the notes under each verdict, and the margins."""
        request = self._request(question, prompt)
        longest = max(len(run.prefix) for run in self._runs) + len(request.ids)
        assert_fits(self.model, longest, request.max_tokens, any_length=ANY_LENGTH)
        self.notes = []
        margins: list[Margin] = []
        judgements: list[list[Judgement]] = [[] for _ in verdicts]

        def judge(run: _Run | None, engine, written: Sequence[Margin]) -> None:
            if not written:  # somebody had enough before the first
                return
            case = Case(
                model=self.model,
                question=question,
                notes=[prompt.note(margin.text) for margin in written],
                margins=written,
                segments=[run.tokens[margin.segment - first] for margin in written] if run else [],
                context=getattr(engine, "context", None) if run else None,
            )
            for verdict, found in zip(verdicts, judgements, strict=True):
                if verdict.looks_at_cache == (run is not None):
                    found.append(verdict.judge(case))
                    ledgers.append(found[-1].ledger)

        first = 0
        for run in self._runs:
            if len(self._runs) == 1:
                engine = self._engine
            elif self._enough.is_set():
                break
            else:
                engine = self._engine_for(run)
                yield from self._read(engine, run, first)
                ledgers.append(engine.ledger)
            written = []
            for event in engine.write(request, together=self.options.writing == "together"):
                if hasattr(event, "segment"):
                    event = replace(event, segment=first + event.segment)
                if not isinstance(event, Margin):
                    yield event
                    continue
                written.append(event)
                ledgers.append(event.ledger)
                note = _unjudged(event, prompt)
                self.notes = numbered([*self.notes, note])
                yield NoteWritten(event.segment, len(self.segments), note.text, event.confidence)
            written.sort(key=lambda margin: margin.segment)
            margins += written
            judge(run, engine, written)
            first += len(run.segments)
        judge(None, None, margins)
        return [
            _after(verdict, found, margins, prompt)
            for verdict, found in zip(verdicts, judgements, strict=True)
        ], margins

    # ----------------------------------------------------------------- the answer

    def _final_prompt(self, question: str, answer_prefix: str, notes: Sequence[str]):
        block, text = self._final.notes(notes), self.text.strip() + "\n\n"
        if self.options.place == "only" or len(self._runs) > 1:
            before = block
        else:
            before = text + block if self.options.place == "last" else block + text
        user = before + self._final.ask(question)
        return chat_prompt(self.model, user, answer_prefix=answer_prefix)

    def _notice(self) -> str:
        if len(self._runs) == 1:
            return ""
        return (
            f"The text does not fit the window of {self.model.window} tokens: it was read in "
            f"{len(self._runs)} runs, and this answer comes from the notes alone."
        )

    def _citations(self, kept: Sequence[Note]) -> tuple:
        """Return where the kept notes come from, the best first."""
        places = {}
        for note in kept:
            if note.segment is None:
                continue
            weight = note.confidence if note.score is None else max(0.0, min(1.0, note.score))
            for place in sources_of(note.text, self.text, self.segments[note.segment]):
                places[place] = max(places.get(place, 0.0), weight or 0.0)
        return tuple(
            citation
            for (start, end), weight in sorted(places.items(), key=lambda one: -one[1])
            for citation in self._joined.citations(start, end, weight=weight, kind="margin")
        )


def _best_verdict(model) -> str:
    """Return the name of the best verdict for a model: by attention too, if its keys allow."""
    from longctx_edu.attention.rotation import Rotation
    from longctx_edu.inference.continuations import served

    if hasattr(model, "engine"):  # a server, which may not even tell probabilities
        return Surest.name if model.tells_probabilities else KeepAll.name
    if not served(Context(model)):
        return Surest.name  # keys out of reach, or dropped
    try:
        Rotation(model.model)
    except ModelError:
        return Surest.name
    return SureAndSeen.name


def _unjudged(margin: Margin, prompt) -> Note:
    return Note(
        margin.segment,
        prompt.note(margin.text),
        kept=False,
        confidence=margin.confidence,
        finished=margin.finished,
    )


def _after(
    verdict: Verdict, judgements: Sequence[Judgement], margins: Sequence[Margin], prompt
) -> list[Note]:
    """Return the margins as notes, with what the verdict said of them."""
    scores = [score for judgement in judgements for score in judgement.scores]
    kept = [keeps for judgement in judgements for keeps in judgement.kept]
    return [
        replace(_unjudged(margin, prompt), kept=keeps, score=score, by=verdict.name)
        for margin, keeps, score in zip(margins, kept, scores, strict=True)
    ]


def _tokens_of_user(prompt, text: str) -> tuple[Tokens, int]:
    """Return the tokens of the user's text, with spans in that text, and the first one's number."""
    begin, end = prompt.user_start, prompt.user_start + len(text)
    first, last = token_range(prompt.tokens, begin, end)
    # A token may hold a stop and the line break after it: only its part in the text counts.
    spans = [
        (max(start, begin) - begin, min(stop, end) - begin)
        for start, stop in prompt.tokens.spans[first:last]
    ]
    return Tokens(prompt.ids[first:last], spans), first
