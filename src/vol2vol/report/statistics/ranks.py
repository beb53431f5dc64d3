"""Compute rank correlations, with intervals from resampling whole groups of rows, such as volumes of one training."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from vol2vol.metrics.bootstrap import Resampling, resampled_interval

FEWEST_ROWS = 4
FEWEST_GROUPS = 5
"""Fewer groups give no usable interval."""


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """Spearman's rank correlation of two columns."""

    rho: float | None
    """None with fewer than four rows, or if a column is constant."""
    low: float | None
    """None with fewer than five groups."""
    high: float | None
    rows: int
    groups: int


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of the ranks of two columns, ties at their mean rank; NaN if one is constant."""
    a, b = (rankdata(column) for column in (first, second))
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / spread if spread > 0 else float("nan")


def rank_correlation(
    first: Sequence[float | None],
    second: Sequence[float | None],
    groups: Sequence[Hashable],
    how: Resampling | None = None,
) -> Correlation:
    """Return the rank correlation of rows that have both values, with an interval from resampled groups."""
    known = [
        (a, b, group) for a, b, group in zip(first, second, groups, strict=True) if a is not None and b is not None
    ]
    names = list(dict.fromkeys(group for _, _, group in known))
    a, b = (np.array([row[side] for row in known], float) for side in (0, 1))
    rho = spearman(a, b) if len(known) >= FEWEST_ROWS else float("nan")
    low = high = None
    if np.isfinite(rho) and len(names) >= FEWEST_GROUPS:
        member = np.array([names.index(group) for _, _, group in known])

        def resampled(weights: np.ndarray) -> float:
            index = np.repeat(np.arange(len(known)), weights[member].astype(int))
            return spearman(a[index], b[index]) if index.size else float("nan")

        interval = resampled_interval(resampled, len(names), how or Resampling(resamples=1000))
        low, high = interval.low, interval.high
    return Correlation(
        rho=float(rho) if np.isfinite(rho) else None, low=low, high=high, rows=len(known), groups=len(names)
    )
