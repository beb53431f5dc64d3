"""Find seams: compare the planes at which tiles meet with the planes between them.

Distances between distributions do not see a seam; it is two voxels in a hundred. Three statistics do: SGR (sharp
edges), SJE (steps of tone) and HFR (averaging), defined in `evidence`. Each is 1 without seams and two-sided.
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
FLAT = "fewer than two seams have planes with variation on both sides to compare with"


def seam_tests(
    volume: Readable | np.ndarray,
    grid: Grid | Plan,
    *,
    source: Readable | np.ndarray | None = None,
    guard: int = 8,
    alpha: float = 0.05,
    margin: float = 0.01,
) -> SeamReport:
    """Test a stitched volume for seams on a known grid, in one pass and a few hundred MB whatever its size.

    `volume` is an open volume or an array `([C,] Z, Y, X)`; `grid` a `Grid` or the `Plan` it was predicted with. With
    the `source` it was translated from, steps of tone are conditioned on it and every statistic is computed on it too,
    since planes of acquisition may coincide with the grid. Controls are at least `guard` planes from a seam (a
    quarter of the step where tiles are small). The channels' faces are pooled.

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
        found = gather_evidence(profile, channels[0], layout) if layout else {}
        beside = gather_evidence(profile, channels[1], layout) if layout and origin is not None else {}
        reasons = {test: layout.lacking(test) or FLAT if layout else reason for test in TESTS}
        rows += [_row(AXES[axis], test, found.get(test), beside.get(test), reasons[test]) for test in TESTS]
        shown = _equivalence(AXES[axis], found.get("SGR"), margin, reasons["SGR"])
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
    """Say why an axis cannot be tested, or nothing."""
    step = grid.step[axis]
    if size > 1 and step == 1:
        return "every plane is a tile of its own: there are no planes between seams to compare with"
    if step == BETWEEN:
        return (
            "tiles meet between its planes, as it was stretched for the network by a factor that does not divide them"
        )
    if (number := len(grid.borders(size, axis))) < 2:
        return f"{number} seams on {size} voxels: at least two are needed"
    if step < SMALLEST_STEP:
        return f"tiles of {step} voxels leave no planes to compare with: at least {SMALLEST_STEP} are needed"
    return ""


def _layout(grid: Grid, size: int, axis: int, guard: int) -> PhaseLayout:
    """Return where the seams are; the guard shrinks where less than a quarter of the planes are left, or too few."""
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


def _row(axis: str, test: str, found: Evidence | None, source: Evidence | None, reason: str) -> SeamRow:
    """Return a row without correction and verdict; the reason is that of a test for which nothing was found."""
    if found is None:
        return SeamRow(axis=axis, test=test, verdict="not tested", reason=reason)
    result = found.contrast
    low, high = found.interval()
    row = SeamRow(
        axis=axis,
        test=test,
        verdict="none found",
        statistic=found.statistic,
        low=low,
        high=high,
        z=result.z,
        p=result.p,
        p_phase=rank_p(found.profile, found.controls),
        p_faces=faces_p(found.faces, found.controls),
        planes=len(found.planes),
        faces=int(np.isfinite(found.ratios).sum()),
        controls=int(found.controls.sum()),
        profile=tuple(np.roll(found.profile, -(found.profile.size // 2)).tolist()),
    )
    if source is None:
        return row
    same = source.planes.shape == found.planes.shape
    beyond = replace(found, planes=found.planes - source.planes).contrast.p if same else NAN
    return replace(row, source=source.statistic, source_p=source.contrast.p, p_beyond_source=beyond)


def _equivalence(axis: str, found: Evidence | None, margin: float, reason: str) -> Equivalence:
    """Test whether SGR lies within 1 - margin and 1 + margin."""
    if found is None:
        return Equivalence(axis=axis, seam_free="not tested", reason=reason)
    result = found.contrast
    bottom, top = math.log(1 - margin), math.log(1 + margin)
    low, high = (math.exp(bound) for bound in result.interval(0.90))
    p = max(result.beyond(bottom), 1 - result.beyond(top))
    outside = min(1 - result.beyond(bottom), result.beyond(top))
    if p < 0.05 or outside < 0.05:
        return Equivalence(axis=axis, seam_free="yes" if p < 0.05 else "no", low=low, high=high, p=p)
    faces = int(np.isfinite(found.ratios).sum())
    reason = f"too few faces: {faces} on {len(found.planes)} planes leave SGR between {low:.4f} and {high:.4f}"
    return Equivalence(axis=axis, seam_free="undecided", low=low, high=high, p=p, reason=reason)
