"""Run one task of a job array: lease a work item, compute it, lease the next; the last task finishes the output."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import uuid
from collections.abc import Iterator, Sequence

from vol2vol.errors import Mismatch, Unreadable, UserError
from vol2vol.machines.executors.crew import FATAL
from vol2vol.machines.executors.slurm import this_job
from vol2vol.prediction import work_items
from vol2vol.prediction.compute import compute_item
from vol2vol.prediction.finishing import finish, finished
from vol2vol.prediction.job import Job
from vol2vol.prediction.leases import STALE, Leases
from vol2vol.prediction.verification import intact
from vol2vol.prediction.work_items import WorkItem
from vol2vol.volumes.addresses import address
from vol2vol.volumes.ledger import Ledger, block_name
from vol2vol.volumes.marks import Marks

log = logging.getLogger(__name__)
POLL = 2.0
"""Seconds between two checks while other tasks compute the last work items."""
FINISH = "finish"


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM or SIGUSR1 sets: the current block is then finished, and no other is started."""
    stop = threading.Event()

    def on_signal(number: int, _: object) -> None:
        log.info("%s: finishing the current block", signal.Signals(number).name)
        stop.set()

    for name in ("SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), on_signal)
    return stop


def work(
    output: str, *, stop: threading.Event | None = None, device: str | None = None, stale: float = STALE
) -> tuple[int, bool]:
    """Compute the work items of a started output until none is left; return voxels and whether it is complete.

    Any number of workers may do so at once, on any machine that can read the model and the input and write the output.
    Work items of dead workers are taken over after `stale` seconds. When `stop` is set, the current block is finished
    and no other is started. Raises `WorkerLost`, naming the block, when several workers failed on the same block.
    """
    output = address(output)
    if finished(output):
        return 0, True
    task = None
    try:
        job = Job.attach(output, device=device)
        task = _Task(job, output, stop or threading.Event(), Leases(Ledger.of(output), _owner(), stale=stale))
        with task.leases.renewing():
            task.run()
    except Mismatch:
        if not finished(output):  # another worker may have finished it since the first check
            raise
    return 0 if task is None else task.voxels, finished(output)


class _Task:
    """The state of one worker."""

    def __init__(self, job: Job, output: str, stop: threading.Event, leases: Leases) -> None:
        self.job, self.output, self.stop, self.leases = job, output, stop, leases
        self.ledger = Ledger.of(output)
        self.marks = self.ledger.marks(job.begun)
        tasks = int(os.environ.get("SLURM_ARRAY_TASK_COUNT") or job.settings.workers)
        self.coarse = work_items.coarser(job, output, tasks)
        blocks = work_items.assembled(job, job.layout.blocks())
        self.remaining = _Remaining([*blocks, *self._rows(tasks), *self.coarse], self.marks)
        self.computed: set[str] = set()
        self.voxels = 0

    def run(self) -> None:
        """Lease and compute work items until none is left, then finish the output, unless another worker does."""
        while not self.stop.is_set():
            self.remaining.follow()
            self.ledger.check(self.job.begun)  # after the marks: whoever finishes removes plan, then marks
            if not self.remaining.items:
                if not self.leases.take(FINISH) or self._finish():
                    return
                continue
            item = next((item for item in self.remaining.possible() if self._take(item)), None)
            if item is not None:
                self._compute(item)
            elif self.remaining.items:
                self.stop.wait(POLL)

    def _take(self, item: WorkItem) -> bool:
        """Lease a work item; the count of its finished blocks shows whether its last worker made progress."""
        return self.leases.take(item.name, done=sum(block.name in self.marks.done for block in item.blocks))

    def _compute(self, item: WorkItem) -> None:
        name = item.name
        self.marks.refresh()  # another worker may have finished it before it was leased
        try:
            for block in compute_item(self.job, self.output, item, self.marks):
                self.computed.add(block.name)
                self.voxels += block.box.size if block.is_final else 0
                if self.stop.is_set():
                    break
        except FATAL:
            self.leases.release(name)
            raise
        except UserError as error:
            log.warning("%s", error)
            if item.level is not None and isinstance(error, Unreadable):
                self._all_sound()  # averaged from blocks of others: damaged ones must be computed again
            self.leases.fail(name, error)
        else:
            self.leases.release(name)

    def _finish(self) -> bool:
        """Check the blocks of other workers and finish; return False where blocks have to be computed again."""
        if not self._all_sound():
            self.leases.release(FINISH)
            return False
        finish(self.job, self.output, self.marks)
        return True

    def _all_sound(self) -> bool:
        """Return whether the blocks of other workers, and coarser ones, are sound; damaged ones lose their marks."""
        others = [box for box in self.job.layout.blocks() if block_name(box) not in self.computed]
        sound = len(intact(self.job, self.output, others, self.marks))
        sound += len(work_items.intact(self.output, self.coarse, self.marks))
        self.remaining.again()
        return sound == len(others) + sum(len(item.blocks) for item in self.coarse)

    def _rows(self, tasks: int) -> list[WorkItem]:
        """Return the same rows in every worker; each starts at a different one, except for a march, which has order."""
        rows = work_items.rows(self.job, self.job.layout.blocks(), tasks)
        if self.job.layout.march is not None:
            return rows
        first = int(os.environ.get("SLURM_ARRAY_TASK_ID") or 0) * len(rows) // max(tasks, 1) % len(rows)
        return rows[first:] + rows[:first]


class _Remaining:
    """The work items that are not done, updated from the marks."""

    def __init__(self, items: Sequence[WorkItem], marks: Marks) -> None:
        self._all, self._marks = items, marks
        self.items: dict[str, WorkItem] = {}
        self.again()

    def again(self) -> None:
        """Look at every item."""
        self._marks.refresh()
        self.items = {item.name: item for item in self._all if self._lacks(item)}

    def follow(self) -> None:
        """Leave out what has been done since the last look; begin again where something is not done any more."""
        before = len(self._marks.done)
        news = self._marks.refresh()
        if len(self._marks.done) < before or news - self._marks.done:
            self.again()

    def possible(self) -> Iterator[WorkItem]:
        """Yield what can be made now."""
        for item in list(self.items.values()):
            if not self._lacks(item):
                del self.items[item.name]
            elif item.needs <= self._marks.done:
                yield item

    def _lacks(self, item: WorkItem) -> bool:
        return any(block.name not in self._marks.done for block in item.blocks)


def _owner() -> str:
    """Return a name that a task keeps when SLURM starts it again, and nobody else has."""
    job = this_job()
    return f"slurm.{job}" if job and "_" in job else f"{socket.gethostname()}.{uuid.uuid4().hex}"
