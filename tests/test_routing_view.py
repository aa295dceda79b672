"""The view of routing: its state, its words, its static picture and its saved file."""

import numpy as np
import pytest
import torch
import traitlets
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx_edu.errors import LongctxError
from longctx_edu.routing import route_by_agreement, top1_routing
from longctx_edu.widgets import RoutingView
from longctx_edu.widgets.parts import script
from longctx_edu.widgets.plots import png, svg
from longctx_edu.widgets.routing import choices, loads
from longctx_edu.widgets.units import percent


def make_view(**options):
    """Six senders and three receivers in four iterations, of which the last is shown."""
    votes = torch.randn(6, 3, 2, generator=torch.Generator().manual_seed(0))
    votes[:4, 0] = torch.tensor([1.5, 0.0])
    names = dict(senders=[f"s{n}" for n in range(6)], receivers=["A", "B", "C"])
    steps = dict(steps=["1", "2", "3", "4"], step_name="iteration", step=3)
    couplings = route_by_agreement(votes, iterations=4).couplings
    return RoutingView(couplings, **{**names, **steps, **options})


def test_couplings_come_as_they_are_and_python_reads_the_step_that_is_shown():
    view = make_view()
    assert len(view.weights) == 4 * 4 * 6 * 3
    assert view.sent.shape == (6, 3)
    view.step = 0
    np.testing.assert_allclose(view.sent, 1 / 3, rtol=1e-6)
    assert view.describe().startswith("routing of 6 senders to 3 receivers, iteration 1: A gets")


def test_it_says_who_gets_most_and_from_how_many():
    sent = [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.2, 0.8]]
    view = RoutingView(sent, senders=list("abcd"), receivers=list("xyz"))
    assert view.describe() == (
        "routing of 4 senders to 3 receivers: y gets most, 57 % of all that is sent; 1 of 4 send "
        "it most of theirs; 1 send nothing"
    )
    nothing = RoutingView(np.zeros((2, 3)), senders=list("ab"), receivers=list("xyz"))
    assert nothing.describe().endswith(": nothing is sent")


@settings(max_examples=30)
@given(seed=st.integers(0, 999), senders=st.integers(1, 8), receivers=st.integers(1, 6))
def test_loads_add_up_to_one_and_choices_are_the_strongest(seed, senders, receivers):
    chance = np.random.default_rng(seed)
    sent = chance.random((senders, receivers)) * (chance.random((senders, 1)) < 0.7)
    assert loads(sent).sum() == pytest.approx(1 if sent.any() else 0)
    for row, choice in zip(sent, choices(sent), strict=True):
        assert choice == (row.argmax() if row.any() else -1)


def test_what_a_router_assigns_can_be_shown_with_tokens_that_found_no_room():
    assigned = top1_routing(torch.randn(40, 4), capacity=6)
    sent = torch.zeros(40, 4)
    sent[torch.arange(40), assigned.expert] = assigned.gate * assigned.kept
    view = RoutingView(sent, senders=[f"t{n}" for n in range(40)], receivers=list("abcd"))
    dropped = int((~assigned.kept).sum())
    assert dropped > 0
    assert view.form == "cells"  # too many for bands
    assert view.describe().endswith(f"; {dropped} send nothing")


def test_names_must_fit_and_nobody_sends_more_than_it_has():
    names = dict(senders=["a", "b"], receivers=["x", "y"])
    with pytest.raises(LongctxError, match="have 3 senders, but 2 names"):
        RoutingView(np.zeros((3, 2)), **names)
    with pytest.raises(LongctxError, match="have 1 steps, but 2 names"):
        RoutingView(np.zeros((2, 2)), steps=["1", "2"], **names)
    with pytest.raises(LongctxError, match="no more than 1 in all"):
        RoutingView([[0.9, 0.2], [0.0, 0.0]], **names)
    with pytest.raises(LongctxError, match="no more than 1 in all"):
        RoutingView([[float("nan"), 0.2], [0.0, 0.0]], **names)
    with pytest.raises(LongctxError, match="2 receivers and 1 texts"):
        RoutingView(np.zeros((2, 2)), texts=["one"], **names)
    with pytest.raises(LongctxError, match=r"got the shape \(2,\)"):
        RoutingView(np.zeros(2), **names)
    with pytest.raises(LongctxError, match="up to 200,000 weights"):
        RoutingView(np.zeros((1000, 201)), senders=["a"] * 1000, receivers=["x"] * 201)


def test_only_what_there_is_can_be_chosen():
    view = make_view()
    for name, value in (("step", 4), ("step", -1), ("sender", 6), ("receiver", -2)):
        with pytest.raises(traitlets.TraitError, match=f"{name} is {value}, but there are"):
            setattr(view, name, value)
    with pytest.raises(traitlets.TraitError, match="step is 9"):
        make_view(step=9)
    view.sender = view.receiver = -1


@pytest.mark.parametrize("form", ["bands", "cells"])
def test_the_picture_shows_the_step_the_names_and_the_load(form):
    view = make_view(form=form)
    view.sender = 1
    first = view.picture()
    words = svg(first)
    assert words == svg(view.picture())  # the same picture, the same bytes
    texts = [one.get_text() for axes in first.axes for one in axes.texts]
    texts += [one.get_text() for axes in first.axes for one in axes.get_yticklabels()]
    assert {"s0", "s5", "A"} <= set(texts)
    assert [percent(share) for share in loads(view.sent)] == [t for t in texts if "%" in t]
    assert first.axes[0].get_title() == "Iteration 4"
    view.step = 0
    assert svg(view.picture()) != words


def test_names_of_any_kind_are_drawn_as_they_are():
    names = ["$a$ $b$", "<b>", "", "\n", "名", "x" * 90]
    view = RoutingView(np.full((6, 6), 0.1), senders=names, receivers=names)
    for form in ("bands", "cells"):
        view.form = form
        assert png(view.picture())[:4] == b"\x89PNG"


def test_a_display_brings_the_picture_and_its_words():
    view = make_view()
    data, facts = view._repr_mimebundle_()
    assert facts["image/png"]["alt"] == view.describe()
    assert "image/png" in data


def test_a_saved_file_holds_all_steps_and_no_address():
    view = make_view(receivers=["</script>", "B", "C"])
    page = view.to_html()
    assert "</script>" not in page[page.index('id="saved"') : page.index('type="module"') - 20]
    assert "http" not in page.replace("Content-Security-Policy", "").replace("http-equiv", "")
    assert len(page) < 250_000


def test_its_script_is_small():
    assert len(script("routing").encode()) < 60_000
