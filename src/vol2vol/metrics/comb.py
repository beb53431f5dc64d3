"""Find seams of unknown tile size: regularly spaced planes at which a volume changes more than elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.ndimage import median_filter

from vol2vol.errors import BadInput
from vol2vol.intensity import Readable
from vol2vol.metrics.grid import AXES
from vol2vol.metrics.phases import holm
from vol2vol.metrics.profiles import measure_profiles
from vol2vol.metrics.readable import as_readable

SMALLEST, PERIODS, WIDTH = 8, 4, 31
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class CombRow:
    """The most conspicuous period of one axis."""

    axis: str
    verdict: str
    """`seam`, `none found` or `not tested`."""
    step: int = 0
    """Distance between the conspicuous planes in voxels."""
    origin: int = 0
    """First of them."""
    statistic: float = NAN
    """Mean power of the comb over mean power of the other frequencies: 1 without seams."""
    p: float = NAN
    """F test, after Bonferroni over the periods that were tried."""
    p_corrected: float = NAN
    """After Holm over the axes."""
    tried: int = 0
    """Periods that were tried."""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class CombReport:
    """One row per axis."""

    alpha: float
    rows: tuple[CombRow, ...]

    @property
    def verdict(self) -> str:
        """`seams`, `none found` or `not tested`."""
        verdicts = {row.verdict for row in self.rows}
        return "seams" if "seam" in verdicts else "none found" if "none found" in verdicts else "not tested"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, None for what is not a finite number."""
        rows = [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(row).items()}
            for row in self.rows
        ]
        return {"alpha": self.alpha, "rows": rows, "verdict": self.verdict}


def comb_test(volume: Readable | np.ndarray, *, steps: Sequence[int] | None = None, alpha: float = 0.05) -> CombReport:
    """Look for equally spaced seams without knowing the tiles, in one pass; weaker than `seam_tests`.

    q(p) = log mean |y(p) - y(p - 1)| less its running median over 31 planes; a comb of period S puts its power on the
    harmonics k/S. F = mean power there over mean power elsewhere, F(2 h, 2 o) distributed without seams (after the
    blind blocking measures of JPEG: Wang, Bovik and Evans 2000). `steps` defaults to every S from 8 voxels to a quarter
    of the axis; the origin is the phase that stands out most. Raises `BadInput` on voxels that are not finite.
    """
    if steps is not None and (not len(steps) or min(steps) < 2):
        raise BadInput(f"steps {list(steps)} must be at least 2 voxels")
    stitched = as_readable(volume)
    profiles = measure_profiles(stitched, [np.array([0, size]) for size in stitched.spatial])
    rows = [_scan(AXES[axis], profile.jump[1:], steps) for axis, profile in enumerate(profiles)]
    tested = [row for row in rows if row.tried]
    corrected = dict(zip([row.axis for row in tested], holm(np.array([row.p for row in tested])), strict=True))
    judged = [_judged(row, corrected.get(row.axis), alpha) for row in rows]
    return CombReport(alpha=alpha, rows=tuple(judged))


def _judged(row: CombRow, corrected: float | None, alpha: float) -> CombRow:
    if corrected is None:
        return row
    verdict = "seam" if corrected < alpha else "none found"
    return CombRow(**(asdict(row) | {"p_corrected": float(corrected), "verdict": verdict}))


def _scan(axis: str, jump: np.ndarray, steps: Sequence[int] | None) -> CombRow:
    """Try every period on the jumps `(planes - 1, channels, 1, 1)` of one axis."""
    size = len(jump) + 1
    candidates = [s for s in (steps or range(SMALLEST, size // PERIODS + 1)) if s >= 2 and PERIODS * s <= len(jump)]
    if not candidates:
        reason = f"{size} voxels: at least {PERIODS} periods of {min(steps or [SMALLEST])} and one voxel are needed"
        return CombRow(axis=axis, verdict="not tested", reason=reason)
    if not (jump > 0).all():
        return CombRow(axis=axis, verdict="not tested", reason="neighbouring planes are equal somewhere")
    logs = np.log(jump).mean(axis=(1, 2, 3))
    detail = logs - median_filter(logs, size=WIDTH, mode="nearest")
    found = [(_comb(detail, step), step) for step in candidates]
    (p, statistic), step = min(found)
    origin = int(np.argmax([detail[phase::step].mean() for phase in range(step)])) + 1
    p = min(1.0, p * len(candidates))
    return CombRow(
        axis=axis,
        verdict="none found",
        step=step,
        origin=origin % step,
        statistic=statistic,
        p=p,
        tried=len(candidates),
    )


def _comb(detail: np.ndarray, step: int) -> tuple[float, float]:
    """Return p and F of one period, on as many whole periods as there are; the power is whitened first."""
    periods = len(detail) // step
    power = np.abs(np.fft.rfft(detail[: periods * step]))[1:] ** 2
    comb = np.arange(1, power.size + 1) % periods == 0
    smooth = _background(power, comb, periods)
    if not np.all(smooth > 0):
        return 1.0, 1.0
    white = power / smooth
    weight = np.full(power.size, 2.0)
    weight[-1] -= float(periods * step % 2 == 0)
    inside, outside = weight[comb].sum(), weight[~comb].sum()
    statistic = float((white @ (weight * comb)) / inside / ((white @ (weight * ~comb)) / outside))
    return float(stats.f.sf(statistic, inside, outside)), statistic


def _background(power: np.ndarray, comb: np.ndarray, periods: int) -> np.ndarray:
    """Return the power around each frequency, from its neighbours between the harmonics."""
    width = max(3 * periods, 15)
    kernel = np.ones(2 * (width // 2) + 1)
    known = np.where(comb, 0.0, 1.0)
    pad = kernel.size // 2
    total = np.convolve(np.pad(power * known, pad, mode="symmetric" if power.size > pad else "edge"), kernel, "valid")
    return total / np.convolve(np.pad(known, pad, mode="symmetric" if power.size > pad else "edge"), kernel, "valid")
