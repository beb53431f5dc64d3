"""Start and run a worker process, which receives its items through a pipe of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any

from vol2vol.errors import UserError


@dataclass(eq=False)
class Process:
    """A worker, as the calling process knows it."""

    place: int
    process: Any
    pipe: Connection
    begun: float
    ready: bool = False
    """Whether it has imported what it needs."""
    task: Any = None
    """The task in progress."""

    def receive(self) -> tuple[str, Any]:
        """Return a message: `ready`, `made` with a result, `done`, `failed` with an error or `dead` with a cause."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            cause = f"signal {-code}" if code < 0 else f"code {code}"
            return "dead", f"its process ended with {cause}"
        return kind, value


def hire(fn: Callable[[Any, int], Iterable[Any]], place: int) -> Process:
    """Start a process that applies `fn` to the items it receives."""
    context, begun = get_context("spawn"), time.monotonic()
    own_end, worker_end = context.Pipe()
    process = context.Process(target=serve, args=(fn, place, worker_end), name=f"worker {place}", daemon=True)
    process.start()
    worker_end.close()
    return Process(place, process, own_end, begun)


def serve(fn: Callable[[Any, int], Iterable[Any]], place: int, pipe: Connection) -> None:
    """Work on items until the pipe is closed; the main function of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):  # the calling process has closed the pipe
        pipe.send(("ready", None))
        while True:
            item = pipe.recv()
            try:
                for result in fn(item, place):
                    pipe.send(("made", result))
            except UserError as error:
                pipe.send(("failed", error))
            else:
                pipe.send(("done", None))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
