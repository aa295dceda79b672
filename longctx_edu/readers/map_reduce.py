"""Ask every part of the text on its own, then answer from the surest notes.

Each segment is read by itself, without the ones before it. A small model always
answers something, so a note counts by how sure the model was while writing it.
Any length works, and the cost grows with the length at every question, since
nothing is kept between questions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from longctx_edu.errors import LongctxError
from longctx_edu.events import NoteWritten, Progress
from longctx_edu.inference import Context, Written, chat_prompt, write
from longctx_edu.margins.prompts import is_empty_note
from longctx_edu.margins.verdicts import surest_notes
from longctx_edu.readers.joined import JoinedText
from longctx_edu.readers.prompting import assert_fits, total
from longctx_edu.readers.reading import Answer, Reading
from longctx_edu.text import character_span, segment_tokens, tokenize

_QUESTION_RESERVE = 96  # tokens of the window kept free for question and answer prefix


class MapReduceReading(Reading):
    """Documents cut into segments that are asked one by one."""

    @dataclass(frozen=True)
    class Options:
        """``segment_tokens``: size of a segment; ``note_tokens``: the longest note;
        ``share``: how sure a note must be, as a share of the surest one's confidence."""

        segment_tokens: int = 1024
        note_tokens: int = 24
        share: float = 0.75

        def __post_init__(self):
            if min(self.segment_tokens, self.note_tokens) < 1 or not 0 <= self.share <= 1:
                raise LongctxError(
                    "map_reduce needs segment_tokens >= 1, note_tokens >= 1 and a share from 0 "
                    f"to 1, got {self.segment_tokens}, {self.note_tokens} and {self.share}."
                )

    def _prepare(self) -> Iterator:
        self._joined = JoinedText(self.documents)
        tokens = tokenize(self.model.tokenizer, self._joined.text)
        template = len(chat_prompt(self.model, "").ids)
        room = self.model.window - template - self.options.note_tokens - _QUESTION_RESERVE
        size = max(1, min(self.options.segment_tokens, room))
        ranges = segment_tokens(tokens, self._joined.text, size)
        self._segments = [character_span(tokens, *chosen) for chosen in ranges]
        yield Progress("segmenting", len(self._segments), len(self._segments), "segments")

    def _answer(self, question, answer_prefix, max_new_tokens) -> Iterator:
        notes: list[Written] = []
        for number, (start, end) in enumerate(self._segments):
            note = yield from self._prompted(
                self._joined.text[start:end].strip(),
                question,
                answer_prefix,
                max_new_tokens=self.options.note_tokens,
                stage=f"segment {number + 1}",
            )
            notes.append(note)
            yield NoteWritten(number, len(self._segments), note.text, note.confidence)
        confidences = [note.confidence for note in notes]
        said = ["" if is_empty_note(note.text) else note.text for note in notes]
        judged = surest_notes(said, confidences, self.options.share)
        surest = [n for n, keeps in enumerate(judged.kept) if keeps]
        # However many notes there are, half a window of them leaves room for the answer.
        most = max(1, self.model.window // (2 * (self.options.note_tokens + _QUESTION_RESERVE)))
        surest = sorted(sorted(surest, key=lambda n: -confidences[n])[:most])
        written = yield from self._prompted(
            "\n".join(f"{answer_prefix} {notes[n].text}".strip() for n in surest),
            question,
            answer_prefix,
            max_new_tokens=max_new_tokens,
            stage="answering",
        )
        citations = [
            citation
            for n in sorted(surest, key=lambda n: -confidences[n])
            for citation in self._joined.citations(
                *self._segments[n], weight=notes[n].confidence, kind="segment"
            )
        ]
        trace = {
            "notes": [
                {
                    "segment": n,
                    "start": start,
                    "end": end,
                    "text": note.text,
                    "confidence": note.confidence,
                }
                for n, (note, (start, end)) in enumerate(zip(notes, self._segments, strict=True))
            ],
            "kept": surest,
        }
        ledger = total([note.ledger for note in notes] + [written.ledger])
        return Answer(written.text, tuple(citations), ledger, trace=trace)

    def _prompted(self, text, question, answer_prefix, *, max_new_tokens, stage) -> Iterator:
        """Read ``text`` afresh and answer from it alone; yield events, return ``Written``."""
        prompt = chat_prompt(self.model, f"{text}\n\n{question}", answer_prefix=answer_prefix)
        assert_fits(self.model, len(prompt.ids), max_new_tokens, any_length=("truncated",))
        return (
            yield from write(
                Context(self.model), prompt.ids, max_new_tokens=max_new_tokens, stage=stage
            )
        )
