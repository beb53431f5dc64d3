"""Tabulate which findings of the stitching paper hold in a study, with the evidence for each."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

from vol2vol.report.rows.conditions import (
    by_training,
    condition,
    conditions,
    fid_name,
    overlap,
    reference,
    roles,
    with_role,
)
from vol2vol.report.rows.rows import Row
from vol2vol.report.tables.cells import Cell, Table, label, with_interval
from vol2vol.report.tables.contrasts import ALPHA, Contrast, corrected_p
from vol2vol.report.tables.seam_table import SeamResult

HOLDS, PART, OPEN, AGAINST, REFUTED = "holds", "in part", "not shown", "the opposite", "does not hold"
UNSEEN = "no rise seen"
ENOUGH = 8
"""Minimum number of checkpoint choices for a verdict on how often FID is right."""


def claims(rows: Sequence[Row], chosen: dict[str, str], differences: Sequence[Contrast]) -> Table:
    """Return the paper's main findings (section 2.1) with this study's verdict; findings without data are left out.

    `chosen` is the role of each trial, `differences` are the study's contrasts. A difference counts if its p, corrected
    for all differences of its kind, is below 5 %. `not shown` does not prove that there is no difference.
    """
    ious = [difference for difference in differences if difference.metric == "iou"]
    signs = {id(iou): _sign(iou, p) for iou, p in zip(ious, corrected_p(ious), strict=True)}
    lines: list[list[Cell]] = [
        line
        for line in (
            _blind(rows, chosen),
            _harm(rows, chosen, ious, signs),
            _depth(ious, signs),
            _stable(rows),
            *_ortho(ious, signs),
            _ranks(rows),
            _simple(ious, signs),
        )
        if line
    ]
    return Table(
        name="claims",
        title="Findings of the stitching paper, and of this study",
        columns=[label("claim"), label("verdict", "Here"), label("evidence", "Evidence")],
        rows=lines,
        findings=[f"{line[0]}: {line[1]}." for line in lines],
    )


def _sign(difference: Contrast, p: float | None) -> int:
    """Return 1 or -1 for a difference that is more than chance, else 0."""
    value = difference.estimate.value or 0.0
    return 0 if p is None or p >= ALPHA else 1 if value > 0 else -1


def _verdict(signs: Sequence[int]) -> str:
    if all(sign > 0 for sign in signs):
        return HOLDS
    if any(sign > 0 for sign in signs):
        return f"{PART}: {sum(sign > 0 for sign in signs)} of {len(signs)}"
    return AGAINST if any(sign < 0 for sign in signs) else OPEN


def _seamed(rows: Sequence[Row], chosen: dict[str, str]) -> list[Row]:
    """Return the best checkpoints' rows in which seams were found, except those of the reference strategy."""
    best = [row for row in with_role(rows, chosen) if row.kind == "network"]
    first = {key: reference(row.strategy for row in group) for key, group in by_training(best).items()}
    return [
        row
        for key, group in by_training(best).items()
        for row in group
        if SeamResult(row).seam and row.strategy != first[key]
    ]


def _blind(rows: Sequence[Row], chosen: dict[str, str]) -> list[Cell]:
    name = f"{fid_name(rows)}/against_first"
    known = [value for row in _seamed(rows, chosen) if (value := row.values.get(name)) and value.low is not None]
    if not known:
        return []
    blind = sum((value.low or 0.0) <= 0 for value in known)
    evidence = ", ".join(with_interval(value, digits=2) for value in known[:4])
    verdict = UNSEEN if blind == len(known) else f"{PART}: {blind} of {len(known)}" if blind else REFUTED
    return ["FID does not see seams", verdict, f"FID of volumes with seams minus that of seamless ones: {evidence}"]


def _harm(rows: Sequence[Row], chosen: dict[str, str], ious: Sequence[Contrast], signs: dict[int, int]) -> list[Cell]:
    seamed = {condition(row) for row in _seamed(rows, chosen)}
    known = [iou for iou in ious if iou.family == "strategy" and iou.role == "best" and iou.second in seamed]
    if not known:
        return []
    return ["Seams cost overlap downstream", _verdict([signs[id(iou)] for iou in known]), _listed(known)]


def _depth(ious: Sequence[Contrast], signs: dict[int, int]) -> list[Cell]:
    known = [
        iou
        for iou in ious
        if iou.family == "assembly" and {iou.first.dims, iou.second.dims} == {2, 3} and "ortho" not in _assemblies(iou)
    ]
    verdict = _verdict([(1 if iou.first.dims == 3 else -1) * signs[id(iou)] for iou in known])
    return ["Seamless 3D is better than 2D downstream", verdict, _listed(known)] if known else []


def _assemblies(difference: Contrast) -> set[str]:
    return {difference.first.assembly, difference.second.assembly}


def _listed(differences: Sequence[Contrast]) -> str:
    """Return the first four differences with their intervals, in words."""
    return ", ".join(f"{difference.name} {with_interval(difference.value)}" for difference in differences[:4])


def _stable(rows: Sequence[Row]) -> list[Cell]:
    """Compare the standard deviations of FID over the checkpoints that 2D and 3D trainings share.

    Orthoslices are left out: the mean of three directions is steadier than any of them.
    """
    fid = fid_name(rows)
    courses: list[tuple[int, dict[int, float]]] = []
    for group in by_training([row for row in rows if row.kind == "network" and row.number(fid) is not None]).values():
        own = [row for row in group if row.assembly != "ortho"]
        first = reference(row.strategy for row in own)
        values = {row.checkpoint or 0: row.number(fid) or 0.0 for row in own if row.strategy == first}
        if own and own[0].dims:
            courses.append((own[0].dims, values))
    shared = set.intersection(*(set(values) for _, values in courses)) if courses else set()
    spreads: dict[int, list[float]] = {}
    for dims, values in courses:
        if len(shared) > 2:
            spreads.setdefault(dims, []).append(stdev(values[epoch] for epoch in sorted(shared)))
    if set(spreads) != {2, 3}:
        return []
    flat, deep = mean(spreads[2]), mean(spreads[3])
    count = f"{len(spreads[2])} and {len(spreads[3])} trainings"
    evidence = f"standard deviation of FID over checkpoints {flat:.2f} in 2D, {deep:.2f} in 3D; {count}, no test"
    return ["2D trains more stably than 3D", "in these numbers" if flat < deep else "not in these numbers", evidence]


def _ortho(ious: Sequence[Contrast], signs: dict[int, int]) -> list[list[Cell]]:
    """Return whether averaging three directions improves the worst and the best checkpoints."""
    lines: list[list[Cell]] = []
    for role, claim in (("worst", "Orthoslices improve bad volumes"), ("best", "Orthoslices improve good volumes")):
        known = [
            iou
            for iou in ious
            if iou.family == "assembly" and iou.role == role and _assemblies(iou) == {"ortho", "slices"}
        ]
        if known:
            verdict = _verdict([(1 if iou.first.assembly == "ortho" else -1) * signs[id(iou)] for iou in known])
            denied = " (in the paper they do not)" if role == "best" else ""
            lines.append([claim + denied, verdict, _listed(known)])
    return lines


def _ranks(rows: Sequence[Row]) -> list[Cell]:
    """Count how often the best checkpoint by FID is the best by IoU too."""
    fid = fid_name(rows)
    networks = [row for row in rows if row.kind == "network" and overlap(row) is not None]
    best = roles([row for row in rows if row.kind == "network"], fid)
    won = total = 0
    for group in by_training(networks).values():
        for same in conditions(group).values():
            if len(same) > 1 and any(best.get(row.trial) == "best" for row in same):
                total += 1
                won += best.get(max(same, key=lambda row: overlap(row) or 0.0).trial) == "best"
    evidence = f"the best FID has the best IoU in {won} of {total} conditions and trainings"
    verdict = OPEN if total < ENOUGH else HOLDS if 4 * won <= total else PART if 2 * won <= total else REFUTED
    return ["The best FID almost never has the best IoU", verdict, evidence] if total else []


def _simple(ious: Sequence[Contrast], signs: dict[int, int]) -> list[Cell]:
    """Return whether trained translations are better than simple ones, which the paper did not test."""
    known = [iou for iou in ious if iou.family == "translator" and iou.second.translator in ("histogram", "spectrum")]
    verdict = _verdict([signs[id(iou)] for iou in known])
    return (
        ["Training beats histogram and spectrum matching (not tested in the paper)", verdict, _listed(known)]
        if known
        else []
    )
