"""The comparison that all seam tests share: planes on the grid with planes between them.

Along an axis, every plane p has a number Q(p). With seams at p_k = p_0 + k S, Q is arranged as a table X(k, phi) =
Q(p_k + phi) of periods and phases, -S/2 <= phi < S/2. Without seams the phase has no effect: X(k, 0) is another sample
from the distribution of the controls, the phases farther than a guard from the seam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from vol2vol.geometry import Shape


def phase_table(series: np.ndarray, borders: np.ndarray, step: int, offsets: Shape = (0,)) -> np.ndarray:
    """Arrange `(n, faces)` numbers as `(periods, faces, step)`, with phase -step // 2 first.

    `offsets` are the planes of one seam relative to its border; their numbers are averaged. NaN outside the volume.
    """
    phases = np.arange(step) - step // 2
    at = borders[:, None, None] + phases[:, None] + np.array(offsets)
    known = (at >= 0) & (at < len(series))
    table = np.where(known[..., None], series[np.where(known, at, 0)], np.nan)
    return np.moveaxis(table.mean(axis=2), 1, 2)


def control_phases(step: int, guard: int, offsets: Shape = (0,), period: int = 1) -> np.ndarray:
    """Return which phases, -step // 2 first, are controls: at least `guard` planes from all planes of the seam.

    A strided network has a periodic pattern; with its `period`, only phases that are a multiple of it are controls.
    """
    phases = np.arange(step) - step // 2
    gaps = {(b - a) % step for a in offsets for b in offsets}
    away = [np.minimum((phases - gap) % step, (gap - phases) % step) for gap in gaps]
    result: np.ndarray = (np.min(away, axis=0) >= guard) & (phases % step % period == 0)
    return result


def in_phase(step: int, period: int) -> np.ndarray:
    """Return the columns, -step // 2 first, of phases that are a multiple of the period, centred on phase 0."""
    phases = np.arange(step) - step // 2
    columns = np.flatnonzero(phases % step % period == 0)
    before, after = (columns < step // 2).sum(), (columns > step // 2).sum()
    first, count = max(0, before - after - 1), 2 * min(before, after) + 1 + int(before > after)
    return columns[first : first + count]


@dataclass(frozen=True)
class Contrast:
    """Mean difference of seam planes from control planes over periods, with its standard error."""

    effect: float
    error: float
    df: float

    @property
    def z(self) -> float:
        """The effect in standard errors."""
        if self.error > 0:
            return self.effect / self.error
        return 0.0 if self.effect == 0 else float(np.copysign(np.inf, self.effect))

    @property
    def p(self) -> float:
        """The two-sided Student p."""
        return float(2 * stats.t.sf(abs(self.z), self.df))

    def beyond(self, bound: float) -> float:
        """Return the one-sided p for the effect being above `bound`."""
        if self.error > 0:
            return float(stats.t.sf((self.effect - bound) / self.error, self.df))
        return float(self.effect <= bound)

    def reach(self, level: float) -> float:
        """Return half the width of the Student interval of the effect."""
        return float(stats.t.ppf((1 + level) / 2, self.df)) * self.error

    def interval(self, level: float) -> tuple[float, float]:
        """Return the Student interval of the effect."""
        reach = self.reach(level)
        return self.effect - reach, self.effect + reach


def usable_periods(table: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Return which rows of a `(periods, step)` table have numbers at phase 0 and at half or more of the controls."""
    known = np.isfinite(table)
    result: np.ndarray = known[:, table.shape[1] // 2] & (2 * known[:, controls].sum(axis=1) >= max(4, controls.sum()))
    return result


def contrast(table: np.ndarray, controls: np.ndarray) -> Contrast:
    """Compare phase 0 of a `(periods, step)` table of usable periods with its control phases, period by period.

    The n controls of a period are correlated neighbours: with autocorrelations rho they count as n / tau independent
    planes, tau = 1 + 2 sum rho. The variance of a period's contrast is s^2 (1 + tau / n), with s^2 that of its
    controls. The mean over periods is compared with Student's t, with degrees of freedom after Welch and Satterthwaite.
    """
    rest = table[:, controls]
    number = np.isfinite(rest).sum(axis=1)
    means = np.nanmean(rest, axis=1)
    residual = np.where(controls, table - means[:, None], np.nan)
    worth = np.maximum(number / _correlation_time(residual, float(number.mean())), 2.0)
    variance = np.nansum(residual**2, axis=1) / number / (1 - 1 / worth) * (1 + 1 / worth)
    effects = table[:, table.shape[1] // 2] - means
    spread = float(np.sum(variance**2 / (worth - 1)))
    df = float(np.sum(variance)) ** 2 / spread if spread > 0 else float(np.sum(worth - 1))
    return Contrast(float(effects.mean()), float(np.sqrt(variance.sum())) / len(table), df)


def _correlation_time(residual: np.ndarray, number: float) -> float:
    """Return 1 + 2 sum rho of `number` planes per period, corrected for centring, which lowers rho by tau / number."""
    known = np.isfinite(residual)
    filled = np.where(known, residual, 0.0)
    variance = float((filled**2).sum()) / max(int(known.sum()), 1)
    if variance == 0:
        return 1.0
    rho = np.zeros(max(2, residual.shape[1] // 2) - 1)
    for lag in range(1, rho.size + 1):
        pairs = int((known[:, lag:] & known[:, :-lag]).sum())
        rho[lag - 1] = float((filled[:, lag:] * filled[:, :-lag]).sum()) / max(pairs, 1) / variance
    first = _positive_sum(rho)
    return _positive_sum(rho + (1 - rho) * min(0.5, first / number))


def _positive_sum(rho: np.ndarray) -> float:
    """Return 1 + 2 sum rho up to the first pair of neighbours whose sum is not positive (Geyer 1992)."""
    pairs = rho[: rho.size // 2 * 2].reshape(-1, 2)
    ended = np.flatnonzero(pairs.sum(axis=1) <= 0)
    end = int(ended[0]) if ended.size else len(pairs)
    last = max(float(pairs[end, 0]), 0.0) if end < len(pairs) else 0.0
    return max(1.0, 1 + 2 * float(pairs[:end].sum()) + 2 * last)


def rank_p(profile: np.ndarray, controls: np.ndarray) -> float:
    """Return the phase-permutation p of a profile T(phi): the fraction of phases as far from the controls' median.

    It is two-sided and never below 1 / (1 + number of controls).
    """
    others = profile[controls & np.isfinite(profile)]
    centre = np.median(others)
    as_far = np.abs(others - centre) >= abs(profile[profile.size // 2] - centre)
    return float((1 + as_far.sum()) / (1 + others.size))


def faces_p(table: np.ndarray, controls: np.ndarray) -> float:
    """Return the two-sided signed-rank p over faces of the rank of phase 0 among the controls of its own face.

    `table` is `(periods, faces, step)`. Without seams, the ranks are symmetric for any distribution. Faces are assumed
    to be independent, which is wrong if planes differ as a whole, as sections do.
    """
    others, own = table[..., controls], table[..., table.shape[2] // 2, None]
    known = np.isfinite(others).sum(axis=2)
    below = (others < own).sum(axis=2) + 0.5 * (others == own).sum(axis=2)
    middle = ((below + 0.5) / (known + 1) - 0.5)[np.isfinite(own[..., 0])]
    if middle.size < 2 or not middle.any():
        return 1.0
    return float(stats.wilcoxon(middle, zero_method="zsplit", method="asymptotic").pvalue)


def holm(p: np.ndarray) -> np.ndarray:
    """Return p corrected for the number of tests (Holm 1979)."""
    order = np.argsort(p)
    stepped = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    corrected = np.empty_like(stepped)
    corrected[order] = stepped
    return corrected
