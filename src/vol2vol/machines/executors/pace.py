"""Whether another process is worth its start, by the pace that one has shown."""

from __future__ import annotations

import time

START = 1.5
"""Seconds in which a process starts (it imports torch), until the first one has shown how long that takes here."""
WORTH = 1.5
"""How many times longer than a start the items left must take for another process to be started."""


class Pace:
    """How long the process that is helped takes for a result."""

    def __init__(self) -> None:
        self._results, self._since = 0, time.monotonic()
        self._last = self._since

    def count(self) -> None:
        """Count a result; time runs from the first one, since much is done before that is never done again."""
        self._last = time.monotonic()
        self._results += 1
        if self._results == 1:
            self._since = self._last

    def seconds(self, start: float) -> float:
        """Return the seconds for a result, at least those spent on one that is not finished.

        A first result within the seconds of a `start` says nothing.
        """
        if self._results > 1:
            return (self._last - self._since) / (self._results - 1)
        spent = time.monotonic() - self._since
        return spent if self._results or spent > start else 0.0


def pays(left: float, start: float, processes: int) -> bool:
    """Say whether another process is worth its `start`, where these take `left` seconds of one for the rest."""
    return left > WORTH * start * processes
