"""Compute blocks in one process or many; reading, computing and writing of neighbouring blocks overlap."""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Set
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
from vol2vol.prediction.marching import Marching
from vol2vol.prediction.parts import parts_of
from vol2vol.prediction.work_items import Block, Waiting, WorkItem, assembled, average, coarser, intact, rows
from vol2vol.volumes import Volume, open_volume
from vol2vol.volumes.ledger import Ledger, block_name, checksum
from vol2vol.volumes.marks import Marks

log = logging.getLogger(__name__)
RETRIES = 2
"""How often a work item is retried after a failure or the death of its worker."""
PAUSE = 1.0
"""Seconds before the first retry in this process; doubled for each further retry."""
CHECK = 30.0
"""Seconds between two checks that the input has not changed."""
TRIM = 8
"""Number of blocks after which freed memory is returned to the system."""

ALONE = threading.Lock()
"""One work item at a time per process: a Dask worker of several threads would trace networks in all of them at once."""


def compute(job: Job, output: str, todo: Sequence[Box], marks: Marks) -> Iterator[Box]:
    """Compute blocks with the executor of the job's settings; yield each when it is written and marked as done."""
    coarse = coarser(job, output, job.settings.workers)
    intact(output, coarse, marks)
    done = set(marks.done)
    following = [*assembled(job, todo), *unfinished(coarse, done)]
    for block in _run_executor(job, output, todo, following, marks=marks, done=done):
        new = block.name not in done  # a retried work item yields its finished blocks again
        done.add(block.name)
        if new and block.is_final:
            yield block.box


def _run_executor(
    job: Job, output: str, todo: Sequence[Box], following: Sequence[WorkItem], *, marks: Marks, done: set[str]
) -> Iterator[Block]:
    """Yield blocks, also those that follow from others, as they are done; the caller keeps `done` up to date."""
    settings = job.settings
    if settings.executor == "local" and settings.workers == 1:
        return _compute_here(job, output, iter(unfinished(rows(job, todo, 1), done)), marks, following)
    remote = settings.scheduler is not None
    work = ItemWork(output, job.begun, settings.device, None if remote else threads_of(settings.workers))
    items = [*following, *unfinished(rows(job, todo, settings.workers), done)]

    def ready(item: WorkItem) -> bool:
        return item.needs <= done

    if settings.executor == "dask":
        scheduler = settings.scheduler
        return executors.dask(
            work, items, workers=settings.workers, scheduler=scheduler, retries=RETRIES, name=_describe, ready=ready
        )
    own_share = functools.partial(_share, job, output, marks, work.threads)
    return executors.local(
        work, items, here=own_share, workers=settings.workers, retries=RETRIES, name=_describe, ready=ready, size=len
    )


def compute_items(
    job: Job, output: str, items: Iterable[WorkItem], marks: Marks, following: Sequence[WorkItem] = ()
) -> Iterator[Block]:
    """Compute work items in this process and yield each block when it is written and marked as done.

    While one block is computed, the previous one is converted and written; at most one waits. Blocks of coarser levels
    are averaged in the writer's thread, and blocks of a march put together there; those of `following` are made as soon
    as the blocks, or tiles, that they need are done. A caller
    that stops early loses nothing: the current block is written first. Raises `Mismatch` if the input has changed or
    another process has started the output again.
    """
    ledger = Ledger.of(output)
    last_check = time.monotonic()
    with ExitStack() as opened, ThreadPoolExecutor(1) as thread:
        destinations = [(opened.enter_context(open_volume(path)), part) for path, part in parts_of(job, output)]
        march = Marching.of(job, output, marks)
        writer = _Writer(job, output, thread, marks, following, destinations=destinations, march=march)
        for item in items:
            if march is not None and item.tiles:
                yield from writer.noted(march.paint(item))
                yield from writer.written(waiting=1, following=1)
                continue
            if march is not None or item.level is not None:
                writer.follow(item)
                yield from writer.written(waiting=1, following=1)
                continue
            for row in job.layout.rows([block.box for block in item.blocks if block.name not in marks.done]):
                if time.monotonic() - last_check > CHECK:
                    check_input(job, ledger)
                    last_check = time.monotonic()
                for box, raw in job.predict_row(row):
                    writer.submit(box, raw)
                    yield from writer.written(waiting=1)
        yield from writer.written(waiting=0)


class _Writer:
    """Write blocks in a thread, and make there what follows from them: coarser blocks, and blocks of painted tiles."""

    def __init__(
        self,
        job: Job,
        output: str,
        thread: ThreadPoolExecutor,
        marks: Marks,
        following: Sequence[WorkItem],
        *,
        destinations: Sequence[tuple[Volume, Job]],
        march: Marching | None,
    ) -> None:
        self.job, self.output, self.thread, self.marks = job, output, thread, marks
        self.destinations, self.march, self.ledger = destinations, march, Ledger.of(output)
        self.needing, self.submitted = Waiting(following, marks.done), 0
        self.waiting: deque[Future[list[Block]]] = deque()
        self.following: deque[Future[list[Block]]] = deque()
        self._follow()

    def submit(self, box: Box, raw: np.ndarray) -> None:
        self.waiting.append(self.thread.submit(self._write, box, raw))
        self.submitted += 1
        if self.submitted % TRIM == 0:
            self.thread.submit(trim)

    def follow(self, item: WorkItem) -> None:
        """Make a work item of a coarser level, or of blocks of a march, all of whose needs are done."""
        self.following.append(self.thread.submit(self._made, item))

    def noted(self, tiles: Iterator[Block]) -> Iterator[Block]:
        """Yield tiles as they are painted, and begin what follows from them."""
        for block in tiles:
            yield block
            self._follow(block.name)

    def written(self, waiting: int, following: float = inf) -> Iterator[Block]:
        """Yield finished blocks until at most `waiting` blocks and `following` coarser work items are pending."""
        while len(self.waiting) > waiting or len(self.following) > following or self._is_due(waiting):
            queue = self.waiting if len(self.waiting) > waiting else self.following
            blocks = queue.popleft().result()
            yield from blocks
            self._follow(*(block.name for block in blocks))

    def _is_due(self, waiting: int) -> bool:
        return bool(self.following) and (waiting == 0 or self.following[0].done())

    def _follow(self, *done: str) -> None:
        for item in self.needing.ready(*done):
            self.follow(item)

    def _made(self, item: WorkItem) -> list[Block]:
        if item.level is not None or self.march is None:
            return list(average(self.job, self.output, item, self.marks))
        todo = [block.box for block in item.blocks if block.name not in self.marks.done]
        written = [block for box in todo for block in self._write(box, self.march.assembled(box))]
        self.march.tidy({index for box in todo for index in self.march.tiles.touching(box)})
        return written

    def _write(self, box: Box, raw: np.ndarray) -> list[Block]:
        values = [part.stored(raw) for _, part in self.destinations]
        self.ledger.check(self.job.begun)
        for (volume, _), stored in zip(self.destinations, values, strict=True):
            volume.write(box.relative_to(self.job.layout.region.start), stored)
        for volume, _ in self.destinations:
            volume.flush()
        self.marks.mark(block_name(box), checksum(*values))
        return [Block(box)]


def check_input(job: Job, ledger: Ledger) -> None:
    """Raise `Mismatch` and mark the output as spoiled if the input has changed since the prediction was started."""
    if job.source_changed():
        ledger.spoil(
            f"{job.source.path} was changed while it was read, so parts of {ledger.output} belong to the old and "
            "parts to the new: start again with `overwrite`"
        )


@dataclass(frozen=True)
class ItemWork:
    """Compute a work item in any process that can reach the output; skips finished blocks."""

    output: str
    begun: str
    device: str
    threads: int | None
    """Threads of this process; None leaves them as they are."""

    def __call__(self, item: WorkItem, place: int) -> Iterator[Block]:
        """Yield the blocks of a work item when they are on disk; finished blocks come first."""
        with ALONE:
            job, marks = _attached(self, place)
            marks.refresh()
            yield from [block for block in item.blocks if block.name in marks.done]
            yield from compute_item(job, self.output, item, marks)


def compute_item(job: Job, output: str, item: WorkItem, marks: Marks) -> Iterator[Block]:
    """Compute the blocks of a work item that are not done, in this process."""
    if item.level is not None:
        yield from average(job, output, item, marks)
    elif any(block.name not in marks.done for block in item.blocks):
        yield from compute_items(job, output, [item], marks)


@functools.lru_cache(maxsize=1)
def _attached(work: ItemWork, place: int) -> tuple[Job, Marks]:
    import torch

    if work.threads is not None:
        torch.set_num_threads(work.threads)
    job = Job.attach(work.output, device=device_of(work.device, place))
    return job, Ledger.of(work.output).marks(job.begun)


def _share(job: Job, output: str, marks: Marks, threads: int | None, items: Iterator[WorkItem]) -> Iterator[Block]:
    """Compute work items in this process with as many threads as the workers: rounding depends on their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        marks.refresh()
        yield from _compute_here(job, output, items, marks)
    finally:
        torch.set_num_threads(before)


def _compute_here(
    job: Job, output: str, items: Iterator[WorkItem], marks: Marks, following: Sequence[WorkItem] = ()
) -> Iterator[Block]:
    """Compute in this process; after a failed read or write, retry the remaining items a bounded number of times."""
    pending, pending_following, tries = dict[str, WorkItem](), list(following), 0

    def queue() -> Iterator[WorkItem]:
        yield from list(pending.values())
        for item in items:
            pending[item.name] = item
            yield item

    while True:
        try:
            if tries:
                marks.refresh()
                pending = {item.name: item for item in unfinished(pending.values(), marks.done)}
                pending_following = unfinished(pending_following, marks.done)
            for block in compute_items(job, output, queue(), marks, pending_following):
                tries = 0
                yield block
            return
        except (Unreadable, CannotWrite) as error:
            tries += 1
            if tries > RETRIES:
                raise
            log.warning("%s; trying again", error)
            time.sleep(PAUSE * 2 ** (tries - 1))


def unfinished(items: Iterable[WorkItem], done: Set[str]) -> list[WorkItem]:
    """Return the work items of which not all blocks are done."""
    return [item for item in items if any(block.name not in done for block in item.blocks)]


def threads_of(workers: int) -> int:
    """Return the number of threads for each of `workers` processes."""
    import torch

    return max(1, min(torch.get_num_threads(), os.cpu_count() or 1) // workers)


def _describe(item: WorkItem) -> str:
    name = f"block {item.name}"
    return name if len(item.blocks) == 1 else f"{name} to {item.blocks[-1].name}"
