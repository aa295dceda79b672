"""Margins as a static picture: segments left, their notes right, the answer below.

The twin of ``static/margins.js`` for where nothing is alive. Lines are broken by the measured
width of their letters, so that nothing overlaps whatever the text.
"""

from collections.abc import Sequence

from longctx_edu.widgets.lettering import BOLD, DIM, INK, LEADING, SIZE, SMALL, broken, write
from longctx_edu.widgets.plots import style

WIDTH = 10.4  # inches
MOST_ROWS = 10
TEXT_LINES, NOTE_LINES, ANSWER_LINES = 3, 5, 4

# Points. One row: number, text of the segment, bar of the verdict, note.
_GAP = 9
_NUMBER, _TEXT, _TEXT_WIDTH, _BAR, _NOTE, _NOTE_WIDTH = 0, 26, 350, 394, 404, 344

_KEPT, _LEFT, _OPEN = "#0072B2", "#767676", "#D55E00"


def draw(
    text: str,
    segments: Sequence[Sequence[int]],
    shown: dict,
    *,
    question: str,
    answer_prefix: str = "",
    citations: Sequence[dict] = (),
    selected: int = -1,
):
    """Draw what a ``MarginsView`` shows, as a matplotlib figure.

    Args:
        text: the whole text.
        segments: start and end of each, in code points.
        shown: the state, see ``margin_states``.
        question: that was asked, "" for none.
        answer_prefix: first words of the answer.
        citations: of the answer; a cited segment is shown from the cited place on.
        selected: segment to emphasise, -1 for none.

    Of more than ``MOST_ROWS`` rows, those of notes that were left out are not drawn.
    """
    import matplotlib.pyplot as plt

    cited = [one["place"] for one in citations]
    rows, missing = _rows(text, segments, shown["margins"], selected, cited)
    heights = [
        LEADING * max(len(row["text"]), len(row["says"]) + len(row["note"])) + _GAP for row in rows
    ]
    head = broken(
        f"Question: {question}" if question else "No question yet", 740, 2, (SIZE + 2) * BOLD
    )
    answer = broken(f"{answer_prefix} {shown['answer_text'].strip()}".strip(), 666, ANSWER_LINES)
    top = 19 * len(head) + 6
    cost = _cost(shown)
    foot = _GAP + LEADING * (max(len(answer), 1) + bool(missing) + bool(cost))
    height = top + sum(heights) + foot + 4
    with style():
        figure = plt.figure(figsize=(WIDTH, height / 72), layout="none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH * 72), ylim=(height, 0))
        axes.set_axis_off()
        write(axes, 0, 2, head, weight="bold", size=SIZE + 2, leading=19)
        y = top
        for row, tall in zip(rows, heights, strict=True):
            _draw_row(axes, row, y, tall)
            y += tall
        axes.plot([0, 748], [y, y], color=INK, linewidth=1)
        if missing:
            write(axes, _TEXT, y + 4, [missing], color=DIM)
            y += LEADING
        write(axes, 0, y + 5, ["Answer:"], weight="bold")
        write(axes, 70, y + 5, answer or ["none yet"])
        write(axes, 70, y + 5 + LEADING * max(len(answer), 1), [cost], color=DIM, size=SMALL)
    return figure


def _rows(text, segments, margins, selected, cited) -> tuple[list[dict], str]:
    """Return what stands in each row, and a line on the rows that there is no room for."""
    order = sorted(margins, key=lambda one: (one["segment"] is None, one["segment"] or 0))
    missing = ""
    if len(order) > MOST_ROWS:
        # A stable sort: within equals the order of the text stays.
        ranked = sorted(order, key=lambda one: (one["segment"] != selected, one["kept"] is False))
        drawn = ranked[:MOST_ROWS]
        order = [one for one in order if any(one is other for other in drawn)]
        missing = f"… and {len(margins) - MOST_ROWS} further notes, not drawn here"
    rows, before = [], object()
    for one in order:
        number = one["segment"]
        words = "(on the whole text)" if number is None else _excerpt(text, segments[number], cited)
        again = number is not None and number == before
        rows.append(
            {
                "number": "" if again or number is None else str(number),
                "text": [] if again else broken(words, _TEXT_WIDTH, TEXT_LINES),
                "note": broken(_words(one), _NOTE_WIDTH, NOTE_LINES),
                "says": broken(verdict(one), _NOTE_WIDTH, 2, SMALL * BOLD),
                "kept": one["kept"],
                "selected": number is not None and number == selected,
            }
        )
        before = number
    return rows, missing


def _excerpt(text: str, segment: Sequence[int], cited: Sequence[Sequence[int]]) -> str:
    start, end = segment
    place = min((low for low, _ in cited if start < low < end), default=start)
    return "… " * (place > start) + text[place:end]


def _words(one: dict) -> str:
    nothing = one["state"] == "done" and not one["text"].strip()
    return "(nothing noted)" if nothing else one["text"]


def verdict(one: dict) -> str:
    """Say in words how a margin stands; ``static/margin_cards.js`` says the same."""
    state = {"waiting": "waiting", "writing": "writing", "cut": "cut short"}.get(one["state"], "")
    kept = {True: "✓ kept", False: "✗ left out", None: ""}[one["kept"]]
    if kept and one["by"]:
        kept += f" by {one['by'].replace('_', ' ')}"
    numbers = [
        f"{name} {one[name]:.2f}" for name in ("confidence", "score") if one[name] is not None
    ]
    return " · ".join(filter(None, (kept, state, *numbers))) or "not judged yet"


def _cost(shown: dict) -> str:
    spent = [
        f"{shown['cost'][name]:,} {words}"
        for name, words in (
            ("reused", "tokens reused"),
            ("prefilled", "prefilled"),
            ("decoded", "decoded"),
        )
        if name in shown["cost"]
    ]
    return f"{', '.join(spent)} in {shown['seconds']:.1f} s" if spent else ""


def _draw_row(axes, row: dict, y: float, tall: float) -> None:
    axes.plot([0, 748], [y, y], color="#cccccc", linewidth=1)
    write(axes, _NUMBER, y + 5, [row["number"]], color=DIM)
    if row["selected"]:
        axes.fill_between([0, _BAR - 8], y, y + tall, color="#fff2cc", linewidth=0)
    write(axes, _TEXT, y + 5, row["text"], color=INK)
    colour = {True: _KEPT, False: _LEFT, None: _OPEN}[row["kept"]]
    dashes = "solid" if row["kept"] else (0, (1.2, 0.8))
    axes.plot([_BAR] * 2, [y + 5, y + tall - 4], color=colour, linewidth=4, linestyle=dashes)
    write(axes, _NOTE, y + 5, row["says"], color=colour, weight="bold", size=SMALL)
    ink = DIM if row["kept"] is False else INK
    write(axes, _NOTE, y + 5 + LEADING * len(row["says"]), row["note"], color=ink)
