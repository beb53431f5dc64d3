"""Compute intervals by resampling large blocks: voxels and patches are not independent samples, blocks nearly are.

Metrics keep additive sums per block, so that a resample is a weighted sum and the volume is read only once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from vol2vol.errors import BadInput

Method = Literal["percentile", "bca"]
By = Literal["difference", "ratio"]
AT_ONCE = 100
"""Number of resamples whose sums are computed together."""
Combine = Callable[[np.ndarray], np.ndarray]
"""Maps sums `(..., k)` to values `(...)`."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """The settings of a bootstrap interval."""

    level: float = 0.95
    """Nominal coverage."""
    resamples: int = 2000
    """Number of draws of blocks with replacement."""
    method: Method = "bca"
    """`bca` (Efron 1987) corrects bias and skewness, `percentile` does not."""
    expanded: bool = True
    """Widen intervals of few blocks, as Student's t does for a mean, since they cover too little (Hesterberg 2015)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or self.resamples < 10:
            raise BadInput(f"an interval needs a level within 0 and 1 and 10 resamples, not {self}")
        if self.method not in ("percentile", "bca"):
            raise BadInput(f"interval method {self.method!r} is unknown: use percentile or bca")


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with its bootstrap interval over blocks."""

    value: float
    low: float
    high: float
    blocks: int
    """Number of blocks that were resampled."""
    resampling: Resampling
    p: float = float("nan")
    """For a difference or ratio: two-sided p of the null value; below 1 - level if the interval excludes the null."""


@dataclass(frozen=True, kw_only=True)
class Blockwise:
    """A metric as additive sums per block, `(blocks, k)`, and the function that combines sums into its value."""

    name: str
    sums: np.ndarray
    combine: Combine

    @property
    def value(self) -> float:
        """The metric over all blocks."""
        return float(self.combine(self.sums.sum(0)))

    @property
    def per_block(self) -> np.ndarray:
        """The metric of each block; NaN where it is undefined."""
        return np.asarray(self.combine(self.sums))

    def interval(self, resampling: Resampling | None = None) -> Interval:
        """Return the block-bootstrap interval; raises `BadInput` with fewer than two blocks."""
        return block_interval(self.sums, self.combine, resampling)

    def against(self, other: Blockwise, resampling: Resampling | None = None, *, by: By = "difference") -> Interval:
        """Return the interval of the difference or ratio to another metric, both resampled with the same blocks."""
        return paired_interval(self, other, resampling, by=by)


def block_interval(
    sums: np.ndarray, combine: Combine, resampling: Resampling | None = None, *, null: float | None = None
) -> Interval:
    """Return the interval of `combine(sum over blocks)` for sums `(blocks, k)`, and p of the value `null`."""
    resampling = resampling or Resampling()
    weights = draw_weights(len(sums), resampling)
    sums = np.asarray(sums, np.float64)
    total = sums.sum(0)
    draws = np.concatenate([combine(weights[i : i + AT_ONCE] @ sums) for i in range(0, len(weights), AT_ONCE)])
    without = np.concatenate([combine(total - sums[i : i + AT_ONCE]) for i in range(0, len(sums), AT_ONCE)])
    return interval_of(float(combine(total)), draws, resampling, blocks=len(sums), without=without, null=null)


def paired_interval(
    first: Blockwise, second: Blockwise, resampling: Resampling | None = None, *, by: By = "difference"
) -> Interval:
    """Return the interval of `first - second`, or `first / second`, with the p that there is no difference.

    Both are resampled jointly, so that the difficulty of a block cancels. Raises `BadInput` unless they were measured
    on the same number of blocks.
    """
    _same_blocks(first, second)
    width = first.sums.shape[1]

    def compare(sums: np.ndarray) -> np.ndarray:
        a, b = first.combine(sums[..., :width]), second.combine(sums[..., width:])
        with np.errstate(invalid="ignore", divide="ignore"):
            return a - b if by == "difference" else a / b

    sums = np.concatenate([first.sums, second.sums], axis=1)
    return block_interval(sums, compare, resampling, null=0.0 if by == "difference" else 1.0)


def paired_median(first: Blockwise, second: Blockwise, resampling: Resampling | None = None) -> Interval:
    """Return the interval of the median over blocks of the per-block difference `first - second`, with its p.

    Blocks in which either is undefined are left out. Raises `BadInput` like `paired_interval`.
    """
    _same_blocks(first, second)
    differences = first.per_block - second.per_block
    differences = np.sort(differences[np.isfinite(differences)])
    return resampled_interval(lambda weights: _median(differences, weights), len(differences), resampling, null=0.0)


def _same_blocks(first: Blockwise, second: Blockwise) -> None:
    if len(first.sums) != len(second.sums):
        raise BadInput(
            f"{first.name} has {len(first.sums)} blocks and {second.name} {len(second.sums)}: "
            "measure both on the same volume with the same block size"
        )


def _median(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the median of ascending values that count `weights` times each."""
    cumulative = np.cumsum(weights)
    low, high = (
        np.searchsorted(cumulative, cumulative[-1] / 2, "left"),
        np.searchsorted(cumulative, cumulative[-1] / 2, "right"),
    )
    return float((values[low] + values[high]) / 2)


def resampled_interval(
    statistic: Callable[[np.ndarray], float],
    blocks: int,
    resampling: Resampling | None = None,
    *,
    null: float | None = None,
) -> Interval:
    """Return the interval of a statistic of weights `(blocks,)` that say how often each block counts.

    For statistics that are not sums. The method is always percentile: a jackknife needs one evaluation per block.
    """
    resampling = replace(resampling or Resampling(), method="percentile")
    values = np.array([statistic(weights) for weights in draw_weights(blocks, resampling)])
    return interval_of(statistic(np.ones(blocks)), values, resampling, blocks=blocks, null=null)


def draw_weights(blocks: int, resampling: Resampling) -> np.ndarray:
    """Return how often each block is drawn, float64 `(resamples, blocks)`; rows sum to `blocks`.

    Raises `BadInput` with fewer than two blocks.
    """
    if blocks < 2:
        raise BadInput(f"an interval needs at least 2 blocks, there is {blocks}: use smaller blocks")
    rng = np.random.default_rng(resampling.seed)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), resampling.resamples).astype(np.float64)


def interval_of(
    value: float,
    draws: np.ndarray,
    resampling: Resampling,
    *,
    blocks: int,
    without: np.ndarray | None = None,
    null: float | None = None,
) -> Interval:
    """Return the interval of bootstrap draws; `without` are the values that leave one block out, for `bca`.

    Undefined draws (such as a resample without any object) are left out. With `null`, also returns the p at which an
    interval would end at this value.
    """
    draws = np.sort(draws[np.isfinite(draws)])
    shape = _Shape(0.0, 0.0, blocks, resampling.expanded)
    if resampling.method == "bca" and without is not None and np.isfinite(value) and draws.size:
        shape = _shape(shape, draws, value, without[np.isfinite(without)])
    tails = shape.fractions(np.array([(1 - resampling.level) / 2, (1 + resampling.level) / 2]))
    low, high = np.quantile(draws, tails) if draws.size else (np.nan, np.nan)
    p = float("nan") if null is None or not draws.size else shape.p(_below(draws, null))
    return Interval(value=value, low=float(low), high=float(high), blocks=blocks, resampling=resampling, p=p)


@dataclass(frozen=True)
class _Shape:
    """The shape of a bootstrap distribution: bias and acceleration of BCa (Efron 1987), both 0 for percentiles."""

    bias: float
    skew: float
    blocks: int
    expanded: bool

    def fractions(self, tails: np.ndarray) -> np.ndarray:
        """Return the fractions of draws below the ends of an interval with these tails (equation 6.6)."""
        reach = norm.ppf(tails)
        if self.expanded:
            reach = np.sqrt(self.blocks / (self.blocks - 1)) * student.ppf(tails, self.blocks - 1)
        z = self.bias + reach
        slope = 1 - self.skew * z
        result: np.ndarray = np.where(slope > 0, norm.cdf(self.bias + z / np.where(slope > 0, slope, 1)), (z > 0) * 1.0)
        return result

    def p(self, fraction: float) -> float:
        """Return the two-sided p of a value with this fraction of draws below it; the inverse of `fractions`."""
        u = norm.ppf(fraction) - self.bias
        slope = 1 + self.skew * u
        z = u / slope if slope > 0 else np.copysign(np.inf, u)
        reach = abs(z - self.bias)
        if self.expanded:
            return float(2 * student.sf(reach / np.sqrt(self.blocks / (self.blocks - 1)), self.blocks - 1))
        return float(2 * norm.sf(reach))


def _shape(shape: _Shape, draws: np.ndarray, value: float, without: np.ndarray) -> _Shape:
    """Return bias and acceleration from draws and jackknife (equations 4.1 and 6.6); ties count half."""
    influence = without.mean() - without
    spread = float((influence**2).sum() ** 1.5)
    skew = float((influence**3).sum()) / (6 * spread) if spread > 0 else 0.0
    return replace(shape, bias=float(norm.ppf(_below(draws, value))), skew=skew)


def _below(draws: np.ndarray, value: float) -> float:
    """Return the fraction of sorted draws below a value; ties count half, and the result is never exactly 0 or 1."""
    below = (np.searchsorted(draws, value, "left") + np.searchsorted(draws, value, "right")) / 2 / draws.size
    return float(np.clip(below, 1 / (draws.size + 1), draws.size / (draws.size + 1)))
