"""Where in a text the lines stand that are asked for, and how they take turns there.

What position does is told by the same question with its line at one place and at another, all
else as it was (Liu et al. 2023, section 2). There one line is taken out and put in elsewhere, a
text for each question and place. Here the lines that are asked for change places with one another
(a Latin square), so that one text serves them all. What is asked and told is for the tasks.
"""

from dataclasses import dataclass

from longctx_edu.errors import LongctxError

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The places, as shares of the way from the first line to the last."""


@dataclass(frozen=True)
class Places:
    """A few lines at each place, and how often all of them have moved on by one place.

    Attributes:
        each: lines asked for at each place, next to one another.
        turn: by how many places each line has moved on; from the last place to the first.
            Over the turns 0 to 4 every line stands once at every place.
    """

    each: int = 2
    turn: int = 0

    def __post_init__(self):
        if self.each < 1 or not 0 <= self.turn < len(DEPTHS):
            raise LongctxError(
                f"Each place has 1 line or more and a turn is 0 to {len(DEPTHS) - 1}, but "
                f"each={self.each} and turn={self.turn} were given."
            )

    @property
    def questions(self) -> int:
        """How many lines of a text are asked for."""
        return self.each * len(DEPTHS)

    def depth(self, question: int) -> float:
        """Return the place of the line that a question asks for."""
        return DEPTHS[(question // self.each + self.turn) % len(DEPTHS)]

    def slots(self, count: int) -> list[int]:
        """Return the slot of each question's line in a row of ``count`` slots, 0 the first.

        Raises:
            LongctxError: if there are fewer slots than lines asked for.
        """
        if count < self.questions:
            raise LongctxError(
                f"{self.questions} lines need as many slots, and there are {count}; "
                "give more lines, or fewer at each place."
            )
        return [
            round(self.depth(question) * (count - self.each)) + question % self.each
            for question in range(self.questions)
        ]
