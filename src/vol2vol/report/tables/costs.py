"""What every condition cost: to train, to hold and to apply."""

from __future__ import annotations

from collections.abc import Sequence

from vol2vol.report.rows.conditions import Condition, conditions, reference, with_role
from vol2vol.report.rows.rows import Row
from vol2vol.report.tables.cells import Cell, Missing, Table, label, number
from vol2vol.report.tables.measures import cell_of, columns_of


def cost_table(rows: Sequence[Row], roles: dict[str, str]) -> Table:
    """Return the cost of every condition, means over its seeds.

    In the CSV memory is in bytes, times in seconds (of trainings: hours), operations per voxel of the volume.
    """
    columns = columns_of("cost")
    lines: list[list[Cell]] = []
    shown: dict[Condition, dict[str, Cell]] = {}
    for one, group in conditions(with_role(rows, roles)).items():
        cells = {name: _cell(group, name) for name in columns}
        if any(number(cell) is not None for cell in cells.values()):
            shown[one] = cells
            lines.append([one.direction, one.name, *cells.values()])
    return Table(
        name="cost",
        title="Cost of every condition",
        columns=[label("direction"), label("condition"), *columns.values()],
        rows=lines,
        findings=_read(shown),
        note="On the computer that ran the study. Redundancy: voxels the network reads per voxel made. Memory of a "
        "prediction is the most beyond what the process held before it, of a training the most of the whole process "
        "(on GPUs what torch allocated); training hours are those up to the checkpoint that was used.",
    )


def _cell(group: list[Row], name: str) -> Cell:
    if name.startswith("cost/train") and group[0].kind != "network":
        return Missing("nothing is trained")
    return cell_of(group, name)


def _read(shown: dict[Condition, dict[str, Cell]]) -> list[str]:
    """Say what each strategy costs in time against the cheapest of its translator and assembly."""
    found = []
    families: dict[tuple[str, str, str], list[Condition]] = {}
    for one in shown:
        if one.kind == "network":
            families.setdefault((one.direction, one.translator, one.assembly), []).append(one)
    for (direction, translator, assembly), family in families.items():
        times = {one.strategy: value for one in family if (value := number(shown[one]["cost/seconds"])) is not None}
        first = reference(times)
        others = [
            f"{times[first] / value:.2g} times as long as {name}" for name, value in times.items() if name != first
        ]
        if others:
            found.append(f"{direction}, {translator} ({assembly}): {first} takes {' and '.join(others)}.")
    return found
