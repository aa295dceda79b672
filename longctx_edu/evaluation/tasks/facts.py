"""Facts of different kinds, each told once at its own depth, several questions a document.

Facts that differ in kind interfere less with one another than many of one form (a password for
this city, a password for that), so this is the mildest of the tasks: what fails here is lost.
Distractors of the same form make it harder. The facts are invented: no model knows them.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks import pools
from longctx_edu.evaluation.tasks.fitting import (
    Insert,
    ceiling,
    draw_candidates,
    draw_numbers,
    filler,
    hide,
    seeded,
)
from longctx_edu.evaluation.tasks.item import Controls, Item
from longctx_edu.evaluation.tasks.places import Places

_CANDIDATES = 8  # gold and seven others
_SLOTS = 20  # of which facts take some where they stand at places


@dataclass(frozen=True)
class Kind:
    """A kind of fact: how it is told, asked and answered, of whom, and what can be the case.

    ``values`` are words or numbers.
    """

    statement: str
    question: str
    answer_prefix: str
    subjects: tuple[str, ...]
    values: tuple[str, ...] | range


def _kind(
    statement: str, question: str, prefix: str, subjects: str, values: tuple[str, ...] | range
) -> Kind:
    return Kind(statement, question, prefix, tuple(subjects.split(", ")), values)


KINDS = (
    _kind(
        "The password for the {subject} is {value}.",
        "What is the password for the {subject}?",
        "The password for the {subject} is",
        "archive room, boat shed, bell tower, wine cellar",
        tuple(map(str.capitalize, pools.FLOWERS)),
    ),
    _kind(
        "The captain of the {subject} is named {value}.",
        "What is the name of the captain of the {subject}?",
        "The captain of the {subject} is named",
        "night ferry, mail steamer, coal barge, ice breaker",
        pools.NAMES,
    ),
    _kind(
        "The famous painting in the {subject} shows a {value}.",
        "What does the famous painting in the {subject} show?",
        "The famous painting in the {subject} shows a",
        "town hall, railway station, concert hall, courthouse",
        pools.ANIMALS,
    ),
    _kind(
        "The {subject} was built in the year {value}.",
        "In which year was the {subject} built?",
        "The {subject} was built in the year",
        "stone bridge, windmill, city theatre, grain market",
        range(1100, 1900),
    ),
    _kind(
        "The new {subject} grew up in {value}.",
        "In which city did the new {subject} grow up?",
        "The new {subject} grew up in",
        "schoolteacher, dentist, postmaster, librarian",
        pools.CITIES,
    ),
    _kind(
        "The favourite instrument of the {subject} is the {value}.",
        "What is the favourite instrument of the {subject}?",
        "The favourite instrument of the {subject} is the",
        "mayor, judge, chemist, gardener",
        pools.INSTRUMENTS,
    ),
    _kind(
        "The telephone number of the {subject} is {value}.",
        "What is the telephone number of the {subject}?",
        "The telephone number of the {subject} is",
        "flower shop, hotel, museum, travel office",
        range(10000, 100000),
    ),
    _kind(
        "The statue beside the {subject} is made of {value}.",
        "What is the statue beside the {subject} made of?",
        "The statue beside the {subject} is made of",
        "fountain, swimming pool, university, stadium",
        pools.MATERIALS,
    ),
    _kind(
        "The orchard behind the {subject} grows only {value}.",
        "What does the orchard behind the {subject} grow?",
        "The orchard behind the {subject} grows only",
        "hospital, monastery, factory, airport",
        pools.FRUITS,
    ),
    _kind(
        "The official language of the {subject} is {value}.",
        "What is the official language of the {subject}?",
        "The official language of the {subject} is",
        "chess club, trade fair, opera festival, film school",
        pools.LANGUAGES,
    ),
)


@dataclass(frozen=True)
class Facts:
    """How hard ``facts`` is.

    Attributes:
        facts: facts in a document, each of its own kind, and each asked for.
        distractors: sentences of the same form about somebody or something else, for each fact.
        places: where the facts stand; spread evenly if None.
    """

    task: ClassVar[str] = "facts"

    facts: int = 8
    distractors: int = 1
    # Not in the name that the generator is seeded with: a fact that moves stays the same fact.
    places: Places | None = field(default=None, repr=False)

    def __post_init__(self):
        most = min(len(kind.subjects) for kind in KINDS) - 1
        if not 1 <= self.facts <= len(KINDS) or not 0 <= self.distractors <= most:
            raise LongctxError(
                f"A document has 1 to {len(KINDS)} facts with 0 to {most} distractors each, but "
                f"facts={self.facts} and distractors={self.distractors} were given."
            )
        if self.places and self.places.questions != self.facts:
            raise LongctxError(
                f"These places are for {self.places.questions} facts, but facts={self.facts} was "
                "given; give as many."
            )

    def items(self, length_tokens: int, seed: int, number: int, tokenizer) -> list[Item]:
        """Return the items of document ``number``, as ``generate`` wants them."""
        id = f"{self.task}-{length_tokens}-{seed}-{number}"
        if self.places:
            id += f"-turn-{self.places.turn}"
        draw = seeded(f"{self.task}-{seed}-{number}", self)
        kinds = draw.sample(KINDS, self.facts)
        subjects = [draw.sample(kind.subjects, 1 + self.distractors) for kind in kinds]
        values = [_values(draw, kind.values) for kind in kinds]
        inserts = [
            Insert(
                kind.statement.format(subject=subjects[asked][0], value=values[asked][0]),
                depth=self._depth(asked),
                questions=frozenset([asked]),
            )
            for asked, kind in enumerate(kinds)
        ]
        for asked, kind in enumerate(kinds):
            for subject, value in zip(subjects[asked][1:], values[asked][1:], strict=False):
                statement = kind.statement.format(subject=subject, value=value)
                inserts.append(Insert(statement, depth=draw.random()))
        hidden, floor = hide(
            inserts, filler(seed, number, length_tokens), length_tokens, tokenizer, id=id
        )
        return [
            Item(
                task=self.task,
                seed=seed,
                documents=(hidden.document,),
                question=kind.question.format(subject=subjects[asked][0]),
                answer_prefix=kind.answer_prefix.format(subject=subjects[asked][0]),
                gold=(values[asked][0],),
                candidates=draw_candidates(draw, values[asked][0], values[asked][1:]),
                gold_spans=hidden.citations(inserts, asked),
                controls=Controls((floor,), (ceiling(id, inserts, asked),)),
            )
            for asked, kind in enumerate(kinds)
        ]

    def _depth(self, asked: int) -> float:
        if self.places:
            return self.places.slots(_SLOTS)[asked] / (_SLOTS - 1)
        return (asked + 0.5) / self.facts


def _values(draw, values: tuple[str, ...] | range) -> list[str]:
    if isinstance(values, range):
        return draw_numbers(draw, _CANDIDATES, values)
    return draw.sample(values, _CANDIDATES)
