"""What an answer looks at, and what it needs: notes, their sources, and either taken away.

For a question to a generated document that the method "margins" has answered. Attention is
added up for the token that begins the answer; then the right answer's log-probability is taken
with parts of the prompt hidden from the answer (Geva et al. 2023, section 5), or never there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from longctx_edu.attention import capture, logits_without, mass_by_part, mean_weights
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.metrics import answer_likelihoods, answered, holds
from longctx_edu.evaluation.tasks import Item
from longctx_edu.inference import Context
from longctx_edu.margins import Labelled
from longctx_edu.text import token_range

PARTS = ("sink", "text", "source", "right notes", "wrong notes", "question")
HIDDEN: Mapping[str, tuple[str, ...]] = {
    "nothing": (),
    "right notes": ("right notes",),
    "source": ("source",),
    "both": ("right notes", "source"),
    "wrong notes": ("wrong notes",),
}
REMOVED = ("nothing", "right notes", "source", "both")


@dataclass(frozen=True)
class Asked:
    """A question with its final prompt, the right answer at its end.

    Attributes:
        item: the question.
        text: the documents' text.
        notes: the kept notes, in order.
        context: what the model has read of the prompt: all but its last token.
        ids: tokens of prompt and answer.
        start: where the answer begins.
        places: token ranges of each of ``PARTS``: the first token; the text; the sentence in it
            that holds the answer; the kept notes with and without the answer; the question.
    """

    item: Item
    text: str
    notes: list[str]
    context: Context
    ids: list[int]
    start: int
    places: Mapping[str, list[range]]

    @property
    def right_notes(self) -> list[str]:
        """The kept notes that hold the right answer."""
        return [note for note in self.notes if holds(note, self.item.gold[0])]

    @property
    def wrong_notes(self) -> list[str]:
        """The kept notes that do not."""
        return [note for note in self.notes if note not in self.right_notes]


def ask(reading, item: Item, *, max_new_tokens: int = 8):
    """Ask a margins reading a question of its document; return the answer, and what was asked.

    Args:
        reading: of ``item.documents``, by ``longctx_edu.read(..., method="margins")`` with its
            own order of the prompt: text, labelled notes, question.

    Returns:
        The ``Answer`` and an ``Asked``.

    Raises:
        LongctxError: for a reading with another order of the prompt.
    """
    answer = reading.ask(
        item.question, answer_prefix=item.answer_prefix, max_new_tokens=max_new_tokens
    )
    notes = [note.text for note in reading.notes if note.kept]
    ids, start = _with_answer(reading.model, reading.text, notes, item)
    if ids[: start - 1] != reading.final_prompt.ids[: start - 1]:
        raise LongctxError(
            "This reading puts its final prompt together in another way than text, labelled notes, "
            "question; leave its options place and final as they are."
        )
    context = _read(reading.context, ids[: start - 1])
    places = _places(reading.final_prompt, reading.text, notes, item)
    return answer, Asked(item, reading.text, notes, context, ids, start, places)


def _places(prompt, whole: str, notes: Sequence[str], item: Item) -> dict[str, list[range]]:
    """Return where the parts stand in a final prompt."""
    text = whole.strip()
    begin, span = prompt.user_start, item.gold_spans[0]
    before = begin - (len(whole) - len(whole.lstrip()))  # where the document would begin

    def place(first: int, length: int) -> range:
        return range(*token_range(prompt.tokens, first, first + length))

    found = {
        "sink": [range(1)],
        "text": [place(begin, len(text))],
        "source": [place(before + span.start, span.end - span.start)],
        "right notes": [],
        "wrong notes": [],
        "question": [place(prompt.text.rindex(item.question), len(item.question))],
    }
    for note in notes:
        start = prompt.text.index(f"- {note}\n", begin + len(text)) + 2
        kind = "right notes" if holds(note, item.gold[0]) else "wrong notes"
        found[kind].append(place(start, len(note)))
    return found


def mass(asked: Asked) -> dict[str, torch.Tensor]:
    """Return the attention that the token before the answer gives to each part.

    Returns:
        by ``PARTS``, ``(layers, heads)``; "text" includes "source".
    """
    row = range(asked.start - 1, asked.start)
    record = capture(asked.context, asked.ids[row.start : row.stop])
    weights = mean_weights(record, row)  # (layers, heads, tokens)
    return {part: mass_by_part(weights, asked.places[part] or [range(0)]).sum(-1) for part in PARTS}


def hidden(asked: Asked) -> dict[str, float]:
    """Return the right answer's log-probability if the answer cannot look at some parts, in nats.

    Returns:
        by the names of ``HIDDEN``.
    """
    said = asked.ids[asked.start :]
    found = {}
    for name, parts in HIDDEN.items():
        places = [place for part in parts for place in asked.places[part]]
        logits = logits_without(asked.context, asked.ids[asked.start - 1 : -1], places)
        found[name] = float(logits.log_softmax(-1)[range(len(said)), said].sum())
    return found


def removed(asked: Asked) -> dict[str, float]:
    """Return the right answer's log-probability after prompts without some parts, in nats.

    What follows a removed part is read anew, so that nothing of it is left.

    Returns:
        by the names of ``REMOVED``.
    """
    span = asked.item.gold_spans[0]
    without = asked.text[: span.start] + asked.text[span.end :]
    prompts = {
        "nothing": (asked.text, asked.notes),
        "right notes": (asked.text, asked.wrong_notes),
        "source": (without, asked.notes),
        "both": (without, asked.wrong_notes),
    }
    contexts, found = {asked.text: asked.context}, {}
    for name, (text, notes) in prompts.items():
        ids, start = _with_answer(asked.context.language_model, text, notes, asked.item)
        if text not in contexts:  # the text without its sentence is read once
            contexts[text] = _read(asked.context, ids[: start - 1])
        found[name] = answer_likelihoods(contexts[text], [ids], start)[0].log_probability
    return found


def _with_answer(model, text: str, notes: Sequence[str], item: Item) -> tuple[list[int], int]:
    final = Labelled()
    user = f"{text.strip()}\n\n{final.notes(notes)}{final.ask(item.question)}"
    (ids,), start = answered(model, user, item.answer_prefix, item.gold[:1])
    return ids, start


def _read(context: Context, ids: Sequence[int]) -> Context:
    """Return a context that has read ``ids``; what ``context`` has read of them is reused."""
    fork = context.fork(context.shared_length(ids))
    for _ in fork.prefill(ids[len(fork) :]):
        pass
    return fork
