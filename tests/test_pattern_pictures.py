"""Pictures of patterns show the masks and numbers that they are given."""

import numpy as np
import pytest

from longctx_edu.widgets.pattern_pictures import bars_by_rule, masks


@pytest.fixture(autouse=True)
def closed():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def causal(tokens):
    return np.tri(tokens, dtype=bool)


def test_a_cell_is_later_left_out_or_seen():
    itself = np.eye(4, dtype=bool)
    (axes,) = masks({"itself": itself}).axes
    cells = axes.images[0].get_array()
    assert (cells[np.triu_indices(4, 1)] == 0).all()
    assert (cells[itself] == 2).all()
    assert (cells[np.tril_indices(4, -1)] == 1).all()


def test_each_square_says_which_share_of_the_earlier_keys_is_seen():
    figure = masks({"all": causal(4), "itself": np.eye(4, dtype=bool)})
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["all\n100% of the pairs", "itself\n40% of the pairs"]


def test_later_keys_are_never_drawn_as_seen():
    (axes,) = masks({"both ways": np.ones((4, 4), dtype=bool)}).axes
    assert (axes.images[0].get_array()[np.triu_indices(4, 1)] == 0).all()
    assert axes.get_title().endswith("100% of the pairs")


@pytest.mark.parametrize("number", [1, 4, 5, 8])
def test_there_is_one_square_for_each_pattern(number):
    named = {f"pattern {n}": causal(8) for n in range(number)}
    assert [axes.get_title().partition("\n")[0] for axes in masks(named).axes] == [*named]


def test_bars_say_their_numbers_and_the_first_rule_is_on_top():
    loss = {"everything": 2.51, "64 best": 2.6}
    right = {"everything": 8, "64 best": 7}
    figure = bars_by_rule({"loss": loss, "right": right}, whole="everything")
    for axes, values in zip(figure.axes, (loss, right), strict=True):
        assert [bar.get_width() for bar in reversed(axes.patches)] == [*values.values()]
        assert [text.get_text() for text in reversed(axes.texts)] == [
            f"{value:g}" for value in values.values()
        ]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["64 best", "everything"]  # from below


def test_the_rule_that_leaves_nothing_out_has_its_own_colour():
    figure = bars_by_rule({"loss": {"a": 1, "b": 2, "all": 1}}, whole="all")
    colours = [bar.get_facecolor() for bar in figure.axes[0].patches]
    assert len({*colours}) == 2
    assert colours[0] != colours[1] == colours[2]


def test_no_label_leaves_the_picture():
    rules = {"4 first + last 60": 3.0, "linear, untrained": 11.25, "everything": 2.5}
    figure = bars_by_rule({"loss (nats a token)": rules, "right of 8": rules}, whole="everything")
    figure.canvas.draw()
    width, height = figure.canvas.get_width_height()
    for axes in figure.axes:
        for label in [*axes.get_yticklabels(), *axes.texts, axes.title]:
            box = label.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= width
            assert box.y0 >= 0
            assert box.y1 <= height
