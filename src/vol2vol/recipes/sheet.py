"""Read a data sheet: a CSV file with a column per domain and a row per set of aligned volumes."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import Path, PurePath
from typing import Any

from vol2vol.errors import BadInput, one_line, some_of
from vol2vol.files import read_bytes
from vol2vol.protocol import Need, aligned
from vol2vol.volumes.addresses import address, is_remote, local_path
from vol2vol.volumes.formats.hdf5 import NAME

log = logging.getLogger(__name__)
SPLIT = "split"
"""The column that assigns rows to a split."""
SPLITS = ("train", "validate", "test")
"""Rows for training, rows for validating checkpoints, and rows whose files training never opens."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The content of a data sheet: all paths are checked, and no file has been opened."""

    name: str
    """The file's name, without its folder."""
    sha256: str
    """Of the file's bytes."""
    rows: Mapping[str, int]
    """Number of rows by split."""
    files: Mapping[str, Mapping[str, tuple[str, ...]]]
    """By split and domain, the paths in the order of the rows; aligned domains have the same number."""

    def facts(self) -> dict[str, Any]:
        """Return the description of the sheet that a model stores, as plain data."""
        return {"name": self.name, "sha256": self.sha256, "rows": dict(self.rows)}


@dataclass(frozen=True, kw_only=True)
class _Row:
    number: int
    """Number of the row in a spreadsheet, where the header is row 1."""
    split: str
    files: Mapping[str, str]
    """By domain, the paths of the cells that are not empty."""


def read_sheet(path: str | Path, needs: Sequence[Need]) -> Sheet:
    """Read and check a data sheet for a task that needs these domains.

    The first row names the columns: domains and optionally `split`, whose cells are `train`, `validate` or `test`;
    without this column all rows are used for training. Paths are relative to the sheet's folder. A row holds all
    aligned domains; cells of other domains may be empty. Raises `NotFound` or `Unreadable` for the sheet itself, and
    `BadInput`, listing the rows, for columns, splits and cells that are not valid, files that are missing or in two
    splits (also by another spelling of the path, by a link, or one inside the other), and rows that repeat another.
    """
    file = local_path(path, "a data sheet")
    data = read_bytes(file)
    columns, table = _table(file, _text(file, data))
    _check_columns(file, columns, needs)
    rows = [_row(file, number, dict(zip(columns, cells, strict=False))) for number, cells in table]
    rows = [row for row in rows if row.files]
    _check_splits(file, rows, split_column=SPLIT in columns)
    used = [need for need in needs if any(need.name in row.files for row in rows)]
    _check_domains(file, needs, rows)
    _check_partners(file, used, rows)
    _check_files(file, rows)
    _check_repeats(file, used, rows)
    return Sheet(
        name=file.name,
        sha256=hashlib.sha256(data).hexdigest(),
        rows={split: sum(row.split == split for row in rows) for split in SPLITS},
        files={split: _files(used, [row for row in rows if row.split == split]) for split in SPLITS},
    )


def _text(file: Path, data: bytes) -> str:
    """Return the text of a sheet: UTF-8, without the byte order mark that Excel writes, or Windows-1252."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise BadInput(f"{file} is not text in UTF-8 (byte {error.start}): save it as CSV in UTF-8") from None
        log.warning("%s is not in UTF-8: it is read as Windows-1252, as Excel writes it", file)
    if "\0" in text:
        raise BadInput(f"{file} is not text in UTF-8 (byte {data.index(0)}): save it as CSV in UTF-8")
    return text


def _table(file: Path, text: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of the columns, and the rows that are not empty, with their numbers."""
    reader, table = csv.reader(StringIO(text, newline=""), delimiter=_delimiter(text), strict=True), []
    try:
        for number, cells in enumerate(reader, start=1):
            if any(cell.strip() for cell in cells):
                table.append((number, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise BadInput(f"{file}: line {reader.line_num} is not CSV ({one_line(error)}): correct its quotes") from None
    if len(table) < 2:
        raise BadInput(f"{file} has no rows: name the columns in the first row and a set of files in each further row")
    (_, columns), *rows = table
    wide = max(len(cells) for _, cells in rows)
    columns += [""] * (wide - len(columns))
    for place, name in enumerate(columns):
        filled = [number for number, cells in rows if len(cells) > place and cells[place]]
        if not name and filled:
            raise BadInput(
                f"{file}: row {filled[0]} has a cell in column {place + 1}, which has no name: name the column, or put "
                "quotes around a path that holds a comma"
            )
    return columns, rows


def _delimiter(text: str) -> str:
    """Return what separates the columns: a semicolon or a tab where the names hold one and neither of the others."""
    names = next((line for line in text.splitlines() if line.strip()), "")
    separators = [letter for letter in ",;\t" if letter in names]
    return separators[0] if len(separators) == 1 else ","


def _check_columns(file: Path, columns: Sequence[str], needs: Sequence[Need]) -> None:
    """Raise `BadInput` for columns that are unknown or repeated."""
    known = [*(need.name for need in needs), SPLIT]
    named = [name for name in columns if name]
    for name in named:
        if name not in known:
            near = get_close_matches(name.lower(), known, n=1)
            hint = f"did you mean {near[0]}?" if near else "rename it, or delete it"
            raise BadInput(
                f"{file} has a column {one_line(name, 60)!r}, which the task does not use: it uses "
                f"{', '.join(known)}; {hint}"
            )
        if named.count(name) > 1:
            raise BadInput(f"{file} has {named.count(name)} columns {name}: delete all but one")


def _row(file: Path, number: int, cells: Mapping[str, str]) -> _Row:
    """Return a row with paths relative to the current folder."""
    files = {}
    for domain in [name for name, cell in cells.items() if name not in ("", SPLIT) and cell]:
        try:
            path = address(cells[domain])
        except BadInput as error:
            raise BadInput(f"{file}: row {number}, {domain}: {error}") from None
        files[domain] = path if is_remote(path) else str(file.parent / path)
    return _Row(number=number, split=cells.get(SPLIT, SPLITS[0]).lower(), files=files)


def _check_splits(file: Path, rows: Sequence[_Row], *, split_column: bool) -> None:
    """Raise `BadInput` for unknown splits, and if there is no row for training."""
    if wrong := [f"row {row.number} has {one_line(row.split, 40)!r}" for row in rows if row.split not in SPLITS]:
        raise BadInput(f"{file}: {some_of(wrong)} in the column {SPLIT}: write train, validate or test")
    if not any(row.split == SPLITS[0] for row in rows):
        why = "no cell names a file"
        if split_column and rows:
            why = f"write {SPLITS[0]} in the column {SPLIT} of some rows"
        raise BadInput(f"{file} has no rows to train on: {why}")


def _check_domains(file: Path, needs: Sequence[Need], rows: Sequence[_Row]) -> None:
    """Raise `BadInput` if the training rows lack a domain that the task needs."""
    for need in needs:
        if not need.optional and not any(need.name in row.files for row in rows if row.split == SPLITS[0]):
            raise BadInput(f"{file} names no {need.name} volumes to train on: fill a column {need.name}")


def _check_partners(file: Path, needs: Sequence[Need], rows: Sequence[_Row]) -> None:
    """Raise `BadInput` for rows that name some, but not all, of several aligned domains."""
    alone = [
        f"row {row.number} has no {need.name}"
        for row in rows
        for group in aligned(needs)
        for need in group
        if need.name not in row.files and any(other.name in row.files for other in group)
    ]
    if alone:
        raise BadInput(f"{file}: {some_of(alone)}: fill these cells, or delete the rows")


def _check_files(file: Path, rows: Sequence[_Row]) -> None:
    """Raise `BadInput` for files that are missing or in two splits."""
    missing = [
        f"row {row.number} {one_line(path, 200)} ({domain})"
        for row in rows
        if row.split != SPLITS[2]
        for domain, path in row.files.items()
        if not is_remote(path) and not os.path.exists(_parted(path)[0])
    ]
    if missing:
        raise BadInput(
            f"{file} names files that do not exist: {some_of(missing)}: give paths relative to the sheet's folder"
        )
    places, first = _Places(), dict[str, tuple[_Row, str]]()
    named = [(row, path, places.of(path)) for row in rows for path in row.files.values()]
    for row, path, place in named:
        first.setdefault(place, (row, path))
    twice = []
    for row, path, place in named:
        for above in (place, *map(str, PurePath(place).parents)):
            other, spelt = first.get(above, (row, path))
            if other.split != row.split:
                same = "" if spelt == path else f", as {one_line(spelt, 200)}"
                elsewhere = f"row {other.number} ({other.split}{same})"
                twice.append(f"{one_line(path, 200)} in row {row.number} ({row.split}) and {elsewhere}")
                break
    if twice:
        raise BadInput(f"{file} has files in two splits: {some_of(twice)}: keep each file in one split")


def _check_repeats(file: Path, needs: Sequence[Need], rows: Sequence[_Row]) -> None:
    """Raise `BadInput` for rows that repeat the aligned files of another row."""
    places, repeated = _Places(), []
    for group in aligned(needs):
        first: dict[tuple[str, ...], int] = {}
        for row in rows:
            names = [need.name for need in group if need.name in row.files]
            key = tuple(places.of(row.files[name]) for name in names)
            if key and first.setdefault(key, row.number) != row.number:
                repeated.append(f"row {row.number} repeats the {' and '.join(names)} of row {first[key]}")
    if repeated:
        raise BadInput(f"{file}: {some_of(repeated)}: delete one of them")


def _files(needs: Sequence[Need], rows: Sequence[_Row]) -> dict[str, tuple[str, ...]]:
    """Return, for every domain with files in these rows, their paths."""
    files = {need.name: tuple(row.files[need.name] for row in rows if need.name in row.files) for need in needs}
    return {name: paths for name, paths in files.items() if paths}


class _Places:
    """Identifies files, so that all spellings of a path and all links to a file are the same place."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, int], str] = {}
        self._known: dict[str, str] = {}

    def of(self, path: str) -> str:
        """Return the place of a file, a folder or an array of an HDF5 file."""
        if path not in self._known:
            self._known[path] = path.rstrip("/") if is_remote(path) else self._local(*_parted(path))
        return self._known[path]

    def _local(self, file: str, inside: str) -> str:
        place = os.path.normcase(os.path.realpath(file))
        try:
            info = os.stat(file)
        except OSError:
            return place + inside
        if info.st_ino:
            place = self._first.setdefault((info.st_dev, info.st_ino), place)
        return place + inside


def _parted(path: str) -> tuple[str, str]:
    """Return the file of a path, and `/dataset` if the path names an array of an HDF5 file."""
    parts = NAME.fullmatch(path)
    if parts is None or os.path.isdir(path):
        return path, ""
    inside = (parts["dataset"] or "").strip("/")
    return parts["file"], f"/{inside}" if inside else ""
