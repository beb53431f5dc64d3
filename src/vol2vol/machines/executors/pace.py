"""Decide whether another process is worth its start, from the measured time per result."""

from __future__ import annotations

import time

START = 1.5
"""Assumed seconds to start a process (it imports torch), until the first start is measured."""
WORTH = 1.5
"""Another process is started if the remaining items take this many times longer than a start."""


class Pace:
    """Time per result of the calling process."""

    def __init__(self) -> None:
        self._results, self._since = 0, time.monotonic()
        self._last = self._since

    def count(self) -> None:
        """Count a result; time is measured from the first one, which includes one-time work."""
        self._last = time.monotonic()
        self._results += 1
        if self._results == 1:
            self._since = self._last

    def seconds(self, start: float) -> float:
        """Return the seconds per result; before the second result, the time spent since the first, or since the start.

        0 while there is no result and less time has passed than a `start` takes.
        """
        if self._results > 1:
            return (self._last - self._since) / (self._results - 1)
        spent = time.monotonic() - self._since
        return spent if self._results or spent > start else 0.0


def pays(left: float, start: float, processes: int) -> bool:
    """Say whether another process is worth its `start` (s), where the rest takes one process `left` seconds."""
    return left > WORTH * start * processes
