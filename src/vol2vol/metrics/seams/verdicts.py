"""Results of the seam tests: a row per test and axis, the test of equivalence, and the overall verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from vol2vol.metrics.seams.grid import Grid
from vol2vol.metrics.seams.phases import holm

Verdict = Literal["seam", "in the source too", "none found", "not tested"]
Equivalent = Literal["yes", "no", "undecided", "not tested"]
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class SeamRow:
    """The result of one test on one axis; numbers are NaN if it was not tested."""

    axis: str
    test: str
    """`SGR` for sharp seams, `SJE` for intensity steps, `HFR` for averaging."""
    verdict: Verdict
    reason: str = ""
    """Why it was not tested."""
    statistic: float = NAN
    """1 without seams."""
    low: float = NAN
    high: float = NAN
    """95 % interval over planes, which excludes 1 if `p` is below 0.05."""
    z: float = NAN
    """Difference of seam planes from control planes, in standard errors over whole planes."""
    p: float = NAN
    """Two-sided Student p of `z` over planes, valid even if whole planes differ; the verdict depends on it."""
    p_corrected: float = NAN
    """`p` after Holm's correction over all axes, tests and passes."""
    p_phase: float = NAN
    """Phase-permutation p, which assumes no distribution and is never below 1 / (1 + controls)."""
    p_faces: float = NAN
    """Signed-rank p over faces, the most sensitive one; it is valid if faces are independent."""
    planes: int = 0
    """Number of seams across the axis."""
    faces: int = 0
    controls: int = 0
    """Number of control phases."""
    source: float = NAN
    """The statistic of the source at the same planes."""
    source_p: float = NAN
    p_beyond_source: float = NAN
    """Two-sided Student p of the difference from the source."""
    profile: tuple[float, ...] = ()
    """The statistic with the grid shifted by phi = 0 .. step - 1 planes; a volume without seams has a flat line at 1.

    If the planes half a tile before are subtracted, a seam also appears inverted at step // 2.
    """


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """Test of equivalence: whether SGR lies within the margin, by two one-sided tests at 5 % (Schuirmann 1987)."""

    axis: str
    seam_free: Equivalent
    tiled: bool = True
    """Whether tiles meet across the axis, other than plane by plane; the verdict depends on these axes."""
    low: float = NAN
    high: float = NAN
    """90 % interval of SGR over planes; inside the margin the answer is yes, outside it no."""
    p: float = NAN
    """The larger of the two one-sided p."""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class SeamReport:
    """The results of the seam tests on one grid."""

    grid: Grid
    margin: float
    alpha: float
    rows: tuple[SeamRow, ...]
    equivalence: tuple[Equivalence, ...]

    @property
    def verdict(self) -> str:
        """`seams`, `seam-free within 1 %`, `undecided` or `not tested`."""
        return overall([self])

    def row(self, axis: str, test: str) -> SeamRow:
        """Return one row, such as `row("z", "SGR")`."""
        return next(row for row in self.rows if (row.axis, row.test) == (axis, test))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with None for numbers that are not finite."""
        result: dict[str, Any] = _plain(asdict(self) | {"verdict": self.verdict})
        return result


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def overall(reports: Sequence[SeamReport]) -> str:
    """Return `seams`, `seam-free within 1 %`, `undecided` or `not tested` for all passes of a volume.

    A volume is seam-free only if all axes across which tiles meet are; an axis that could not be tested leaves the
    verdict undecided.
    """
    if any(row.verdict == "seam" for report in reports for row in report.rows):
        return "seams"
    states = {axis.seam_free for report in reports for axis in report.equivalence if axis.tiled}
    if states <= {"not tested"}:
        return "not tested"
    return f"seam-free within {100 * reports[0].margin:g} %" if states == {"yes"} else "undecided"


def judge_together(reports: Sequence[SeamReport]) -> list[SeamReport]:
    """Correct p for the number of all tests in all reports of a volume, and set the verdicts of the rows."""
    p = np.array([row.p for report in reports for row in report.rows if row.verdict != "not tested"])
    corrected = iter(holm(p).tolist())
    judged = []
    for report in reports:
        rows = [
            row if row.verdict == "not tested" else _judged(row, next(corrected), report.alpha) for row in report.rows
        ]
        judged.append(replace(report, rows=tuple(rows)))
    return judged


def _judged(row: SeamRow, corrected: float, alpha: float) -> SeamRow:
    verdict: Verdict = "in the source too" if _shared(row, alpha) else "seam"
    return replace(row, p_corrected=corrected, verdict=verdict if corrected < alpha else "none found")


def _shared(row: SeamRow, alpha: float) -> bool:
    """Return whether the source has the same deviation from 1, and the volume has no more of it."""
    if not row.source_p < alpha or (row.source - 1) * (row.statistic - 1) <= 0:
        return False
    return abs(math.log(row.statistic)) <= abs(math.log(row.source)) or row.p_beyond_source >= alpha
