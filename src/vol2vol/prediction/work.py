"""Compute blocks: read ahead, compute, write behind; the same in one process and in many."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np

from vol2vol import executors
from vol2vol.errors import CannotWrite, Unreadable
from vol2vol.geometry import Box
from vol2vol.prediction.job import Job
from vol2vol.volumes import Volume, open_volume
from vol2vol.volumes.ledger import Ledger, block_name, checksum

log = logging.getLogger(__name__)
RETRIES = 2
"""How often a row is repeated after a failure, or after its worker's death."""
PAUSE = 1.0
"""Seconds before the first repetition in this process; doubled each time."""
CHECK = 30.0
"""Seconds between two looks at whether the input is still the same."""

_ALONE = threading.Lock()
"""One row at a time in a process: a Dask worker of several threads would trace networks in all of them at once."""


def compute(job: Job, output: str, todo: Sequence[Box]) -> Iterator[Box]:
    """Compute blocks with the executor of the job's settings and yield each when it is written and marked."""
    settings = job.settings
    if settings.executor == "local" and settings.workers == 1:
        return _here(job, output, todo)
    remote = settings.scheduler is not None
    portion = RowWork(output, job.begun, settings.device, None if remote else _threads(settings.workers))
    rows = _portions(job, todo, settings.workers)
    if settings.executor == "dask":
        return executors.dask(
            portion, rows, workers=settings.workers, scheduler=settings.scheduler, retries=RETRIES, name=_row_words
        )
    return executors.local(portion, rows, workers=settings.workers, retries=RETRIES, name=_row_words)


def compute_rows(job: Job, output: str, rows: Iterable[Sequence[Box]]) -> Iterator[Box]:
    """Compute rows of blocks in this process and yield each block when it is written and marked as done.

    While one block is computed the one before is converted and written; at most one waits. A caller that stops early
    loses nothing: the block under way is written first. Raises `Mismatch` where input or output have become another's meanwhile.
    """
    ledger = Ledger.of(output)
    looked = time.monotonic()
    with open_volume(output) as destination, ThreadPoolExecutor(1) as writer:
        waiting: Future[Box] | None = None
        for row in rows:
            if time.monotonic() - looked > CHECK:
                check_input(job, ledger)
                looked = time.monotonic()
            for box, raw in job.predict_row(row):
                before, waiting = waiting, writer.submit(_write, job, destination, ledger, box, raw)
                if before is not None:
                    yield before.result()
        if waiting is not None:
            yield waiting.result()


def _write(job: Job, destination: Volume, ledger: Ledger, box: Box, raw: np.ndarray) -> Box:
    values = job.stored(raw)
    ledger.check(job.begun)
    destination.write(box.relative_to(job.layout.region.start), values)
    destination.flush()
    ledger.mark(block_name(box), checksum(values))
    return box


def check_input(job: Job, ledger: Ledger) -> None:
    """Raise `Mismatch`, and spoil the output, if the input is not what it was when the prediction was begun."""
    if job.source_changed():
        ledger.spoil(
            f"{job.source.path} was changed while it was read, so parts of {ledger.output} belong to the old and "
            "parts to the new: start again with --overwrite"
        )


@dataclass(frozen=True)
class RowWork:
    """Compute a row in any process that sees the output: attach to its ledger once, skip what is done."""

    output: str
    begun: str
    device: str
    threads: int | None
    """Threads of this process; None leaves them as they are."""

    def __call__(self, row: Sequence[Box], place: int) -> Iterator[Box]:
        """Yield the blocks of a row when they are on disk, those first that are already."""
        with _ALONE:
            job = _attached(self, place)
            done = Ledger.of(self.output).done()
            yield from (box for box in row if block_name(box) in done)
            left = [box for box in row if block_name(box) not in done]
            yield from compute_rows(job, self.output, job.layout.rows(left))


@functools.lru_cache(maxsize=1)
def _attached(work: RowWork, place: int) -> Job:
    import torch

    if work.threads is not None:
        torch.set_num_threads(work.threads)
    device = work.device
    if device in ("auto", "cuda") and torch.cuda.device_count() > 1:
        device = f"cuda:{place % torch.cuda.device_count()}"
    return Job.attach(work.output, device=device)


def _here(job: Job, output: str, todo: Sequence[Box]) -> Iterator[Box]:
    """Compute in this process; after a failed read or write try the rest again, a bounded number of times."""
    left, tries = {block_name(box): box for box in todo}, 0
    while left:
        try:
            for box in compute_rows(job, output, job.layout.rows(list(left.values()))):
                del left[block_name(box)]
                tries = 0
                yield box
        except (Unreadable, CannotWrite) as error:
            tries += 1
            if tries > RETRIES:
                raise
            log.warning("%s; trying again", error)
            time.sleep(PAUSE * 2 ** (tries - 1))
            done = Ledger.of(output).done()
            left = {name: box for name, box in left.items() if name not in done}


def _portions(job: Job, todo: Sequence[Box], workers: int) -> list[list[Box]]:
    """Return rows; single blocks are joined by fours while that leaves work for all, so that writing overlaps."""
    rows = job.layout.rows(todo, workers)
    if job.layout.sweep is not None:
        return rows
    size = max(1, min(4, len(rows) // (4 * workers)))
    return [list(chain.from_iterable(rows[at : at + size])) for at in range(0, len(rows), size)]


def _threads(workers: int) -> int:
    import torch

    return max(1, min(torch.get_num_threads(), os.cpu_count() or 1) // workers)


def _row_words(row: Sequence[Box]) -> str:
    name = f"block {block_name(row[0])}"
    return name if len(row) == 1 else f"{name} to {block_name(row[-1])}"
