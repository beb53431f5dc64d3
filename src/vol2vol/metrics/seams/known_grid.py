"""Detect seams on a known grid: compare the planes at which tiles meet with the planes between them.

Distances between distributions do not detect a seam, which is two voxels in a hundred. Three statistics do: SGR (sharp
edges), SJE (intensity steps) and HFR (averaging), which are defined in `evidence`. Each is 1 without seams and tested
on both sides.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.intensity import Readable
from vol2vol.metrics.arrays import as_readable
from vol2vol.metrics.seams.evidence import TESTS, Evidence, PhaseLayout, gather_evidence
from vol2vol.metrics.seams.grid import AXES, BETWEEN, MOST_CELLS, Grid
from vol2vol.metrics.seams.phases import faces_p, rank_p
from vol2vol.metrics.seams.profiles import measure_profiles
from vol2vol.metrics.seams.verdicts import NAN, Equivalence, SeamReport, SeamRow, judge_together
from vol2vol.plans import Plan

SMALLEST_STEP = 8
FLAT = "fewer than two seams have varying control planes on both sides"


def seam_tests(
    volume: Readable | np.ndarray,
    grid: Grid | Plan,
    *,
    source: Readable | np.ndarray | None = None,
    guard: int = 8,
    alpha: float = 0.05,
    margin: float = 0.01,
) -> SeamReport:
    """Test a stitched volume of any size for seams on a known grid, in one pass and a few hundred MB.

    `volume` is an open volume or an array `([C,] Z, Y, X)`; `grid` is a `Grid`, or the `Plan` of its prediction. If
    `source`, the volume it was translated from, is known, SJE is conditioned on it, and all statistics are computed on
    it too, since planes of the acquisition may coincide with the grid. Controls are at least `guard` planes from a
    seam, or a quarter of the step if tiles are small. The faces of all channels are pooled.

    Raises `BadInput` on a source of another shape and on voxels that are not finite.
    """
    stitched = as_readable(volume)
    origin = None if source is None else as_readable(source)
    _check(stitched, origin, guard=guard, alpha=alpha, margin=margin)
    grid = Grid.of(grid) if isinstance(grid, Plan) else grid
    channels = slice(0, stitched.shape[0]), slice(stitched.shape[0], None)
    profiles = measure_profiles(stitched, grid.cells(stitched.spatial, MOST_CELLS), origin)
    rows: list[SeamRow] = []
    equivalence: list[Equivalence] = []
    for axis, profile in enumerate(profiles):
        size, layout = stitched.spatial[axis], None
        if not (reason := _untestable(grid, size, axis)):
            layout = _layout(grid, size, axis, guard)
        by_test = gather_evidence(profile, channels[0], layout) if layout else {}
        source_by_test = gather_evidence(profile, channels[1], layout) if layout and origin is not None else {}
        reasons = {test: layout.lacking(test) or FLAT if layout else reason for test in TESTS}
        rows += [_row(AXES[axis], test, by_test.get(test), source_by_test.get(test), reasons[test]) for test in TESTS]
        shown = _equivalence(AXES[axis], by_test.get("SGR"), margin, reasons["SGR"])
        equivalence.append(replace(shown, tiled=grid.tiled(size, axis)))
    report = SeamReport(grid=grid, margin=margin, alpha=alpha, rows=tuple(rows), equivalence=tuple(equivalence))
    return judge_together([report])[0]


def _check(volume: Readable, source: Readable | None, *, guard: int, alpha: float, margin: float) -> None:
    if guard < 1 or not 0 < alpha < 1 or not 0 < margin < 1:
        raise BadInput(f"guard {guard} must be at least 1, alpha {alpha} and margin {margin} between 0 and 1")
    if source is None:
        return
    if source.spatial != volume.spatial:
        raise BadInput(
            f"source {source.path} has {source.spatial} voxels, {volume.path} has {volume.spatial}: "
            "name the volume it was translated from, at the same resolution"
        )
    if source.shape[0] not in (1, volume.shape[0]):
        raise BadInput(
            f"source {source.path} has {source.shape[0]} channels, {volume.path} has {volume.shape[0]}: "
            "use a source with one channel or as many"
        )


def _untestable(grid: Grid, size: int, axis: int) -> str:
    """Return why an axis cannot be tested; empty if it can."""
    step = grid.step[axis]
    if size > 1 and step == 1:
        return "every plane is a tile of its own, so that there are no control planes between seams"
    if step == BETWEEN:
        return (
            "tiles meet between its planes, because the axis was stretched for the network by a factor that is not a "
            "whole number"
        )
    if (number := len(grid.borders(size, axis))) < 2:
        return f"{number} seams on {size} voxels: at least two are needed"
    if step < SMALLEST_STEP:
        return f"tiles of {step} voxels leave no control planes: at least {SMALLEST_STEP} are needed"
    return ""


def _layout(grid: Grid, size: int, axis: int, guard: int) -> PhaseLayout:
    """Return the layout of the seams; the guard shrinks until enough control planes, a quarter of all, are left."""
    step, overlap = grid.step[axis], grid.overlap[axis]
    layout = PhaseLayout(
        borders=grid.borders(size, axis),
        step=step,
        overlap=overlap,
        guard=min(guard, step // 4),
        period=grid.period[axis],
    )
    while layout.guard > 1 and (4 * layout.away("SGR").sum() < step or layout.lacking("SGR")):
        layout = replace(layout, guard=layout.guard - 1)
    return layout


def _row(axis: str, test: str, evidence: Evidence | None, source: Evidence | None, reason: str) -> SeamRow:
    """Return a row without corrected p and verdict; `reason` tells why there is no evidence."""
    if evidence is None:
        return SeamRow(axis=axis, test=test, verdict="not tested", reason=reason)
    result = evidence.contrast
    low, high = evidence.interval()
    row = SeamRow(
        axis=axis,
        test=test,
        verdict="none found",
        statistic=evidence.statistic,
        low=low,
        high=high,
        z=result.z,
        p=result.p,
        p_phase=rank_p(evidence.profile, evidence.controls),
        p_faces=faces_p(evidence.faces, evidence.controls),
        planes=len(evidence.planes),
        faces=int(np.isfinite(evidence.ratios).sum()),
        controls=int(evidence.controls.sum()),
        profile=tuple(np.roll(evidence.profile, -(evidence.profile.size // 2)).tolist()),
    )
    if source is None:
        return row
    same = source.planes.shape == evidence.planes.shape
    beyond = replace(evidence, planes=evidence.planes - source.planes).contrast.p if same else NAN
    return replace(row, source=source.statistic, source_p=source.contrast.p, p_beyond_source=beyond)


def _equivalence(axis: str, evidence: Evidence | None, margin: float, reason: str) -> Equivalence:
    """Test whether SGR lies between 1 - margin and 1 + margin."""
    if evidence is None:
        return Equivalence(axis=axis, seam_free="not tested", reason=reason)
    result = evidence.contrast
    bottom, top = math.log(1 - margin), math.log(1 + margin)
    low, high = (math.exp(bound) for bound in result.interval(0.90))
    p = max(result.beyond(bottom), 1 - result.beyond(top))
    outside = min(1 - result.beyond(bottom), result.beyond(top))
    if p < 0.05 or outside < 0.05:
        return Equivalence(axis=axis, seam_free="yes" if p < 0.05 else "no", low=low, high=high, p=p)
    faces = int(np.isfinite(evidence.ratios).sum())
    reason = f"too few faces: {faces} on {len(evidence.planes)} planes leave SGR between {low:.4f} and {high:.4f}"
    return Equivalence(axis=axis, seam_free="undecided", low=low, high=high, p=p, reason=reason)
