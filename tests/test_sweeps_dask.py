"""On Dask's workers a sweep gives what it gives in one process, whoever dies on the way."""

import os
import signal
import sys

import distributed
import pytest

from longctx_edu import models
from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.sweep_engines import Dask, InProcess
from longctx_edu.evaluation.sweep_spec import Part, Sweep
from longctx_edu.evaluation.sweeps import CellFinished, run_sweep, without_times


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tiny = models.tiny("llama", window=2048)
    tiny.model.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    parts = (Part(("common-words", "needle"), (700, 1000), 2),)
    return Sweep("small", parts, models=(str(folder),), methods=("plain", "retrieval"))


@pytest.fixture(scope="module")
def alone(sweep, tmp_path_factory):
    """What the sweep gives in this process, with as many threads as a worker has."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        path = tmp_path_factory.mktemp("alone") / "out.json"
        return [*run_sweep(sweep, path, engine=InProcess())][-1].result
    finally:
        torch.set_num_threads(threads)


@pytest.mark.timeout(600)
def test_a_worker_killed_in_the_middle_costs_no_finished_cell_and_changes_no_result(
    sweep, alone, tmp_path
):
    finished = []
    for event in run_sweep(sweep, tmp_path / "out.json", engine=Dask(workers=2)):
        if isinstance(event, CellFinished):
            finished.append(event)
            if len(finished) == 4:
                client = distributed.default_client()
                busy = [worker for worker, cells in client.processing().items() if cells]
                killed = client.run(os.getpid, workers=busy[:1])[busy[0]]
                os.kill(killed, signal.SIGKILL)
    with pytest.raises(ProcessLookupError):
        os.kill(killed, 0)
    assert {event.cell for event in finished} == {*sweep.cells}
    assert len(finished) == len(sweep.cells)
    assert without_times(event.result) == without_times(alone)
    assert event.result.tables["sessions"][0]["engine"] == "dask"
    assert event.result.tables["sessions"][0]["workers"] == 2


def test_workers_keep_the_memory_that_large_tensors_come_and_go_in(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    before = dict(os.environ)
    with Dask(workers=1)._client() as client:
        (environment,) = client.run(lambda: dict(os.environ)).values()
    for name in ("TRIM", "MMAP"):
        assert int(environment[f"MALLOC_{name}_THRESHOLD_"]) > 2**30
    assert environment["OMP_NUM_THREADS"] == "1"
    assert dict(os.environ) == before


@pytest.mark.timeout(600)
def test_a_cluster_that_is_there_goes_on_with_what_another_engine_began(sweep, alone, tmp_path):
    path = tmp_path / "out.json"
    events = run_sweep(sweep, path, engine=InProcess())
    for event in events:
        if isinstance(event, CellFinished) and event.done == len(sweep.cells) - 4:
            break
    events.close()
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        *events, last = run_sweep(sweep, path, engine=Dask(address=address))
    assert sum(not event.was_kept for event in events if isinstance(event, CellFinished)) == 4
    assert without_times(last.result) == without_times(alone)
    assert [one["engine"] for one in last.result.tables["sessions"]] == ["in-process", "dask"]
    assert address not in path.read_text()


def test_what_a_worker_cannot_do_is_said_as_it_is_said_here(sweep, tmp_path):
    lost = Sweep("lost", sweep.parts, models=(str(tmp_path / "no-model"),), methods=("plain",))
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        engine = Dask(address=cluster.scheduler_address)
        with pytest.raises(LongctxError, match="could not be loaded"):
            [*run_sweep(lost, tmp_path / "out.json", engine=engine)]


def test_an_address_where_nobody_is_is_one_sentence(sweep, tmp_path, monkeypatch):
    from longctx_edu.evaluation import sweep_engines

    monkeypatch.setattr(sweep_engines, "_PATIENCE", 0.5)
    for address in ("tcp://127.0.0.1:9", "nonsense://here"):
        with pytest.raises(LongctxError, match="no Dask scheduler at"):
            [*run_sweep(sweep, tmp_path / "out.json", engine=Dask(address=address))]


def test_without_dask_the_engine_says_how_to_get_it(sweep, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(LongctxError, match=r"pip install 'longctx-edu\[scale\]'"):
        [*run_sweep(sweep, tmp_path / "out.json", engine=Dask(workers=1))]
    assert not (tmp_path / "out.json").exists()
