"""Lay out a run folder, check whether a second call may continue in it, and clear it on overwrite.

recipe.yaml   the resolved recipe               checkpoints/last.ckpt   full state, to continue from
log.csv       one row per epoch                 models/epoch-0005/      bundles, to predict with
tensorboard/  the same curves                   models/best.txt         the name of the best bundle
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vol2vol import plainyaml
from vol2vol.errors import AlreadyExists, BadInput, CannotWrite, Mismatch, Unreadable, UserError
from vol2vol.files import read_text, write_text
from vol2vol.models.model_file import plain

WRITTEN = ("recipe.yaml", "log.csv", "tensorboard", "checkpoints", "models")
"""The files and folders that a run writes, and that overwriting deletes."""
FREE = (
    *("name", "overrides", "about", "train.num_workers", "train.checkpoint_every", "train.save_minutes"),
    "train.gradient_checkpointing",
)
"""Keys of a recipe that do not change the result and may differ in a second call."""

Row = dict[str, float]


@dataclass(frozen=True)
class Run:
    """The paths of the files in a run folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe, in YAML that can be loaded again."""
        return self.path / "recipe.yaml"

    @property
    def log(self) -> Path:
        """One row per finished epoch."""
        return self.path / "log.csv"

    @property
    def events(self) -> Path:
        """The event files for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def state(self) -> Path:
        """The last full state."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The file that names the best saved epoch."""
        return self.path / "models" / "best.txt"

    def model(self, epoch: int) -> Path:
        """Return the path of the bundle after an epoch."""
        return self.path / "models" / f"epoch-{epoch:04d}"


def open_run(path: Path, recipe: Mapping[str, Any], *, overwrite: bool = False) -> Run:
    """Create a run folder, or open the folder of a run that was started with the same recipe.

    A recipe with more epochs counts as the same. Raises `Mismatch`, naming the first key that differs, `AlreadyExists`
    if the folder holds something else, `CannotWrite` if it cannot be created. `overwrite` deletes what an earlier run
    wrote there, and nothing else.
    """
    run, wanted = Run(path), yaml.safe_load(yaml.safe_dump(plain(recipe), sort_keys=False))
    try:
        if run.recipe.exists() and overwrite:
            _clear(path)
        elif run.recipe.exists():
            _compare(run, wanted)
        else:
            check_free(path)
        run.state.parent.mkdir(parents=True, exist_ok=True)
        run.best.parent.mkdir(exist_ok=True)
        write_text(run.recipe, yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True))
    except UserError:
        raise
    except OSError as error:
        raise CannotWrite(f"{path}: the run cannot be created ({error.strerror}): choose another folder") from None
    return run


def check_free(path: Path) -> None:
    """Raise `AlreadyExists` if a path exists that is neither a run nor the remains of an aborted one."""
    if path.exists() and not Run(path).recipe.exists() and not (path.is_dir() and _unmarked(path)):
        raise AlreadyExists(f"{path} exists and is not a run: choose another folder")


def _unmarked(path: Path) -> bool:
    """Return whether a folder holds no more than a run that was killed before it had written its recipe."""
    return {entry.name for entry in path.rglob("*")} <= {"checkpoints", "models", ".recipe.partial.yaml"}


def _clear(path: Path) -> None:
    for name in WRITTEN:
        if (path / name).is_dir():
            shutil.rmtree(path / name)
        else:
            (path / name).unlink(missing_ok=True)


def _compare(run: Run, wanted: Mapping[str, Any]) -> None:
    try:
        begun = dict(_leaves(plainyaml.load(read_text(run.recipe))))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise Unreadable(f"{run.recipe} is not YAML: restore it, or `overwrite` the run") from None
    now = dict(_leaves(wanted))
    for key in sorted((begun.keys() | now.keys()) - set(FREE)):
        old, new = begun.get(key), now.get(key)
        grown = key == "train.epochs" and isinstance(old, int) and isinstance(new, int) and new > old
        if old != new and not grown:
            raise Mismatch(
                f"{run.path} was begun with {key} {_show(old)}, now it is {_show(new)}: "
                "set it back, choose another folder or `overwrite`"
            )


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys and values of nested data."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _show(value: Any) -> str:
    return "unset" if value is None else repr(value)


def write_log(path: Path, rows: Sequence[Row]) -> None:
    """Write the whole log, with all digits of every number; the terms of the first row are the columns."""
    if not rows:
        path.unlink(missing_ok=True)
        return
    lines = [",".join(rows[0]), *(",".join(map(repr, row.values())) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")


def read_log(path: str | Path) -> list[Row]:
    """Return the rows of a log; raise `BadInput` if a value is not a number."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (TypeError, ValueError) as error:
        raise BadInput(f"{path} is not a training log: {error}") from None
