"""Find seams: compare the planes at which tiles meet with the planes between them.

Distances between distributions do not see a seam; it is two voxels in a hundred. Three statistics do: SGR (sharp
edges), SJE (steps of tone) and HFR (averaging), defined in `evidence`. Each is 1 without seams and two-sided.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.intensity import Readable
from vol2vol.metrics.evidence import TESTS, Evidence, Layout, gather_evidence
from vol2vol.metrics.grid import AXES, MOST_CELLS, Grid
from vol2vol.metrics.phases import faces_p, holm, rank_p
from vol2vol.metrics.profiles import measure_profiles
from vol2vol.metrics.readable import as_readable
from vol2vol.plans import Plan

Verdict = Literal["seam", "in the source too", "none found", "not tested"]
Equivalent = Literal["yes", "no", "undecided", "not tested"]
SMALLEST_STEP = 8
FLAT = "fewer than two seams have planes with variation on both sides to compare with"
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class SeamRow:
    """One test on one axis; numbers are NaN where it was not tested."""

    axis: str
    test: str
    """`SGR` sharp seams, `SJE` steps of tone, `HFR` averaging."""
    verdict: Verdict
    reason: str = ""
    """Why it was not tested."""
    statistic: float = NAN
    """1 without seams."""
    low: float = NAN
    high: float = NAN
    """95 % interval over planes, as `p`: leaves 1 out where `p` is below 0.05."""
    z: float = NAN
    """Seam planes against control planes, in standard errors over whole planes."""
    p: float = NAN
    """Two-sided Student p of `z`: plane level, valid also where whole planes differ; the one that decides."""
    p_corrected: float = NAN
    """`p` after Holm over all axes and tests."""
    p_phase: float = NAN
    """Phase-permutation p: free of distributions, never below 1 / (1 + controls)."""
    p_faces: float = NAN
    """Signed-rank p over faces: sharpest, valid where faces are independent."""
    planes: int = 0
    """Seams across the axis."""
    faces: int = 0
    controls: int = 0
    """Phases compared with."""
    source: float = NAN
    """The statistic on the source, at the same planes."""
    source_p: float = NAN
    p_beyond_source: float = NAN
    """Two-sided Student p of the difference to the source."""
    profile: tuple[float, ...] = ()
    """The statistic with the grid shifted by phi = 0 .. step - 1 planes: a flat line at 1 is seamless.

    Where planes are compared less those half a tile before, a seam shows upside down at step // 2 too.
    """


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """Whether SGR of an axis is shown to lie within the margin: two one-sided tests at 5 % (Schuirmann 1987)."""

    axis: str
    seam_free: Equivalent
    low: float = NAN
    high: float = NAN
    """90 % interval of SGR over planes; inside the margin means yes, outside means no."""
    p: float = NAN
    """The larger of the two one-sided p."""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class SeamReport:
    """What the seam tests found; `verdict` sums it up."""

    grid: Grid
    margin: float
    alpha: float
    rows: tuple[SeamRow, ...]
    equivalence: tuple[Equivalence, ...]

    @property
    def verdict(self) -> str:
        """`seams`, `seam-free within 1 %`, `undecided` or `not tested`."""
        states = {e.seam_free for e in self.equivalence} - {"not tested"}
        if any(row.verdict == "seam" for row in self.rows):
            return "seams"
        if not states:
            return "not tested"
        return f"seam-free within {100 * self.margin:g} %" if states == {"yes"} else "undecided"

    def row(self, axis: str, test: str) -> SeamRow:
        """Return one row, such as `row("z", "SGR")`."""
        return next(row for row in self.rows if (row.axis, row.test) == (axis, test))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, None for what is not a finite number."""
        return _plain(asdict(self) | {"verdict": self.verdict})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
        reason = _untestable(grid, stitched.spatial[axis], axis)
        found: dict[str, Evidence] = {}
        beside: dict[str, Evidence] = {}
        reasons = dict.fromkeys(TESTS, reason)
        if not reason:
            layout = _layout(grid, stitched.spatial[axis], axis, guard)
            reasons = {test: layout.lacking(test) or FLAT for test in TESTS}
            found = gather_evidence(profile, channels[0], layout)
            beside = gather_evidence(profile, channels[1], layout) if origin is not None else {}
        rows += [_row(AXES[axis], test, found.get(test), beside.get(test), reasons[test]) for test in TESTS]
        equivalence.append(_equivalence(AXES[axis], found.get("SGR"), margin, rows[-3].reason))
    return SeamReport(grid=grid, margin=margin, alpha=alpha, rows=_judge(rows, alpha), equivalence=tuple(equivalence))


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
    if (number := len(grid.borders(size, axis))) < 2:
        return f"{number} seams on {size} voxels: at least two are needed"
    if step < SMALLEST_STEP:
        return f"tiles of {step} voxels leave no planes to compare with: at least {SMALLEST_STEP} are needed"
    return ""


def _layout(grid: Grid, size: int, axis: int, guard: int) -> Layout:
    """Return where the seams are; the guard shrinks where less than a quarter of the planes are left, or too few."""
    step, overlap = grid.step[axis], grid.overlap[axis]
    layout = Layout(
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


def _judge(rows: Sequence[SeamRow], alpha: float) -> tuple[SeamRow, ...]:
    """Correct p for all tests that were made and give the verdicts."""
    tested = [i for i, row in enumerate(rows) if row.verdict != "not tested"]
    corrected = dict(zip(tested, holm(np.array([rows[i].p for i in tested])).tolist(), strict=True))
    judged = []
    for i, row in enumerate(rows):
        if i in corrected:
            verdict: Verdict = "in the source too" if _shared(row, alpha) else "seam"
            row = replace(row, p_corrected=corrected[i], verdict=verdict if corrected[i] < alpha else "none found")
        judged.append(row)
    return tuple(judged)


def _shared(row: SeamRow, alpha: float) -> bool:
    """Say whether the source has the same, and the volume shows no more of it."""
    if not row.source_p < alpha or (row.source - 1) * (row.statistic - 1) <= 0:
        return False
    return abs(math.log(row.statistic)) <= abs(math.log(row.source)) or row.p_beyond_source >= alpha


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
