"""Processes of this machine that share items, alone or with the one that started them; a thread of that one feeds them.

Each has a pipe of its own, so that one which is killed can take none of the others along.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from queue import Empty, SimpleQueue
from typing import Any, Generic, NoReturn, TypeVar

from vol2vol.errors import AlreadyExists, BadInput, NotFound, WorkerLost
from vol2vol.machines.executors import pace, process
from vol2vol.machines.executors.process import Process

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
FATAL = (BadInput, NotFound, AlreadyExists)
"""Mistakes that another try does not mend."""
PAUSE = 0.5
"""Seconds before the first repetition of an item; doubled each time."""
TICK = 0.05
"""Seconds between two looks at what nobody reports."""


def always(item: object) -> bool:
    """Say that an item need not wait for others."""
    return True


def given_up(item: object, error: WorkerLost) -> NoReturn:
    """Raise what is said of an item whose workers died, or failed, too often."""
    raise error


def single(item: object) -> int:
    """Say that an item has one result."""
    return 1


@dataclass(eq=False)
class _Task(Generic[Item]):
    item: Item
    tries: int = 0
    """How many processes have failed on it, or died: it is left to those that may die, as long as there are any."""
    not_before: float = 0.0


class Crew(Generic[Item, Result]):
    """Items that are left, and the processes that work on them; most of the rest are parameters of `local`.

    With `alone` they are all of the `workers`, started at once; otherwise all but the one that they help.
    """

    def __init__(
        self,
        fn: Callable[[Item, int], Iterable[Result]],
        items: Iterable[Item],
        workers: int,
        *,
        alone: bool,
        retries: int,
        name: Callable[[Item], str],
        ready: Callable[[Item], bool],
        lost: Callable[[Item, WorkerLost], Result],
        size: Callable[[Item], int],
    ) -> None:
        self._fn, self._alone, self._most, self._retries = fn, alone, workers - (not alone), retries
        self._name, self._ready, self._lost, self._size = name, ready, lost, size
        self._waiting = [_Task(item) for item in items]
        self._workers: list[Process] = []
        self._results: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._lock, self._dismissed = threading.Lock(), threading.Event()
        self._start, self._stillborn, self.pace = pace.START, 0, pace.Pace()
        self._thread = threading.Thread(target=self._tend, name="crew", daemon=True)
        if self._most > 0 and self._waiting:
            self._thread.start()

    def taken_here(self) -> Iterator[Item] | None:
        """Return an iterator of items for the process that is helped, which ends when none is ready; None for none."""
        if (first := self._take()) is None:
            return None
        return (task.item for task in chain([first], iter(lambda: self._take(), None)) if task is not None)

    def results(self, *, wait: bool = False) -> Iterator[Result]:
        """Yield what the crew has made, after `wait`ing for it for a moment; raise what no other try mends."""
        while True:
            try:
                kind, value = self._results.get(wait, TICK)
            except Empty:
                return
            if kind == "failed":
                raise value
            wait = False
            yield value

    def is_done(self) -> bool:
        """Say whether every item is done and every result was handed out."""
        with self._lock:
            busy = any(worker.task for worker in self._workers)
            if busy or not self._results.empty():  # results are handed in before their item is done
                return False
            possible = any(self._ready(task.item) for task in self._waiting)
        assert possible or not self._waiting, "items wait for what nobody makes"
        return not self._waiting

    def dismiss(self) -> None:
        """End all processes."""
        self._dismissed.set()
        if self._thread.ident is not None:
            self._thread.join()
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()

    def _take(self, worker: Process | None = None) -> _Task[Item] | None:
        """Return the next task that is ready, for a worker or, without one, for the process that is helped."""
        with self._lock:
            now, spared = time.monotonic(), worker is None and bool(self._workers)
            for task in self._waiting:
                if task.not_before <= now and not (task.tries and spared) and self._ready(task.item):
                    self._waiting.remove(task)
                    if worker is not None:
                        worker.task = task
                    return task
        return None

    # The thread

    def _tend(self) -> None:
        try:
            if hasattr(signal, "pthread_sigmask"):  # inherited: it is the process that is helped who ends the others
                resource_tracker.ensure_running()  # which unblocks signals
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            while not self._dismissed.is_set():
                while self._pays():
                    self._workers.append(process.hire(self._fn, len(self._workers) + 1))
                self._assign()
                if not self._workers:
                    self._dismissed.wait(TICK)
                    continue
                speaking = wait([worker.pipe for worker in self._workers], TICK)
                for worker in [worker for worker in self._workers if worker.pipe in speaking]:
                    self._listen(worker)
        except Exception as error:  # noqa: BLE001  raised where the results are asked for
            self._results.put(("failed", error))

    def _pays(self) -> bool:
        """Say whether one more is to be started."""
        if len(self._workers) >= self._most:
            return False
        free = sum(worker.task is None for worker in self._workers)
        with self._lock:
            left = self.pace.seconds(self._start) * sum(self._size(task.item) for task in self._waiting)
            worth = self._alone or pace.pays(left, self._start, 1 + len(self._workers))
            return worth and sum(self._ready(task.item) for task in self._waiting) > free

    def _assign(self) -> None:
        for worker in [worker for worker in self._workers if worker.ready and worker.task is None]:
            task = self._take(worker)
            if task is None:
                return
            with contextlib.suppress(OSError):  # a dead worker's pipe says so at the next look
                worker.pipe.send(task.item)

    def _listen(self, worker: Process) -> None:
        kind, value = worker.heard()
        if kind == "ready":
            worker.ready, self._start = True, time.monotonic() - worker.begun
        elif kind == "made":
            self._results.put((kind, value))
        else:
            with self._lock:
                if kind != "done" and worker.task is not None:
                    self._again(worker.task, kind, value)
                worker.task = None
            if kind == "dead":
                self._replace(worker, value)

    def _replace(self, worker: Process, why: str) -> None:
        """Start another process in place of one that died; not where they die again and again before they work."""
        at = self._workers.index(worker)
        self._stillborn += not worker.ready
        if self._stillborn > self._retries and self._alone:
            raise WorkerLost(f"no process can be started ({why})")
        if self._stillborn > self._retries:
            log.warning("no other process can be started (%s): this one goes on alone", why)
            self._workers, self._most = [other for other in self._workers if other is not worker], 0
        else:
            self._workers[at] = process.hire(self._fn, worker.place)

    def _again(self, task: _Task[Item], kind: str, value: Any) -> None:
        """Let a task wait for another try; where it has had too many raise, or take what is made of its loss."""
        task.tries += 1
        task.not_before = time.monotonic() + PAUSE * 2 ** (task.tries - 1)
        if kind == "failed" and (isinstance(value, FATAL) or task.tries > self._retries):
            raise value
        if task.tries <= self._retries:
            log.warning("%s: %s; trying again", self._name(task.item), value)
            self._waiting.append(task)
            return
        error = WorkerLost(
            f"{self._name(task.item)} failed {task.tries} times ({value}): the same command tries again; "
            "if memory is short, use fewer --workers or less --memory"
        )
        self._results.put(("made", self._lost(task.item, error)))
