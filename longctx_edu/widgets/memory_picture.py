"""Answers from memory as a static picture: where each token looks, and the passages it used.

The twin of ``static/memory.js`` for where nothing is alive. Lines are broken by the measured
width of their letters, so that nothing overlaps whatever the text.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from longctx_edu.widgets.lettering import BOLD, DIM, INK, LEADING, SMALL, broken, write
from longctx_edu.widgets.matrix import MARK, colours, paint_scale, short
from longctx_edu.widgets.plots import style
from longctx_edu.widgets.sources import codes

WIDTH = 10.4 * 72
MOST_COLUMNS = 180
PASSAGES = 4

# Points.
_RIGHT = WIDTH - 4
_LABELS, _HEAT, _BARS = 16, 108, 660
_CURVE_WIDTH, _CURVE_HEIGHT = 270, 120
_BLUE, _LINE = "#0072B2", "#b5b5b5"


def draw(
    *,
    text: str,
    blocks: Sequence[Mapping],
    tokens: Sequence[Mapping],
    masses: np.ndarray,
    passages: Sequence[Mapping],
    captured: Sequence[Sequence[float]],
    options: Mapping,
    used: Sequence[int],
    question: str,
    answer: str,
    selected: int = -1,
):
    """Draw what a ``MemoryView`` shows, as a matplotlib figure.

    Args:
        text: all documents, joined.
        blocks: ``start``, ``end``, ``score`` and ``chosen`` of each.
        tokens: ``text``, ``kind`` and ``window`` of each query.
        masses: attention of each token on each block, ``(tokens, blocks)``.
        passages: ``start`` and ``end`` of what was read again.
        captured: which share of a question's attention on the memory its best k keys hold.
        options: how the memory was looked up.
        used: numbers of the blocks that the answer used, most used first.
        question: that was asked, "" for none.
        answer: with its first words.
        selected: block to point out, -1 for none.
    """
    import matplotlib.pyplot as plt

    head = broken(question and f"Question: {question}" or "No question yet", 740, 2, 13 * BOLD)
    said = broken(answer, 670, 3) or ["none yet"]
    top = 19 * len(head) + LEADING * len(said) + 12
    tall = min(max(420 / max(len(tokens), 1), 4), 14) * len(tokens)
    heat_top = top + 44
    foot = heat_top + tall + 56 if tokens else top + 8
    listed = _listed(text, blocks, used, masses, tokens, passages, wide=not captured)
    words = sum(LEADING * (1 + len(lines)) + 5 for _, lines in listed) + 24
    height = foot + max(words, _CURVE_HEIGHT + 70 if captured else 0)
    with style():
        figure = plt.figure(figsize=(WIDTH / 72, height / 72), layout="none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(height, 0))
        axes.set_axis_off()

        def inset(x, y, wide, high):
            return figure.add_axes(
                (x / WIDTH, 1 - (y + high) / height, wide / WIDTH, high / height)
            )

        write(axes, 0, 2, head, weight="bold", size=13, leading=19)
        y = 19 * len(head) + 6
        write(axes, 0, y, ["Answer:"], weight="bold")
        write(axes, 70, y, said)
        if tokens:
            lookup = options["lookup"]
            _draw_heat(axes, inset, heat_top, tall, blocks, tokens, masses, lookup, selected)
        left = 0
        if captured:
            _draw_captured(axes, inset, foot, captured, options)
            left = _CURVE_WIDTH + 72
        title = "Passages most looked at" if used else "The memory begins"
        write(axes, left, foot, [title], weight="bold")
        y = foot + LEADING + 5
        for title, lines in listed:
            write(axes, left, y, [title], color=_BLUE, weight="bold", size=SMALL + 1)
            write(axes, left, y + LEADING, lines)
            y += LEADING * (1 + len(lines)) + 5
    return figure


def _listed(
    text, blocks, used, masses, tokens, passages, *, wide: bool
) -> list[tuple[str, list[str]]]:
    """Return the heading and the lines of each passage that is written out."""
    answer = [n for n, token in enumerate(tokens) if token["kind"] == "answer"]
    rows, whose = (answer, "answer") if answer else (range(len(tokens)), "question")
    found = []
    for number in (used or range(len(blocks)))[:PASSAGES]:
        block = blocks[number]
        facts = [f"Block {number}"]
        if len(rows):
            facts.append(f"{masses[rows, number].mean():.1%} of the {whose}'s attention")
        if block["score"] is not None:
            facts.append(f"score {block['score']:.3f}")
        begin = min(
            (one["start"] for one in passages if block["start"] <= one["start"] < block["end"]),
            default=block["start"],
        )
        words = "… " * (begin > block["start"]) + text[begin : block["end"]]
        width = 740 if wide else WIDTH - _CURVE_WIDTH - 78
        found.append((" · ".join(facts), broken(words, width, 2)))
    return found


def _draw_heat(axes, inset, top, tall, blocks, tokens, masses, lookup, selected) -> None:
    import matplotlib as mpl
    from matplotlib.patches import Rectangle

    wide = _BARS - 14 - _HEAT
    size = -(-len(blocks) // MOST_COLUMNS)  # blocks in a column: the largest of them counts
    columns = -(-len(blocks) // size)
    looked_up = masses > 0
    if lookup == "blocks":  # also where too little is looked at to be kept
        looked_up = looked_up | [block["chosen"] for block in blocks]
    if lookup != "topk":  # then for every token alike
        looked_up = np.broadcast_to(looked_up.any(axis=0), masses.shape)
    pooled, looked_up = (
        np.pad(one, ((0, 0), (0, columns * size - len(blocks))))
        .reshape(len(tokens), columns, size)
        .max(axis=2)
        for one in (masses, looked_up)
    )
    heat = inset(_HEAT, top, wide, tall)
    heat.set_facecolor("white")
    heat.add_patch(
        Rectangle((0, 0), 1, 1, transform=heat.transAxes, fc="white", ec="#c8c8c8", hatch="///")
    )
    heat.imshow(
        colours(codes(pooled, looked_up), "mass"),
        interpolation="nearest",
        aspect="auto",
        extent=(0, columns * size, len(tokens), 0),
        zorder=2,
    )
    heat.set(xlim=(0, len(blocks)), ylim=(len(tokens), 0), yticks=[])
    heat.grid(visible=False)
    heat.xaxis.tick_top()
    locator = mpl.ticker.MaxNLocator(9, integer=True)
    ticks = map(int, locator.tick_values(0, len(blocks) - 1))
    places = sorted({n for n in ticks if 0 <= n < len(blocks)})
    heat.set_xticks([n + 0.5 for n in places], places, fontsize=9)
    heat.tick_params(length=0, pad=9)
    heat.spines[["right", "top"]].set_visible(True)
    chosen = [n + 0.5 for n, block in enumerate(blocks) if block["chosen"]]
    marks = dict(transform=heat.get_xaxis_transform(), clip_on=False, color=MARK)
    heat.plot(chosen, [1 + 5 / tall] * len(chosen), "v", markersize=6, **marks)
    if selected >= 0:
        heat.axvspan(selected, selected + 1, fill=False, edgecolor=MARK, linewidth=1.5, zorder=4)
    write(axes, _HEAT, top - 36, ["Where each token looks: blocks of the memory"], weight="bold")
    write(axes, _BARS, top - 36, ["on memory"], weight="bold")

    step = tall / len(tokens)
    every = max(1, int(np.ceil(10 / step)))
    for number, token in enumerate(tokens):
        y = top + number * step
        if number % every == 0:
            axes.text(
                _HEAT - 6, y + step / 2, short(token["text"], 13), size=min(SMALL, step),
                ha="right", va="center", color=INK, parse_math=False,
            )  # fmt: skip
        share = 1 - token["window"]
        axes.fill_between(
            [_BARS, _RIGHT], y + step / 2 - 0.4, y + step / 2 + 0.4, color=_LINE, lw=0
        )
        axes.fill_between(
            [_BARS, _BARS + (_RIGHT - _BARS) * share], y + 1, y + step - 1, color=_BLUE, lw=0
        )
    kinds = [token["kind"] for token in tokens]
    first = kinds.index("answer") if "answer" in kinds else len(tokens)
    for words, low, high in (("question", 0, first), ("answer", first, len(tokens))):
        if (high - low) * step >= 50:
            middle = top + (low + high) / 2 * step
            axes.text(
                6, middle, words, size=SMALL, color=DIM, rotation=90, ha="center", va="center"
            )
    if 0 < first < len(tokens):
        axes.plot([0, _RIGHT], [top + first * step] * 2, color=INK, linewidth=1.2)
    _draw_scale(axes, inset, top + tall + 10, bool(chosen))


def _draw_scale(axes, inset, y, any_chosen: bool) -> None:
    bar = inset(_HEAT, y, 220, 9)
    paint_scale(bar, "mass")
    bar.tick_params(length=0, pad=2, labelsize=9)
    words = f"share of the token's attention; hatched: not looked up{'; ▼ chosen' * any_chosen}"
    write(axes, _HEAT + 236, y - 2, [words], size=SMALL, color=DIM)


def _draw_captured(axes, inset, top, captured, options) -> None:
    now = [options["k"]] if options["lookup"] == "topk" else []
    numbers, shares = zip(*sorted(captured), strict=True)
    write(axes, 0, top, ["Attention that the best keys hold"], weight="bold")
    curve = inset(44, top + LEADING + 12, _CURVE_WIDTH, _CURVE_HEIGHT)
    curve.plot(numbers, shares, color=_BLUE, marker="o", markersize=4, linewidth=2)
    for k in now:
        curve.axvline(k, color=MARK, linestyle="--", linewidth=1.5)
    curve.set(xscale="log", ylim=(0, 1.04))
    curve.set_xlim(min([*numbers, *now]) / 1.15, max([*numbers, *now]) * 1.15)
    step = -(-len(numbers) // 8)
    shown = numbers[::-step][::-1]
    curve.set_xticks(shown, [f"{n}" for n in shown], fontsize=9)
    curve.set_xticks([], minor=True)
    curve.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"], fontsize=9)
    curve.set_xlabel(
        "best keys of the memory, k" + "".join(f" (now {k})" for k in now), fontsize=10
    )
