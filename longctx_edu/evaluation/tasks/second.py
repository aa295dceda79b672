"""Two questions on one document, one after the other: what does the second one cost, and lose?

A method that read the document without a question answers the second for the price of a question.
One that kept what the first asked for has lost the rest, or reads again (the shared contexts of
SCBench, Li et al. 2024). The two facts lie far apart and are of different kinds. Compare the rows
of ``scoring.score`` in pairs: both items of a document share one reading, the first asked first.
"""

from dataclasses import dataclass
from typing import ClassVar

from longctx_edu.evaluation.tasks.facts import Facts


@dataclass(frozen=True)
class SecondQuestion(Facts):
    """How hard ``second-question`` is: as ``Facts``, with two facts a document."""

    task: ClassVar[str] = "second-question"

    facts: int = 2
