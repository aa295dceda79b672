"""Guided tours of a view, as data: what to read, what to show, and when a step is done.

A step sets traits and is done when traits are as it says, so that a tour runs, and is tested,
without a browser. A step is a dict: ``text``; ``state``, traits to set when it is entered;
``target``, the part of the view to point at; ``done``, a condition on each of some traits.
"""

from collections.abc import Mapping

ATTENTION_TOUR = (
    {
        "text": "Each small picture is one head: queries go down, keys across, bright is much "
        "attention. A bright left edge is a sink, a bright diagonal looks at what is near. "
        "Choose another head.",
        "state": {"sort": "layer", "hide_sink": False, "predicting": False},
        "target": "heads",
        "done": {"place": {"changed": True}},
    },
    {
        "text": "Some patterns have names. Sort the heads by “previous token”: the first ones "
        "look at the token before.",
        "state": {},
        "target": "heads",
        "done": {"sort": "previous token"},
    },
    {
        "text": "Now sort by “sink”, choose the first head and hide the sink: what is left of "
        "its attention when the first token does not count?",
        "state": {},
        "target": "counting",
        "done": {"hide_sink": True},
    },
    {
        "text": "A cell stands for many weights until you zoom in: Ctrl and the wheel, + and −, "
        "or the small map. Zoom until you see a quarter of what you see now.",
        "state": {"hide_sink": False},
        "target": "matrix",
        "done": {"width": {"shrunk": 0.25}},
    },
    {
        "text": "Choose a word in the text or a cell. Its row is one query: what it looks at, "
        "as numbers, as bars and as colours of the text.",
        "state": {},
        "target": "text",
        "done": {"query": {"changed": True}},
    },
    {
        "text": "Where does this token look? Choose the three tokens that you expect, then see.",
        "state": {"predicting": True},
        "target": "text",
        "done": {"guesses": {"count": 3}},
    },
    {
        "text": "Choose a key in the table. Its weight says where the head looks, not whether "
        "the model needs it: with a model at hand, ask what changes without this key.",
        "state": {"predicting": False},
        "target": "table",
        "done": {"key": {"min": 0}},
    },
)
"""The patterns of heads, one row in exact numbers, and why colour is no proof."""


def is_done(step: Mapping, state: Mapping, entered: Mapping) -> bool:
    """Say whether the traits are as a step wants them.

    A condition is a value to equal, or a dict of ``changed`` (since the step was entered),
    ``min``, ``max``, ``count`` (of a list), ``shrunk`` (to this share of what it was).

    Args:
        step: of a tour.
        state: what there is now: traits, and what a view adds to them by name.
        entered: the same, when the step was entered.

    Raises:
        ValueError: for a condition that there is not.
    """
    return all(
        _holds(condition, state[name], entered[name]) for name, condition in step["done"].items()
    )


def _holds(condition, now, then) -> bool:
    if not isinstance(condition, Mapping):
        return now == condition
    tests = {
        "changed": lambda wanted: (now != then) == wanted,
        "min": lambda least: now >= least,
        "max": lambda most: now <= most,
        "count": lambda number: len(now) == number,
        "shrunk": lambda share: now <= share * then,
    }
    if unknown := condition.keys() - tests:
        raise ValueError(f"A condition is one of {', '.join(tests)}, not {sorted(unknown)}.")
    return all(tests[name](wanted) for name, wanted in condition.items())
