"""Tables 1, 2 and 3 to 11 of the stitching paper, from one's own rows, with the printed ones beside."""

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
    """Return Tables 1, 2 and 3 to 11 of done rows, and the printed ones beside where there are any of these."""
    tables = [by_fid(rows), by_iou(rows), by_checkpoint(rows)]
    return [*tables, printed_beside()] if any(map(bool, tables)) else []


def by_fid(rows: Sequence[Row]) -> Table:
    """Return Table 1: of every condition the best volume by FID, its IoU beside.

    Of all checkpoints and seeds of a condition, as in section 5.1 of the paper, whether segmented or not.
    """
    fid = fid_name(rows)
    found = []
    for one, group in _networks(rows):
        known = [row for row in group if row.number(fid) is not None]
        if known:
            found.append(_headline(1, one, pick(known, fid)["best"], fid))
    return Table(
        name="table-1",
        title="Table 1. The best volume of every condition by FID",
        columns=_headline_columns(fid),
        rows=found,
        findings=_best(found, 4, lowest=True, what="FID", places=2),
        note="IoU is the mean over segmenters and their seeds; beside it is the highest of the segmenters, over whose "
        "seeds it is the mean, which is what the paper prints of five. "
        f"Printed numbers are of other data (MitoEM, rat to human; {UNTRANSLATED:.2f} untranslated) and no yardstick.",
    )


def by_iou(rows: Sequence[Row]) -> Table:
    """Return Table 2: of every condition the best volume by IoU, its FID beside.

    The volume is chosen, as in the paper, by the highest IoU of its segmenters; the mean over them stands beside.
    """
    fid = fid_name(rows)
    found = []
    for one, group in _networks(rows):
        known = [(value, row) for row in group if (value := _highest(row)) is not None]
        if known:
            found.append(_headline(2, one, max(known, key=lambda pair: pair[0])[1], fid))
    return Table(
        name="table-2",
        title="Table 2. The best volume of every condition by IoU",
        columns=_headline_columns(fid),
        rows=found,
        findings=_best(found, 6, lowest=False, what="IoU", places=4),
        note="Chosen by the truth, which nobody has who needs a translation: an upper bound of what choosing "
        "checkpoints can give, and not a result.",
    )


def by_checkpoint(rows: Sequence[Row]) -> Table:
    """Return Tables 3 to 11: best, middle and worst volume of every condition by FID, IoU by each segmenter.

    Among segmented volumes of all seeds. One volume stands once, for the best that it is. Columns that end in
    `printed` are the paper's, of the table with the same assembly and stitching.
    """
    fid, printed = fid_name(rows), {(one.condition, one.checkpoint): one for one in printed_volumes()}
    names = list(dict.fromkeys(name for name, _ in judges(rows, "iou")))
    found: list[list[Cell]] = []
    gains = []
    for one, group in _networks(rows):
        known = [row for row in group if row.number(fid) is not None and overlap(row) is not None]
        picked = pick(known, fid) if known else {}
        shown = dict.fromkeys(row.trial for row in picked.values())
        for role in ROLES:
            if role in picked and picked[role].trial in shown:
                del shown[picked[role].trial]
                beside = printed.get((_words(one), role))
                found.append([*_named(one), role, *_trained(picked[role]), *_numbers(picked[role], names, fid, beside)])
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
        rows=found,
        findings=_middles(gains),
        note="Checkpoints are ranked by FID for every condition by itself, as in the paper: rows of different "
        "stitching may be different checkpoints. The contrasts below compare the same checkpoint.",
    )


def printed_beside() -> Table:
    """Return the printed Tables 3 to 11, for the page that shows one's own."""
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
            [one.table, one.assembly, one.stitching, one.checkpoint, *one.iou.values(), one.fid]
            for one in printed_volumes()
        ],
        note="Columns are segmenters: loss / what their checkpoint was chosen by.",
    )


def _networks(rows: Sequence[Row]) -> list[tuple[Condition, list[Row]]]:
    return [(one, group) for one, group in conditions(rows).items() if one.kind == "network"]


def _iou(name: str, title: str, *, shown: bool = True) -> Column:
    return Column(name=name, title=title, digits=4, places=True, shown=shown)


def _words(one: Condition) -> tuple[str, str]:
    return ASSEMBLIES.get(one.assembly, ""), STITCHING.get(one.strategy, "")


def _named(one: Condition) -> list[Cell]:
    return [one.direction, one.translator, one.assembly, one.strategy]


def _name_columns() -> list[Column]:
    return [label(name) for name in ("direction", "translator", "assembly", "strategy")]


def _trained(row: Row) -> list[Cell]:
    return [row.seed, row.checkpoint]


def _headline(table: int, one: Condition, row: Row, fid: str) -> list[Cell]:
    printed = {(h.assembly, h.stitching): h for h in printed_headlines(table)}.get(_words(one))
    beside: list[Cell] = [printed.fid, printed.iou] if printed else [None, None]
    ious = [value if value is not None else Missing() for value in (overlap(row), _highest(row))]
    return [*_named(one), of_row(row, fid), *ious, *_trained(row), *beside]


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


def _numbers(row: Row, names: Sequence[str], fid: str, beside: Printed | None) -> list[Cell]:
    by_name = _by_segmenter(row)
    cells: list[Cell] = [by_name.get(name, Missing()) for name in names]
    printed: list[Cell] = [beside.table, beside.fid, *beside.iou.values()] if beside else [None] * (2 + len(SEGMENTERS))
    return [*cells, of_row(row, fid), *printed]


def _by_segmenter(row: Row) -> dict[str, float]:
    """Return the IoU of a row by segmenter, mean over its seeds."""
    found: dict[str, list[float]] = {}
    for name, seed in judges([row], "iou"):
        if (value := row.number(f"segmentation/{name}/{seed}/iou")) is not None:
            found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def _highest(row: Row) -> float | None:
    """Return the IoU of the segmenter that finds most, None where none was asked."""
    return max(_by_segmenter(row).values(), default=None)


def _best(rows: Sequence[Sequence[Cell]], column: int, *, lowest: bool, what: str, places: int) -> list[str]:
    found = []
    for direction in dict.fromkeys(row[0] for row in rows):
        known = [(value, row) for row in rows if row[0] == direction and (value := number(row[column])) is not None]
        if len(known) > 1:
            value, row = (min if lowest else max)(known, key=lambda pair: pair[0])
            found.append(f"{direction}: the best {what} is {value:.{places}f}, of {row[1]} ({row[3]}, {row[2]}).")
    return found


def _middles(gains: Sequence[float]) -> list[str]:
    if not gains:
        return []
    won = sum(gain > 0 for gain in gains)
    return [
        f"The middle checkpoint by FID has the higher IoU in {won} of {len(gains)} conditions "
        f"(31 of 45 comparisons in the paper's tables)."
    ]
