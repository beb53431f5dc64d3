"""Measure peak memory: what torch allocated on a GPU, else the resident memory of this process.

The memory that a process held at the start of the measurement can be subtracted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

EVERY = 0.02
"""Seconds between two samples."""


class Watch:
    """Samples memory from now on, until stopped; `beyond` subtracts the memory that the process holds now."""

    def __init__(self, device: torch.device | None = None, *, beyond: bool = False) -> None:
        self.device = device if device is not None and device.type == "cuda" else None
        self._stop = threading.Event()
        self._most = self._before = 0
        if self.device is not None:
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
            return
        self._sample()
        self._before = self._most if beyond else 0
        threading.Thread(target=self._run, daemon=True).start()

    def _sample(self) -> None:
        import psutil

        self._most = max(self._most, int(psutil.Process().memory_info().rss))

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            self._sample()

    @property
    def most(self) -> int:
        """Peak so far, in bytes."""
        if self.device is None:
            return self._most - self._before
        import torch

        return int(torch.cuda.max_memory_allocated(self.device))

    def stop(self) -> int:
        """Return the peak in bytes and stop sampling."""
        self._stop.set()
        return self.most


@contextmanager
def peak_memory(device: torch.device | None = None, *, beyond: bool = False) -> Iterator[Callable[[], float]]:
    """Yield a function that returns the peak in bytes; `beyond` subtracts the memory held at the start."""
    watch = Watch(device, beyond=beyond)
    try:
        yield lambda: float(watch.most)
    finally:
        watch.stop()
