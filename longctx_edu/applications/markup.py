"""Words of a document or a model inside HTML and Markdown, where they must stay words.

For HTML there is ``html.escape``; what Markdown needs is here. Nothing is rendered.
"""

import html
import re

_MARKS = re.compile(r"([\\`*_\[\]#|~$])")
_AT_START = re.compile(r"^([-+=]|\d+(?=[.)]))")


def as_markdown(text: str) -> str:
    r"""Return a text as one line of Markdown that shows the very same words.

    Tags, links, formulas, tables and lists in it come out as they are written.

    >>> as_markdown("a *b*\n<i>[c](d)</i> $e$")
    'a \\*b\\* &lt;i&gt;\\[c\\](d)&lt;/i&gt; \\$e\\$'
    """
    words = html.escape(" ".join(text.split()), quote=False)
    return _AT_START.sub(_escaped_start, _MARKS.sub(r"\\\1", words))


def _escaped_start(match: re.Match) -> str:
    mark = match[1]
    return f"{mark}\u200b" if mark.isdigit() else f"\\{mark}"


def place_of(document_id: str, start: int, end: int) -> str:
    """Return a place in words.

    >>> place_of("log", 0, 1200)
    'log, characters 0 to 1,200'
    """
    return f"{document_id}, characters {start:,} to {end:,}"


def shortened(text: str, most: int) -> str:
    """Return a text on one line, with at most so many characters.

    >>> shortened("one\\n two three", 8)
    'one two…'
    """
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
