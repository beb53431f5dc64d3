"""Read and write the rows file of a study: a line of JSON per trial, appended whole, so that studies can be resumed.

A trial is a translated volume with all measurements of it. Names of values are `family/metric/detail`, such as
`seams/sgr/z`, `distance/inception/fid/xy`, `segmentation/unet/0/iou` (segmenter and its seed) or `cost/seconds`. Sums
per block, which serve to compare two trials on the same voxels, are stored in `blocks/TRIAL.npz` under the same names.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np

from vol2vol.errors import BadInput, CannotWrite, NotFound, one_line
from vol2vol.files import parse_json, written_whole

SCHEMA = 1
ROWS = "rows.jsonl"
BLOCKS = "blocks"
REPORT = "report.html"
Kind = Literal["network", "baseline", "bound"]


@dataclass(frozen=True, kw_only=True)
class Value:
    """A number with its interval from resampled blocks; undefined numbers are None."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        for field_ in fields(self):
            number = getattr(self, field_.name)
            if number is not None and not isfinite(number):
                object.__setattr__(self, field_.name, None)


@dataclass(frozen=True, kw_only=True)
class Row:
    """The conditions and results of one trial. Paths are relative to the folder of the rows file."""

    trial: str
    """Name of the trial, which is unique in the study and valid as a file name."""
    status: Literal["done", "failed"] = "done"
    reason: str = ""
    """Why the trial failed."""
    source: str
    """Domain of the volume that is translated."""
    target: str
    """Domain to whose appearance it is translated, and whose segmenters segment the result."""
    translator: str
    """Name of the translator: a network of the study, a baseline, or `in-domain`, the upper bound."""
    kind: Kind = "network"
    """`bound` is the untranslated source, segmented by segmenters of its own domain."""
    dims: int | None = None
    """Dimensions of the network, 2 or 3."""
    seed: int | None = None
    checkpoint: int | None = None
    """Epoch of the training."""
    strategy: str = ""
    assembly: str = ""
    volume: str = ""
    """The translated volume."""
    segmentations: Mapping[str, str] = field(default_factory=dict)
    """Paths of the probability volumes by `segmenter/seed`."""
    run: str = ""
    """Folder of the training, with its `log.csv`."""
    values: Mapping[str, Value] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    """Verdicts and other notes, by the names of the values that they explain."""

    def number(self, name: str) -> float | None:
        """Return a value by name; None if it was not measured."""
        value = self.values.get(name)
        return None if value is None else value.value


def append_row(folder: str | Path, row: Row, sums: Mapping[str, np.ndarray] | None = None) -> None:
    """Append a trial's row, after writing `sums`, the sums per block `(blocks, k)` of its values.

    Of several rows of a trial, the last one counts. Raises `CannotWrite`.
    """
    folder = Path(folder)
    line = json.dumps({"schema": SCHEMA, **asdict(row)}, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        if sums:
            with written_whole(folder / BLOCKS / f"{row.trial}.npz") as partial:
                np.savez_compressed(partial, **{name: np.asarray(value) for name, value in sums.items()})  # type: ignore[arg-type]
        with (folder / ROWS).open("ab+") as file:
            if file.tell() and _last_byte(folder / ROWS) != b"\n":
                line = "\n" + line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CannotWrite(f"{folder / ROWS} cannot be written: {error.strerror or error}") from error


def read_rows(folder: str | Path) -> list[Row]:
    """Read the last row of every trial of a study, in the order in which trials first appear.

    A line that a crash truncated is not valid JSON and is skipped: its trial is not done. Raises `NotFound` without a
    rows file, and `BadInput` with the line number if a line is damaged or was written by another version.
    """
    path = Path(folder) / ROWS
    if not path.is_file():
        raise NotFound(f"{path} does not exist: run the study first")
    rows: dict[str, Row] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if line:
            row = _row(line, f"{path} line {number}")
            if row is not None:
                rows[row.trial] = row
    return list(rows.values())


def read_sums(folder: str | Path, trial: str) -> dict[str, np.ndarray]:
    """Return the sums per block of a trial's values; {} if none were stored.

    Raises `BadInput` if the file is damaged.
    """
    path = Path(folder) / BLOCKS / f"{trial}.npz"
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise BadInput(
            f"{path} is damaged ({one_line(error, 300)}): delete it and the line of this trial, and run the study again"
        ) from None


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def _row(line: bytes, where: str) -> Row | None:
    try:
        data: dict[str, Any] = parse_json(line)
    except ValueError:
        return None
    schema = data.pop("schema", None) if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise BadInput(
            f"{where} was written by another version of vol2vol (schema {schema}, not {SCHEMA}): run the study in "
            "another folder"
        )
    try:
        return Row(**{**data, "values": {name: Value(**value) for name, value in data["values"].items()}})
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{where} is damaged ({one_line(error, 300)}): delete that line and run the study again"
        ) from None
