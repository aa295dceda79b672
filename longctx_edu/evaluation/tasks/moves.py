"""People walk about, take things up and put them down: where is everything at the end?

Stories like those of bAbI (Weston et al. 2015), hidden in other text as BABILong does it (Kuratov
et al. 2024). What is asked for was told more than once and only the last time counts, so finding
a sentence that matches is not enough. The stories are simulated here; none of bAbI's text is used.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks import pools
from longctx_edu.evaluation.tasks.fitting import (
    Insert,
    ceiling,
    draw_candidates,
    filler,
    hide,
    seeded,
)
from longctx_edu.evaluation.tasks.item import Controls, Item

_PEOPLE, _THINGS = 4, 3
_TRIES = 1000


@dataclass(frozen=True)
class Event:
    """Somebody goes to a place, or takes up or puts down a thing."""

    person: str
    deed: str
    object: str

    def __str__(self) -> str:
        return f"{self.person} {_DEEDS[self.deed]} {self.object}."


_DEEDS = {"go": "went to the", "take": "picked up the", "drop": "put down the"}


@dataclass(frozen=True)
class Stay:
    """A place where somebody or something came to be, and the events that tell so, by number."""

    place: str
    events: frozenset[int]


def stays(events: Sequence[Event]) -> dict[str, list[Stay]]:
    """Follow the events; return for each person and thing its places, one after another.

    A thing goes where the one goes who holds it. What nobody has told yet is left out: a thing
    taken up at an unknown place has no place until its holder goes to one.

    >>> story = [Event("Ada", "take", "cup"), Event("Ada", "go", "zoo"), Event("Ada", "go", "spa")]
    >>> [(stay.place, sorted(stay.events)) for stay in stays(story)["cup"]]
    [('zoo', [0, 1]), ('spa', [0, 2])]
    """
    found: dict[str, list[Stay]] = {}
    held: dict[str, tuple[str, int]] = {}  # by whom, and since which event
    for number, event in enumerate(events):
        own = found.setdefault(event.person, [])
        if event.deed == "go":
            own.append(Stay(event.object, frozenset([number])))
            for thing, (holder, since) in held.items():
                if holder == event.person:
                    found[thing].append(Stay(event.object, frozenset([since, number])))
            continue
        row = found.setdefault(event.object, [])
        if event.deed == "take":
            held[event.object] = event.person, number
            if own and (not row or row[-1].place != own[-1].place):
                row.append(Stay(own[-1].place, own[-1].events | {number}))
        else:
            del held[event.object]
            if row:  # without it the thing would have gone on with its holder
                row[-1] = Stay(row[-1].place, row[-1].events | {number})
    return found


@dataclass(frozen=True)
class Moves:
    """How hard ``moves`` is.

    Attributes:
        hops: 1 asks where somebody is, 2 where a thing is, 3 where it was before that.
        events: sentences of the story.
        questions: persons or things asked for in each document.
    """

    hops: int = 1
    events: int = 4
    questions: int = 2

    def __post_init__(self):
        asked_of = _PEOPLE if self.hops == 1 else _THINGS
        least = (2, 6, 10)[min(max(self.hops, 1), 3) - 1] + self.questions
        if self.hops not in (1, 2, 3) or not 1 <= self.questions <= asked_of:
            raise LongctxError(
                "A story is asked about with 1 to 3 hops, of "
                f"{_PEOPLE} persons or {_THINGS} things, but questions={self.questions} and "
                f"hops={self.hops} were given."
            )
        if not least <= self.events <= 40:
            raise LongctxError(
                f"Such a story has {least} to 40 events, but events={self.events} was given."
            )

    def items(self, length_tokens: int, seed: int, number: int, tokenizer) -> list[Item]:
        """Return the items of document ``number``, as ``generate`` wants them."""
        id = f"moves-{length_tokens}-{seed}-{number}"
        draw = seeded("moves", seed, number, self)
        story, asked = self._story(draw)
        depths = sorted(draw.random() for _ in story)
        needed = [self._needed(row) for _, row in asked]
        inserts = [
            Insert(
                str(event),
                depth=depth,
                questions=frozenset(n for n, events in enumerate(needed) if place in events),
            )
            for place, (event, depth) in enumerate(zip(story, depths, strict=True))
        ]
        hidden, floor = hide(
            inserts, filler(seed, number, length_tokens), length_tokens, tokenizer, id=id
        )
        items = []
        for question, (subject, row) in enumerate(asked):
            words, prefix = self._words(subject, row)
            gold, now = row[-2 if self.hops == 3 else -1].place, row[-1].place
            wrong = [one for one in pools.PLACES if one not in (gold, now)]
            items.append(
                Item(
                    task="moves",
                    seed=seed,
                    documents=(hidden.document,),
                    question=words,
                    answer_prefix=prefix,
                    gold=(gold,),
                    candidates=draw_candidates(draw, gold, wrong),
                    gold_spans=hidden.citations(inserts, question),
                    controls=Controls((floor,), (ceiling(id, inserts, question),)),
                )
            )
        return items

    def _story(self, draw) -> tuple[list[Event], list[tuple[str, list[Stay]]]]:
        """Draw stories until one has enough to ask for; return it and what is asked for.

        What is asked for has been in another place before, so that there is a wrong answer.
        """
        people = draw.sample(pools.NAMES, _PEOPLE)
        things = draw.sample(pools.THINGS, _THINGS)
        subjects = people if self.hops == 1 else things
        for _ in range(_TRIES):
            story = list(islice(_told(draw, people, things), self.events))
            places = stays(story)
            moved = [(one, row) for one in subjects if len(row := places.get(one, [])) > 1]
            if len(moved) >= self.questions:
                return story, draw.sample(moved, self.questions)
        raise LongctxError(
            f"No story of {self.events} events moves {self.questions} of {', '.join(subjects)} "
            "about; give more events or ask fewer questions."
        )

    def _needed(self, row: Sequence[Stay]) -> frozenset[int]:
        last = row[-1].events
        return last | row[-2].events if self.hops == 3 else last

    def _words(self, subject: str, row: Sequence[Stay]) -> tuple[str, str]:
        if self.hops == 1:
            return f"Where did {subject} go last?", f"{subject} last went to the"
        if self.hops == 2:
            return f"Where is the {subject} now?", f"The {subject} is now in the"
        before = f"before it came to the {row[-1].place}"
        return f"Where was the {subject} {before}?", f"The {subject} was in the"


def _told(draw, people: Sequence[str], things: Sequence[str]) -> Iterator[Event]:
    """Yield events without end, each possible after those before it."""
    at: dict[str, str] = {}
    held: dict[str, str] = {}
    left: dict[str, str] = {}  # where a thing was put down
    while True:
        person = draw.choice(people)
        own = [thing for thing, holder in held.items() if holder == person]
        here = [
            thing
            for thing in things
            if thing not in held and left.get(thing) in (None, at.get(person))
        ]
        deed = draw.choice(["go", "go", "take", "drop"])
        if deed == "go":
            at[person] = draw.choice([one for one in pools.PLACES if one != at.get(person)])
            yield Event(person, "go", at[person])
        elif deed == "take" and here and person in at:
            thing = draw.choice(here)
            held[thing] = person
            yield Event(person, "take", thing)
        elif deed == "drop" and own:
            thing = draw.choice(own)
            left[thing] = at[person]
            del held[thing]
            yield Event(person, "drop", thing)
