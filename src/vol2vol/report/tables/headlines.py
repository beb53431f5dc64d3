"""Compute Tables 1, 2 and 3 to 11 of the stitching paper from a study's rows, with the printed numbers."""

from __future__ import annotations

from collections.abc import Sequence

from vol2vol.report.rows.checkpoint_roles import ROLES, pick
from vol2vol.report.rows.conditions import Condition, conditions, fid_name, judges, overlap
from vol2vol.report.rows.rows import Row
from vol2vol.report.tables.cells import Cell, Column, Missing, Table, label, number, of_row
from vol2vol.report.tables.printed import (
    ASSEMBLIES,
    SEGMENTERS,
    STITCHING,
    UNTRANSLATED,
    Printed,
    printed_headlines,
    printed_volumes,
)


def paper_tables(rows: Sequence[Row]) -> list[Table]:
    """Return Tables 1, 2 and 3 to 11 of the rows, and the printed Tables 3 to 11; [] without networks."""
    tables = [by_fid(rows), by_iou(rows), by_checkpoint(rows)]
    return [*tables, printed_table()] if any(map(bool, tables)) else []


def by_fid(rows: Sequence[Row]) -> Table:
    """Return Table 1: the best volume of every condition by FID, with its IoU.

    It is chosen from all checkpoints and seeds of a condition, segmented or not, as in section 5.1 of the paper.
    """
    fid = fid_name(rows)
    lines = []
    for key, group in _networks(rows):
        known = [row for row in group if row.number(fid) is not None]
        if known:
            lines.append(_headline(1, key, pick(known, fid)["best"], fid))
    return Table(
        name="table-1",
        title="Table 1. The best volume of every condition by FID",
        columns=_headline_columns(fid),
        rows=lines,
        findings=_best(lines, 4, lowest=True, title="FID", places=2),
        note="IoU is the mean over segmenters and their seeds. The highest IoU is that of the best segmenter, as a "
        "mean over its seeds; the paper prints the highest of five segmenters. Printed numbers belong to other data "
        f"(MitoEM, rat to human; FID {UNTRANSLATED:.2f} untranslated) and cannot be compared directly.",
    )


def by_iou(rows: Sequence[Row]) -> Table:
    """Return Table 2: the best volume of every condition by IoU, with its FID.

    The volume is chosen, as in the paper, by the highest IoU of its segmenters; the table also has their mean.
    """
    fid = fid_name(rows)
    lines = []
    for key, group in _networks(rows):
        known = [(value, row) for row in group if (value := _highest(row)) is not None]
        if known:
            lines.append(_headline(2, key, max(known, key=lambda pair: pair[0])[1], fid))
    return Table(
        name="table-2",
        title="Table 2. The best volume of every condition by IoU",
        columns=_headline_columns(fid),
        rows=lines,
        findings=_best(lines, 6, lowest=False, title="IoU", places=4),
        note="The volume is chosen with the truth, which is not available when a translation is needed. The table is "
        "therefore an upper bound of what the choice of a checkpoint can achieve, not a result.",
    )


def by_checkpoint(rows: Sequence[Row]) -> Table:
    """Return Tables 3 to 11: best, middle and worst volume of every condition by FID, with the IoU of each segmenter.

    They are chosen from the segmented volumes of all seeds; a volume with several roles appears once, with the best
    role. Columns that end in `printed` are the paper's, of the table with the same assembly and stitching.
    """
    fid, printed = fid_name(rows), {(volume.condition, volume.checkpoint): volume for volume in printed_volumes()}
    names = list(dict.fromkeys(name for name, _ in judges(rows, "iou")))
    lines: list[list[Cell]] = []
    gains = []
    for key, group in _networks(rows):
        known = [row for row in group if row.number(fid) is not None and overlap(row) is not None]
        picked = pick(known, fid) if known else {}
        left = {row.trial: row for row in picked.values()}
        for role in ROLES:
            if role in picked and (row := left.pop(picked[role].trial, None)) is not None:
                numbers = _numbers(row, names, fid, printed.get((_printed_terms(key), role)))
                lines.append([*_name_cells(key), role, *_training_cells(row), *numbers])
        if len(known) > 2:
            gains.append((overlap(picked["middle"]) or 0) - (overlap(picked["best"]) or 0))
    return Table(
        name="tables-3-11",
        title="Tables 3 to 11. Best, middle and worst checkpoint by FID",
        columns=[
            *_name_columns(),
            label("checkpoint_by_fid", "By FID"),
            Column(name="seed", digits=1),
            Column(name="checkpoint", title="Epoch", digits=6),
            *(_iou(f"iou_{name}", f"IoU, {name}") for name in names),
            Column(name="fid", title="FID"),
            Column(name="table_printed", title="Printed table"),
            Column(name="fid_printed", title="FID, printed", digits=4),
            *(_iou(f"iou_printed_{name}", f"IoU, {name}, printed", shown=False) for name in SEGMENTERS),
        ],
        rows=lines,
        findings=_middles(gains),
        note="Checkpoints are ranked by FID separately for every condition, as in the paper; rows that differ in "
        "stitching may therefore be different checkpoints. The contrasts compare the same checkpoint.",
    )


def printed_table() -> Table:
    """Return the printed Tables 3 to 11."""
    return Table(
        name="tables-3-11-printed",
        title="As printed in the paper (MitoEM, rat to human)",
        columns=[
            Column(name="table"),
            label("assembly"),
            label("stitching"),
            label("checkpoint", "By FID"),
            *(_iou(f"iou_{name}", name) for name in SEGMENTERS),
            Column(name="fid", title="FID", digits=2, places=True),
        ],
        rows=[
            [volume.table, volume.assembly, volume.stitching, volume.checkpoint, *volume.iou.values(), volume.fid]
            for volume in printed_volumes()
        ],
        note="Each column is a segmenter, named by its loss and by the metric that chose its checkpoint.",
    )


def _networks(rows: Sequence[Row]) -> list[tuple[Condition, list[Row]]]:
    return [(key, group) for key, group in conditions(rows).items() if key.kind == "network"]


def _iou(name: str, title: str, *, shown: bool = True) -> Column:
    return Column(name=name, title=title, digits=4, places=True, shown=shown)


def _printed_terms(key: Condition) -> tuple[str, str]:
    """Return assembly and stitching in the terms of the paper."""
    return ASSEMBLIES.get(key.assembly, ""), STITCHING.get(key.strategy, "")


def _name_cells(key: Condition) -> list[Cell]:
    return [key.direction, key.translator, key.assembly, key.strategy]


def _name_columns() -> list[Column]:
    return [label(name) for name in ("direction", "translator", "assembly", "strategy")]


def _training_cells(row: Row) -> list[Cell]:
    return [row.seed, row.checkpoint]


def _headline(table: int, key: Condition, row: Row, fid: str) -> list[Cell]:
    printed = {(h.assembly, h.stitching): h for h in printed_headlines(table)}.get(_printed_terms(key))
    printed_cells: list[Cell] = [printed.fid, printed.iou] if printed else [None, None]
    ious = [value if value is not None else Missing() for value in (overlap(row), _highest(row))]
    return [*_name_cells(key), of_row(row, fid), *ious, *_training_cells(row), *printed_cells]


def _headline_columns(fid: str) -> list[Column]:
    return [
        *_name_columns(),
        Column(name="fid", title=f"FID ({'/'.join(fid.split('/')[1::2])})" if fid else "FID"),
        _iou("iou", "IoU"),
        _iou("iou_highest", "IoU, highest of segmenters"),
        Column(name="seed", digits=1),
        Column(name="checkpoint", title="Epoch", digits=6),
        Column(name="fid_printed", title="FID, printed", digits=2, places=True),
        _iou("iou_printed", "IoU, printed"),
    ]


def _numbers(row: Row, names: Sequence[str], fid: str, printed: Printed | None) -> list[Cell]:
    by_name = _by_segmenter(row)
    cells: list[Cell] = [by_name.get(name, Missing()) for name in names]
    if printed is None:
        return [*cells, of_row(row, fid), *[None] * (2 + len(SEGMENTERS))]
    return [*cells, of_row(row, fid), printed.table, printed.fid, *printed.iou.values()]


def _by_segmenter(row: Row) -> dict[str, float]:
    """Return the IoU of a row by segmenter, as a mean over the segmenter's seeds."""
    by_name: dict[str, list[float]] = {}
    for name, seed in judges([row], "iou"):
        if (value := row.number(f"segmentation/{name}/{seed}/iou")) is not None:
            by_name.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in by_name.items()}


def _highest(row: Row) -> float | None:
    """Return the highest IoU of a row's segmenters; None without segmenters."""
    return max(_by_segmenter(row).values(), default=None)


def _best(rows: Sequence[Sequence[Cell]], column: int, *, lowest: bool, title: str, places: int) -> list[str]:
    findings = []
    for direction in dict.fromkeys(row[0] for row in rows):
        known = [(value, row) for row in rows if row[0] == direction and (value := number(row[column])) is not None]
        if len(known) > 1:
            value, row = (min if lowest else max)(known, key=lambda pair: pair[0])
            findings.append(f"{direction}: the best {title} is {value:.{places}f}, of {row[1]} ({row[3]}, {row[2]}).")
    return findings


def _middles(gains: Sequence[float]) -> list[str]:
    if not gains:
        return []
    won = sum(gain > 0 for gain in gains)
    return [
        f"The middle checkpoint by FID has the higher IoU in {won} of {len(gains)} conditions "
        f"(31 of 45 comparisons in the paper's tables)."
    ]
