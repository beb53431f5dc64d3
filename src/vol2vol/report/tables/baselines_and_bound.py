"""The ladder: what a segmenter of the target makes of the source untranslated, by simple means, and translated."""

from __future__ import annotations

from collections.abc import Sequence

from vol2vol.report.rows.conditions import IDENTITY, Condition, conditions, fid_name, judges, overlap, with_role
from vol2vol.report.rows.rows import Row
from vol2vol.report.rows.wording import MISSING
from vol2vol.report.statistics.estimates import Estimate, Judged
from vol2vol.report.tables.cells import Cell, Column, Missing, Table, label, mean_cell, number, percent, said

SHARES = {"iou": "IoU", "auprc": "AUPRC"}


def ladder(rows: Sequence[Row], judged: Judged, roles: dict[str, str]) -> Table:
    """Return overlap of every rung, with intervals, and the gap that each closes between untranslated and in-domain.

    Gap closed is (IoU - untranslated) / (in-domain - untranslated), draw by draw: below 0 the translation does harm,
    above 1 it does better than a segmenter of the source's own domain. None where there is no gap.
    """
    fid = fid_name(rows)
    found, findings = [], []
    sorted_rows = conditions(with_role(rows, roles))
    for direction in dict.fromkeys(one.direction for one in sorted_rows):
        rungs = {one: group for one, group in sorted_rows.items() if one.direction == direction}
        ends = _ends(rungs, judged)
        shown = {one: _rung(group, judged, ends) for one, group in rungs.items()}
        if all(number(cells["iou"]) is None for cells in shown.values()):
            continue
        for one, group in rungs.items():
            best = [row_iou for row in group if (row_iou := overlap(row, "iou_at_best")) is not None]
            cells: list[Cell] = [sum(best) / len(best) if best else Missing(), mean_cell(group, fid)]
            found.append([direction, one.name, one.kind, *_seeds(group), *shown[one].values(), *cells])
        findings += _read(direction, shown)
    return Table(
        name="ladder",
        title="The ladder: overlap with the truth, from nothing to the segmenter's own domain",
        columns=[
            label("direction"),
            label("rung"),
            Column(name="kind", words=True, shown=False),
            label("seeds", "Seeds (trained, segmenters)"),
            *(Column(name=name, title=title, places=True) for name, title in SHARES.items()),
            Column(name="gap_closed", title="Gap closed (IoU)", digits=2, places=True),
            Column(name="iou_at_best_threshold", title="IoU, best threshold", places=True),
            Column(name="fid", title="FID"),
        ],
        rows=found,
        findings=findings,
        note="Of trained networks the best checkpoint by the study's first rule, which is named above. Intervals of "
        "95 % resample blocks of the volume, and seeds where there are two or more; two or three seeds give intervals "
        "that are too narrow. Gap closed: 0 is untranslated, 1 in-domain. The best threshold is chosen by the truth: "
        "it shows how much of a loss is one of calibration.",
    )


def _ends(rungs: dict[Condition, list[Row]], judged: Judged) -> tuple[Estimate, Estimate]:
    """Return IoU untranslated and in-domain."""
    lowest = [row for one, group in rungs.items() if one.translator == IDENTITY for row in group]
    highest = [row for one, group in rungs.items() if one.kind == "bound" for row in group]
    return judged.pooled(lowest, "iou"), judged.pooled(highest, "iou")


def _rung(group: list[Row], judged: Judged, ends: tuple[Estimate, Estimate]) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for metric in SHARES:
        found = judged.pooled(group, metric)
        cells[metric] = found.interval() if found.value is not None else Missing(_why(group, metric))
    low, high = ends
    own = judged.pooled(group, "iou")
    if own.value is None or low.value is None or high.value is None:
        cells["gap_closed"] = Missing("no untranslated or in-domain volume was segmented")
    elif high.value <= low.value:
        cells["gap_closed"] = Missing("in-domain is no better than untranslated: there is no gap")
    elif own.value in (low.value, high.value):
        cells["gap_closed"] = float(own.value == high.value)
    else:
        share = ((own - low) / (high - low)).interval()
        sure = ((high - low).interval().low or 0.0) > 0  # else the ratio's draws go through infinity
        cells["gap_closed"] = share if sure else share.value
    return cells


def _why(group: list[Row], metric: str) -> str:
    if not judges(group, metric):
        return "not segmented"
    notes = [note for row in group for name, note in row.notes.items() if name.endswith(f"/{metric}")]
    return notes[0] if notes else "not defined"


def _seeds(group: list[Row]) -> list[Cell]:
    trained = len({row.seed for row in group if row.kind == "network"})
    segmenters = len(judges(group, "iou"))
    return [f"{trained or MISSING}, {segmenters or MISSING}"]


def _read(direction: str, shown: dict[Condition, dict[str, Cell]]) -> list[str]:
    """Say which translation closes most of the gap, and what the best baseline does."""
    found = []
    for kind, what in (("network", "the best trained translation"), ("baseline", "the best simple one")):
        known = {
            one: value
            for one, cells in shown.items()
            if one.kind == kind and one.translator != IDENTITY and (value := number(cells["iou"])) is not None
        }
        if known:
            best = max(known, key=lambda one: known[one])
            share = number(shown[best]["gap_closed"])
            closed = f", which closes {percent(share)} of the gap to in-domain" if share is not None else ""
            cell = shown[best]["iou"]
            found.append(f"{what}, {best.name}, comes to IoU {said(cell, signed=False)}{closed}")  # type: ignore[arg-type]
    ends = {one.name: said(cells["iou"], signed=False) for one, cells in shown.items() if _is_end(one, cells)}  # type: ignore[arg-type]
    started = ", ".join(f"{name} {value}" for name, value in ends.items())
    return [f"{direction}: {'; '.join([started, *found] if started else found)}."] if found or started else []


def _is_end(one: Condition, cells: dict[str, Cell]) -> bool:
    return number(cells["iou"]) is not None and (one.kind == "bound" or one.translator == IDENTITY)
