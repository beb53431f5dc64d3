"""Show how far training is: a bar on a terminal, one line per epoch in a log."""

from __future__ import annotations

import logging
import sys
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

log = logging.getLogger("vol2vol.training")


class Reporter:
    """Count steps; on a terminal draw them, elsewhere log each epoch with its rate and the time left."""

    def __init__(self, epochs: int, *, bar: bool | None = None) -> None:
        self.epochs = epochs
        self.bar = sys.stderr.isatty() if bar is None else bar
        self._progress: Progress | None = None
        self._done = self._ahead = 0
        self._began = perf_counter()

    def start(self, epoch: int, steps: int, done: int = 0) -> None:
        """Begin at an epoch (finished so far), with so many steps each, of which some are done in the next one."""
        self._began, self._done, self._ahead = perf_counter(), 0, (self.epochs - epoch) * steps - done
        if self.bar:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]:.2f} steps/s"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=Console(stderr=True))
            total = self.epochs * steps
            self._progress.add_task(
                f"epoch {epoch}/{self.epochs}", total=total, completed=epoch * steps + done, rate=0.0
            )
            self._progress.start()

    @property
    def rate(self) -> float:
        """Steps per second since the start."""
        return self._done / max(perf_counter() - self._began, 1e-9)

    def step(self) -> None:
        """Count one step."""
        self._done += 1
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], advance=1, rate=self.rate)

    def epoch(self, epoch: int, totals: dict[str, float]) -> None:
        """Report a finished epoch with each player's loss."""
        shown = " ".join(f"{name} {value:.4g}" for name, value in totals.items())
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], description=f"epoch {epoch}/{self.epochs} {shown}")
            return
        left = (self._ahead - self._done) / max(self.rate, 1e-9)
        log.info("epoch %d/%d: %s (%.2f steps/s, %s left)", epoch, self.epochs, shown, self.rate, _duration(left))

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
