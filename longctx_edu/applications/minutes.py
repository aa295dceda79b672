"""Minutes of meetings made up by a seed, with everything that was decided known beforehand.

A summary can be held against them: what a good one must tell, and what it must not say, stands in
``Minutes.matters``. Names and sums are invented, so no model knows them. How a summary is scored
is in ``evaluation.summaries``.
"""

import random
from dataclasses import dataclass

from longctx_edu.errors import LongctxError
from longctx_edu.text import Document

DECIDED, REJECTED, POSTPONED = FATES = ("decided", "rejected", "postponed")

PEOPLE = ("Agnes", "Bertram", "Cornelia", "Dietrich", "Edwina", "Florian", "Gertrude", "Hubert")
MONTHS = ("March", "April", "May", "June", "July", "August", "September", "October")

_MATTERS = (  # what to do, and with what
    ("repair", "slipway"),
    ("paint", "boat house"),
    ("replace", "signal lamp"),
    ("clean", "rain tank"),
    ("extend", "fish market"),
    ("move", "weather vane"),
    ("buy", "rowing boat"),
    ("repair", "church clock"),
    ("widen", "coast path"),
    ("renew", "school roof"),
    ("build", "bus shelter"),
    ("restore", "stone well"),
    ("plant", "orchard"),
    ("heat", "reading room"),
    ("rent", "snow plough"),
    ("mend", "harbour crane"),
    ("print", "tide tables"),
    ("fence", "sheep meadow"),
    ("tune", "organ"),
    ("drain", "football field"),
    ("furnish", "guest house"),
    ("light", "market square"),
    ("insure", "ferry"),
    ("survey", "sand bank"),
)
_TOLD = {
    DECIDED: "It was decided that {who} will {act} the {subject} for {cost} crowns by {day}.",
    REJECTED: "The proposal of {who} to {act} the {subject} for {cost} crowns was rejected.",
    POSTPONED: "The proposal of {who} to {act} the {subject} for {cost} crowns was postponed.",
}
_TALK = (
    "{name} described the state of the {subject} at length.",
    "{name} recalled that the {subject} had been spoken of in the spring as well.",
    "Nobody could say who had last looked after the {subject}.",
    "The letter about the {subject} was read aloud and laid beside the others.",
    "{name} doubted that the neighbours would agree.",
    "{name} thought that the weather would settle it for them.",
    "The secretary opened a window, and the meeting went on.",
    "There was some laughter, after which order was restored.",
    "{name} asked for patience and was given it.",
    "The chair thanked all who had written, and those who had not.",
    "{name} said that the island had lived without such things for a long time.",
    "It was remarked that the {subject} looks better from the sea than from the land.",
    "{name} had walked there on Sunday and found nothing to add.",
    "The older members compared it with what their parents had done.",
    "{name} wished the question had come up before the herring season.",
    "A drawing of the {subject} went round the table and came back with a coffee stain.",
)


@dataclass(frozen=True)
class Matter:
    """Something that a meeting talked about, and what became of it.

    Attributes:
        meeting: its number, from 0.
        subject: a noun that names it, and names nothing else in the text.
        fate: "decided", "rejected" or "postponed".
        details: who, for how much and, if decided, by when, as they stand in ``statement``.
        statement: the sentence that tells its fate; the only one that holds the details.
        start, end: the characters of that sentence.
    """

    meeting: int
    subject: str
    fate: str
    details: tuple[str, ...]
    statement: str
    start: int
    end: int


@dataclass(frozen=True)
class Minutes:
    """Minutes of some meetings as one document, and all that was talked about."""

    document: Document
    matters: tuple[Matter, ...]

    @property
    def decisions(self) -> tuple[Matter, ...]:
        """What was decided: what a summary has to tell."""
        return tuple(one for one in self.matters if one.fate == DECIDED)


def generate_minutes(
    *, meetings: int = 4, decisions: int = 2, others: int = 1, talk: int = 5, seed: int = 0
) -> Minutes:
    """Make up the minutes of some meetings.

    With the defaults they have about 1,100 tokens of the embedded model; ``talk=12`` makes it
    twice as many.

    Args:
        meetings: how many.
        decisions: matters decided in each.
        others: matters rejected or postponed in each; told as decided, they make a summary wrong.
        talk: sentences of talk before each, which hold nothing that matters.
        seed: another seed makes other minutes.

    >>> minutes = generate_minutes(meetings=1, decisions=1, others=0, talk=0)
    >>> matter = minutes.decisions[0]
    >>> minutes.document.text[matter.start : matter.end] == matter.statement
    True

    Raises:
        LongctxError: for numbers below 0, no decision, or more matters than there are subjects.
    """
    matters = meetings * (decisions + others)
    most = len(_MATTERS)
    if min(others, talk) < 0 or min(meetings, decisions) < 1 or matters > most:
        raise LongctxError(
            f"Minutes have at least one meeting with one decision, and at most {most} matters, but "
            f"meetings={meetings}, decisions={decisions}, others={others} and talk={talk} were "
            "given."
        )
    draw = random.Random(f"minutes-{seed}")
    subjects = draw.sample(_MATTERS, matters)
    costs = draw.sample(range(110, 990, 10), matters)
    days = draw.sample([f"{day} {month}" for month in MONTHS for day in range(1, 29)], matters)
    text, told = "", []
    for meeting in range(meetings):
        text += f"# Island council, meeting {'ABCDEFGHIJKLMNOPQRSTUVWX'[meeting]}\n\n"
        fates = [DECIDED] * decisions + [draw.choice(FATES[1:]) for _ in range(others)]
        draw.shuffle(fates)
        for fate in fates:
            act, subject = subjects[len(told)]
            who, cost, day = draw.choice(PEOPLE), costs[len(told)], days[len(told)]
            for sentence in draw.sample(_TALK, min(talk, len(_TALK))):
                text += sentence.format(name=draw.choice(PEOPLE), subject=subject) + " "
            statement = _TOLD[fate].format(who=who, act=act, subject=subject, cost=cost, day=day)
            details = (who, str(cost), day) if fate == DECIDED else (who, str(cost))
            place = (len(text), len(text) + len(statement))
            told.append(Matter(meeting, subject, fate, details, statement, *place))
            text += statement + "\n\n"
    return Minutes(Document(f"minutes-{seed}", text.strip(), "generated"), tuple(told))
