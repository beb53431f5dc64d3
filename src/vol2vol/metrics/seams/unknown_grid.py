"""Detect seams of unknown tile size: regularly spaced planes at which a volume changes more than elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import special, stats
from scipy.ndimage import median_filter

from vol2vol.errors import BadInput
from vol2vol.intensity import Readable
from vol2vol.metrics.arrays import as_readable
from vol2vol.metrics.seams.grid import AXES
from vol2vol.metrics.seams.phases import holm
from vol2vol.metrics.seams.profiles import measure_profiles

SMALLEST, PERIODS = 8, 4
"""Smallest period that is tried by default, and the minimum number of whole periods in a volume."""
WIDTH, ORDER = 31, 4
"""Number of planes of the running median, and of previous planes that predict the next."""
TERMS = 2000
"""Number of terms of a series that falls at least as fast as a geometric one."""
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class CombRow:
    """The most significant period of one axis."""

    axis: str
    verdict: str
    """`seam`, `none found` or `not tested`."""
    step: int = 0
    """Distance between the seam planes in voxels."""
    origin: int = 0
    """The first seam plane, or the first plane of its band."""
    overlap: int = 0
    """Thickness in voxels of bands that change less than the planes between, as after averaging (blended bands appear
    narrower around the same centre); 0 if single planes differ."""
    statistic: float = NAN
    """Mean power of the period's harmonics over mean power of other frequencies, 1 without seams."""
    p: float = NAN
    """p of the F test, after Bonferroni's correction for the periods that were tried."""
    p_corrected: float = NAN
    """`p` after Holm's correction over the axes."""
    tried: int = 0
    """Number of periods that were tried."""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class CombReport:
    """The results of the blind test, one row per axis."""

    alpha: float
    rows: tuple[CombRow, ...]

    @property
    def verdict(self) -> str:
        """`seams`, `none found` or `not tested`."""
        verdicts = {row.verdict for row in self.rows}
        return "seams" if "seam" in verdicts else "none found" if "none found" in verdicts else "not tested"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with None for numbers that are not finite."""
        rows = [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(row).items()}
            for row in self.rows
        ]
        return {"alpha": self.alpha, "rows": rows, "verdict": self.verdict}


def comb_test(volume: Readable | np.ndarray, *, steps: Sequence[int] | None = None, alpha: float = 0.05) -> CombReport:
    """Test a volume for equally spaced seams of unknown spacing, in one pass; less sensitive than `seam_tests`.

    The series is q(p) = log mean |y(p) - y(p - 1)| minus its running median over 31 planes and an autoregression of
    order 4. Seams of period S (a comb) concentrate its power at the harmonics k/S. The statistic F is the mean power
    there over the mean power elsewhere; without seams its distribution is F(2h, 2o), with h and o the numbers of
    harmonics and of other frequencies (after the power of the blocky signal in JPEG: Wang, Bovik and Evans 2000).
    `steps` defaults to every S from 8 voxels to a quarter of the axis. The result is the period of smallest p, with the
    position of the planes, or bands, that fit it best. Raises `BadInput` on voxels that are not finite.
    """
    if steps is not None and (not len(steps) or min(steps) < 2):
        raise BadInput(f"steps {list(steps)} are not allowed: give steps of at least 2 voxels")
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
    room = len(jump) - ORDER
    candidates = [s for s in (steps or range(SMALLEST, room // PERIODS + 1)) if PERIODS * s <= room]
    if not candidates:
        needed = PERIODS * min(steps or [SMALLEST]) + ORDER + 1
        reason = f"{size} voxels: {needed} are needed for {PERIODS} periods"
        return CombRow(axis=axis, verdict="not tested", reason=reason)
    if not (jump > 0).all():
        return CombRow(axis=axis, verdict="not tested", reason="some neighbouring planes are equal")
    detail, weights = _detail(np.log(jump).mean(axis=(1, 2, 3)))
    tried = [(_comb(detail, step), step) for step in candidates]
    (log_p, statistic), step = min(tried, key=lambda trial: (trial[0][0], -trial[0][1], trial[1]))
    phase, overlap = _place(detail, weights, step)
    return CombRow(
        axis=axis,
        verdict="none found",
        step=step,
        origin=(phase + ORDER + 1) % step,
        overlap=overlap,
        statistic=statistic,
        p=min(1.0, math.exp(log_p) * len(candidates)),
        tried=len(candidates),
    )


def _detail(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a series minus its running median and its prediction from the `ORDER` planes before, and their weights.

    It is white noise without seams.
    """
    rest = logs - median_filter(logs, size=WIDTH, mode="nearest")
    before = np.stack([rest[ORDER - k : rest.size - k] for k in range(1, ORDER + 1)], axis=1)
    weights = np.linalg.lstsq(before, rest[ORDER:], rcond=None)[0]
    return rest[ORDER:] - before @ weights, weights


def _comb(detail: np.ndarray, step: int) -> tuple[float, float]:
    """Return log p and F of one period, over whole periods and frequencies that the running median does not remove."""
    periods = len(detail) // step
    power = np.abs(np.fft.rfft(detail[: periods * step])) ** 2
    bins = np.arange(power.size)
    used = bins * WIDTH >= periods * step
    weight = np.where(2 * bins == periods * step, 1.0, 2.0)
    inside, outside = (weight * (used & which) for which in (bins % periods == 0, bins % periods > 0))
    elsewhere = float(power @ outside / outside.sum())
    if elsewhere <= 0:
        return 0.0, 1.0
    statistic = float(power @ inside / inside.sum()) / elsewhere
    return _log_tail(statistic, float(inside.sum()), float(outside.sum())), statistic


def _log_tail(statistic: float, first: float, second: float) -> float:
    """Return the logarithm of the p of F with these degrees of freedom, even if p is too small for a float.

    In that case, the incomplete beta function is computed as a series (Abramowitz and Stegun 1964, 26.5.4).
    """
    if (p := float(stats.f.sf(statistic, first, second))) > 1e-200:
        return math.log(p)
    a, b, x = second / 2, first / 2, second / (second + first * statistic)
    later = np.arange(TERMS)
    series = 1 + float(np.cumprod(x * (a + b + later) / (a + 1 + later)).sum())
    return a * math.log(x) + b * math.log1p(-x) - math.log(a) - float(special.betaln(a, b)) + math.log(series)


def _place(detail: np.ndarray, weights: np.ndarray, step: int) -> tuple[int, int]:
    """Return the phase and overlap that fit the mean period best: a single plane, or a band that changes less.

    If two predictions are averaged over w voxels, w - 1 steps have half of the variance and the two at the ends three
    quarters. The fitted templates pass the same autoregression as the series.
    """
    folded = np.array([detail[phase::step].mean() for phase in range(step)])
    best = (0.0, 0, 0)
    for overlap in range(min(step // 3, WIDTH // 2) + 1):
        comb = np.zeros(step)
        comb[: overlap + 1] = -1.0
        comb[[0, overlap]] = -1.0 if overlap == 0 else math.log(0.75) / math.log(2)
        comb -= sum(weight * np.roll(comb, k) for k, weight in enumerate(weights, 1))
        comb -= comb.mean()
        fits = np.fft.irfft(np.fft.rfft(folded) * np.fft.rfft(comb).conj(), step) / np.linalg.norm(comb)
        fits = np.abs(fits) if overlap == 0 else fits
        best = max(best, (float(fits.max()), -int(np.argmax(fits)), overlap))
    return -best[1], best[2]
