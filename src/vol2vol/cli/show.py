"""Print the output of verbs: progress on a terminal, results as text or JSON."""

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
"""How these values are printed."""
VALUE = 1000
"""Maximum length of a text in a result, in characters; it is enough for the reason why a file failed."""


def result(data: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a result as JSON, or as lines of `key: value` in which nested parts are indented.

    `failed` may hold the reason for each file that failed; the settings that it names are printed as options.
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
    """Return a value with its interval on one line; `-` if it is not defined."""
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
    """Print a line of a result, with control characters from files escaped."""
    print(one_line(text))


PATIENCE, EVERY = 2.0, 20.0
"""Seconds before progress is shown, and between two lines of progress where there is no terminal."""


class BlockProgress:
    """Shows finished blocks or files, the rate and the remaining time; without a terminal, a line at intervals."""

    def __init__(self, bar: Progress, unit: str = "block") -> None:
        self._bar, self._task, self._unit = bar, bar.add_task("predicting", total=None), unit
        self._began = self._said = time.monotonic()

    def __call__(self, done: int, total: int, voxels: int) -> None:
        """Report the number of finished items, the number of all items, and the voxels computed since the start."""
        now = time.monotonic()
        rate = voxels / max(now - self._began, 1e-9)
        text = f"{rate / 1e6:.2f} Mvoxel/s" if voxels else ""
        self._bar.update(self._task, completed=done, total=total, description=f"{self._unit} {done}/{total} {text}")
        if not self._bar.console.is_terminal and now - self._said > (EVERY if self._said > self._began else PATIENCE):
            self._said = now
            print(", ".join(filter(None, (f"vol2vol: {self._unit} {done}/{total}", text))), file=sys.stderr)


class StepProgress:
    """Shows loops that take longer than `PATIENCE`: a bar on a terminal, a line at intervals elsewhere."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console or Console(stderr=True), clock
        self._what, self._bar = "", None  # type: tuple[str, Progress | None]
        self._began = self._said = clock()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report the name of a loop, the number of finished steps, and the number of all steps."""
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
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def step_progress() -> Iterator[None]:
    """Show the progress of the loops inside this context on standard error."""
    steps = StepProgress()
    try:
        with listening(steps):
            yield
    finally:
        steps.stop()


@contextmanager
def block_progress(unit: str = "block") -> Iterator[BlockProgress]:
    """Yield a progress display for blocks or files on standard error; on a terminal it replaces that of loops."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    alone = listening(None) if console.is_terminal else nullcontext()
    with alone, Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield BlockProgress(bar, unit)


def numbers(text: str | None, flag: str) -> list[float] | None:
    """Return the numbers of a comma-separated option; raise `BadInput`, naming it, if they are not numbers."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"{flag} {text!r} must be numbers separated by commas, such as 8,8,8") from None
