"""Amounts, shares and counts in words; amounts have three digits, as in ``static/units.js``.

Prefixes are powers of a thousand: a GB is 10⁹ bytes.
"""

from decimal import ROUND_HALF_UP, Decimal

PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")
TIMES = (
    ("years", 31_557_600),
    ("days", 86400),
    ("h", 3600),
    ("min", 60),
    ("s", 1),
    ("ms", 1e-3),
    ("µs", 1e-6),
)


def digits(number: float) -> str:
    """Write a number that is not negative with three significant digits: 6.14, 61.4, 614, 6,140."""
    if number == 0:
        return "0"
    exact = Decimal(number)
    places = max(2 - exact.adjusted(), 0)
    rounded = exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    places = max(2 - rounded.adjusted(), 0)  # 9.996 has become 10.00
    return f"{rounded:,.{places}f}"


def amount(number: float, unit: str) -> str:
    """Write an amount with a prefix: ``amount(2.9e12, "FLOP")`` is "2.90 TFLOP"."""
    power = 0
    while number >= 999.5 and power < len(PREFIXES) - 1:
        number /= 1000
        power += 1
    return f"{digits(number)} {PREFIXES[power]}{unit}"


def duration(seconds: float) -> str:
    """Write a time in the largest unit of which it is one or more: "4.78 ms"."""
    name, size = next((one for one in TIMES if seconds >= one[1]), TIMES[-1])
    return f"{digits(seconds / size)} {name}"


def percent(share: float) -> str:
    """Write a share; one decimal below ten per cent. ``static/dom.js`` writes the same."""
    return f"{100 * share:.{1 if 0 < share < 0.0995 else 0}f} %"


def how_many(number: int, what: str) -> str:
    """Write a number of things: ``how_many(2, "block")`` is "2 blocks"."""
    return f"{number} {what}{'' if number == 1 else 's'}"
