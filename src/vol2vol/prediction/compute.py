"""Compute blocks: read ahead, compute, write behind; the same in one process and in many."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf

import numpy as np

from vol2vol.errors import CannotWrite, Unreadable
from vol2vol.geometry import Box
from vol2vol.machines import executors
from vol2vol.machines.devices import device_of, trim
from vol2vol.prediction.job import Job
from vol2vol.prediction.parts import parts_of
from vol2vol.prediction.work_items import Block, Portion, Waiting, average, coarser, intact, rows
from vol2vol.volumes import Volume, open_volume
from vol2vol.volumes.ledger import Ledger, block_name, checksum
from vol2vol.volumes.marks import Marks

log = logging.getLogger(__name__)
RETRIES = 2
"""How often a row is repeated after a failure, or after its worker's death."""
PAUSE = 1.0
"""Seconds before the first repetition in this process; doubled each time."""
CHECK = 30.0
"""Seconds between two looks at whether the input is still the same."""
TRIM = 8
"""Blocks after which freed memory is given back to the system."""

ALONE = threading.Lock()
"""One row at a time in a process: a Dask worker of several threads would trace networks in all of them at once."""


def compute(job: Job, output: str, todo: Sequence[Box], marks: Marks) -> Iterator[Box]:
    """Compute blocks with the executor of the job's settings and yield each when it is written and marked."""
    coarse = coarser(job, output, job.settings.workers)
    intact(output, coarse, marks)
    done = set(marks.done)
    lacking = [portion for portion in coarse if any(block.name not in done for block in portion.blocks)]
    for block in _computed(job, output, todo, lacking, marks=marks, done=done):
        new = block.name not in done  # of a portion that is repeated, those come again that were done the first time
        done.add(block.name)
        if new and not block.level:
            yield block.box


def _computed(
    job: Job, output: str, todo: Sequence[Box], coarse: Sequence[Portion], *, marks: Marks, done: set[str]
) -> Iterator[Block]:
    """Yield blocks, those of coarser levels too, as they are done; `done` is kept up to date by the caller."""
    settings = job.settings
    if settings.executor == "local" and settings.workers == 1:
        return _here(job, output, iter(rows(job, todo, 1)), marks, coarse)
    remote = settings.scheduler is not None
    work = PortionWork(output, job.begun, settings.device, None if remote else threads_of(settings.workers))
    portions = [*coarse, *rows(job, todo, settings.workers)]

    def ready(portion: Portion) -> bool:
        return portion.needs <= done

    if settings.executor == "dask":
        scheduler = settings.scheduler
        return executors.dask(
            work, portions, workers=settings.workers, scheduler=scheduler, retries=RETRIES, name=_words, ready=ready
        )
    here = functools.partial(_share, job, output, marks, work.threads)
    return executors.local(
        work, portions, here=here, workers=settings.workers, retries=RETRIES, name=_words, ready=ready, size=len
    )


def compute_portions(
    job: Job, output: str, portions: Iterable[Portion], marks: Marks, coarse: Sequence[Portion] = ()
) -> Iterator[Block]:
    """Compute portions in this process and yield each block when it is written and marked as done.

    While one block is computed the one before is converted and written; at most one waits. Blocks of coarser levels
    are made in the writer's thread; those of `coarse` follow there as soon as what they need is there. A caller that
    stops early loses nothing: the block under way is written first. Raises `Mismatch` where input or output have
    become another's meanwhile.
    """
    ledger = Ledger.of(output)
    looked = time.monotonic()
    with ExitStack() as opened, ThreadPoolExecutor(1) as thread:
        destinations = [(opened.enter_context(open_volume(path)), part) for path, part in parts_of(job, output)]
        writer = _Writer(job, output, thread, marks, coarse)
        for portion in portions:
            if portion.level is not None:
                writer.average(portion)
                yield from writer.written(waiting=1, following=1)
                continue
            for row in job.layout.rows([block.box for block in portion.blocks if block.name not in marks.done]):
                if time.monotonic() - looked > CHECK:
                    check_input(job, ledger)
                    looked = time.monotonic()
                for box, raw in job.predict_row(row):
                    writer.submit(box, raw, destinations, ledger)
                    yield from writer.written(waiting=1)
        yield from writer.written(waiting=0)


class _Writer:
    """Blocks that wait in the writer's thread, and coarser ones that follow them there."""

    def __init__(
        self, job: Job, output: str, thread: ThreadPoolExecutor, marks: Marks, coarse: Sequence[Portion]
    ) -> None:
        self.job, self.output, self.thread, self.marks = job, output, thread, marks
        self.coarse, self.submitted = Waiting(coarse, marks.done), 0
        self.waiting: deque[Future[list[Block]]] = deque()
        self.following: deque[Future[list[Block]]] = deque()
        self._follow()

    def submit(self, box: Box, raw: np.ndarray, destinations: Sequence[tuple[Volume, Job]], ledger: Ledger) -> None:
        self.waiting.append(self.thread.submit(self._write, box, raw, destinations, ledger))
        self.submitted += 1
        if self.submitted % TRIM == 0:
            self.thread.submit(trim)

    def average(self, portion: Portion) -> None:
        """Make a portion of a coarser level, of which all is there that it needs."""
        self.following.append(self.thread.submit(self._average, portion))

    def written(self, waiting: int, following: float = inf) -> Iterator[Block]:
        """Yield blocks that are done, until no more than so many wait; at the end, those of coarser levels too."""
        while len(self.waiting) > waiting or len(self.following) > following or self._is_due(waiting):
            late = self.waiting if len(self.waiting) > waiting else self.following
            blocks = late.popleft().result()
            yield from blocks
            self._follow(*(block.name for block in blocks))

    def _is_due(self, waiting: int) -> bool:
        return bool(self.following) and (waiting == 0 or self.following[0].done())

    def _follow(self, *done: str) -> None:
        for portion in self.coarse.ready(*done):
            self.average(portion)

    def _average(self, portion: Portion) -> list[Block]:
        return list(average(self.job, self.output, portion, self.marks))

    def _write(
        self, box: Box, raw: np.ndarray, destinations: Sequence[tuple[Volume, Job]], ledger: Ledger
    ) -> list[Block]:
        values = [part.stored(raw) for _, part in destinations]
        ledger.check(self.job.begun)
        for (volume, _), stored in zip(destinations, values, strict=True):
            volume.write(box.relative_to(self.job.layout.region.start), stored)
        for volume, _ in destinations:
            volume.flush()
        self.marks.mark(block_name(box), checksum(*values))
        return [Block(box)]


def check_input(job: Job, ledger: Ledger) -> None:
    """Raise `Mismatch`, and spoil the output, if the input is not what it was when the prediction was begun."""
    if job.source_changed():
        ledger.spoil(
            f"{job.source.path} was changed while it was read, so parts of {ledger.output} belong to the old and "
            "parts to the new: start again with --overwrite"
        )


@dataclass(frozen=True)
class PortionWork:
    """Make a portion in any process that sees the output: attach to its ledger once, skip what is done."""

    output: str
    begun: str
    device: str
    threads: int | None
    """Threads of this process; None leaves them as they are."""

    def __call__(self, portion: Portion, place: int) -> Iterator[Block]:
        """Yield the blocks of a portion when they are on disk, those first that are already."""
        with ALONE:
            job, marks = _attached(self, place)
            marks.refresh()
            yield from [block for block in portion.blocks if block.name in marks.done]
            yield from make(job, self.output, portion, marks)


def make(job: Job, output: str, portion: Portion, marks: Marks) -> Iterator[Block]:
    """Make what is not done of a portion in this process."""
    if portion.level is not None:
        yield from average(job, output, portion, marks)
    elif any(block.name not in marks.done for block in portion.blocks):
        yield from compute_portions(job, output, [portion], marks)


@functools.lru_cache(maxsize=1)
def _attached(work: PortionWork, place: int) -> tuple[Job, Marks]:
    import torch

    if work.threads is not None:
        torch.set_num_threads(work.threads)
    job = Job.attach(work.output, device=device_of(work.device, place))
    return job, Ledger.of(work.output).marks(job.begun)


def _share(job: Job, output: str, marks: Marks, threads: int | None, portions: Iterator[Portion]) -> Iterator[Block]:
    """Compute portions in this process with as many threads as the others: what rounding does depends on them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        marks.refresh()
        yield from _here(job, output, portions, marks)
    finally:
        torch.set_num_threads(before)


def _here(
    job: Job, output: str, portions: Iterator[Portion], marks: Marks, coarse: Sequence[Portion] = ()
) -> Iterator[Block]:
    """Compute in this process; after a failed read or write try the rest again, a bounded number of times."""
    left, above, tries = dict[str, Portion](), list(coarse), 0

    def lacking(some: Iterable[Portion]) -> list[Portion]:
        return [portion for portion in some if any(block.name not in marks.done for block in portion.blocks)]

    def taken() -> Iterator[Portion]:
        yield from list(left.values())
        for portion in portions:
            left[portion.name] = portion
            yield portion

    while True:
        try:
            if tries:
                marks.refresh()
                left, above = {portion.name: portion for portion in lacking(left.values())}, lacking(above)
            for block in compute_portions(job, output, taken(), marks, above):
                tries = 0
                yield block
            return
        except (Unreadable, CannotWrite) as error:
            tries += 1
            if tries > RETRIES:
                raise
            log.warning("%s; trying again", error)
            time.sleep(PAUSE * 2 ** (tries - 1))


def threads_of(workers: int) -> int:
    """Return how many threads each of so many processes takes."""
    import torch

    return max(1, min(torch.get_num_threads(), os.cpu_count() or 1) // workers)


def _words(portion: Portion) -> str:
    name = f"block {portion.name}"
    return name if len(portion.blocks) == 1 else f"{name} to {portion.blocks[-1].name}"
