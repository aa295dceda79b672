"""Which notes count: those that say something, written about as surely as the surest.

A small model asked about a text that says nothing on the matter makes something
up, but its tokens are less probable than those that it copies. Comparing with the
surest note of the same question needs no threshold for each model.
"""

import re
from collections.abc import Sequence

_NOTHING = re.compile(
    r"\W*(no|none|nothing|not mentioned|unknown|i don'?t know|i do not know"
    r"|(the|this) text does not (say|mention))\b",
    re.IGNORECASE,
)


def is_empty_note(note: str) -> bool:
    """Say whether a note only states that there is nothing to note.

    >>> is_empty_note("NO"), is_empty_note("The text does not say."), is_empty_note("Nora came.")
    (True, True, False)
    """
    return not note.strip() or _NOTHING.match(note) is not None


def surest_notes(notes: Sequence[str], confidences: Sequence[float], share: float) -> list[int]:
    """Return the numbers of the notes that count, in order.

    Args:
        notes: their texts; empty ones and repetitions never count.
        confidences: for each, the geometric mean of its tokens' probabilities.
        share: how sure a note must be, as a share of the surest one's confidence.

    >>> surest_notes(["a boat", "NO", "a ship", "a boat"], [0.7, 0.9, 0.3, 0.6], share=0.75)
    [0]
    """
    said = [n for n, note in enumerate(notes) if not is_empty_note(note)]
    said = [n for n in said if notes[n] not in notes[:n]]
    least = share * max((confidences[n] for n in said), default=0)
    return [n for n in said if confidences[n] >= least]
