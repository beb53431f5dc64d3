"""What a signal does to a verb: it ends as Ctrl-C ends it, and says in one line what the same command does next."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from vol2vol.errors import Stopped

CONTINUES = "the same command continues where it was"
NEXT = {
    "demo": CONTINUES,
    "predict": CONTINUES,
    "prepare": CONTINUES,
    "study": CONTINUES,
    "train": "the same command begins the training, or continues one that was begun",
    "work": "the same command, on this machine or another, continues",
}
"""What the same command does after a verb was stopped; all others start from the beginning."""


@contextmanager
def stopping() -> Iterator[None]:
    """Let SIGTERM and SIGUSR1 raise `Stopped`, as SIGINT raises `KeyboardInterrupt`, on the main thread."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
        before = {number: signal.signal(number, _raise) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _raise(number: int, _: FrameType | None) -> None:
    raise Stopped("", number)


def farewell(verb: str, stopped: KeyboardInterrupt) -> tuple[str, int]:
    """Return what is said of a verb that was stopped, and its exit code: 128 and the signal's number."""
    number = stopped.signal if isinstance(stopped, Stopped) else signal.SIGINT
    said = str(stopped) if isinstance(stopped, Stopped) else ""
    return said or f"stopped; {NEXT.get(verb, 'the same command starts from the beginning')}", 128 + int(number)
