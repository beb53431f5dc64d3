"""What every condition cost: to train, to hold and to apply."""

from __future__ import annotations

from collections.abc import Sequence

from vol2vol.study.conditions import Condition, conditions, reference, with_role
from vol2vol.study.rows import Row
from vol2vol.study.tables import Cell, Column, Missing, Table, label, mean_cell, number

COLUMNS = {
    "parameters": Column(name="parameters", amount=True),
    "flops_per_voxel": Column(name="flops_per_voxel", title="FLOP/voxel", amount=True),
    "redundancy": Column(name="redundancy", title="Redundancy"),
    "seconds": Column(name="seconds", title="Time (s)"),
    "voxels_per_second": Column(name="voxels_per_second", title="Voxels/s", amount=True),
    "peak_memory": Column(name="peak_memory_bytes", title="Memory (B)", amount=True),
    "train_seconds_per_step": Column(name="train_seconds_per_step", title="Training, s/step"),
    "train_seconds": Column(name="train_hours", title="Training, hours"),
    "train_peak_memory": Column(name="train_peak_memory_bytes", title="Training, memory (B)", amount=True),
}


def cost_table(rows: Sequence[Row], roles: dict[str, str]) -> Table:
    """Return the cost of every condition, means over its seeds.

    In the CSV memory is in bytes, times in seconds (of trainings: hours), operations per voxel of the volume.
    """
    lines: list[list[Cell]] = []
    shown: dict[Condition, dict[str, Cell]] = {}
    for one, group in conditions(with_role(rows, roles)).items():
        cells = {name: _cell(group, name) for name in COLUMNS}
        if any(number(cell) is not None for cell in cells.values()):
            shown[one] = cells
            lines.append([one.direction, one.name, *cells.values()])
    return Table(
        name="cost",
        title="Cost of every condition",
        columns=[label("direction"), label("condition"), *COLUMNS.values()],
        rows=lines,
        findings=_read(shown),
        note="On the computer that ran the study. Redundancy: voxels the network reads per voxel made. Memory of a "
        "prediction is the most beyond what the process held before it, of a training the most of the whole process "
        "(on GPUs what torch allocated); training hours are those up to the checkpoint that was used.",
    )


def _cell(group: list[Row], name: str) -> Cell:
    cell = mean_cell(group, f"cost/{name}")
    if name.startswith("train") and group[0].kind != "network":
        return Missing("nothing is trained")
    value = number(cell)
    return value / 3600 if name == "train_seconds" and value is not None else cell


def _read(shown: dict[Condition, dict[str, Cell]]) -> list[str]:
    """Say what each strategy costs in time against the cheapest of its translator and assembly."""
    found = []
    families: dict[tuple[str, str, str], list[Condition]] = {}
    for one in shown:
        if one.kind == "network":
            families.setdefault((one.direction, one.translator, one.assembly), []).append(one)
    for (direction, translator, assembly), family in families.items():
        times = {one.strategy: value for one in family if (value := number(shown[one]["seconds"])) is not None}
        first = reference(times)
        others = [
            f"{times[first] / value:.2g} times as long as {name}" for name, value in times.items() if name != first
        ]
        if others:
            found.append(f"{direction}, {translator} ({assembly}): {first} takes {' and '.join(others)}.")
    return found
