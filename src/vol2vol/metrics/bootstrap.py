"""Intervals by resampling large blocks: neighbouring voxels and patches are no independent samples, blocks nearly are.

Metrics keep additive sums per block, so that a resample is a weighted sum and costs no second look at the volume.
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
"""Resamples whose sums are held together."""
Combine = Callable[[np.ndarray], np.ndarray]
"""Sums `(..., k)` to values `(...)`."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How an interval is drawn."""

    level: float = 0.95
    """Coverage."""
    resamples: int = 2000
    """Draws of blocks with replacement."""
    method: Method = "bca"
    """`bca` (Efron 1987) corrects bias and skewness, `percentile` does not."""
    expanded: bool = True
    """Widen intervals of few blocks as Student's t does a mean's, else they cover too little (Hesterberg 2015)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.level < 1 or self.resamples < 10:
            raise BadInput(f"an interval needs a level within 0 and 1 and 10 resamples, not {self}")
        if self.method not in ("percentile", "bca"):
            raise BadInput(f"interval method {self.method!r} is unknown: use percentile or bca")


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with what its blocks say of its uncertainty."""

    value: float
    low: float
    high: float
    blocks: int
    """Blocks that were resampled."""
    how: Resampling
    p: float = float("nan")
    """Of a difference or ratio: two-sided p that there is none; below 1 - level where the interval leaves it out."""


@dataclass(frozen=True, kw_only=True)
class Blockwise:
    """A metric with the additive sums of every block, `(blocks, k)`, and what makes a number of them."""

    name: str
    sums: np.ndarray
    combine: Combine

    @property
    def value(self) -> float:
        """The metric over all blocks."""
        return float(self.combine(self.sums.sum(0)))

    @property
    def per_block(self) -> np.ndarray:
        """The metric of each block alone; NaN where it is not defined."""
        return np.asarray(self.combine(self.sums))

    def interval(self, how: Resampling | None = None) -> Interval:
        """Return the block-bootstrap interval; raises `BadInput` with fewer than two blocks."""
        return block_interval(self.sums, self.combine, how)

    def against(self, other: Blockwise, how: Resampling | None = None, *, by: By = "difference") -> Interval:
        """Return the interval of this metric minus, or over, the other's, both resampled with the same blocks."""
        return paired_interval(self, other, how, by=by)


def block_interval(
    sums: np.ndarray, combine: Combine, how: Resampling | None = None, *, null: float | None = None
) -> Interval:
    """Return the interval of `combine(sum over blocks)` for sums `(blocks, k)`, and p of the value `null`."""
    how = how or Resampling()
    weights = draw_weights(len(sums), how)
    sums = np.asarray(sums, np.float64)
    total = sums.sum(0)
    draws = np.concatenate([combine(weights[i : i + AT_ONCE] @ sums) for i in range(0, len(weights), AT_ONCE)])
    without = np.concatenate([combine(total - sums[i : i + AT_ONCE]) for i in range(0, len(sums), AT_ONCE)])
    return interval_of(float(combine(total)), draws, how, blocks=len(sums), without=without, null=null)


def paired_interval(
    first: Blockwise, second: Blockwise, how: Resampling | None = None, *, by: By = "difference"
) -> Interval:
    """Return the interval of `first - second`, or `first / second`, with the p that there is no difference.

    Both are resampled jointly: what both find hard in a block cancels. Raises `BadInput` where they were not measured
    on as many blocks.
    """
    _same_blocks(first, second)
    width = first.sums.shape[1]

    def apart(sums: np.ndarray) -> np.ndarray:
        one, two = first.combine(sums[..., :width]), second.combine(sums[..., width:])
        with np.errstate(invalid="ignore", divide="ignore"):
            return one - two if by == "difference" else one / two

    sums = np.concatenate([first.sums, second.sums], axis=1)
    return block_interval(sums, apart, how, null=0.0 if by == "difference" else 1.0)


def paired_median(first: Blockwise, second: Blockwise, how: Resampling | None = None) -> Interval:
    """Return the interval of the median over blocks of `first - second`, each block by itself, and its p.

    Blocks in which either is not defined are left out. Raises `BadInput` as `paired_interval` does.
    """
    _same_blocks(first, second)
    apart = first.per_block - second.per_block
    apart = np.sort(apart[np.isfinite(apart)])
    return resampled_interval(lambda weights: _median(apart, weights), len(apart), how, null=0.0)


def _same_blocks(first: Blockwise, second: Blockwise) -> None:
    if len(first.sums) != len(second.sums):
        raise BadInput(
            f"{first.name} has {len(first.sums)} blocks and {second.name} {len(second.sums)}: "
            "measure both on the same volume with the same block size"
        )


def _median(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the median of rising values that count `weights` times each."""
    reached = np.cumsum(weights)
    low, high = np.searchsorted(reached, reached[-1] / 2, "left"), np.searchsorted(reached, reached[-1] / 2, "right")
    return float((values[low] + values[high]) / 2)


def resampled_interval(
    statistic: Callable[[np.ndarray], float],
    blocks: int,
    how: Resampling | None = None,
    *,
    null: float | None = None,
) -> Interval:
    """Return the interval of a statistic of weights `(blocks,)` that say how often each block counts.

    For statistics that are not sums. Always percentile: a jackknife would cost as many evaluations as blocks.
    """
    how = replace(how or Resampling(), method="percentile")
    values = np.array([statistic(weights) for weights in draw_weights(blocks, how)])
    return interval_of(statistic(np.ones(blocks)), values, how, blocks=blocks, null=null)


def draw_weights(blocks: int, how: Resampling) -> np.ndarray:
    """Return how often each block is drawn, float64 `(resamples, blocks)`, rows sum to `blocks`.

    Raises `BadInput` with fewer than two blocks.
    """
    if blocks < 2:
        raise BadInput(f"an interval needs at least 2 blocks, there is {blocks}: use smaller blocks")
    rng = np.random.default_rng(how.seed)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), how.resamples).astype(np.float64)


def interval_of(
    value: float,
    draws: np.ndarray,
    how: Resampling,
    *,
    blocks: int,
    without: np.ndarray | None = None,
    null: float | None = None,
) -> Interval:
    """Return the interval of bootstrap draws; `without` are the values that leave one block out, for `bca`.

    Draws that are not defined (a resample without a single object) are left out. With `null` also the p at which an
    interval would end there.
    """
    draws = np.sort(draws[np.isfinite(draws)])
    shape = _Shape(0.0, 0.0, blocks, how.expanded)
    if how.method == "bca" and without is not None and np.isfinite(value) and draws.size:
        shape = _shape(shape, draws, value, without[np.isfinite(without)])
    tails = shape.shares(np.array([(1 - how.level) / 2, (1 + how.level) / 2]))
    low, high = np.quantile(draws, tails) if draws.size else (np.nan, np.nan)
    p = float("nan") if null is None or not draws.size else shape.p(_below(draws, null))
    return Interval(value=value, low=float(low), high=float(high), blocks=blocks, how=how, p=p)


@dataclass(frozen=True)
class _Shape:
    """How draws relate to the truth: bias and acceleration of BCa (Efron 1987), both 0 for percentiles."""

    bias: float
    skew: float
    blocks: int
    expanded: bool

    def shares(self, tails: np.ndarray) -> np.ndarray:
        """Return the share of draws below the ends of an interval with these tails (equation 6.6)."""
        reach = norm.ppf(tails)
        if self.expanded:
            reach = np.sqrt(self.blocks / (self.blocks - 1)) * student.ppf(tails, self.blocks - 1)
        z = self.bias + reach
        steep = 1 - self.skew * z
        result: np.ndarray = np.where(steep > 0, norm.cdf(self.bias + z / np.where(steep > 0, steep, 1)), (z > 0) * 1.0)
        return result

    def p(self, share: float) -> float:
        """Return the two-sided p of a value with this share of draws below it: `shares` the other way round."""
        u = norm.ppf(share) - self.bias
        flat = 1 + self.skew * u
        z = u / flat if flat > 0 else np.copysign(np.inf, u)
        reach = abs(z - self.bias)
        if self.expanded:
            return float(2 * student.sf(reach / np.sqrt(self.blocks / (self.blocks - 1)), self.blocks - 1))
        return float(2 * norm.sf(reach))


def _shape(shape: _Shape, draws: np.ndarray, value: float, without: np.ndarray) -> _Shape:
    """Return bias and acceleration from draws and jackknife (equations 4.1 and 6.6); ties count half."""
    apart = without.mean() - without
    spread = float((apart**2).sum() ** 1.5)
    skew = float((apart**3).sum()) / (6 * spread) if spread > 0 else 0.0
    return replace(shape, bias=float(norm.ppf(_below(draws, value))), skew=skew)


def _below(draws: np.ndarray, value: float) -> float:
    """Return the share of sorted draws below a value, ties half, never quite 0 or 1."""
    below = (np.searchsorted(draws, value, "left") + np.searchsorted(draws, value, "right")) / 2 / draws.size
    return float(np.clip(below, 1 / (draws.size + 1), draws.size / (draws.size + 1)))
