"""The rows file of a study: one line of JSON per trial, appended whole, so that a study can be broken off and go on.

A trial is one translated volume and all that was measured on it. Names of values are `family/metric/detail`, such as
`seams/sgr/z`, `distance/inception/fid/xy`, `segmentation/unet/0/iou` (segmenter, its seed) or `cost/seconds`. Sums per
block, from which two trials on the same voxels are compared, lie beside the file in `blocks/TRIAL.npz` under the same
names.
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
    """A number with the interval that blocks give it; numbers that are not defined are None."""

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
    """One trial: what was done, and what came of it. Paths are relative to the folder of the rows file."""

    trial: str
    """Name of the trial, unique in the study, fit for a file name."""
    status: Literal["done", "failed"] = "done"
    reason: str = ""
    """Of a failed trial: why."""
    source: str
    """Domain that is translated and judged."""
    target: str
    """Domain whose look it is given, and whose segmenters judge it."""
    translator: str
    """Name of the translator: a network of the study, a baseline, or `in-domain`, the upper bound."""
    kind: Kind = "network"
    """`bound` is the untranslated source judged by segmenters of its own domain."""
    dims: int | None = None
    """2 or 3: the network's."""
    seed: int | None = None
    checkpoint: int | None = None
    """Epoch of the training."""
    strategy: str = ""
    assembly: str = ""
    volume: str = ""
    """The translated volume."""
    segmentations: Mapping[str, str] = field(default_factory=dict)
    """`segmenter/seed` to the volume of its probabilities."""
    run: str = ""
    """Folder of the training, with its `log.csv`."""
    values: Mapping[str, Value] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    """Verdicts and other words, by the names of the values they belong to."""

    def number(self, name: str) -> float | None:
        """Return a value by name, None where it was not measured."""
        found = self.values.get(name)
        return None if found is None else found.value


def append_row(folder: str | Path, row: Row, sums: Mapping[str, np.ndarray] | None = None) -> None:
    """Add a trial's row; `sums` are its values' sums per block, `(blocks, k)`, written before it.

    Of several rows of a trial the last one counts. Raises `CannotWrite`.
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
    """Read the rows of a study, the last one of each trial, in the order in which trials first came.

    A line that a crash cut off is no JSON and left out: its trial is not done. Raises `NotFound` without a rows file,
    and `BadInput` naming the line for one that another version wrote or that is damaged.
    """
    path = Path(folder) / ROWS
    if not path.is_file():
        raise NotFound(f"{path} is not there: run the study first")
    rows: dict[str, Row] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if line:
            row = _row(line, f"{path} line {number}")
            if row is not None:
                rows[row.trial] = row
    return list(rows.values())


def read_sums(folder: str | Path, trial: str) -> dict[str, np.ndarray]:
    """Return the sums per block of a trial's values; empty where none were kept."""
    path = Path(folder) / BLOCKS / f"{trial}.npz"
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise BadInput(
            f"{path} is damaged ({one_line(error, 300)}): remove it, and the trial's line, and run the study again"
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
            f"{where} was written by another version (schema {schema}, this one reads {SCHEMA}): use another folder"
        )
    try:
        return Row(**{**data, "values": {name: Value(**value) for name, value in data["values"].items()}})
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{where} is damaged ({one_line(error, 300)}): remove that line and run the study again"
        ) from None
