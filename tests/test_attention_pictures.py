"""Pictures of shared-out attention show the numbers that they are given."""

import pytest

from longctx_edu.widgets.attention_pictures import (
    NOTE,
    SOURCE,
    needed_against_looked_at,
    shares_by_head,
    shares_by_layer,
    shares_of_attention,
)


@pytest.fixture(autouse=True)
def closed():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def test_the_largest_share_is_on_top_and_each_bar_says_its_own():
    (axes,) = shares_of_attention({"sink": 0.24, "right notes": 0.06, "text": 0.38}).axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["right notes", "sink", "text"]  # from below
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([6, 24, 38])
    assert [text.get_text() for text in axes.texts] == ["6.0 %", "24.0 %", "38.0 %"]


def test_no_label_leaves_the_picture_or_lies_on_another():
    shares = {"template, answer so far": 0.28, "right notes": 0.06, "rest of the text": 0.36}
    figure = shares_of_attention(shares)
    figure.canvas.draw()
    (axes,) = figure.axes
    boxes = [label.get_window_extent() for label in [*axes.get_yticklabels(), *axes.texts]]
    width, height = figure.canvas.get_width_height()
    assert all(box.x0 >= 0 and box.x1 <= width and 0 <= box.y0 <= height for box in boxes)
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])


def test_a_part_has_the_same_colour_in_every_picture():
    bars = shares_of_attention({"right notes": 0.1, "source": 0.2}).axes[0].patches
    lines = shares_by_layer({"right notes": [0.1, 0.2], "source": [0.3, 0.1]}).axes[0].lines
    points = needed_against_looked_at({"right notes": ([0.1], [2]), "source": ([0.2], [1])})
    dots = points.axes[0].lines[:2]
    assert [line.get_color() for line in lines] == [dot.get_color() for dot in dots]
    assert [line.get_color() for line in lines] == [NOTE, SOURCE]
    from matplotlib.colors import to_hex

    assert [to_hex(bar.get_facecolor()).upper() for bar in bars] == [NOTE, SOURCE]


def test_lines_run_over_the_layers_in_percent():
    figure = shares_by_layer({"right notes": [0.1, 0.2, 0.05]})
    (line,) = figure.axes[0].lines
    assert list(line.get_xdata()) == [0, 1, 2]
    assert list(line.get_ydata()) == pytest.approx([10, 20, 5])
    assert figure.axes[0].get_ylim()[0] == 0


def test_points_stand_at_what_was_looked_at_and_what_was_lost():
    figure = needed_against_looked_at({"source": ([0.02, 0.05], [4.3, -0.1])})
    line = figure.axes[0].lines[0]
    assert list(line.get_xdata()) == pytest.approx([2, 5])
    assert list(line.get_ydata()) == [4.3, -0.1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["source"]


def test_each_head_of_each_layer_has_a_cell_layers_from_left_to_right():
    axes, scale = shares_by_head([[0.0, 0.25], [1.0, 0.5], [0.0, 0.0]], "share of questions").axes
    assert axes.images[0].get_array().tolist() == [[0, 1, 0], [0.25, 0.5, 0]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("layer", "head")
    assert scale.get_ylabel() == "share of questions"
    assert axes.images[0].get_clim() == (0, 1)
