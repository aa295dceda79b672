"""Pictures of results say what their numbers say."""

import pytest

from longctx_edu.widgets.pictures import lines_by_length

LENGTHS = [256, 512, 1024, 2048, 4096, 8192, 16384]


@pytest.fixture(autouse=True)
def closed():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def panel(values, **options):
    return lines_by_length({"seconds": {"measured": (LENGTHS, values)}}, **options).axes[0]


def test_a_line_goes_through_its_points():
    (line,) = panel([n / 100 for n in LENGTHS]).get_lines()
    assert list(line.get_xdata()) == LENGTHS
    assert list(line.get_ydata()) == [n / 100 for n in LENGTHS]


def test_values_begin_at_zero_and_no_point_touches_the_top():
    low, high = panel([1.0] * 6 + [3.0]).get_ylim()
    assert low == 0
    assert high > 3.0


def test_a_power_of_the_length_is_straight_on_logarithmic_axes():
    axes = panel([n**2 for n in LENGTHS], log=True)
    (line,) = axes.get_lines()
    places = axes.transData.transform(line.get_xydata())
    steps = places[1:] - places[:-1]
    slopes = steps[:, 1] / steps[:, 0]
    assert slopes == pytest.approx([slopes[0]] * len(slopes))


@pytest.mark.parametrize("log", [False, True])
def test_few_lengths_are_written_and_the_longest_is_among_them(log):
    labels = [label.get_text() for label in panel(LENGTHS, log=log).get_xticklabels()]
    assert "16,384" in labels
    assert len(labels) <= 5


def test_a_length_can_be_marked_and_is_named():
    axes = panel(LENGTHS, marks={"window": 8192})
    assert list(axes.get_lines()[-1].get_xdata()) == [8192, 8192]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["measured", "window"]


def test_what_is_measured_stands_at_each_panel():
    lines = {"measured": (LENGTHS, LENGTHS)}
    figure = lines_by_length({"seconds": lines, "bytes": lines})
    assert [axes.get_ylabel() for axes in figure.axes] == ["seconds", "bytes"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"tokens of the text"}
