"""Tables whose columns are those of the measures: nearness to a known answer and to the source, objects, and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vol2vol.metrics.measures import Measure, Quantity, measures, quantity_of
from vol2vol.report.rows.conditions import conditions, judges, with_role
from vol2vol.report.rows.rows import Row, Value
from vol2vol.report.tables.cells import Cell, Column, Missing, Table, label, mean_cell, number

LNCC = "fidelity/lncc"


def columns_of(table: str) -> dict[str, Column]:
    """Return the columns of a table by the names of their values, as the measures that it shows say."""
    shown = [(measure, quantity) for measure in measures() if measure.table == table for quantity in measure.quantities]
    return {measure.name_of(quantity.key): column for measure, quantity in shown if (column := _column(quantity))}


def _column(quantity: Quantity) -> Column | None:
    """Return the column of a quantity, None where no table shows it."""
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
    """Return the mean of a value over rows, of one row with its interval, in the unit of its column."""
    cell, quantity = mean_cell(rows, name), quantity_of(name)
    by, value = quantity.divisor if quantity else 1, number(cell)
    return cell if by == 1 or value is None else value / by


def fidelity_table(rows: Sequence[Row], roles: dict[str, str]) -> Table:
    """Return how near translations come to the known answer, keep the source's structure, and lead back to it.

    PSNR in decibels; SSIM, correlation and LNCC (local normalised cross-correlation) from -1 to 1. The CSV also has
    the correlation of gradients with the source's, and how much less comes back after quantisation (grey values).
    """
    columns = columns_of("fidelity")
    lines: list[list[Cell]] = []
    for one, group in conditions(with_role(rows, roles)).items():
        cells = [cell_of(group, name) for name in columns]
        if one.kind != "bound" and any(number(cell) is not None for cell in cells):
            lines.append([one.direction, one.name, *cells])
    return Table(
        name="fidelity",
        title="Nearness to the known answer, and to the source",
        columns=[label("direction"), label("condition"), *columns.values()],
        rows=lines,
        findings=_nearest(lines, 2 + [*columns].index(LNCC)),
        note="The known answer is the source's tissue in the look of the target, where there is one; a translation "
        "should come nearer to it than the untranslated source. PSNR is in decibels; LNCC is the local normalised "
        "cross-correlation, 1 at most, which depends on structure more than on grey values. PSNR and correlation "
        "punish invented noise as hard as invented structure. Back again: the volume, rounded to 256 levels of the "
        "target with noise of one level, translated back, against the source.",
    )


def object_table(rows: Sequence[Row], roles: dict[str, str]) -> Table:
    """Return scores of objects, means over segmenters and seeds."""
    columns = {name.rpartition("/")[2]: column for name, column in columns_of("objects").items()}
    lines: list[list[Cell]] = []
    for one, group in conditions(with_role(rows, roles)).items():
        cells = [_mean(group, metric) for metric in columns]
        if any(number(cell) is not None for cell in cells):
            lines.append([one.direction, one.name, *cells])
    return Table(
        name="objects",
        title="Objects: found, missed and counted",
        columns=[label("direction"), label("condition"), *columns.values()],
        rows=lines,
        note="Means over segmenters and seeds; with one of each, intervals over blocks. Errors are better when low.",
    )


def further_table(rows: Sequence[Row], roles: dict[str, str]) -> Table:
    """Return the values of measures that have no table of their own, such as those of other packages."""
    columns = _further(rows)
    lines: list[list[Cell]] = []
    for one, group in conditions(with_role(rows, roles)).items():
        cells = [cell_of(group, name) for name in columns]
        if any(number(cell) is not None for cell in cells):
            lines.append([one.direction, one.name, *cells])
    taken = [measure for measure in measures() if any(name.startswith(f"{measure.family}/") for name in columns)]
    return Table(
        name="further",
        title="Further measures",
        columns=[label("direction"), label("condition"), *columns.values()],
        rows=lines,
        note=" ".join(_explained(measure) for measure in taken),
    )


def _further(rows: Sequence[Row]) -> dict[str, Column]:
    """Return a column for every value of a further measure that rows have, by its name."""
    known = [measure for measure in measures() if measure.table == "further"]
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row.values):
        for measure in known:
            quantity = measure.quantity(name)
            if quantity is not None and (column := _column(quantity)):
                columns[name] = _told_apart(column, quantity, name.partition("/")[2])
    return columns


def _told_apart(column: Column, quantity: Quantity, key: str) -> Column:
    """Return a column that is named after the words that its key has in place of parts in braces, if any."""
    words = quantity.words(key)
    if not words:
        return column
    return replace(column, name="_".join([column.name, *words]), title=f"{column.heading} ({', '.join(words)})")


def _explained(measure: Measure) -> str:
    """Say what a measure's columns are, and when they are good."""
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
    found = []
    for direction in dict.fromkeys(str(line[0]) for line in lines):
        known = {
            str(line[1]): value
            for line in lines
            if line[0] == direction and (value := number(line[column])) is not None
        }
        if len(known) > 1:
            best = max(known, key=lambda name: known[name])
            start = f"; untranslated {known['untranslated']:.3f}" if "untranslated" in known else ""
            found.append(f"{direction}: nearest to the known answer by LNCC is {best}, {known[best]:.3f}{start}.")
    return found
