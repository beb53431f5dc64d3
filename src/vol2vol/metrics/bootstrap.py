"""Intervals by resampling large blocks: neighbouring voxels and patches are no independent samples, blocks nearly are.

Metrics keep additive sums per block, so that a resample is a weighted sum and costs no second look at the volume.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.stats import norm

from vol2vol.errors import BadInput

Method = Literal["percentile", "bca"]
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

    def against(self, other: Blockwise, how: Resampling | None = None) -> Interval:
        """Return the interval of this metric minus the other's, both resampled with the same blocks."""
        return paired_interval(self, other, how)


def block_interval(sums: np.ndarray, combine: Combine, how: Resampling | None = None) -> Interval:
    """Return the interval of `combine(sum over blocks)` for sums `(blocks, k)`."""
    how = how or Resampling()
    weights = draw_weights(len(sums), how)
    sums = np.asarray(sums, np.float64)
    total = sums.sum(0)
    draws = np.concatenate([combine(weights[i : i + AT_ONCE] @ sums) for i in range(0, len(weights), AT_ONCE)])
    without = np.concatenate([combine(total - sums[i : i + AT_ONCE]) for i in range(0, len(sums), AT_ONCE)])
    return interval_of(float(combine(total)), draws, how, blocks=len(sums), without=without)


def paired_interval(first: Blockwise, second: Blockwise, how: Resampling | None = None) -> Interval:
    """Return the interval of `first - second`, resampled jointly: what both find hard in a block cancels.

    Raises `BadInput` where they were not measured on as many blocks.
    """
    if len(first.sums) != len(second.sums):
        raise BadInput(
            f"{first.name} has {len(first.sums)} blocks and {second.name} {len(second.sums)}: "
            "measure both on the same volume with the same block size"
        )
    width = first.sums.shape[1]

    def difference(sums: np.ndarray) -> np.ndarray:
        return first.combine(sums[..., :width]) - second.combine(sums[..., width:])

    return block_interval(np.concatenate([first.sums, second.sums], axis=1), difference, how)


def resampled_interval(
    statistic: Callable[[np.ndarray], float], blocks: int, how: Resampling | None = None
) -> Interval:
    """Return the interval of a statistic of weights `(blocks,)` that say how often each block counts.

    For statistics that are not sums. Always percentile: a jackknife would cost as many evaluations as blocks.
    """
    how = replace(how or Resampling(), method="percentile")
    values = np.array([statistic(weights) for weights in draw_weights(blocks, how)])
    return interval_of(statistic(np.ones(blocks)), values, how, blocks=blocks)


def draw_weights(blocks: int, how: Resampling) -> np.ndarray:
    """Return how often each block is drawn, float64 `(resamples, blocks)`, rows sum to `blocks`.

    Raises `BadInput` with fewer than two blocks.
    """
    if blocks < 2:
        raise BadInput(f"an interval needs at least 2 blocks, there is {blocks}: use smaller blocks")
    rng = np.random.default_rng(how.seed)
    return rng.multinomial(blocks, np.full(blocks, 1 / blocks), how.resamples).astype(np.float64)


def interval_of(
    value: float, draws: np.ndarray, how: Resampling, *, blocks: int, without: np.ndarray | None = None
) -> Interval:
    """Return the interval of bootstrap draws; `without` are the values that leave one block out, for `bca`.

    Draws that are not defined (a resample without a single object) are left out.
    """
    draws = np.sort(draws[np.isfinite(draws)])
    tails = np.array([(1 - how.level) / 2, (1 + how.level) / 2])
    if how.method == "bca" and without is not None and np.isfinite(value) and draws.size:
        tails = _corrected(tails, draws, value, without[np.isfinite(without)])
    low, high = np.quantile(draws, tails) if draws.size else (np.nan, np.nan)
    return Interval(value=value, low=float(low), high=float(high), blocks=blocks, how=how)


def _corrected(tails: np.ndarray, draws: np.ndarray, value: float, without: np.ndarray) -> np.ndarray:
    """Return the tail probabilities of the BCa interval (Efron 1987, equations 2.3 and 6.6); ties count half."""
    below = (np.searchsorted(draws, value, "left") + np.searchsorted(draws, value, "right")) / 2 / draws.size
    bias = norm.ppf(np.clip(below, 1 / draws.size, 1 - 1 / draws.size))
    apart = without.mean() - without
    spread = float((apart**2).sum() ** 1.5)
    skew = float((apart**3).sum()) / (6 * spread) if spread > 0 else 0.0
    z = bias + norm.ppf(tails)
    return norm.cdf(bias + z / (1 - skew * z))
