"""Represent tables as data and write them as CSV; a cell has a value with its interval, or why it is missing."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from vol2vol.errors import CannotWrite
from vol2vol.files import written_whole
from vol2vol.report.rows import wording
from vol2vol.report.rows.rows import Row, Value

TABLES = "tables"


@dataclass(frozen=True)
class Missing:
    """A missing number and the reason for it."""

    reason: str = "not measured"


Cell = str | int | float | Value | Missing | None


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column; `name` is its heading in the CSV, `title` on the page."""

    name: str
    title: str = ""
    digits: int = 3
    """Significant digits on the page or, with `places`, decimal places."""
    places: bool = False
    signed: bool = False
    least: float = 0.0
    """Smaller numbers are written as `< least`."""
    amount: bool = False
    """Whether numbers are written with k, M or G."""
    words: bool = False
    shown: bool = True
    """Whether the page shows the column; the CSV always has it."""

    @property
    def heading(self) -> str:
        """The heading on the page."""
        return self.title or self.name.replace("_", " ").capitalize()


def label(name: str, title: str = "") -> Column:
    """Return a column of text."""
    return Column(name=name, title=title, words=True)


def probability(name: str, title: str) -> Column:
    """Return a column of p values."""
    return Column(name=name, title=title, digits=2, least=0.001)


def signed(name: str, title: str = "", digits: int = 3) -> Column:
    """Return a column of differences or correlations."""
    return Column(name=name, title=title, digits=digits, places=True, signed=True)


class Written(NamedTuple):
    """The text of a cell on the page."""

    text: str
    interval: str
    reason: str
    """Why the cell is a dash; empty if it is not."""
    words: bool


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of a study, with its findings in sentences."""

    name: str
    """Name of its CSV file without suffix."""
    title: str
    columns: Sequence[Column]
    rows: list[list[Cell]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    note: str = ""
    """How the numbers were computed."""

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def shown(self) -> list[Column]:
        """The columns that the page shows: those with a value in any row."""
        return [
            column
            for index, column in enumerate(self.columns)
            if column.shown and any(not _empty(row[index]) for row in self.rows)
        ]

    @property
    def lines(self) -> list[list[Written]]:
        """The text of every cell of the page, by line."""
        kept = [(self.columns.index(column), column) for column in self.shown]
        return [[_written(row[i], column) for i, column in kept] for row in self.rows]

    @property
    def grouped(self) -> bool:
        """Whether the page groups lines by direction."""
        return bool(self.rows) and self.columns[0].name == "direction"

    @property
    def reasons(self) -> list[str]:
        """The reasons for all dashes, each once."""
        kept = [self.columns.index(column) for column in self.shown]
        return list(dict.fromkeys(_reason(row[i]) for row in self.rows for i in kept if _reason(row[i])))


def of_row(row: Row, name: str) -> Cell:
    """Return the cell of a row's value; if it is missing, the reason is the row's note on it or its family."""
    value = row.values.get(name)
    if value is not None and value.value is not None:
        return value
    parts = name.split("/")
    notes = ("/".join(parts[:n]) for n in range(len(parts), 0, -1))
    reason = next((row.notes[note] for note in notes if note in row.notes), "")
    return Missing(reason or ("not defined" if value is not None else "not measured"))


def mean_cell(rows: Sequence[Row], name: str) -> Cell:
    """Return the mean of a value over rows; for a single row the value with its interval."""
    if len(rows) == 1:
        return of_row(rows[0], name)
    known = [value for row in rows if (value := row.number(name)) is not None]
    return sum(known) / len(known) if known else (of_row(rows[0], name) if rows else Missing())


def number(cell: Cell) -> float | None:
    """Return the number of a cell; None if it has none."""
    if isinstance(cell, Value):
        return cell.value
    return float(cell) if isinstance(cell, int | float) else None


def text(cell: Cell, column: Column) -> str:
    """Format a cell: a number with its interval in brackets, or a dash."""
    if isinstance(cell, str):
        return cell or wording.MISSING
    if isinstance(cell, int):
        return wording.amount(cell).strip() if column.amount else str(cell)
    if isinstance(cell, Value) and cell.low is not None and cell.high is not None:
        ends = replace(column, signed=False)
        return f"{_number(cell.value, column)} [{_number(cell.low, ends)}, {_number(cell.high, ends)}]"
    return _number(number(cell), column)


def _written(cell: Cell, column: Column) -> Written:
    whole = text(cell, column)
    main, bracket, rest = (whole, "", "") if isinstance(cell, str) else whole.partition(" [")
    return Written(main, bracket.strip() + rest, _reason(cell), column.words)


def write_tables(folder: str | Path, tables: Iterable[Table]) -> list[Path]:
    """Write each table that has rows as `tables/NAME.csv`, and return the paths. A column with intervals becomes three.

    Raises `CannotWrite`.
    """
    folder = Path(folder) / TABLES
    paths = []
    try:
        folder.mkdir(exist_ok=True)
        for table in tables:
            if table:
                path = folder / f"{table.name}.csv"
                with written_whole(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
                    csv.writer(file).writerows(_csv(table))
                paths.append(path)
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be written: {error.strerror or error}") from error
    return paths


def with_interval(value: Value, *, digits: int = 3, signed: bool = True) -> str:
    """Format a number with its interval for a sentence: `+0.012 [0.004, 0.020]`."""
    return text(value, Column(name="", digits=digits, places=True, signed=signed))


def _number(value: float | None, column: Column) -> str:
    if value is None:
        return wording.MISSING
    if column.amount:
        return wording.amount(value).strip()
    if abs(value) < column.least:
        return f"< {column.least:g}"
    digits = f"{value:.{column.digits}f}" if column.places else wording.number(value, column.digits)
    plain = digits.lstrip("-")
    sign = "" if float(plain.replace(",", "")) == 0 else "\N{MINUS SIGN}" if value < 0 else "+" * column.signed
    return f"{sign}{plain}"


def _empty(cell: Cell) -> bool:
    return cell is None or cell == "" or (not isinstance(cell, str) and number(cell) is None)


def _reason(cell: Cell) -> str:
    return cell.reason if isinstance(cell, Missing) else ""


def _csv(table: Table) -> list[list[object]]:
    ranged = [any(isinstance(row[i], Value) for row in table.rows) for i in range(len(table.columns))]
    head: list[object] = []
    for column, wide in zip(table.columns, ranged, strict=True):
        head += [column.name, f"{column.name}_low", f"{column.name}_high"] if wide else [column.name]
    lines = [head]
    for row in table.rows:
        line: list[object] = []
        for cell, wide in zip(row, ranged, strict=True):
            if wide:
                ends = (cell.low, cell.high) if isinstance(cell, Value) else (None, None)
                line += [_plain(number) for number in (cell, *ends)]
            else:
                line.append(_plain(cell))
        lines.append(line)
    return lines


def _plain(cell: Cell) -> object:
    value = number(cell)
    return cell if isinstance(cell, str | int) else "" if value is None else value


def percent(value: float | None) -> str:
    """Format a fraction as per cent."""
    if value is None:
        return wording.MISSING
    digits = 0 if abs(value) >= 0.1 else 1
    return f"{100 * value:.{digits}f} %".replace("-", "\N{MINUS SIGN}")
