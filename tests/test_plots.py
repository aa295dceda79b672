"""Figures are described, shown once, the same on every run, and change no settings."""

import base64
import itertools
import struct

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from longctx_edu.widgets import plots
from longctx_edu.widgets.plots import METHOD_COLOURS, png, show, style

mpl.use("Agg")


def line(**options):
    figure = Figure(figsize=(4, 3), **options)
    figure.subplots().plot([1, 3, 2])
    return figure


def chunks(data):
    """Return the chunks of a PNG as (name, content)."""
    at, found = 8, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += length + 12
    return found


@pytest.fixture
def shown_data(monkeypatch):
    """What is displayed, as in a notebook."""
    found = []
    monkeypatch.setattr("IPython.get_ipython", lambda: object())
    monkeypatch.setattr(
        "IPython.display.display", lambda data, **options: found.append((data, options))
    )
    return found


def test_the_same_figure_gives_the_same_bytes():
    assert png(line()) == png(line())


def test_a_picture_holds_no_date_and_no_version_of_software():
    names = [name for name, _ in chunks(png(line()))]
    assert b"tEXt" not in names
    assert b"tIME" not in names


def test_a_picture_has_100_dots_an_inch():
    (content,) = [content for name, content in chunks(png(line())) if name == b"pHYs"]
    assert struct.unpack(">IIB", content) == (3937, 3937, 1)  # dots a metre


def test_show_displays_the_picture_with_its_description(shown_data, capsys):
    assert show(line(), " a line with a peak ") is None
    ((data, options),) = shown_data
    assert base64.b64decode(data["image/png"]) == png(line())
    assert data["text/plain"] == "a line with a peak"
    assert options["metadata"] == {"image/png": {"alt": "a line with a peak"}}
    assert capsys.readouterr().out == "Figure: a line with a peak\n"


def test_outside_a_notebook_the_description_is_printed_alone(capsys):
    show(line(), "a line with a peak")
    assert capsys.readouterr().out == "Figure: a line with a peak\n"


def test_show_closes_the_figure():
    import matplotlib.pyplot as plt

    figure, _ = plt.subplots()
    number = figure.number
    show(figure, "empty axes")
    assert not plt.fignum_exists(number)


@pytest.mark.parametrize("description", ["", "  ", "two\nlines", None, 3])
def test_a_figure_without_one_line_of_words_is_refused(shown_data, description):
    with pytest.raises(ValueError, match="one line that says what there is to see"):
        show(line(), description)
    assert shown_data == []


def test_style_holds_inside_only():
    before = dict(mpl.rcParams)
    with style():
        assert mpl.rcParams["font.size"] >= 12
    assert dict(mpl.rcParams) == before


def test_every_method_has_a_colour_that_cannot_be_changed():
    assert list(METHOD_COLOURS) == [
        "plain",
        "truncated",
        "retrieval",
        "map_reduce",
        "margins",
        "memory",
    ]
    with pytest.raises(TypeError):
        METHOD_COLOURS["plain"] = "#000000"


def linear(colour):
    """Return red, green and blue as amounts of light, from 0 to 1."""
    values = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]


# Viénot, Brettel and Mollon (1999): what is left of light for eyes without red or green cones.
SEEN_BY = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no red cones": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "no green cones": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


@pytest.mark.parametrize("eyes", SEEN_BY)
def test_the_colours_stay_distinct_for_colour_blind_readers(eyes):
    seen = {
        name: [
            sum(a * b for a, b in zip(row, linear(colour), strict=True)) for row in SEEN_BY[eyes]
        ]
        for name, colour in METHOD_COLOURS.items()
    }
    for one, other in itertools.combinations(seen, 2):
        distance = max(
            abs(max(a, 0) ** (1 / 2.2) - max(b, 0) ** (1 / 2.2))
            for a, b in zip(seen[one], seen[other], strict=True)
        )
        assert distance > 0.08, (one, other)


def test_importing_plots_changes_no_setting_and_loads_no_matplotlib():
    import subprocess
    import sys

    code = f"import sys, {plots.__name__}; print('matplotlib' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
