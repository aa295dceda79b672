"""The figures of the ground floor: set-up, loading, reading, writing, notebooks, tests.

FLOPs are counted causally, each multiply and add as one, and the language
model's head for one row. Ratios are taken in one run, in alternation.
"""

import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from longctx_edu.cost import Architecture, prefill_flops
from longctx_edu.evaluation.figures import Run, figure, median_seconds
from longctx_edu.evaluation.machine import peak_rss_of
from longctx_edu.evaluation.samples import sample

ROOT = Path(__file__).parents[2]


@figure("setup", unit="min", target="<= 3")
def setup(run: Run) -> float:
    """Fresh clone, ``make lab``, first cell run; packages come from pip's cache."""
    if run.quick:
        with _lab(ROOT, [sys.executable, "-m", "jupyterlab"]) as seconds:
            return seconds / 60
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        clone = Path(scratch, "clone")
        start = time.perf_counter()
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        with _lab(clone, ["make", "lab"], LONGCTX_EDU_CACHE=str(Path(scratch, "model"))):
            return (time.perf_counter() - start) / 60


@contextmanager
def _lab(folder: Path, command: list[str], **environment: str):
    """Start JupyterLab by ``command``, run the first code cell, yield the seconds it took."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as runtime:
        environment = {**os.environ, **environment, "JUPYTER_RUNTIME_DIR": runtime}
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "VIRTUAL_ENV", "PYTHONPATH"):
            environment.pop(name, None)
        if command[0] != "make":
            command = [*command, "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _run_first_cell(Path(runtime), folder, process)
            yield time.perf_counter() - start
        finally:
            os.killpg(process.pid, 15)
            process.wait()


def _run_first_cell(runtime: Path, folder: Path, process) -> None:
    from jupyter_client import BlockingKernelClient

    server = json.loads(_appearing(runtime, "jpserver-*.json", process).read_text())
    url = f"{server['url']}api/kernels?token={server['token']}"
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, data=b"{}"), timeout=60).close()
            break
        except ConnectionError:
            time.sleep(0.1)
    client = BlockingKernelClient()
    client.load_connection_file(str(_appearing(runtime, "kernel-*.json", process)))
    client.start_channels()
    client.wait_for_ready(timeout=60)
    notebook = json.loads((folder / "notebooks" / "00_start_here.ipynb").read_text())
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    reply = client.execute_interactive("".join(first["source"]), timeout=60, silent=True)
    client.stop_channels()
    if reply["content"]["status"] != "ok":
        raise RuntimeError(f"The first cell failed: {reply['content']}")


def _appearing(folder: Path, pattern: str, process) -> Path:
    while not (found := sorted(folder.glob(pattern))) or not found[0].read_text().strip():
        if process.poll() is not None:
            raise RuntimeError("The command ended before JupyterLab was up.")
        time.sleep(0.1)
    return found[0]


@figure("import", unit="s", target="<= 0.5")
def import_seconds(run: Run) -> float:
    """Import in a fresh interpreter, its own start taken off; fails if torch comes along."""
    code = "import sys, longctx_edu; sys.exit('torch' in sys.modules)"
    bare = median_seconds(lambda: subprocess.run([sys.executable, "-c", ""], check=True))
    full = median_seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True))
    return full - bare


@sample("foundation.import")
def import_again() -> float:
    return import_seconds(Run(quick=True))


@figure("warm_load", unit="s", target="<= 3")
def warm_load(run: Run) -> float:
    """Load the converted model, the libraries already imported."""
    from longctx_edu import models

    return median_seconds(lambda: models.load())


@figure("convert_memory", unit="GB", target="<= 1.5")
def convert_memory(run: Run) -> float:
    """Peak memory of the one-off conversion from GGUF to safetensors."""
    from longctx_edu import models

    gguf = next(models.fetch().parent.glob("*.gguf"))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "longctx_edu.models.convert", str(gguf), f"{folder}/m"]
        peak, _, completed = peak_rss_of(command)
    completed.check_returncode()
    return peak / 1e9


@functools.cache
def _model():
    from longctx_edu import models

    return models.load()


def _read(ids):
    from longctx_edu.inference import Context

    context = Context(_model(), reserve=len(ids) + 128)
    for _ in context.prefill(ids):
        pass
    return context


def _log_ids(count: int) -> list[int]:
    from longctx_edu.text import lighthouse_log, tokenize

    return tokenize(_model().tokenizer, lighthouse_log().text).ids[:count]


@figure("prefill_share", unit="ratio", target=">= 0.8")
def prefill_share(run: Run) -> float:
    """Rate of prefill over the rate of a product of two 2048 x 2048 matrices between the runs."""
    import torch

    ids = _log_ids(run.choose(quick=512, plain=4096))
    flops = prefill_flops(Architecture.of(_model().model.config), len(ids))
    square = torch.randn(2048, 2048, generator=torch.Generator().manual_seed(run.seed))

    def product_rate() -> float:
        return 2 * 2048**3 / median_seconds(lambda: square @ square, repeats=5)

    _read(ids[:256])
    rows = []
    for _ in range(run.choose(quick=1, plain=3, record=5)):
        before, start = product_rate(), time.perf_counter()
        _read(ids)
        seconds = time.perf_counter() - start
        product = statistics.mean([before, product_rate()])
        rows.append(
            {
                "tokens_a_second": round(len(ids) / seconds),
                "prefill_gflops": round(flops / seconds / 1e9, 1),
                "product_gflops": round(product / 1e9, 1),
                "share": flops / seconds / product,
            }
        )
    run.table("prefill", rows)
    return statistics.median(row["share"] for row in rows)


@figure("decode_ratio", unit="ratio", target=">= 1.5")
def decode_ratio(run: Run) -> float:
    """Tokens a second of our decode loop over ``model.generate``, each from its own full cache.

    Both write the same greedy tokens, or there is no ratio. Neither figure holds any prefill.
    """
    import torch
    from transformers import DynamicCache

    count = run.choose(quick=8, plain=24, record=48)
    ids = _log_ids(run.choose(quick=512, plain=4096))
    model = _model().model
    context = _read(ids)
    keys = [(layer.keys, layer.values) for layer in context.cache.layers]
    forever = dict(do_sample=False, min_new_tokens=count, max_new_tokens=count)

    def ours() -> tuple[float, list[int]]:
        with context.branch() as branch:
            # The end token is a token like any other here, as it is for generate below.
            branch.language_model = _without_end()
            decoding = branch.decode(max_new_tokens=count + 1)
            written = [next(decoding)]
            start = time.perf_counter()
            written += list(decoding)
            return time.perf_counter() - start, written

    def generate(first: int) -> tuple[float, list[int]]:
        cache = DynamicCache(config=model.config)
        for layer, (key, value) in enumerate(keys):
            cache.update(key, value, layer)
        prompt = torch.tensor([[*ids, first]])
        start = time.perf_counter()
        output = model.generate(prompt, past_key_values=cache, eos_token_id=-1, **forever)
        return time.perf_counter() - start, output[0, len(ids) :].tolist()

    rows = []
    for repeat in range(run.choose(quick=1, plain=4, record=6)):
        seconds, written = ours()
        theirs, expected = generate(written[0])
        if written != expected:
            raise RuntimeError(f"The greedy tokens differ: {written} and {expected}.")
        if repeat or run.quick:  # the first round warms up
            rows.append(
                {
                    "ours_ms_a_token": round(1e3 * seconds / count, 1),
                    "generate_ms_a_token": round(1e3 * theirs / count, 1),
                    "ratio": theirs / seconds,
                }
            )
    run.table("decode", rows)
    return statistics.median(row["ratio"] for row in rows)


def _without_end():
    from dataclasses import replace

    return replace(_model(), end_ids=frozenset())


@functools.cache
def _notebooks(quick: bool):
    from longctx_edu.teaching.notebooks import find_notebooks, measure

    paths = find_notebooks(folder=ROOT / "notebooks")
    return [measure(path) for path in (paths[:1] if quick else paths)]


@figure("notebook_memory", unit="GB", target="<= 1.5")
def notebook_memory(run: Run) -> float:
    """Largest resident memory of a notebook's kernel, over all notebooks."""
    return max(measured.peak_rss_bytes for measured in _notebooks(run.quick)) / 1e9


@figure("notebook_time", unit="s", target="<= 90")
def notebook_time(run: Run) -> float:
    """Longest run of a notebook from kernel start to end, over all notebooks."""
    run.table(
        "notebooks",
        [
            {
                "notebook": measured.notebook,
                "seconds": round(measured.seconds, 1),
                "peak_memory_mb": round(measured.peak_rss_bytes / 1e6),
            }
            for measured in _notebooks(run.quick)
        ],
    )
    return max(measured.seconds for measured in _notebooks(run.quick))


@figure("test_time", unit="min", target="<= 10")
def test_time(run: Run) -> float:
    """``make test`` when everything is installed; a quick run only collects the tests."""
    make = shutil.which("make")
    if make is None:
        raise RuntimeError("There is no make on this machine.")
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests"]
    command = collect if run.quick else [make, "test"]
    start = time.perf_counter()
    # The test that every figure is recorded must not ask for the one being measured.
    unrecorded = "tests/test_recorded_results.py::test_every_bench_was_recorded_by_its_command"
    environment = {**os.environ, "PYTEST_ADDOPTS": f"--deselect={unrecorded}"}
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=environment)
    return (time.perf_counter() - start) / 60
