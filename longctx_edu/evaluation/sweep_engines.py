"""Who works on the cells of a sweep: this process, or Dask's workers on one machine or many.

A worker gets the spec and a cell and makes the document itself, so that nothing large travels. It
keeps its model from one cell to the next. What a cell gives depends on nothing but spec, cell and
model: it may be done again anywhere (Dask, Rocklin 2015, restarts what a dead worker had).
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Any

from longctx_edu.errors import DoesNotFit, LongctxError
from longctx_edu.evaluation.machine import usable_cores, versions
from longctx_edu.evaluation.sweep_spec import Cell, Sweep
from longctx_edu.evaluation.tasks import Item

_PATIENCE = 10.0  # seconds that a scheduler has to answer
_MOST_DEATHS = 10  # of workers while they have the same cell, before it is given up
# Dask has its workers give freed memory back at once. Large tensors come and go in every layer, so
# that most of them would then be fetched from the system again: reading took half as long again.
_OF_WORKERS = {f"MALLOC_{name}_THRESHOLD_": str(2**32) for name in ("TRIM", "MMAP")} | {
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")
}
_OF_THE_CELL = {"task", "method", "document", "right"}  # in a row, and told by the cell or recall


def items_of(sweep: Sweep, cell: Cell, tokenizer) -> list[Item]:
    """Return the items of a cell's document, in the order of the task.

    Where not all are wanted they are taken evenly, and from document to document other ones, so
    that together they look everywhere.
    """
    made = _made(sweep, cell.task, cell.length, cell.document, tokenizer)
    wanted = len(made) if cell.questions is None else min(cell.questions, len(made))
    taken = {(cell.document + n * len(made) // wanted) % len(made) for n in range(wanted)}
    return [made[n] for n in sorted(taken)]


@lru_cache(maxsize=1)
def _made(sweep: Sweep, task: str, length: int, document: int, tokenizer) -> list[Item]:
    """Make a document and its items; those of the last one are kept for the next method."""
    return sweep.difficulty(task).items(length, sweep.seed, document, tokenizer)


def depth_of(item: Item) -> float | None:
    """Return where in the text the place is that an item needs, 0 to 1; None if it needs several.

    The places within one sentence or line are one: what counts is where the first begins.
    """
    if len(item.gold_spans) != 1:
        return None
    before = 0
    for document in item.documents:
        if document.id == item.gold_spans[0].document_id:
            break
        before += len(document.text)
    length = sum(len(document.text) for document in item.documents)
    return (before + item.gold_spans[0].start) / length


def work_on(sweep: Sweep, cell: Cell, model) -> dict[str, Any]:
    """Read a cell's document once, ask all its questions, and return what came of it, for JSON.

    A text that does not fit is told in ``refused`` and has no answers.
    """
    from longctx_edu.evaluation.scoring import score_reading
    from longctx_edu.readers import read

    items = items_of(sweep, cell, model.tokenizer)
    start = time.perf_counter()
    refused, answers, read_tokens, read_seconds = None, [], 0, 0.0
    try:
        reading = read(
            items[0].documents,
            method=cell.method,
            model=model,
            **sweep.options.get(cell.method, {}),
        )
        read_tokens, read_seconds = reading.ledger.prefilled, reading.seconds
        rows = score_reading(reading, items, likelihood=sweep.likelihood)
    except DoesNotFit as error:
        refused, rows = str(error), []
    for item, row in zip(items, rows, strict=bool(rows)):
        depth = depth_of(item)
        said = {key: value for key, value in row.as_dict().items() if key not in _OF_THE_CELL}
        answers.append({"depth": depth if depth is None else round(depth, 3), **said})
    return {
        "cell": vars(cell),
        "fingerprint": model.fingerprint,
        "window": model.window,
        "versions": versions(),
        "refused": refused,
        "read_tokens": read_tokens,
        "read_seconds": round(read_seconds, 3),
        "seconds": round(time.perf_counter() - start, 3),
        "answers": answers,
    }


@lru_cache(maxsize=1)
def _model_named(name: str, dtype: str | None):
    from longctx_edu.models import load

    return load(name, dtype=dtype)


def _work_here(sweep: Sweep, cell: Cell) -> dict[str, Any]:
    """Work on a cell with the model that this worker keeps."""
    return work_on(sweep, cell, _model_named(cell.model, sweep.dtype))


@dataclass(frozen=True)
class InProcess:
    """One cell after another, here.

    Attributes:
        models: models that are loaded already, by the name that the sweep gives them; they keep
            their dtype.
    """

    models: Mapping[str, Any] = field(default_factory=dict)

    def outcomes(self, sweep: Sweep, cells: Sequence[Cell]) -> Iterator[dict[str, Any]]:
        """Yield what comes of each cell, in order."""
        from longctx_edu.models import load

        for name, these in groupby(cells, key=lambda cell: cell.model):
            model = self.models[name] if name in self.models else load(name, dtype=sweep.dtype)
            for cell in these:
                yield work_on(sweep, cell, model)

    def as_dict(self) -> dict[str, Any]:
        """Return what a record says of the engine."""
        return {"engine": "in-process", "workers": 1}


@dataclass(frozen=True)
class Dask:
    """Dask's workers: processes of this machine, or those of a cluster that is there already.

    Attributes:
        workers: processes to start, each with one thread; as many as there are cores if None.
        address: of a scheduler to use instead, such as "tcp://10.0.0.1:8786". Its workers need
            the course installed, and models by names that mean the same there.
    """

    workers: int | None = None
    address: str | None = None

    def __post_init__(self):
        if self.workers is not None and self.workers < 1:
            raise LongctxError(f"A sweep needs at least 1 worker, got {self.workers}.")
        if self.workers is not None and self.address is not None:
            raise LongctxError(
                "A cluster that is there has the workers it has; give workers or an address."
            )

    def outcomes(self, sweep: Sweep, cells: Sequence[Cell]) -> Iterator[dict[str, Any]]:
        """Yield what comes of each cell, as they are finished.

        The cells of a worker that dies are worked on by another.

        Raises:
            LongctxError: if Dask is missing, the cluster cannot be reached, or the workers keep
                dying.
        """
        as_completed, killed = _distributed("as_completed", "KilledWorker")
        with self._client() as client:
            for _, these in groupby(cells, key=lambda cell: cell.model):
                futures = [
                    client.submit(_work_here, sweep, cell, pure=False, priority=-number)
                    for number, cell in enumerate(these)
                ]
                try:
                    for future in as_completed(futures):
                        yield future.result()
                        future.release()  # the scheduler need not keep what is written down
                except killed as error:
                    raise LongctxError(
                        f"Workers died {_MOST_DEATHS} times over the same cell, most likely for "
                        "want of memory; go on with fewer workers, or in this process."
                    ) from error
                finally:
                    client.cancel(futures)

    def as_dict(self) -> dict[str, Any]:
        """Return what a record says of the engine; an address is nobody else's business."""
        workers = None if self.address else self._worker_count()
        return {"engine": "dask", "workers": workers}

    def _worker_count(self) -> int:
        return self.workers or usable_cores()

    @contextmanager
    def _client(self) -> Iterator:
        client_class, cluster_class = _distributed("Client", "LocalCluster")
        if self.address is None:
            local = {
                "n_workers": self._worker_count(),
                "threads_per_worker": 1,
                "processes": True,
                "dashboard_address": None,
                "silence_logs": logging.CRITICAL,
                "scheduler_kwargs": {"allowed_failures": _MOST_DEATHS},
            }
            with (
                _environment(_OF_WORKERS),  # counts more than what Dask sets, and leaves behind
                cluster_class(**local) as cluster,
                client_class(cluster) as client,
            ):
                yield client
            return
        try:
            client = client_class(self.address, timeout=_PATIENCE)
        except (OSError, ValueError) as error:
            raise LongctxError(
                f"There is no Dask scheduler at {self.address!r}; give the address that "
                "'dask scheduler' prints, such as tcp://10.0.0.1:8786."
            ) from error
        with client:
            yield client


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while; afterwards all are as they were before."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _distributed(*names: str) -> list[Any]:
    """Return what is wanted of Dask's package.

    Raises:
        LongctxError: if it is not installed.
    """
    try:
        import distributed
    except ImportError as error:
        raise LongctxError(
            "The engine 'dask' needs the package distributed; install it with "
            "pip install 'longctx-edu[scale]', or sweep in this process."
        ) from error
    return [getattr(distributed, name) for name in names]
