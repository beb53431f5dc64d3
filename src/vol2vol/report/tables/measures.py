"""Tabulate measures: fidelity to the known answer, structure, objects, and measures of other packages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vol2vol.metrics.measures import Measure, Quantity, measures, quantity_of
from vol2vol.report.rows.conditions import conditions, judges, with_role
from vol2vol.report.rows.rows import Row, Value
from vol2vol.report.tables.cells import Cell, Column, Missing, Table, label, mean_cell, number

LNCC = "fidelity/lncc"


def columns_of(table: str) -> dict[str, Column]:
    """Return the columns of a table, as its measures define them, by the names of their values."""
    shown = [(measure, quantity) for measure in measures() if measure.table == table for quantity in measure.quantities]
    return {measure.name_of(quantity.key): column for measure, quantity in shown if (column := _column(quantity))}


def _column(quantity: Quantity) -> Column | None:
    """Return the column of a quantity; None if no table shows it."""
    if not quantity.title and not quantity.column:
        return None
    return Column(
        name=quantity.column or quantity.metric,
        title=quantity.title,
        digits=quantity.digits,
        places=quantity.places,
        amount=quantity.amount,
        shown=bool(quantity.title),
    )


def cell_of(rows: Sequence[Row], name: str) -> Cell:
    """Return the mean of a value over rows, in the unit of its column; a single row keeps its interval."""
    cell, quantity = mean_cell(rows, name), quantity_of(name)
    divisor, value = quantity.divisor if quantity else 1, number(cell)
    return cell if divisor == 1 or value is None else value / divisor


def fidelity_table(rows: Sequence[Row], roles: dict[str, str]) -> Table:
    """Return the fidelity of translations to the known answer, to the source's structure, and after translation back.

    PSNR in decibels; SSIM, correlation and LNCC (local normalised cross-correlation) from -1 to 1. The CSV also has
    the correlation of gradients with the source's, and the error that quantisation adds after translation back.
    """
    columns = columns_of("fidelity")
    lines: list[list[Cell]] = []
    for key, group in conditions(with_role(rows, roles)).items():
        cells = [cell_of(group, name) for name in columns]
        if key.kind != "bound" and any(number(cell) is not None for cell in cells):
            lines.append([key.direction, key.name, *cells])
    return Table(
        name="fidelity",
        title="Fidelity to the known answer, and to the source",
        columns=[label("direction"), label("condition"), *columns.values()],
        rows=lines,
        findings=_nearest(lines, 2 + [*columns].index(LNCC)),
        note="The known answer, if there is one, is the source's tissue with the appearance of the target; a "
        "translation should be closer to it than the untranslated source. PSNR is in decibels; LNCC is the local "
        "normalised cross-correlation, at most 1, which depends on structure more than on grey values. PSNR and "
        "correlation penalise invented noise as much as invented structure. For the columns after translation back, "
        "the volume is rounded to 256 levels of the target, with noise of one level, translated back and compared with "
        "the source.",
    )


def object_table(rows: Sequence[Row], roles: dict[str, str]) -> Table:
    """Return object scores as means over segmenters and seeds."""
    columns = {name.rpartition("/")[2]: column for name, column in columns_of("objects").items()}
    lines: list[list[Cell]] = []
    for key, group in conditions(with_role(rows, roles)).items():
        cells = [_mean(group, metric) for metric in columns]
        if any(number(cell) is not None for cell in cells):
            lines.append([key.direction, key.name, *cells])
    return Table(
        name="objects",
        title="Objects: detection and counts",
        columns=[label("direction"), label("condition"), *columns.values()],
        rows=lines,
        note="Numbers are means over segmenters and seeds; with one of each, they have intervals over blocks. Lower "
        "errors are better.",
    )


def further_table(rows: Sequence[Row], roles: dict[str, str]) -> Table:
    """Return the values of measures that have no table of their own, such as those of other packages."""
    columns = _further(rows)
    lines: list[list[Cell]] = []
    for key, group in conditions(with_role(rows, roles)).items():
        cells = [cell_of(group, name) for name in columns]
        if any(number(cell) is not None for cell in cells):
            lines.append([key.direction, key.name, *cells])
    present = [measure for measure in measures() if any(name.startswith(f"{measure.family}/") for name in columns)]
    return Table(
        name="further",
        title="Further measures",
        columns=[label("direction"), label("condition"), *columns.values()],
        rows=lines,
        note=" ".join(_explained(measure) for measure in present),
    )


def _further(rows: Sequence[Row]) -> dict[str, Column]:
    """Return the columns of the further measures by the names of the values that rows have."""
    known = [measure for measure in measures() if measure.table == "further"]
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row.values):
        for measure in known:
            quantity = measure.quantity(name)
            if quantity is not None and (column := _column(quantity)):
                columns[name] = _specific(column, quantity, name.partition("/")[2])
    return columns


def _specific(column: Column, quantity: Quantity, key: str) -> Column:
    """Return the column with the words that fill the braces of its quantity's key, if any, in its name and title."""
    words = quantity.words(key)
    if not words:
        return column
    return replace(column, name="_".join([column.name, *words]), title=f"{column.heading} ({', '.join(words)})")


def _explained(measure: Measure) -> str:
    """Return a sentence that explains a measure's columns and their sense."""
    parts = [
        f"{quantity.title or quantity.metric}: {quantity.about or quantity.metric}{_good(quantity)}"
        for quantity in measure.quantities
        if quantity.title or quantity.column
    ]
    return f"{measure.name}, {measure.about}. {'; '.join(parts)}."


def _good(quantity: Quantity) -> str:
    return "" if quantity.sense is None else f" (better when {quantity.sense})"


def _mean(group: Sequence[Row], metric: str) -> Cell:
    known = [
        value
        for row in group
        for segmenter, seed in judges([row], metric)
        if (value := row.values[f"segmentation/{segmenter}/{seed}/{metric}"]).value is not None
    ]
    if len(known) == 1:
        return known[0]
    numbers = [value.value for value in known if value.value is not None]
    return Value(value=sum(numbers) / len(numbers)) if numbers else Missing("not segmented")


def _nearest(lines: Sequence[Sequence[Cell]], column: int) -> list[str]:
    findings = []
    for direction in dict.fromkeys(str(line[0]) for line in lines):
        known = {
            str(line[1]): value
            for line in lines
            if line[0] == direction and (value := number(line[column])) is not None
        }
        if len(known) > 1:
            best = max(known, key=lambda name: known[name])
            start = f"; untranslated {known['untranslated']:.3f}" if "untranslated" in known else ""
            findings.append(f"{direction}: nearest to the known answer by LNCC is {best}, {known[best]:.3f}{start}.")
    return findings
