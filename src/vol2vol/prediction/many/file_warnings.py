"""Collect the warnings about many files, and show each kind once with the number of files it concerns."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

log = logging.getLogger(__name__)
ROOT_LOGGER = "vol2vol"
"""The parent of all loggers of vol2vol."""


@dataclass(frozen=True)
class Warned:
    """A warning about one file."""

    kind: str
    """Identifies warnings of the same kind: the line of code that logged them."""
    text: str


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings: list[Warned] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings.append(Warned(f"{record.name}:{record.lineno}", record.getMessage()))


@contextmanager
def collect_warnings() -> Iterator[list[Warned]]:
    """Collect the warnings that are logged inside the block instead of showing them; drop messages of lower levels."""
    logger, collector = logging.getLogger(ROOT_LOGGER), _Collector()
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(collector)
    try:
        yield collector.warnings
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagates


class OncePerKind:
    """Show the first warning of each kind immediately, and at the end the number of files with the same warning."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._files: Counter[str] = Counter()

    def show(self, warnings: Iterable[Warned]) -> None:
        """Show the new kinds among the warnings about one file and count the others."""
        for warned in {warned.kind: warned for warned in warnings}.values():
            self._files[warned.kind] += 1
            if warned.kind not in self._first:
                self._first[warned.kind] = warned.text
                log.warning("%s", warned.text)

    def sum_up(self) -> None:
        """Log for each kind the number of further files that it concerns."""
        for kind, files in self._files.items():
            if files > 1:
                log.warning("%s; the same holds for %d more files", self._first[kind], files - 1)
