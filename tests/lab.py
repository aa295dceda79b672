"""A test bench for notebooks in real JupyterLab, driven through a headless Chromium.

``jupyter_lab`` starts a server of its own on a free loopback port, with no file of
the person at this machine; ``open_notebook`` opens one notebook and notes every
request that would leave the machine; ``run_all`` runs it and returns its cells.
``shown_in_lab`` does all of it for the one cell that shows a view.
"""

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright

from longctx_edu.teaching import canonical
from longctx_edu.teaching.offline import no_network

START_SECONDS = 60
CHROMIUM_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

_KERNEL_READY = """
async () => {
    const app = window.jupyterapp;
    await app.restored;
    while (!app.shell.currentWidget?.context) {
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const panel = app.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    // Without this the command to run asks for a kernel in a dialog.
    await panel.sessionContext.session.kernel.info;
    window.notebookPanel = panel;
    window.kernelReady = true;
}
"""
_RUN_ALL = """
() => {
    window.allRan = false;
    window.jupyterapp.commands.execute("notebook:run-all-cells")
        .finally(() => { window.allRan = true; });
}
"""
_CELLS = "() => window.notebookPanel.content.model.toJSON().cells"
_INSERT = """([place, sources]) => {
    window.notebookPanel.content.model.sharedModel.insertCells(
        place, sources.map((source) => ({ cell_type: "code", source, metadata: {} })));
}"""
# Without waiting for its end: what it shows on the way can be watched.
_RUN_CELL = """(place) => {
    window.notebookPanel.content.activeCellIndex = place;
    window.jupyterapp.commands.execute("notebook:run-cell");
}"""


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its address, token, and the folders it serves and writes."""

    address: str
    token: str
    folder: Path
    home: Path


@dataclass
class Opened:
    """A page in the browser, and what it did that it should not."""

    page: Page
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def assert_clean(self) -> None:
        assert self.errors == [], self.errors
        assert self.outside == [], self.outside


def write_notebook(folder: Path, *sources: str, name: str = "00_view.ipynb") -> Path:
    """Save a notebook of code cells that were not run; return its path."""
    cell = dict(cell_type="code", execution_count=None, metadata={}, outputs=[])
    cells = [{**cell, "source": source} for source in sources]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path = folder / name
    canonical.save(canonical.canonical(notebook, canonical.notebook_number(path)), path)
    return path


@contextmanager
def shown_in_lab(
    chromium: str | Path,
    folder: Path,
    first: str,
    *further: str,
    width: int = 1280,
    height: int = 900,
    seconds: float = 120,
) -> Iterator[tuple[Page, list[dict]]]:
    """Run a cell in JupyterLab; yield the page, and the cells as they would be saved.

    The further cells stand below it and are not run. When the block ends, the page is
    pictured, and must have made no error and no request to another machine.

    Args:
        chromium: the browser's program.
        folder: for the notebook and the picture.
        first: the cell, which must make no error.
        further: for ``run_cell``, at the places 1, 2, and so on.
        width: of the window, in pixels.
        height: of the window, in pixels.
        seconds: that the cell may take, and each wait in the page.
    """
    path = write_notebook(folder, first)
    with (
        jupyter_lab(folder) as server,
        open_notebook(server, path, chromium, width=width, height=height) as opened,
    ):
        page = opened.page
        page.set_default_timeout(seconds * 1000)
        saved = run_all(page, seconds)
        assert outputs(saved, "error") == []
        page.evaluate(_INSERT, [1, further])
        yield page, saved
        assert screenshot(page, folder / "lab.png").read_bytes().startswith(b"\x89PNG")
        opened.assert_clean()


@contextmanager
def jupyter_lab(folder: Path, *, environment: dict[str, str] | None = None) -> Iterator[Lab]:
    """Serve the folder until the end of the block; the server and its kernels then end.

    The kernels can reach no other machine.

    Args:
        folder: holds the notebooks that can be opened.
        environment: further variables for the server and its kernels.

    Raises:
        RuntimeError: if the server ends or does not answer, with the end of its log.
    """
    token = secrets.token_hex(16)
    with no_network(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        home = Path(scratch)
        port = _free_port()
        variables = {**os.environ, **_own_folders(home), **(environment or {})}
        # A kernel told to use another backend would show no figures.
        variables.pop("MPLBACKEND", None)
        log = home / "server.log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                [
                    sys.executable,
                    *("-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
                    *(f"--port={port}", "--ServerApp.port_retries=0"),
                    f"--IdentityProvider.token={token}",
                    f"--ServerApp.root_dir={Path(folder).resolve()}",
                    "--LabApp.expose_app_in_browser=True",
                    "--LabApp.extension_manager=readonly",
                    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
                ],
                env=variables,
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for_answer(server, address, token, log)
            yield Lab(address, token, Path(folder).resolve(), home)
        finally:
            server.terminate()  # which also ends the kernels
            try:
                server.wait(timeout=20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@contextmanager
def open_notebook(
    lab: Lab, path: Path, chromium: str | Path, *, width: int = 1280, height: int = 900
) -> Iterator[Opened]:
    """Open a notebook of the lab and wait for its kernel; the browser closes with the block.

    Requests to any other address than the lab's are noted in ``outside`` and
    stopped; errors in the page and on its console are noted in ``errors``.

    Args:
        lab: the server.
        path: the notebook, inside the lab's folder.
        chromium: the browser's program.
        width: of the window, in pixels.
        height: of the window, in pixels.
    """
    inside = (lab.address, lab.address.replace("http", "ws", 1), "data:", "blob:")
    name = quote(Path(path).resolve().relative_to(lab.folder).as_posix())
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=str(chromium), headless=True, args=list(CHROMIUM_OPTIONS)
        )
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(START_SECONDS * 1000)
            opened = Opened(page)

            def refuse(route):
                opened.outside.append(route.request.url)
                route.abort()

            page.route(lambda url: not url.startswith(inside), refuse)
            page.on("websocket", lambda one: _note_outside(opened, one.url, inside))
            page.on("console", lambda one: _note_error(opened, one))
            page.on("pageerror", lambda error: opened.errors.append(str(error)))
            page.goto(f"{lab.address}/lab/tree/{name}?token={lab.token}&reset")
            page.wait_for_function("() => window.jupyterapp")
            page.evaluate(f"() => {{ ({_KERNEL_READY})(); }}")
            page.wait_for_function("() => window.kernelReady")
            yield opened
        finally:
            browser.close()


def run_all(page: Page, timeout: float = 120) -> list[dict]:
    """Run all cells and return them as they would be saved, outputs included.

    Args:
        page: of ``open_notebook``.
        timeout: seconds that all cells together may take.

    Raises:
        playwright.sync_api.TimeoutError: if they take longer.
    """
    page.evaluate(_RUN_ALL)
    page.wait_for_function("() => window.allRan", timeout=timeout * 1000)
    return page.evaluate(_CELLS)


def run_cell(page: Page, place: int, text: str) -> str:
    """Run one cell; return what it prints after the text that it begins with."""
    page.evaluate(_RUN_CELL, place)
    return printed(page, text)


def run_new_cell(page: Page, place: int, source: str) -> None:
    """Insert a cell at a place and begin to run it."""
    page.evaluate(_INSERT, [place, [source]])
    page.evaluate(_RUN_CELL, place)


def printed(page: Page, text: str) -> str:
    """Wait for the output that begins with a text; return what follows there."""
    begins = re.compile(rf"^\s*{re.escape(text)}")
    output = page.locator(".jp-OutputArea-output", has_text=begins)
    return output.text_content().split(text, 1)[1].strip()


def outputs(cells: list[dict], kind: str | None = None) -> list[dict]:
    """Return the outputs of all code cells in order, or those of one ``output_type``."""
    found = [output for cell in cells for output in cell.get("outputs", [])]
    return [output for output in found if kind in (None, output["output_type"])]


def screenshot(page: Page, path: Path) -> Path:
    """Save what the window shows as PNG, without the blinking cursor; return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, caret="hide", animations="disabled")
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _own_folders(home: Path) -> dict[str, str]:
    """Return the variables that keep Jupyter's files in ``home``, with the settings of a test."""
    config = home / "config" / "labconfig"
    config.mkdir(parents=True)
    # The news would be fetched from the web and stand in front of the notebook.
    news = {"@jupyterlab/apputils-extension:announcements": True}
    (config / "page_config.json").write_text(json.dumps({"disabledExtensions": news}))
    notebook = home / "settings" / "@jupyterlab" / "notebook-extension"
    notebook.mkdir(parents=True)
    # All cells are in the page, also those outside the window.
    (notebook / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    return {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "LONGCTX_EDU_PROGRESS": str(home / "progress.json"),
    }


def _wait_for_answer(server: subprocess.Popen, address: str, token: str, log: Path) -> None:
    status = f"{address}/api/status?token={token}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            opener.open(status, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab does not answer at {address}:\n{log.read_text()[-3000:]}")


def _note_outside(opened: Opened, url: str, inside: tuple[str, ...]) -> None:
    if not url.startswith(inside):
        opened.outside.append(url)


def _note_error(opened: Opened, message) -> None:
    if message.type == "error":
        opened.errors.append(message.text)
