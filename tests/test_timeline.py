"""The timeline of a cache: as many bars as moments, as long as the cache has tokens."""

import pytest

from longctx_edu.widgets.plots import _close, png
from longctx_edu.widgets.timeline import Moment, cache_timeline

MOMENTS = [
    Moment("read 1", 100),
    Moment("ask", 100, 30),
    Moment("write", 100, 30, 12),
    Moment("roll back", 100),
    Moment("read 2", 210),
]


@pytest.fixture
def axes():
    figure = cache_timeline(MOMENTS)
    yield figure.axes[0]
    _close(figure)


def test_a_moment_adds_up_its_kinds():
    assert [moment.tokens for moment in MOMENTS] == [100, 130, 142, 100, 210]


def test_bars_end_where_the_cache_ends(axes):
    ends = [0] * len(MOMENTS)
    for bars in axes.containers:
        for place, bar in enumerate(bars):
            assert bar.get_x() == ends[place]
            ends[place] = bar.get_x() + bar.get_width()
    assert ends == [moment.tokens for moment in MOMENTS]


def test_the_numbers_beside_the_bars_are_those_of_the_cache(axes):
    assert [text.get_text() for text in axes.texts] == ["100", "130", "142", "100", "210"]
    assert [label.get_text() for label in axes.get_yticklabels()] == [m.done for m in MOMENTS]


def test_the_first_moment_stands_on_top(axes):
    low, high = axes.get_ylim()
    assert low > high


def test_the_same_moments_give_the_same_picture():
    first, second = (cache_timeline(MOMENTS) for _ in range(2))
    assert png(first) == png(second)
    _close(first)
    _close(second)


def test_no_moment_is_refused():
    with pytest.raises(ValueError, match="none was given"):
        cache_timeline([])
