"""Which findings of the stitching paper hold in a study: one line each, and what it rests on."""

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
from vol2vol.report.tables.cells import Cell, Table, label, said
from vol2vol.report.tables.contrasts import ALPHA, Contrast, corrected_p
from vol2vol.report.tables.seam_table import Found

HOLDS, PART, OPEN, AGAINST, REFUTED = "holds", "in part", "not shown", "the opposite", "does not hold"
UNSEEN = "no rise seen"
ENOUGH = 8
"""Choices of a checkpoint from which on it says something how often FID was right."""


def claims(rows: Sequence[Row], chosen: dict[str, str], found: Sequence[Contrast]) -> Table:
    """Return the paper's main findings (section 2.1) with what this study says of each; what it cannot say is left out.

    A difference counts where its p, corrected for all of its kind, is below 5 %. `not shown` is no proof that there is
    none.
    """
    ious = [one for one in found if one.metric == "iou"]
    sure = dict(zip(map(id, ious), corrected_p(ious), strict=True))
    judged = {id(one): _sign(one, sure[id(one)]) for one in ious}
    lines: list[list[Cell]] = [
        line
        for line in (
            _blind(rows, chosen),
            _harm(rows, chosen, ious, judged),
            _depth(ious, judged),
            _stable(rows),
            *_ortho(ious, judged),
            _ranks(rows),
            _simple(ious, judged),
        )
        if line
    ]
    return Table(
        name="claims",
        title="The stitching paper's findings, and this study's",
        columns=[label("claim"), label("verdict", "Here"), label("evidence", "What it rests on")],
        rows=lines,
        findings=[f"{line[0]}: {line[1]}." for line in lines],
    )


def _sign(one: Contrast, p: float | None) -> int:
    """Return 1 or -1 for a difference that is more than chance, else 0."""
    value = one.found.value or 0.0
    return 0 if p is None or p >= ALPHA else 1 if value > 0 else -1


def _verdict(signs: Sequence[int]) -> str:
    if all(sign > 0 for sign in signs):
        return HOLDS
    if any(sign > 0 for sign in signs):
        return f"{PART}: {sum(sign > 0 for sign in signs)} of {len(signs)}"
    return AGAINST if any(sign < 0 for sign in signs) else OPEN


def _seamed(rows: Sequence[Row], chosen: dict[str, str]) -> list[Row]:
    """Return the best checkpoints' volumes in which seams were found, of strategies that are compared with another."""
    best = [row for row in with_role(rows, chosen) if row.kind == "network"]
    first = {key: reference(row.strategy for row in group) for key, group in by_training(best).items()}
    return [
        row
        for key, group in by_training(best).items()
        for row in group
        if Found(row).seam and row.strategy != first[key]
    ]


def _blind(rows: Sequence[Row], chosen: dict[str, str]) -> list[Cell]:
    name = f"{fid_name(rows)}/against_first"
    known = [value for row in _seamed(rows, chosen) if (value := row.values.get(name)) and value.low is not None]
    if not known:
        return []
    blind = sum((value.low or 0.0) <= 0 for value in known)
    told = ", ".join(said(value, digits=2) for value in known[:4])
    verdict = UNSEEN if blind == len(known) else f"{PART}: {blind} of {len(known)}" if blind else REFUTED
    return ["FID does not see seams", verdict, f"FID of volumes with seams minus that of seamless ones: {told}"]


def _harm(rows: Sequence[Row], chosen: dict[str, str], ious: Sequence[Contrast], judged: dict[int, int]) -> list[Cell]:
    seamed = {condition(row) for row in _seamed(rows, chosen)}
    known = [one for one in ious if one.family == "strategy" and one.role == "best" and one.second in seamed]
    if not known:
        return []
    told = ", ".join(f"{one.name} {said(one.value)}" for one in known[:4])
    return ["Seams cost overlap downstream", _verdict([judged[id(one)] for one in known]), told]


def _depth(ious: Sequence[Contrast], judged: dict[int, int]) -> list[Cell]:
    signs, told = [], []
    for one in ious:
        if one.family == "assembly" and {one.first.dims, one.second.dims} == {2, 3} and "ortho" not in _ways(one):
            flip = 1 if one.first.dims == 3 else -1
            signs.append(flip * judged[id(one)])
            told.append(f"{one.name} {said(one.value)}")
    return ["Seamless 3D is better than 2D downstream", _verdict(signs), ", ".join(told[:4])] if signs else []


def _ways(one: Contrast) -> set[str]:
    return {one.first.assembly, one.second.assembly}


def _stable(rows: Sequence[Row]) -> list[Cell]:
    """Compare how much FID varies from checkpoint to checkpoint, by standard deviations over those that both have.

    Of what a network makes by itself: the mean of three directions is steadier than any of them.
    """
    fid = fid_name(rows)
    seen: list[tuple[int, dict[int, float]]] = []
    for group in by_training([row for row in rows if row.kind == "network" and row.number(fid) is not None]).values():
        own = [row for row in group if row.assembly != "ortho"]
        first = reference(row.strategy for row in own)
        values = {row.checkpoint or 0: row.number(fid) or 0.0 for row in own if row.strategy == first}
        if own and own[0].dims:
            seen.append((own[0].dims, values))
    shared = set.intersection(*(set(values) for _, values in seen)) if seen else set()
    spreads: dict[int, list[float]] = {}
    for dims, values in seen:
        if len(shared) > 2:
            spreads.setdefault(dims, []).append(stdev(values[epoch] for epoch in sorted(shared)))
    if set(spreads) != {2, 3}:
        return []
    flat, deep = mean(spreads[2]), mean(spreads[3])
    count = f"{len(spreads[2])} and {len(spreads[3])} trainings"
    told = f"standard deviation of FID over checkpoints {flat:.2f} in 2D, {deep:.2f} in 3D; {count}, no test"
    return ["2D trains more stably than 3D", "in these numbers" if flat < deep else "not in these numbers", told]


def _ortho(ious: Sequence[Contrast], judged: dict[int, int]) -> list[list[Cell]]:
    """Say whether averaging three directions helps the worst and the best checkpoints."""
    lines: list[list[Cell]] = []
    for role, claim in (("worst", "Orthoslices improve bad volumes"), ("best", "Orthoslices improve good volumes")):
        known = [
            one for one in ious if one.family == "assembly" and one.role == role and _ways(one) == {"ortho", "slices"}
        ]
        if known:
            flips = [1 if one.first.assembly == "ortho" else -1 for one in known]
            verdict = _verdict([flip * judged[id(one)] for flip, one in zip(flips, known, strict=True)])
            denied = " (the paper: they do not)" if role == "best" else ""
            told = ", ".join(f"{one.name} {said(one.value)}" for one in known[:4])
            lines.append([claim + denied, verdict, told])
    return lines


def _ranks(rows: Sequence[Row]) -> list[Cell]:
    """Count how often the best checkpoint by FID is the best by IoU too."""
    fid = fid_name(rows)
    networks = [row for row in rows if row.kind == "network" and overlap(row) is not None]
    best = roles([row for row in rows if row.kind == "network"], fid)
    won = of = 0
    for group in by_training(networks).values():
        for same in conditions(group).values():
            if len(same) > 1 and any(best.get(row.trial) == "best" for row in same):
                of += 1
                won += best.get(max(same, key=lambda row: overlap(row) or 0.0).trial) == "best"
    told = f"it has in {won} of {of} conditions and trainings"
    verdict = OPEN if of < ENOUGH else HOLDS if 4 * won <= of else PART if 2 * won <= of else REFUTED
    return ["The best FID almost never has the best IoU", verdict, told] if of else []


def _simple(ious: Sequence[Contrast], judged: dict[int, int]) -> list[Cell]:
    """Say what the paper did not ask: whether a trained translation beats a filter."""
    known = [one for one in ious if one.family == "translator" and one.second.translator in ("histogram", "spectrum")]
    told = ", ".join(f"{one.name} {said(one.value)}" for one in known[:4])
    verdict = _verdict([judged[id(one)] for one in known])
    return ["Training beats histogram and spectrum matching (not asked there)", verdict, told] if known else []
