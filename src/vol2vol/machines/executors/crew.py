"""Run worker processes of this machine that share items, with or without the calling process, which feeds them.

Each has a pipe of its own, so that killing one does not affect the others.
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
"""Errors that a retry cannot fix."""
PAUSE = 0.5
"""Seconds before the first retry of an item; doubled each time."""
TICK = 0.05
"""Polling interval in seconds."""


def always(item: object) -> bool:
    """Return True: no item waits for others."""
    return True


def given_up(item: object, error: WorkerLost) -> NoReturn:
    """Raise the error for an item whose workers failed or died too often."""
    raise error


def single(item: object) -> int:
    """Return 1, the number of results of an item."""
    return 1


@dataclass(eq=False)
class _Task(Generic[Item]):
    item: Item
    tries: int = 0
    """Failed attempts. An item that failed is retried in worker processes, not in the calling process, if possible."""
    not_before: float = 0.0


class Crew(Generic[Item, Result]):
    """The remaining items and the processes that work on them; see `local` for the parameters.

    With `alone` all `workers` are started at once; otherwise the calling process is one of them.
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
        """Return an iterator of items for the calling process, which ends when no item is ready; None if none is."""
        if (first := self._take()) is None:
            return None
        return (task.item for task in chain([first], iter(lambda: self._take(), None)) if task is not None)

    def results(self, *, wait: bool = False) -> Iterator[Result]:
        """Yield the available results; `wait` briefly for the first. Raise errors that a retry cannot fix."""
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
            if busy or not self._results.empty():  # results arrive before their item counts as done
                return False
            possible = any(self._ready(task.item) for task in self._waiting)
        assert possible or not self._waiting, "deadlock: no waiting item can become ready"
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
        """Return the next task that is ready, for a worker or, without one, for the calling process."""
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
            if hasattr(signal, "pthread_sigmask"):  # inherited by workers: the calling process ends them
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
        except Exception as error:  # noqa: BLE001  raised by `results`
            self._results.put(("failed", error))

    def _pays(self) -> bool:
        """Say whether another process is worth its start."""
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
            with contextlib.suppress(OSError):  # a dead worker is noticed at the next poll
                worker.pipe.send(task.item)

    def _listen(self, worker: Process) -> None:
        kind, value = worker.receive()
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

    def _replace(self, worker: Process, cause: str) -> None:
        """Start another process in place of one that died, unless processes repeatedly die before they are ready."""
        index = self._workers.index(worker)
        self._stillborn += not worker.ready
        if self._stillborn > self._retries and self._alone:
            raise WorkerLost(f"no process can be started ({cause})")
        if self._stillborn > self._retries:
            log.warning("no other process can be started (%s): this one continues alone", cause)
            self._workers, self._most = [other for other in self._workers if other is not worker], 0
        else:
            self._workers[index] = process.hire(self._fn, worker.place)

    def _again(self, task: _Task[Item], kind: str, value: Any) -> None:
        """Queue a task for a retry; after too many, raise its error or yield the result of `lost`."""
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
            "if memory is short, use fewer `workers` or less `memory`"
        )
        self._results.put(("made", self._lost(task.item, error)))
