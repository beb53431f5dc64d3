"""What the seam tests say: a row per test and axis, whether seams are excluded, and the verdict over all of it."""

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
    """`p` after Holm over all axes, tests and passes."""
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
    tiled: bool = True
    """Whether tiles meet across the axis, other than plane by plane; the verdict is about those axes."""
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
        return overall([self])

    def row(self, axis: str, test: str) -> SeamRow:
        """Return one row, such as `row("z", "SGR")`."""
        return next(row for row in self.rows if (row.axis, row.test) == (axis, test))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, None for what is not a finite number."""
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

    Seam-free is a volume only by every axis across which tiles meet: one that could not be tested leaves it undecided.
    """
    if any(row.verdict == "seam" for report in reports for row in report.rows):
        return "seams"
    states = {one.seam_free for report in reports for one in report.equivalence if one.tiled}
    if states <= {"not tested"}:
        return "not tested"
    return f"seam-free within {100 * reports[0].margin:g} %" if states == {"yes"} else "undecided"


def judge_together(reports: Sequence[SeamReport]) -> list[SeamReport]:
    """Correct p for all tests that were made in all reports of a volume, and give the rows their verdicts."""
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
    """Say whether the source has the same, and the volume shows no more of it."""
    if not row.source_p < alpha or (row.source - 1) * (row.statistic - 1) <= 0:
        return False
    return abs(math.log(row.statistic)) <= abs(math.log(row.source)) or row.p_beyond_source >= alpha
