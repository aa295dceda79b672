"""Margins as a static picture: segments left, their notes right, the answer below.

The twin of ``static/margins.js`` for where nothing is alive. Lines are broken by the measured
width of their letters, so that nothing overlaps whatever the text.
"""

from collections.abc import Sequence
from functools import cache

from longctx_edu.widgets.plots import legible, style

WIDTH = 10.4  # inches
MOST_ROWS = 10
TEXT_LINES, NOTE_LINES, ANSWER_LINES = 3, 5, 4

# Points. One row: number, text of the segment, bar of the verdict, note.
_SIZE, _SMALL, _LEADING, _GAP = 11, 9, 15, 9
_BOLD = 1.2  # how much wider bold letters are
_NUMBER, _TEXT, _TEXT_WIDTH, _BAR, _NOTE, _NOTE_WIDTH = 0, 26, 350, 394, 404, 344

_KEPT, _LEFT, _OPEN, _INK, _DIM = "#0072B2", "#767676", "#D55E00", "#1b1b1b", "#5c5c5c"


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
        _LEADING * max(len(row["text"]), len(row["says"]) + len(row["note"])) + _GAP for row in rows
    ]
    head = _broken(
        f"Question: {question}" if question else "No question yet", 740, 2, (_SIZE + 2) * _BOLD
    )
    answer = _broken(f"{answer_prefix} {shown['answer_text'].strip()}".strip(), 666, ANSWER_LINES)
    top = 19 * len(head) + 6
    cost = _cost(shown)
    foot = _GAP + _LEADING * (max(len(answer), 1) + bool(missing) + bool(cost))
    height = top + sum(heights) + foot + 4
    with style():
        figure = plt.figure(figsize=(WIDTH, height / 72), layout="none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH * 72), ylim=(height, 0))
        axes.set_axis_off()
        _write(axes, 0, 2, head, weight="bold", size=_SIZE + 2, leading=19)
        y = top
        for row, tall in zip(rows, heights, strict=True):
            _draw_row(axes, row, y, tall)
            y += tall
        axes.plot([0, 748], [y, y], color=_INK, linewidth=1)
        if missing:
            _write(axes, _TEXT, y + 4, [missing], color=_DIM)
            y += _LEADING
        _write(axes, 0, y + 5, ["Answer:"], weight="bold")
        _write(axes, 70, y + 5, answer or ["none yet"])
        _write(axes, 70, y + 5 + _LEADING * max(len(answer), 1), [cost], color=_DIM, size=_SMALL)
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
                "text": [] if again else _broken(words, _TEXT_WIDTH, TEXT_LINES),
                "note": _broken(_words(one), _NOTE_WIDTH, NOTE_LINES),
                "says": _broken(verdict(one), _NOTE_WIDTH, 2, _SMALL * _BOLD),
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
    _write(axes, _NUMBER, y + 5, [row["number"]], color=_DIM)
    if row["selected"]:
        axes.fill_between([0, _BAR - 8], y, y + tall, color="#fff2cc", linewidth=0)
    _write(axes, _TEXT, y + 5, row["text"], color=_INK)
    colour = {True: _KEPT, False: _LEFT, None: _OPEN}[row["kept"]]
    dashes = "solid" if row["kept"] else (0, (1.2, 0.8))
    axes.plot([_BAR] * 2, [y + 5, y + tall - 4], color=colour, linewidth=4, linestyle=dashes)
    _write(axes, _NOTE, y + 5, row["says"], color=colour, weight="bold", size=_SMALL)
    ink = _DIM if row["kept"] is False else _INK
    _write(axes, _NOTE, y + 5 + _LEADING * len(row["says"]), row["note"], color=ink)


def _write(axes, x, y, lines, *, size=_SIZE, leading=_LEADING, color=_INK, weight="normal"):
    for number, line in enumerate(lines):
        axes.text(
            x,
            y + number * leading,
            line,
            size=size,
            color=color,
            weight=weight,
            va="top",
            parse_math=False,
        )


def _broken(text: str, width: float, most: int, size: float = _SIZE) -> list[str]:
    """Break text into at most ``most`` lines of at most ``width`` points; dots end a cut one."""
    lines, line = [], ""
    for word in " ".join(text.split()).split(" "):
        for piece in _short_enough(legible(word) if word else "", width, size):
            longer = f"{line} {piece}".strip()
            if line and _width(longer, size) > width:
                lines.append(line)
                line = piece
            else:
                line = longer
        if len(lines) > most:
            break
    lines += [line] * bool(line)
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    while last and _width(f"{last}…", size) > width:
        last = last[:-1]
    return [*lines[: most - 1], f"{last}…"]


def _short_enough(word: str, width: float, size: float) -> list[str]:
    """Cut a word that is wider than a line into pieces that are not."""
    pieces, piece = [], ""
    for letter in word:
        if piece and _width(piece + letter, size) > width:
            pieces.append(piece)
            piece = ""
        piece += letter
    return [*pieces, piece] if piece or not pieces else pieces


def _width(text: str, size: float) -> float:
    """Return the width of a line in points, in ordinary letters."""
    return sum(map(_advance, text)) * size


@cache
def _advance(letter: str) -> float:
    from matplotlib import font_manager
    from matplotlib.ft2font import LoadFlags

    found = font_manager.FontProperties(family="DejaVu Sans")
    font = font_manager.get_font(font_manager.findfont(found))
    font.set_size(100, 72)
    return font.load_char(ord(letter), LoadFlags.NO_HINTING).linearHoriAdvance / 65536 / 100
