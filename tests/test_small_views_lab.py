"""Routing and costs in JupyterLab: sliders moved in the browser are read back in Python."""

import ast

import pytest
from lab import outputs, run_cell, shown_in_lab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CELLS = (
    "import torch\nfrom IPython.display import display\n"
    "from longctx_edu.routing import route_by_agreement\n"
    "from longctx_edu.widgets import CostExplorer, RoutingView\n"
    "votes = torch.randn(6, 3, 2, generator=torch.Generator().manual_seed(0))\n"
    "names = dict(senders=list('abcdef'), receivers=list('xyz'), steps=list('1234'))\n"
    "routing = RoutingView(route_by_agreement(votes, iterations=4).couplings, step=3, **names)\n"
    "costs = CostExplorer(tokens=1024)\ndisplay(routing, costs)",
    "print('found', [routing.step, routing.describe(), costs.tokens, costs.describe()])",
)


def test_routing_and_costs_in_jupyterlab_are_stepped_through_and_read_back(chromium, tmp_path):
    with shown_in_lab(chromium, tmp_path, *CELLS, width=1400, height=1600) as (page, saved):
        page.locator(".lx-routing input[type=range]").press("Home")
        page.locator("[data-dial='tokens']").press("ArrowRight")
        sentence = page.locator(".lx-costs:not([data-old]) .lx-sentence", has_text="2,048 tokens")
        sentence.wait_for()
        step, said, tokens, costs = ast.literal_eval(run_cell(page, 1, "found"))
        assert (step, tokens) == (0, 2048)
        assert page.locator(".lx-routing .lx-status").text_content() == f"{said.split(', ', 1)[1]}."
        assert sentence.text_content() == f"{costs}."
        shown = outputs(saved, "display_data")
        said = [one["metadata"]["image/png"]["alt"].split()[0] for one in shown]
        assert said == ["routing", "Reading"]
