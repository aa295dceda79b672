"""The same attention in BertViz, in CircuitsVis and in this course's view, as the text grows.

``python tests/peers.py --record`` installs both peers and the scripts that they load into a
folder that it deletes again, has each of them write a page of the embedded model's attention,
opens the page in headless Chromium and records, in notebooks/results/peers.json, the seconds to
the first drawing, the bytes of the page, Python's peak memory and the time that pointing at it
takes. A page that is not drawn in ``LIMIT`` seconds stands as none. README's table is made from
that record. Installing takes pip, npm and a network; the pages are opened without one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "notebooks" / "results" / "peers.json"
COMMAND = "python tests/peers.py --record"

LENGTHS = (32, 128, 512, 1024, 8192)
WRITING = 120  # seconds for Python to write a page
LIMIT = 60  # seconds for its first drawing
MEMORY = 6  # GiB that a peer's Python may take
HOVERS = 5

PEERS = ("bertviz==1.4.1", "circuitsvis==1.43.3", "importlib-metadata==8.7.0", "zipp==3.23.0")
# What BertViz's pages load from cdnjs.cloudflare.com, as npm has it. jQuery 2.0.0, which they
# ask for, is not there; 2.1.0 stands in its place.
SCRIPTS = {
    "require.min.js": ("requirejs@2.3.6", "package/require.js"),
    "jquery.min.js": ("jquery@2.1.0", "package/dist/jquery.min.js"),
    "d3.min.js": ("d3@5.7.0", "package/dist/d3.min.js"),
}

# What is on the page when it is first drawn, and what there is to point at.
DRAWN = {
    "BertViz head_view": "document.querySelectorAll('svg line').length > 0",
    "BertViz model_view": "document.querySelectorAll('svg line').length > 0",
    "CircuitsVis attention_heads": "[...document.querySelectorAll('canvas')].some(painted)",
    "AttentionView": "[...document.querySelectorAll('.lx-heat')].some(painted)",
}
POINTED = {
    "BertViz head_view": "#vis svg",
    "BertViz model_view": "#vis svg",
    "CircuitsVis attention_heads": "canvas",
    "AttentionView": ".lx-heat",
}
# Two frames after the drawing exists it has been on the screen; the clock starts with the page.
_WATCH = """
const painted = (canvas) => {
    if (!canvas.width || !canvas.height) return false;
    const context = canvas.getContext("2d");
    const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
    return data.some((value, n) => n % 4 === 3 && value > 0);
};
const twoFramesLater = (act) => requestAnimationFrame(() => requestAnimationFrame(act));
const watching = setInterval(() => {
    if (!(DRAWN)) return;
    clearInterval(watching);
    twoFramesLater(() => { window.drawnAt = performance.now(); });
}, 50);
window.addEventListener("mousemove", (event) => {
    twoFramesLater(() => { window.hovered = performance.now() - event.timeStamp; });
}, true);
"""


_LARGEST = """(selector) => {
    const area = (one) => one.clientWidth * one.clientHeight;
    const largest = [...document.querySelectorAll(selector)]
        .reduce((a, b) => (area(a) >= area(b) ? a : b));
    largest.scrollIntoView({ block: "start" });
    const { x, y, width, height } = largest.getBoundingClientRect();
    return { x, y, width, height };
}"""


# --------------------------------------------------------------------------
# What is shown


def write_attention(folder: Path, tokens: int) -> None:
    """Let the embedded model read so many tokens of the course's log; keep what it attended to.

    Prints the number of layers.
    """
    import torch

    from longctx_edu import attention, models
    from longctx_edu.text import lighthouse_log, tokenize

    model = models.load()
    text = lighthouse_log().text
    while len(tokenize(model.tokenizer, text).ids) < tokens:
        text += text
    read = tokenize(model.tokenizer, text)
    text = text[: read.spans[tokens - 1][1]]
    read = tokenize(model.tokenizer, text)
    pieces = [text[start:end] for start, end in read.spans[:tokens]]
    record = attention.capture(model, read.ids[:tokens])
    torch.save({"record": record, "pieces": pieces}, folder / f"{tokens}.pt")
    print(len(record.layers))


def write_page(view: str, attended: Path, layers: int, page: Path) -> None:
    """Write one view's page, as its users do: of the first layers, ours of the first, pooled."""
    import resource

    import psutil
    import torch

    kept = torch.load(attended, weights_only=False)
    record, pieces = kept["record"], kept["pieces"]
    if view == "AttentionView":
        from longctx_edu.widgets import AttentionView

        page.write_text(AttentionView(record, pieces).to_html(), encoding="utf-8")
        return
    limit = psutil.Process().memory_info().vms + MEMORY * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    everything, heads = range(record.tokens), range(record.heads)
    weights = [
        torch.stack([record.tile(layer, head, everything, everything) for head in heads])
        for layer in record.layers[:layers]
    ]
    if view == "CircuitsVis attention_heads":
        from circuitsvis.attention import attention_heads

        names = [f"L{layer}H{head}" for layer in range(len(weights)) for head in heads]
        # What a notebook without a network shows: the page holds the script.
        html = attention_heads(torch.cat(weights), pieces, names).local_src
    else:
        import bertviz

        show = getattr(bertviz, view.partition(" ")[2])
        html = show([layer[None] for layer in weights], pieces, html_action="return").data
    page.write_text(f"<!doctype html><meta charset='utf-8'><body>{html}", encoding="utf-8")


# --------------------------------------------------------------------------
# What is measured


def install(folder: Path) -> dict[str, str]:
    """Install the peers and their scripts into a folder; return an environment that finds them."""
    peers, scripts = folder / "peers", folder / "scripts"
    scripts.mkdir()
    # Without what they depend on: the course's own PyTorch serves them, and stays as it is.
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(peers)]
    subprocess.run([*pip, *PEERS], check=True)
    for name, (package, member) in SCRIPTS.items():
        packed = subprocess.run(
            ["npm", "pack", "-s", package], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.split()[-1]
        with tarfile.open(folder / packed) as archive:
            (scripts / name).write_bytes(archive.extractfile(member).read())
    paths = os.pathsep.join([str(peers), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": paths}


def measured(view: str, attended: Path, layers: int, folder: Path, environment: dict) -> dict:
    """Return the cells of one row: what came, or why none did."""
    from longctx_edu.evaluation.machine import peak_rss_of

    page = folder / "page.html"
    page.unlink(missing_ok=True)
    row = dict(seconds=None, page_bytes=None, peak_rss_bytes=None, hover_seconds=None, none=None)
    write = [sys.executable, __file__, "write", view, str(attended), str(layers), str(page)]
    try:
        row["peak_rss_bytes"], _, ran = peak_rss_of(write, environment, timeout=WRITING)
    except subprocess.TimeoutExpired:
        return {**row, "none": f"Python wrote no page in {WRITING} s"}
    if ran.returncode:
        full = "MemoryError" in ran.stderr or "DefaultCPUAllocator" in ran.stderr
        last = (ran.stderr.strip().splitlines() or ["Python ended without a word"])[-1]
        reason = f"Python needs over {MEMORY} GiB" if full or ran.returncode < 0 else last[:120]
        return {**row, "none": reason}
    row["page_bytes"] = page.stat().st_size
    seen = _drawn(view, page, folder / "scripts")
    return {**row, **(seen or {"none": f"none in {LIMIT} s"})}


def _drawn(view: str, page: Path, scripts: Path) -> dict | None:
    """Return what ``draw`` prints; in a process of its own, for a frozen page stops its driver."""
    import psutil

    command = [sys.executable, __file__, "draw", view, str(page), str(scripts)]
    ran = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said, _ = ran.communicate(timeout=2 * LIMIT)
    except subprocess.TimeoutExpired:
        for one in [*psutil.Process(ran.pid).children(recursive=True), ran]:  # the browser, too
            with suppress(psutil.NoSuchProcess):
                one.kill()
        said, _ = ran.communicate()
    return json.loads(said.splitlines()[-1]) if said.strip() else None


def draw(view: str, page: Path, scripts: Path) -> None:
    """Open a page; print the seconds to its first drawing, then these with those of a hover."""
    from lab import CHROMIUM_OPTIONS
    from playwright.sync_api import TimeoutError, sync_playwright

    from conftest import find_chromium

    def serve(route):
        local = scripts / route.request.url.rpartition("/")[2]
        if local.is_file():
            route.fulfill(path=local, content_type="text/javascript")
        else:
            route.abort()

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=find_chromium(), args=list(CHROMIUM_OPTIONS)
        )
        # Our file's own policy would keep the driver from asking whether it is drawn.
        opened = browser.new_page(viewport={"width": 1100, "height": 900}, bypass_csp=True)
        opened.set_default_timeout(LIMIT * 1000)
        opened.route(lambda url: not url.startswith(("file:", "data:", "blob:")), serve)
        opened.add_init_script(_WATCH.replace("DRAWN", DRAWN[view]))
        with suppress(TimeoutError):
            opened.goto(page.as_uri(), wait_until="commit")
            seconds = opened.wait_for_function("window.drawnAt").json_value() / 1000
            if seconds <= LIMIT:
                print(json.dumps(dict(seconds=seconds)), flush=True)
                found = dict(seconds=seconds, hover_seconds=_hover(opened, POINTED[view]))
                print(json.dumps(found), flush=True)
        browser.close()


def _hover(opened, selector: str) -> float:
    """Return the median seconds from a move over the largest of them to two frames later."""
    opened.wait_for_timeout(1000)  # at rest
    box = opened.evaluate(_LARGEST, selector)
    found = []
    for n in range(HOVERS):
        opened.evaluate("window.hovered = 0")
        opened.mouse.move(
            box["x"] + min(box["width"] / 5, 60) + 10 * n,
            box["y"] + min(box["height"], 400) * (0.3 + 0.1 * n),
        )
        found.append(opened.wait_for_function("window.hovered").json_value() / 1000)
    return statistics.median(found)


def rows(folder: Path, environment: dict, lengths, views) -> Iterator[dict]:
    """Measure every view at every length: with all layers, or else the first one alone.

    Our own saved page holds one layer in any case; the rest comes from a kernel. A view
    that shows nothing at one length, even of one layer, is not tried at a longer one.
    """
    ended: dict[str, int] = {}
    for tokens in lengths:
        attend = [sys.executable, __file__, "attend", str(folder), str(tokens)]
        ran = subprocess.run(attend, check=True, env=environment, capture_output=True, text=True)
        everything = int(ran.stdout.split()[-1])
        attended = folder / f"{tokens}.pt"
        for view in views:
            for layers in (1,) if view == "AttentionView" else (everything, 1):
                facts = dict(view=view, tokens=tokens, layers=layers)
                if view in ended:
                    cells = dict.fromkeys(("seconds", "page_bytes", "peak_rss_bytes"))
                    none = f"not tried: none at {ended[view]:,} tokens"
                    yield {**facts, **cells, "hover_seconds": None, "none": none}
                    break
                row = measured(view, attended, layers, folder, environment)
                yield {**facts, **row}
                if row["none"] is None:
                    break
            else:
                ended[view] = tokens
        attended.unlink()


def main() -> None:
    match sys.argv[1:]:
        case ["attend", folder, tokens]:
            return write_attention(Path(folder), int(tokens))
        case ["write", view, attended, layers, page]:
            return write_page(view, Path(attended), int(layers), Path(page))
        case ["draw", view, page, scripts]:
            return draw(view, Path(page), Path(scripts))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write notebooks/results/peers.json")
    parser.add_argument("--tokens", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--views", nargs="+", default=tuple(DRAWN), choices=tuple(DRAWN))
    given = parser.parse_args()
    from conftest import NO_BROWSER, find_chromium

    if find_chromium() is None:
        sys.exit(NO_BROWSER)
    load, cores = os.getloadavg()[0], os.cpu_count()
    if given.record and load > cores / 2:
        sys.exit(
            f"This machine is busy (load {load:.1f} on {cores} cores), so that every time would be "
            "too long; record when nothing else runs."
        )
    found = []
    with tempfile.TemporaryDirectory(prefix="longctx-peers-") as scratch:
        folder = Path(scratch)
        for row in rows(folder, install(folder), given.tokens, given.views):
            print(json.dumps(row), flush=True)
            found.append(row)
    if given.record:
        _record(found)


def _record(found: list[dict]) -> None:
    from longctx_edu.evaluation.figures import Result, write_result
    from longctx_edu.evaluation.machine import machine, versions

    write_result(
        RECORD,
        Result(
            command=COMMAND,
            versions={**versions(), **dict(name.split("==") for name in PEERS[:2])},
            seed=None,
            machine=machine(),
            figures={},
            tables={"peers": found},
        ),
    )


if __name__ == "__main__":
    main()
