"""The life of one task of a job array: claim a row, compute it, claim the next; the last one finishes the output."""

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
from vol2vol.prediction.compute import make
from vol2vol.prediction.finishing import finish, finished
from vol2vol.prediction.job import Job
from vol2vol.prediction.leases import STALE, Claims
from vol2vol.prediction.verification import intact
from vol2vol.prediction.work_items import Portion
from vol2vol.volumes.addresses import address
from vol2vol.volumes.ledger import Ledger, block_name
from vol2vol.volumes.marks import Marks

log = logging.getLogger(__name__)
POLL = 2.0
"""Seconds between two looks while others compute the last rows."""
FINISH = "finish"


def stop_on_signals() -> threading.Event:
    """Return an event that is set by SIGTERM or SIGUSR1: finish the block under way, then stop."""
    stop = threading.Event()

    def told(number: int, _: object) -> None:
        log.info("%s: finishing the block under way", signal.Signals(number).name)
        stop.set()

    for name in ("SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), told)
    return stop


def work(
    output: str, *, stop: threading.Event | None = None, device: str | None = None, stale: float = STALE
) -> tuple[int, bool]:
    """Compute rows of an output that was begun until none is left; return voxels computed and whether it is complete.

    Any number of workers may do so at once, on any machine that sees model, input and output. Rows of workers that
    died are taken over after `stale` seconds. Where `stop` is set the block under way is finished, and no other begun.
    Raises `WorkerLost` naming a block on which several workers failed.
    """
    output = address(output)
    if finished(output):
        return 0, True
    life = None
    try:
        job = Job.attach(output, device=device)
        life = _Life(job, output, stop or threading.Event(), Claims(Ledger.of(output), _owner(), stale=stale))
        with life.claims.beating():
            life.live()
    except Mismatch:
        if not finished(output):  # it may be, by another, since the first look
            raise
    return 0 if life is None else life.voxels, finished(output)


class _Life:
    """What one worker knows while it works."""

    def __init__(self, job: Job, output: str, stop: threading.Event, claims: Claims) -> None:
        self.job, self.output, self.stop, self.claims = job, output, stop, claims
        self.ledger = Ledger.of(output)
        self.marks = self.ledger.marks(job.begun)
        tasks = int(os.environ.get("SLURM_ARRAY_TASK_COUNT") or job.settings.workers)
        self.coarse = work_items.coarser(job, output, tasks)
        self.left = _Left([*self._rows(tasks), *self.coarse], self.marks)
        self.own: set[str] = set()
        self.voxels = 0

    def live(self) -> None:
        """Claim and compute until nothing is left, then finish, unless another worker does."""
        while not self.stop.is_set():
            self.left.follow()
            self.ledger.check(self.job.begun)  # afterwards: whoever finishes takes away the plan, then the marks
            if not self.left.portions:
                if not self.claims.take(FINISH) or self._finish():
                    return
                continue
            portion = next((portion for portion in self.left.possible() if self._take(portion)), None)
            if portion is not None:
                self._make(portion)
            elif self.left.portions:
                self.stop.wait(POLL)

    def _take(self, portion: Portion) -> bool:
        """Claim a portion; whoever died on it after it had got on has not failed on the same block."""
        return self.claims.take(portion.name, done=sum(block.name in self.marks.done for block in portion.blocks))

    def _make(self, portion: Portion) -> None:
        name = portion.name
        self.marks.refresh()  # anew: another may have finished it before it could be claimed
        try:
            for block in make(self.job, self.output, portion, self.marks):
                self.own.add(block.name)
                self.voxels += 0 if block.level else block.box.size
                if self.stop.is_set():
                    break
        except FATAL:
            self.claims.release(name)
            raise
        except UserError as error:
            log.warning("%s", error)
            if portion.level is not None and isinstance(error, Unreadable):
                self._sound()  # it was made of what others wrote: what is damaged is to be computed again
            self.claims.fail(name, error)
        else:
            self.claims.release(name)

    def _finish(self) -> bool:
        """Check what others wrote and finish; return False where blocks have to be computed again."""
        if not self._sound():
            self.claims.release(FINISH)
            return False
        finish(self.job, self.output, self.marks)
        return True

    def _sound(self) -> bool:
        """Say whether what others wrote, and what was made of it, is sound; what is not is no longer marked."""
        others = [box for box in self.job.layout.blocks() if block_name(box) not in self.own]
        sound = len(intact(self.job, self.output, others, self.marks))
        sound += len(work_items.intact(self.output, self.coarse, self.marks))
        self.left.again()
        return sound == len(others) + sum(len(portion.blocks) for portion in self.coarse)

    def _rows(self, tasks: int) -> list[Portion]:
        """Return the same rows in every worker, each beginning somewhere else."""
        rows = work_items.rows(self.job, self.job.layout.blocks(), tasks)
        first = int(os.environ.get("SLURM_ARRAY_TASK_ID") or 0) * len(rows) // max(tasks, 1) % len(rows)
        return rows[first:] + rows[:first]


class _Left:
    """The portions that are not done, kept up to date by what is marked and unmarked."""

    def __init__(self, everything: Sequence[Portion], marks: Marks) -> None:
        self._all, self._marks = everything, marks
        self.portions: dict[str, Portion] = {}
        self.again()

    def again(self) -> None:
        """Look at every portion."""
        self._marks.refresh()
        self.portions = {portion.name: portion for portion in self._all if self._lacks(portion)}

    def follow(self) -> None:
        """Leave out what has been done since the last look; begin again where something is not done any more."""
        before = len(self._marks.done)
        news = self._marks.refresh()
        if len(self._marks.done) < before or news - self._marks.done:
            self.again()

    def possible(self) -> Iterator[Portion]:
        """Yield what can be made now."""
        for portion in list(self.portions.values()):
            if not self._lacks(portion):
                del self.portions[portion.name]
            elif portion.needs <= self._marks.done:
                yield portion

    def _lacks(self, portion: Portion) -> bool:
        return any(block.name not in self._marks.done for block in portion.blocks)


def _owner() -> str:
    """Return a name that a task keeps when SLURM starts it again, and nobody else has."""
    job = this_job()
    return f"slurm.{job}" if job and "_" in job else f"{socket.gethostname()}.{uuid.uuid4().hex}"
