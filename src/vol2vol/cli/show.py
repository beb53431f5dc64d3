"""What verbs print: progress on a terminal, a result as text or JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from vol2vol.errors import BadInput, one_line

VALUE = 300
"""Letters of a text among results; what is longer is cut."""


def result(data: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a result, one `key: value` a line with nested parts indented, or as JSON."""
    if as_json:
        print(json.dumps(data, indent=1, default=str))
    else:
        _lines(data, "")


def _lines(data: Mapping[str, Any], indent: str) -> None:
    for key, value in data.items():
        if isinstance(value, Mapping):
            line(f"{indent}{one_line(key, VALUE)}:")
            _lines(value, indent + "  ")
        else:
            line(f"{indent}{one_line(key, VALUE)}: {_short(value)}")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value))
    return one_line(value, VALUE)


def line(text: str) -> None:
    """Print a line of a result, cleaned of what files put into it."""
    print(one_line(text))


class BlockProgress:
    """Shows blocks done, voxels per second and time left; a line every 30 seconds where there is no terminal."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._task = bar, bar.add_task("predicting", total=None)
        self._began = self._said = time.monotonic()

    def __call__(self, done: int, total: int, voxels: int) -> None:
        """Report blocks done, blocks in all, and voxels computed since the start."""
        now = time.monotonic()
        rate = voxels / max(now - self._began, 1e-9)
        text = f"{rate / 1e6:.2f} Mvoxel/s" if voxels else ""
        self._bar.update(self._task, completed=done, total=total, description=f"block {done}/{total} {text}")
        if not self._bar.console.is_terminal and now - self._said > 30:
            self._said = now
            print(f"vol2vol: block {done}/{total}, {text}", file=sys.stderr)


@contextmanager
def block_progress() -> Iterator[BlockProgress]:
    """Give a progress display for blocks on standard error."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        yield BlockProgress(bar)


def numbers(text: str | None, flag: str) -> list[float] | None:
    """Return the numbers of a comma-separated flag; raise `BadInput` naming it where they are not numbers."""
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"{flag} {text!r} is not numbers with commas between them, such as 8,8,8") from None
