"""Processes of this machine, fed one item at a time through a pipe each, so that none can take the others along."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, NoReturn, TypeVar

from vol2vol.errors import AlreadyExists, BadInput, NotFound, UserError, WorkerLost

log = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
FATAL = (BadInput, NotFound, AlreadyExists)
"""Mistakes that another try does not mend."""
PAUSE = 0.5
"""Seconds before the first repetition of an item; doubled each time."""


def always(item: object) -> bool:
    """Say that an item need not wait for others."""
    return True


def given_up(item: object, error: WorkerLost) -> NoReturn:
    """Raise what is said of an item whose workers died, or failed, too often."""
    raise error


@dataclass(eq=False)
class _Task(Generic[Item]):
    item: Item
    tries: int = 0
    not_before: float = 0.0


@dataclass
class _Worker(Generic[Item]):
    place: int
    process: Any
    pipe: Connection
    task: _Task[Item] | None = field(default=None)


def local(
    fn: Callable[[Item, int], Iterable[Result]],
    items: Iterable[Item],
    *,
    workers: int,
    retries: int = 2,
    name: Callable[[Item], str] = str,
    ready: Callable[[Item], bool] = always,
    lost: Callable[[Item, WorkerLost], Result] = given_up,
) -> Iterator[Result]:
    """Apply `fn` to every item in `workers` spawned processes and yield the results as they are made.

    An item is not begun before it is `ready`, which is asked again after every result. A process that dies is replaced,
    and its item repeated, at most `retries` times; then what `lost` makes of it is yielded, by default `WorkerLost`
    raised. A `UserError` is repeated as often (after a pause: networks recover) unless another try cannot mend it. The
    processes end with this one, however it ends.
    """
    waiting = [_Task(item) for item in items]
    crew = [_hire(fn, place) for place in range(min(workers, len(waiting)))]
    try:
        while waiting or any(worker.task for worker in crew):
            _assign(crew, waiting, ready)
            busy = any(worker.task for worker in crew)
            assert busy or any(ready(task.item) for task in waiting), "items wait for what nobody makes"
            for worker in _speaking(crew):
                kind, value = _listen(worker)
                if kind == "made":
                    yield value
                    continue
                task, worker.task = worker.task, None
                if kind == "dead":
                    crew[crew.index(worker)] = _hire(fn, worker.place)
                if kind != "done" and task is not None:
                    if failure := _again(task, kind, value, retries, name):
                        yield lost(task.item, failure)
                    else:
                        waiting.append(task)
    finally:
        _dismiss(crew)


def _again(task: _Task[Item], kind: str, value: Any, retries: int, name: Callable[[Item], str]) -> WorkerLost | None:
    """Count a failure; raise the mistake that no other try mends, return that its workers died too often."""
    task.tries += 1
    task.not_before = time.monotonic() + PAUSE * 2 ** (task.tries - 1)
    if kind == "failed" and (isinstance(value, FATAL) or task.tries > retries):
        raise value
    if task.tries > retries:
        return WorkerLost(
            f"{name(task.item)} failed {task.tries} times ({value}): the same command tries again; "
            "if memory is short, use fewer --workers or less --memory"
        )
    log.warning("%s: %s; trying again", name(task.item), value)
    return None


def _assign(crew: list[_Worker[Item]], waiting: list[_Task[Item]], ready: Callable[[Item], bool]) -> None:
    for worker in [worker for worker in crew if worker.task is None]:
        now = time.monotonic()
        worker.task = next((task for task in waiting if task.not_before <= now and ready(task.item)), None)
        if worker.task is None:
            return
        waiting.remove(worker.task)
        with contextlib.suppress(OSError):  # a dead worker's pipe says so at the next look
            worker.pipe.send(worker.task.item)


def _speaking(crew: Sequence[_Worker[Item]]) -> list[_Worker[Item]]:
    """Wait for workers that say something, for a moment, and return them."""
    speaking = wait([worker.pipe for worker in crew], timeout=PAUSE / 2)
    return [worker for worker in crew if worker.pipe in speaking]


def _listen(worker: _Worker[Item]) -> tuple[str, Any]:
    try:
        kind, value = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode
        return "dead", f"its process ended with signal {-code}" if code < 0 else f"its process ended with code {code}"
    return kind, value


def _hire(fn: Callable[[Item, int], Iterable[Result]], place: int) -> _Worker[Item]:
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(fn, place, there), name=f"worker {place}", daemon=True)
    process.start()
    there.close()
    return _Worker(place, process, here)


def _dismiss(crew: Sequence[_Worker[Item]]) -> None:
    for worker in crew:
        worker.pipe.close()
        worker.process.terminate()
        worker.process.join()


def _serve(fn: Callable[[Any, int], Iterable[Any]], place: int, pipe: Connection) -> None:
    """Work on items until the pipe is closed: the life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):  # nobody listens any more
        while True:
            item = pipe.recv()
            try:
                for made in fn(item, place):
                    pipe.send(("made", made))
            except UserError as error:
                pipe.send(("failed", error))
            else:
                pipe.send(("done", None))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
