"""The most memory that was held for a while: of a GPU what torch allocated there, else of this process.

Of a process that has done other things before, what it held when the watch began can be left out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

EVERY = 0.02
"""Seconds between two looks at a process."""


class Watch:
    """Watch from now on, until stopped; `beyond` leaves out what the process holds now."""

    def __init__(self, device: torch.device | None = None, *, beyond: bool = False) -> None:
        self.device = device if device is not None and device.type == "cuda" else None
        self._stop = threading.Event()
        self._most = self._before = 0
        if self.device is not None:
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
            return
        self._look()
        self._before = self._most if beyond else 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _look(self) -> None:
        import psutil

        self._most = max(self._most, int(psutil.Process().memory_info().rss))

    def _watch(self) -> None:
        while not self._stop.wait(EVERY):
            self._look()

    @property
    def most(self) -> int:
        """Bytes, the most so far."""
        if self.device is None:
            return self._most - self._before
        import torch

        return int(torch.cuda.max_memory_allocated(self.device))

    def stop(self) -> int:
        """Return the most bytes and watch no longer."""
        self._stop.set()
        return self.most


@contextmanager
def peak_memory(device: torch.device | None = None, *, beyond: bool = False) -> Iterator[Callable[[], float]]:
    """Watch; yield a function that returns the most bytes held since, `beyond` those that are held now."""
    watch = Watch(device, beyond=beyond)
    try:
        yield lambda: float(watch.most)
    finally:
        watch.stop()
