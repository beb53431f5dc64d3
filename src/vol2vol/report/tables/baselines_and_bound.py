"""Compare how well the target's segmenters segment untranslated, simply translated and translated volumes."""

from __future__ import annotations

from collections.abc import Sequence

from vol2vol.report.rows.conditions import IDENTITY, Condition, conditions, fid_name, judges, overlap, with_role
from vol2vol.report.rows.rows import Row
from vol2vol.report.rows.wording import MISSING
from vol2vol.report.statistics.estimates import Estimate, Judged
from vol2vol.report.tables.cells import Cell, Column, Missing, Table, label, mean_cell, number, percent, with_interval

SHARES = {"iou": "IoU", "auprc": "AUPRC"}


def baselines_and_bound(rows: Sequence[Row], judged: Judged, roles: dict[str, str]) -> Table:
    """Return the overlap of every condition with its interval, and the fraction of the gap to in-domain that it closes.

    Gap closed is (IoU - untranslated) / (in-domain - untranslated), computed draw by draw: below 0 the translation is
    worse than none, above 1 it is better than a segmenter of the source domain. It is missing if there is no gap.
    """
    fid = fid_name(rows)
    lines, findings = [], []
    every = conditions(with_role(rows, roles))
    for direction in dict.fromkeys(key.direction for key in every):
        groups = {key: group for key, group in every.items() if key.direction == direction}
        ends = _ends(groups, judged)
        shown = {key: _overlaps(group, judged, ends) for key, group in groups.items()}
        if all(number(cells["iou"]) is None for cells in shown.values()):
            continue
        for key, group in groups.items():
            best = [row_iou for row in group if (row_iou := overlap(row, "iou_at_best")) is not None]
            cells: list[Cell] = [sum(best) / len(best) if best else Missing(), mean_cell(group, fid)]
            lines.append([direction, key.name, key.kind, *_seeds(group), *shown[key].values(), *cells])
        findings += _read(direction, shown)
    return Table(
        name="baselines-and-bound",
        title="Overlap with the truth: untranslated, simple and trained translations, and the upper bound",
        columns=[
            label("direction"),
            label("condition"),
            Column(name="kind", words=True, shown=False),
            label("seeds", "Seeds (trained, segmenters)"),
            *(Column(name=name, title=title, places=True) for name, title in SHARES.items()),
            Column(name="gap_closed", title="Gap closed (IoU)", digits=2, places=True),
            Column(name="iou_at_best_threshold", title="IoU, best threshold", places=True),
            Column(name="fid", title="FID"),
        ],
        rows=lines,
        findings=findings,
        note="Trained networks are shown at their best checkpoint by the study's first rule, which is named above. "
        "95 % intervals resample blocks of the volume, and seeds if there are two or more; with two or three seeds "
        "they are too narrow. A closed gap of 0 equals the untranslated volume, 1 the in-domain bound. The best "
        "threshold is chosen with the truth and shows how much of a loss is due to calibration.",
    )


def _ends(groups: dict[Condition, list[Row]], judged: Judged) -> tuple[Estimate, Estimate]:
    """Return the IoU of the untranslated source and of the in-domain bound."""
    lowest = [row for key, group in groups.items() if key.translator == IDENTITY for row in group]
    highest = [row for key, group in groups.items() if key.kind == "bound" for row in group]
    return judged.pooled(lowest, "iou"), judged.pooled(highest, "iou")


def _overlaps(group: list[Row], judged: Judged, ends: tuple[Estimate, Estimate]) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for metric in SHARES:
        estimate = judged.pooled(group, metric)
        cells[metric] = estimate.interval() if estimate.value is not None else Missing(_why(group, metric))
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
        sure = ((high - low).interval().low or 0.0) > 0  # otherwise draws of the ratio pass through infinity
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
    """Return a sentence on the best trained translation and the best baseline of a direction."""
    findings = []
    for kind, title in (("network", "the best trained translation"), ("baseline", "the best simple translation")):
        known = {
            key: value
            for key, cells in shown.items()
            if key.kind == kind and key.translator != IDENTITY and (value := number(cells["iou"])) is not None
        }
        if known:
            best = max(known, key=lambda key: known[key])
            share = number(shown[best]["gap_closed"])
            closed = f", which closes {percent(share)} of the gap to in-domain" if share is not None else ""
            cell = shown[best]["iou"]
            findings.append(f"{title}, {best.name}, reaches IoU {with_interval(cell, signed=False)}{closed}")  # type: ignore[arg-type]
    ends = {key.name: with_interval(cells["iou"], signed=False) for key, cells in shown.items() if _is_end(key, cells)}  # type: ignore[arg-type]
    known_ends = ", ".join(f"{name} {value}" for name, value in ends.items())
    parts = [known_ends, *findings] if known_ends else findings
    return [f"{direction}: {'; '.join(parts)}."] if parts else []


def _is_end(key: Condition, cells: dict[str, Cell]) -> bool:
    return number(cells["iou"]) is not None and (key.kind == "bound" or key.translator == IDENTITY)
