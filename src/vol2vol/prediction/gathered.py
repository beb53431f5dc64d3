"""Warnings about many files: each kind is shown once, with how many files it concerns."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

log = logging.getLogger(__name__)
HOUSE = "vol2vol"
"""The logger above all of ours."""


@dataclass(frozen=True)
class Warned:
    """A warning about one file."""

    kind: str
    """What all warnings of this kind share: the place in the code and the sentence without its values."""
    text: str


class _Gatherer(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings: list[Warned] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings.append(Warned(f"{record.name}:{record.lineno}", record.getMessage()))


@contextmanager
def gathered() -> Iterator[list[Warned]]:
    """Keep the warnings that are logged inside, instead of showing them; what is less than a warning is left out."""
    logger, ear = logging.getLogger(HOUSE), _Gatherer()
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(ear)
    try:
        yield ear.warnings
    finally:
        logger.removeHandler(ear)
        logger.propagate = propagates


class Once:
    """Shows the first warning of each kind at once, and at the end how many files have one like it."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._files: Counter[str] = Counter()

    def show(self, warnings: Iterable[Warned]) -> None:
        """Take up the warnings about one file."""
        for warned in {warned.kind: warned for warned in warnings}.values():
            self._files[warned.kind] += 1
            if warned.kind not in self._first:
                self._first[warned.kind] = warned.text
                log.warning("%s", warned.text)

    def sum_up(self) -> None:
        """Say of how many further files each warning holds."""
        for kind, files in self._files.items():
            if files > 1:
                log.warning("%s; the same holds for %d more files", self._first[kind], files - 1)
