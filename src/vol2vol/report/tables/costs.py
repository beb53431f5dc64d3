"""Tabulate the cost of every condition: training, parameters and prediction."""

from __future__ import annotations

from collections.abc import Sequence

from vol2vol.report.rows.conditions import Condition, conditions, reference, with_role
from vol2vol.report.rows.rows import Row
from vol2vol.report.tables.cells import Cell, Missing, Table, label, number
from vol2vol.report.tables.measures import cell_of, columns_of


def cost_table(rows: Sequence[Row], roles: dict[str, str]) -> Table:
    """Return the cost of every condition as means over its seeds.

    In the CSV, memory is in bytes, prediction time in seconds, training time in hours, and operations are per voxel.
    """
    columns = columns_of("cost")
    lines: list[list[Cell]] = []
    shown: dict[Condition, dict[str, Cell]] = {}
    for key, group in conditions(with_role(rows, roles)).items():
        cells = {name: _cell(group, name) for name in columns}
        if any(number(cell) is not None for cell in cells.values()):
            shown[key] = cells
            lines.append([key.direction, key.name, *cells.values()])
    return Table(
        name="cost",
        title="Cost of every condition",
        columns=[label("direction"), label("condition"), *columns.values()],
        rows=lines,
        findings=_read(shown),
        note="Costs were measured on the computer that ran the study. Redundancy is the number of voxels read by the "
        "network per voxel written. The peak memory of a prediction excludes what the process held before; that of a "
        "training includes the whole process (on GPUs, it is what torch allocated). Training hours end at the "
        "checkpoint that was used.",
    )


def _cell(group: list[Row], name: str) -> Cell:
    if name.startswith("cost/train") and group[0].kind != "network":
        return Missing("not trained")
    return cell_of(group, name)


def _read(shown: dict[Condition, dict[str, Cell]]) -> list[str]:
    """Return sentences that compare the time of the reference strategy with the other strategies."""
    findings = []
    families: dict[tuple[str, str, str], list[Condition]] = {}
    for key in shown:
        if key.kind == "network":
            families.setdefault((key.direction, key.translator, key.assembly), []).append(key)
    for (direction, translator, assembly), family in families.items():
        times = {key.strategy: value for key in family if (value := number(shown[key]["cost/seconds"])) is not None}
        first = reference(times)
        others = [
            f"{times[first] / value:.2g} times as long as {name}" for name, value in times.items() if name != first
        ]
        if others:
            findings.append(f"{direction}, {translator} ({assembly}): {first} takes {' and '.join(others)}.")
    return findings
