"""Show the progress of training: a bar on a terminal, one line per epoch in a log."""

from __future__ import annotations

import logging
import sys
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

log = logging.getLogger("vol2vol.training")


class Reporter:
    """Count steps and show them as a bar on a terminal; elsewhere, log each epoch with its rate and remaining time."""

    def __init__(self, epochs: int, *, bar: bool | None = None) -> None:
        self.epochs = epochs
        self.bar = sys.stderr.isatty() if bar is None else bar
        self._progress: Progress | None = None
        self._done = self._remaining = 0
        self._began = perf_counter()

    def start(self, epoch: int, steps: int, done: int = 0) -> None:
        """Start after `epoch` finished epochs of `steps` steps each, and `done` steps of the next epoch."""
        self._began, self._done, self._remaining = perf_counter(), 0, (self.epochs - epoch) * steps - done
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
        """Report a finished epoch with the loss of each player."""
        shown = " ".join(f"{name} {value:.4g}" for name, value in totals.items())
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], description=f"epoch {epoch}/{self.epochs} {shown}")
            return
        left = (self._remaining - self._done) / max(self.rate, 1e-9)
        log.info("epoch %d/%d: %s (%.2f steps/s, %s left)", epoch, self.epochs, shown, self.rate, _duration(left))

    def stop(self) -> None:
        """Stop drawing on the terminal."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
