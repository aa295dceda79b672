"""A notebook of the course works in real JupyterLab, with nothing fetched from outside."""

import shutil
from pathlib import Path

import pytest
from lab import jupyter_lab, open_notebook, outputs, run_all, run_cell, screenshot, write_notebook

import longctx_edu
from longctx_edu.teaching import canonical

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"

CELLS = (
    "import ipywidgets\nimport matplotlib.pyplot as plt\n\nimport longctx_edu\n"
    "from longctx_edu.widgets.plots import show, style",
    "print('version', longctx_edu.__version__)",
    "with style():\n    fig, ax = plt.subplots()\n    _ = ax.plot([1, 3, 2])\n"
    "show(fig, 'a line with a peak')",
    "slider = ipywidgets.IntSlider(value=2, max=9, description='segment')\nslider",
    "print('slider', slider.value)",
)

ASK_THE_WEB = "import urllib.request\nurllib.request.urlopen('https://192.0.2.1', timeout=5)"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    write_notebook(folder, *CELLS, name="00_tiny.ipynb")
    write_notebook(folder, ASK_THE_WEB, CELLS[1], name="01_failing.ipynb")
    with jupyter_lab(folder) as server:
        yield server


def test_all_cells_run_and_nothing_is_fetched_from_outside(lab, chromium, tmp_path):
    with open_notebook(lab, lab.folder / "00_tiny.ipynb", chromium) as opened:
        page = opened.page
        cells = run_all(page)
        assert outputs(cells, "error") == []
        assert [one["text"] for one in outputs(cells, "stream")] == [
            f"version {longctx_edu.__version__}\n",
            "Figure: a line with a peak\n",
            "slider 2\n",
        ]
        (picture,) = outputs(cells, "display_data")
        assert picture["metadata"]["image/png"]["alt"] == "a line with a peak"
        assert page.locator(".jp-OutputArea-output img").count() == 1

        page.locator(".widget-slider .noUi-handle").press("ArrowRight")
        page.locator(".widget-readout", has_text="3").wait_for()
        run_cell(page, 4, "slider 3")

        assert screenshot(page, tmp_path / "lab.png").read_bytes().startswith(b"\x89PNG")
        opened.assert_clean()


def test_the_bench_stops_requests_to_the_outside_by_page_and_kernel(lab, chromium):
    with open_notebook(lab, lab.folder / "01_failing.ipynb", chromium) as opened:
        cells = run_all(opened.page)
        assert [one["ename"] for one in outputs(cells, "error")] == ["URLError"]
        opened.page.evaluate("() => fetch('https://example.org/x').catch(() => null)")
        assert opened.outside == ["https://example.org/x"]
        assert opened.errors != []  # the browser reports the request that was stopped


@pytest.mark.model
@pytest.mark.timeout(600)
def test_the_first_notebook_runs_in_a_learners_browser(chromium, tmp_path):
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks")
    with jupyter_lab(tmp_path / "notebooks") as server:
        path = server.folder / "00_start_here.ipynb"
        saved = outputs(canonical.load(path)["cells"], "display_data")
        with open_notebook(server, path, chromium) as opened:
            cells = run_all(opened.page, timeout=500)
            assert outputs(cells, "error") == []
            assert len(outputs(cells, "display_data")) == len(saved) >= 1
            assert opened.page.locator(".jp-OutputArea-output img").count() >= 1
            opened.assert_clean()
