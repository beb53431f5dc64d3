"""Stop training by a signal: after SIGINT (Ctrl-C), SIGTERM or SIGUSR1, it finishes the step and saves its state."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

log = logging.getLogger("vol2vol.training")

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopSignals:
    """Remember the first signal that requests a stop; a second SIGINT raises `KeyboardInterrupt` at once.

    Signals are handled between `install` and the end of the context, and only on the main thread, where Python allows
    it. The previous handlers are restored afterwards.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def install(self) -> None:
        """Handle the signals from now on; call it after other libraries have set their handlers."""
        for number in self._before:
            signal.signal(number, self._ask)

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is None:
            self.received = signal.Signals(number)
            log.info("%s: training stops after this step, once its state is saved", self.received.name)


def saved_until(saved: tuple[int, int] | None, epochs: int, steps: int) -> str:
    """Return up to where a stopped training is saved: (epochs, steps of the next epoch), None if it never was."""
    if saved is None:
        return "stopped before anything was saved; the same command starts from the beginning"
    if saved[0] == epochs:
        return "stopped after the last epoch; nothing is left to do"
    where = (
        f"step {saved[1]} of {steps} in epoch {saved[0] + 1} of {epochs}"
        if saved[1]
        else f"epoch {saved[0]} of {epochs}"
    )
    return f"stopped; the state after {where} is saved, and the same command continues there"


def outlive_signals(_: int = 0) -> None:
    """Let a reader process survive signals to the whole process group, until the training process ends it.

    It ignores SIGINT, SIGUSR1 and the first SIGTERM; a second SIGTERM ends it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
