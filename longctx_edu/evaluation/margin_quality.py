"""Do margins help? The same questions by margins, by the plain prompt, and by controls.

The controls tell what a gain is due to: random sentences and empty notes under the same label
(is it the form of the prompt?), the question before the text too (is it reading with the question
in mind?), the notes without the text, and the cheaper methods. All in the same words with the
same room for an answer, greedily. The comparisons of Russak et al. 2024, section 4, lack most.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from longctx_edu import read
from longctx_edu.evaluation.intervals import effective_n, paired_bootstrap, sign_flip, wilson
from longctx_edu.evaluation.metrics import holds, recall
from longctx_edu.evaluation.scoring import answer_tokens
from longctx_edu.evaluation.tasks import Item, by_document
from longctx_edu.events import returned_by
from longctx_edu.inference import Context, chat_prompt, write
from longctx_edu.margins.notes import Note
from longctx_edu.margins.prompts import Labelled
from longctx_edu.text import segment_sentences

PLAIN = "plain"
_NOTHING = "(nothing)"


class Document:
    """One document read by every method, ready for its questions."""

    def __init__(self, documents, model, *, half: int, **options):
        self.model = model
        self.margins = read(documents, method="margins", model=model, **options)
        self.others = {
            "truncated to half": read(
                documents, method="truncated", model=model, max_prompt_tokens=half
            ),
            "retrieval": read(documents, method="retrieval", model=model),
            "map_reduce": read(documents, method="map_reduce", model=model),
        }

    def ways(self, item: Item, draw: random.Random) -> dict[str, Callable[[], str]]:
        """Return how to get the answer of each method; margins must be the first one called."""
        common = dict(
            answer_prefix=item.answer_prefix,
            max_new_tokens=answer_tokens(item, self.model.tokenizer),
        )

        def by_margins(**further) -> str:
            return self.margins.ask(item.question, **common, **further).text

        def written() -> str:
            answer = by_margins()
            self.notes = list(self.margins.notes)
            return answer

        def kept() -> list[Note]:
            return [note for note in self.notes if note.kept]

        return {
            "margins": written,
            PLAIN: lambda: by_margins(notes=[]),
            "margins alone": lambda: self._prompted(
                Labelled().notes([note.text for note in kept()]) + item.question, common
            ),
            "all margins": lambda: by_margins(
                notes=[replace(note, kept=True) for note in self.notes]
            ),
            "random notes": lambda: by_margins(
                notes=[Note(0, text) for text in self._random(item, len(kept()), draw)]
            ),
            "empty notes": lambda: by_margins(notes=[Note(0, _NOTHING)]),
            "question at both ends": lambda: self._prompted(
                f"{item.question}\n\n{self.margins.text.strip()}\n\n{item.question}", common
            ),
            **{
                name: lambda reading=reading: reading.ask(item.question, **common).text
                for name, reading in self.others.items()
            },
        }

    def _prompted(self, user: str, common: dict) -> str:
        prompt = chat_prompt(self.model, user, answer_prefix=common["answer_prefix"])
        events = write(Context(self.model), prompt.ids, max_new_tokens=common["max_new_tokens"])
        return returned_by(events).text

    def _random(self, item: Item, count: int, draw: random.Random) -> list[str]:
        """Return as many sentences of the text as there are notes, one at least; none is right."""
        text = self.margins.text
        sentences = [text[start:end].strip() for start, end in segment_sentences(text)]
        wrong = [one for one in sentences if one and not any(holds(one, g) for g in item.gold)]
        return draw.sample(wrong, max(1, min(count, len(wrong))))


def answers(items: Sequence[Item], model, *, half: int, seed: int = 0, **options) -> list[dict]:
    """Answer every item by every way; return a row for each: item, way, answer, recall.

    Args:
        half: most tokens of a truncated prompt.
        options: of the method "margins".
    """
    rows, draw = [], random.Random(seed)
    for group in by_document(items):
        document = Document(group[0].documents, model, half=half, **options)
        for item in group:
            for way, answer in document.ways(item, draw).items():
                rows.append(row_of(item, way, answer()))
    return rows


def row_of(item: Item, way: str, text: str) -> dict:
    """Return what ``compared`` needs of one answer."""
    return {
        "task": item.task,
        "document": item.document_ids[0],
        "question": item.question,
        "gold": list(item.gold),
        "way": way,
        "answer": text,
        "recall": recall(text, item.gold),
    }


def compared(rows: Sequence[dict]) -> list[dict]:
    """Return for each task and way the mean recall, its interval, and the gain over plain.

    Intervals count documents, not questions, as independent (see ``intervals``); of a single
    document nothing can be said of the gain's.
    """
    table = []
    for task in dict.fromkeys(row["task"] for row in rows):
        inside = [row for row in rows if row["task"] == task]
        plain = [row for row in inside if row["way"] == PLAIN]
        clusters = [row["document"] for row in plain]
        for way in dict.fromkeys(row["way"] for row in inside):
            recalls = [row["recall"] for row in inside if row["way"] == way]
            base = [row["recall"] for row in plain]
            mean = sum(recalls) / len(recalls)
            independent = effective_n(recalls, clusters)
            interval = wilson(mean * independent, independent)
            several = len({*clusters}) > 1
            gain = paired_bootstrap(recalls, base, clusters=clusters) if several else None
            table.append(
                {
                    "task": task,
                    "way": way,
                    "recall": mean,
                    "low": interval.low,
                    "high": interval.high,
                    "gain": mean - sum(base) / len(base),
                    "gain_low": gain and gain.low,
                    "gain_high": gain and gain.high,
                    "p": sign_flip(recalls, base, clusters=clusters),
                    "n": len(recalls),
                    "documents": len({*clusters}),
                }
            )
    return table
