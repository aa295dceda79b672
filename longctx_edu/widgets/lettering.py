"""Words in static pictures: lines broken by the measured width of their letters, and written.

Nothing overlaps whatever the text. All lengths are in points; the y axis points down.
"""

from functools import cache

from longctx_edu.widgets.plots import legible

SIZE, SMALL, LEADING = 11, 9, 15
BOLD = 1.2  # how much wider bold letters are
INK, DIM = "#1b1b1b", "#5c5c5c"


def write(axes, x, y, lines, *, size=SIZE, leading=LEADING, color=INK, weight="normal"):
    """Write lines under each other, the first one's top at ``y``."""
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


def broken(text: str, width: float, most: int, size: float = SIZE) -> list[str]:
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
