"""A new notebook with all sections of the course in their order.

The texts say what belongs where; ``structure_faults`` then names what is still
missing. It writes no teaching content.
"""

from longctx_edu.teaching import canonical, slides
from longctx_edu.teaching.badges import MARKER, colab_cell


def new_notebook(number: str) -> canonical.Notebook:
    """Return an unexecuted notebook for the number, such as "07"."""
    n = int(number)
    cells = [
        _markdown(
            f"# {n}. The question that this notebook answers?\n\n"
            "One sentence: what the reader will see happen on a real text.\n\n"
            f"{MARKER}"
        ),
        _markdown(
            "## What you will be able to do\n\n"
            "- explain ...\n- measure ...\n- decide ...\n\n"
            "**Time:** 30 minutes. **Prerequisites:** [notebook 0](00_start_here.ipynb)."
        ),
        _code(colab_cell()),
        _code("from longctx_edu.teaching import check, predict, quiz, reveal"),
        _markdown(
            "## The effect first\n\nA result on real text, before any explanation.\n\n"
            "**Predict.** Put your letter in the next cell and run it before you go on."
        ),
        _code(f'predict("{n}.1", None)'),
        _code(f'reveal("{n}.1")'),
        _markdown("**What you should see.** The numbers of the cell above, and why."),
        _markdown(
            "## The mechanism\n\nThe idea in small steps, each with one visible result.\n\n"
            "**Predict.** Put your letter in the next cell and run it before you go on."
        ),
        _code(f'predict("{n}.2", None)'),
        _code(f'reveal("{n}.2")'),
        _markdown("**What you should see.** The numbers of the cell above, and why."),
        *_slide_boxes(n),
        _markdown("## What it costs\n\nTokens, seconds and bytes, measured."),
        _exercise_text(n, 1),
        _exercise_stub(n, 1),
        _exercise_text(n, 2),
        _exercise_stub(n, 2),
        _markdown("## Quiz\n\nPut a letter in place of `None` and run the cell."),
        _code("\n".join(f'quiz("{n}.{question}", None)' for question in (1, 2, 3))),
        _markdown("## Take-away\n\n- What to remember, in at most five lines."),
        _markdown(
            "## Words to keep\n\n**token**, **context window**: see the [glossary](GLOSSARY.md)."
        ),
        _markdown(
            "## Further reading\n\n"
            "Authors, year, title, and what this notebook takes from it; "
            "all of them stand in [the references](REFERENCES.md)."
        ),
        _markdown("**Next:** [the glossary](GLOSSARY.md)."),
    ]
    for position, cell in enumerate(cells):
        cell["id"] = f"n{number}-{position:03d}"
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": dict(canonical.KERNELSPEC),
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _slide_boxes(n: int) -> list[canonical.Cell]:
    return [
        _markdown(
            f"### {slides.BOX} ({slide.id})\n\n{slide.wrong}\n\n"
            "The idea in our own words; then a cell that shows the fault by a number, and one "
            "with the right version."
        )
        for slide in slides.slides_of(n)
        if slide.wrong
    ]


def _exercise_text(n: int, exercise: int) -> canonical.Cell:
    return _markdown(
        f"### Exercise {n}.{exercise} - what to do (about 8 min, core)\n\n"
        "The task in two sentences.\n\n"
        f'Stuck? Run `hint("{n}.{exercise}")` in a new cell, again for more; '
        f'`solution("{n}.{exercise}")` shows one way.'
    )


def _exercise_stub(n: int, exercise: int) -> canonical.Cell:
    return _code(f'def my_answer(*arguments): ...\n\n\ncheck("{n}.{exercise}", my_answer)')


def _markdown(source: str) -> canonical.Cell:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def _code(source: str) -> canonical.Cell:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": [],
        "source": source,
    }
