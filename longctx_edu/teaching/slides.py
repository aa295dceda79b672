"""Where each slide of the two decks has its place: its notebook, and each name it defines.

The map itself is ``slides.toml``, beside this module: deck "E" is on Extended
Mind Transformers, deck "W" on Writing in the Margins. What is wrong with a slide
is shown by its notebook, not here.
"""

import pkgutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from longctx_edu.errors import LongctxError

MAP = Path(__file__).with_name("slides.toml")
BOX = "What the slide gets wrong"


@dataclass(frozen=True)
class SlideName:
    """A function or class that a slide defines or calls, and what became of it.

    Exactly one of the last three is given.

    Attributes:
        name: as on the slide; a method is ``Class.method``.
        home: the import path of our own working version.
        absorbed_by: the import path of what does its work.
        dropped: why nothing does.
    """

    name: str
    home: str | None = None
    absorbed_by: str | None = None
    dropped: str | None = None

    def __post_init__(self):
        if sum(bool(one) for one in (self.home, self.absorbed_by, self.dropped)) != 1:
            raise ValueError(
                f"The slide name {self.name} must have one of home, absorbed_by and dropped."
            )

    @property
    def path(self) -> str | None:
        """What must import when the notebook is there; None for a dropped name."""
        return self.home or self.absorbed_by

    def resolve(self) -> object:
        """Import what stands at the path; None for a dropped name.

        Raises:
            LongctxError: if there is nothing at the path.
        """
        if self.path is None:
            return None
        try:
            return pkgutil.resolve_name(self.path)
        except (ImportError, AttributeError) as error:
            raise LongctxError(
                f"{self.name} should be at {self.path}, and nothing is ({error}); "
                f"build it there or correct {MAP.name}."
            ) from error


@dataclass(frozen=True)
class Slide:
    """One slide.

    Attributes:
        id: deck and number, such as "E2".
        place: the notebook it belongs to, such as "01_attention_cost"; a slide
            that only lists papers belongs to "REFERENCES.md".
        wrong: what is wrong with it, in a sentence; None if nothing that matters.
        names: what it defines, and what it calls without defining it.
    """

    id: str
    place: str
    wrong: str | None = None
    names: tuple[SlideName, ...] = ()

    @property
    def file(self) -> str:
        return self.place if self.place.endswith(".md") else f"{self.place}.ipynb"


@cache
def slides() -> tuple[Slide, ...]:
    """Return all slides of both decks, in their order."""
    return tuple(
        Slide(**{**entry, "names": tuple(SlideName(**name) for name in entry.get("names", ()))})
        for entry in _map()["slide"]
    )


def planned_notebooks() -> tuple[str, ...]:
    """Return the names of the course's notebooks in their order, written or not."""
    return tuple(_map()["notebooks"])


def slides_of(number: int) -> tuple[Slide, ...]:
    """Return the slides that belong to the notebook of this number."""
    return tuple(slide for slide in slides() if slide.place.startswith(f"{number:02d}_"))


def broken_promises(folder: Path) -> Iterator[str]:
    """Yield a sentence for each name that cannot be imported though its notebook is there.

    Args:
        folder: where the notebooks lie. A name whose notebook is not there yet is
            a plan, and not looked at.
    """
    for slide in slides():
        if (folder / slide.file).exists():
            for name in slide.names:
                try:
                    name.resolve()
                except LongctxError as error:
                    yield f"Slide {slide.id}: {error}"


@cache
def _map() -> dict:
    return tomllib.loads(MAP.read_text(encoding="utf-8"))
