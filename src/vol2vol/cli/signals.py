"""Stop a verb on a signal in the same way as on Ctrl-C, with one line that says what the same command does next."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from vol2vol.errors import Stopped

CONTINUES = "the same command continues from here"
NEXT = {
    "demo": CONTINUES,
    "predict": CONTINUES,
    "prepare": CONTINUES,
    "study": CONTINUES,
    "train": "the same command starts the training, or continues it from its last saved state",
    "work": "the same command continues, on this machine or another",
}
"""What the same command does after a verb was stopped; all other verbs start from the beginning."""


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


def stop_message(verb: str, stopped: KeyboardInterrupt) -> tuple[str, int]:
    """Return the message for a verb that was stopped, and its exit code: 128 plus the number of the signal."""
    number = stopped.signal if isinstance(stopped, Stopped) else signal.SIGINT
    message = str(stopped) if isinstance(stopped, Stopped) else ""
    return message or f"stopped; {NEXT.get(verb, 'the same command starts from the beginning')}", 128 + int(number)
