"""What verbs print: progress on a terminal, a result as text or JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from vol2vol.cli.flags import with_flags
from vol2vol.errors import BadInput, one_line
from vol2vol.progress import listening

MEASURED = {"value", "low", "high", "blocks"}
"""Keys of a value with its interval."""
WORDS = {None: "-", True: "yes", False: "no"}
"""What people write for these values."""
VALUE = 1000
"""Letters of a text among results, enough for the reason why a file failed; what is longer is cut."""


def result(data: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a result, one `key: value` a line with nested parts indented, or as JSON.

    `failed` may hold the reason for each file that failed, in which settings become flags.
    """
    if isinstance(failed := data.get("failed"), Mapping):
        data = {**data, "failed": {name: with_flags(reason) for name, reason in failed.items()}}
    if as_json:
        print(json.dumps(data, indent=1, default=str))
    else:
        _lines(data, "")


def _lines(data: Mapping[str, Any], indent: str) -> None:
    for key, value in data.items():
        if isinstance(value, Mapping) and value.keys() == MEASURED:
            line(f"{indent}{one_line(key, VALUE)}: {_measured(value)}")
        elif isinstance(value, Mapping):
            line(f"{indent}{one_line(key, VALUE)}:")
            _lines(value, indent + "  ")
        else:
            line(f"{indent}{one_line(key, VALUE)}: {_short(value)}")


def _measured(value: Mapping[str, Any]) -> str:
    """Return a value with its interval on one line; `-` where it is not defined."""
    best, low, high = ("-" if value[key] is None else _short(value[key]) for key in ("value", "low", "high"))
    over = f"{value['blocks']} block{'s' if value['blocks'] != 1 else ''}"
    return f"{best} (no interval over {over})" if value["low"] is None else f"{best} [{low}, {high}] (95 % over {over})"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value)) or "none"
    if isinstance(value, Mapping):
        return "; ".join(f"{key} {_short(inner)}" for key, inner in value.items())
    if value is None or isinstance(value, bool):
        return WORDS[value]
    return one_line(value, VALUE)


def line(text: str) -> None:
    """Print a line of a result, cleaned of what files put into it."""
    print(one_line(text))


PATIENCE, EVERY = 2.0, 20.0
"""Seconds after which steps are shown, and between two lines where there is no terminal."""


class BlockProgress:
    """Shows blocks, or files, done, voxels per second and time left; a line now and then where there is no terminal."""

    def __init__(self, bar: Progress, unit: str = "block") -> None:
        self._bar, self._task, self._unit = bar, bar.add_task("predicting", total=None), unit
        self._began = self._said = time.monotonic()

    def __call__(self, done: int, total: int, voxels: int) -> None:
        """Report how many are done, how many there are, and voxels computed since the start."""
        now = time.monotonic()
        rate = voxels / max(now - self._began, 1e-9)
        text = f"{rate / 1e6:.2f} Mvoxel/s" if voxels else ""
        self._bar.update(self._task, completed=done, total=total, description=f"{self._unit} {done}/{total} {text}")
        if not self._bar.console.is_terminal and now - self._said > (EVERY if self._said > self._began else PATIENCE):
            self._said = now
            print(", ".join(filter(None, (f"vol2vol: {self._unit} {done}/{total}", text))), file=sys.stderr)


class StepProgress:
    """Shows steps that take longer than `PATIENCE`: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console or Console(stderr=True), clock
        self._what, self._bar = "", None  # type: tuple[str, Progress | None]
        self._began = self._said = clock()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report what is being done, steps done and steps in all."""
        now = self._clock()
        if what != self._what or not total:
            self.stop()
            self._what, self._began, self._said = what if total else "", now, now
        if not total or now - self._began < PATIENCE:
            return
        if self._console.is_terminal:
            self._draw(done, total)
        elif now - self._said > (EVERY if self._said > self._began else PATIENCE):
            self._said = now
            self._console.print(f"vol2vol: {what}, {done} of {total}", highlight=False)

    def _draw(self, done: int, total: int) -> None:
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.add_task(self._what, total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=done, total=total)

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def step_progress() -> Iterator[None]:
    """Show on standard error how far everything inside has come that counts its steps."""
    steps = StepProgress()
    try:
        with listening(steps):
            yield
    finally:
        steps.stop()


@contextmanager
def block_progress(unit: str = "block") -> Iterator[BlockProgress]:
    """Give a progress display for blocks, or files, on standard error; on a terminal it is the only one."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    alone = listening(None) if console.is_terminal else nullcontext()
    with alone, Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield BlockProgress(bar, unit)


def numbers(text: str | None, flag: str) -> list[float] | None:
    """Return the numbers of a comma-separated flag; raise `BadInput` naming it where they are not numbers."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"{flag} {text!r} is not numbers with commas between them, such as 8,8,8") from None
