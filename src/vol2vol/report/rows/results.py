"""The results file: one row per volume that was made, read by column name, so that it may grow columns."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path

from vol2vol.errors import BadInput, CannotWrite, NotFound

RESULTS = "results.csv"
UNTRANSLATED = "untranslated"
"""The strategy of the row in which the source stands for its own translation."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One volume and what is known about it; paths are relative to the results file, unknown numbers are None."""

    output: str
    strategy: str
    """exact, printed, average, blend, disjoint, or `untranslated`."""
    model: str = ""
    assembly: str = ""
    """slices, ortho or volume."""
    source: str = ""
    target: str = ""
    answer: str = ""
    """The known answer, where there is one."""
    run: str = ""
    """Folder of the training, with its `log.csv`."""
    seconds: float | None = None
    voxels_per_second: float | None = None
    redundancy: float | None = None
    """Voxels read by the network per voxel of the volume and pass."""
    flops_per_voxel: float | None = None
    floor_per_voxel: float | None = None
    """What an infinitely large tile would need."""
    peak_memory: float | None = None
    """Bytes, of the whole process, while this row was made."""
    difference_from_exact: float | None = None
    """Mean absolute difference from `exact` of the same model and assembly, in stored grey values."""
    psnr: float | None = None
    """Decibels, against the known answer."""
    pearson: float | None = None
    """Correlation with the known answer."""

    @property
    def group(self) -> tuple[str, str]:
        """Model and assembly: the rows that differ in their strategy alone."""
        return self.model, self.assembly


_NUMBERS = tuple(field.name for field in fields(Result) if "float" in str(field.type))
_WORDS = tuple(field.name for field in fields(Result) if field.name not in _NUMBERS)


def read_results(folder: Path) -> list[Result]:
    """Read `results.csv` of a folder; columns this version does not know are left alone.

    Raises `NotFound` where there is none, and `BadInput` naming the row for a missing path, strategy or number.
    """
    path = Path(folder) / RESULTS
    if not path.is_file():
        raise NotFound(f"{path} is not there: name a folder with a {RESULTS}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [_result(row, f"{path} row {number}") for number, row in enumerate(rows, start=2)]


def write_results(folder: Path, results: Iterable[Result]) -> Path:
    """Write `results.csv` whole or not at all; return its path."""
    path = Path(folder) / RESULTS
    part = path.with_name(f".{RESULTS}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Result)])
            writer.writeheader()
            for result in results:
                writer.writerow({key: "" if value is None else value for key, value in asdict(result).items()})
        os.replace(part, path)
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def _result(row: dict[str, str | None], where: str) -> Result:
    words = {name: row[name] or "" for name in _WORDS if name in row}
    for needed in ("output", "strategy"):
        if not words.get(needed):
            raise BadInput(f"{where} has no {needed}: fill in that column")
    numbers = {name: _number(row.get(name), f"{where} column {name}") for name in _NUMBERS}
    return Result(**words, **numbers)  # type: ignore[arg-type]  # words and numbers by field name


def _number(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise BadInput(f"{where}: {text!r} is not a number: correct it or leave it empty") from None
    return value if isfinite(value) else None
