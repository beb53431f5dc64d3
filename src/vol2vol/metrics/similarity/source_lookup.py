"""Predict a translation from its source voxel by voxel, with a monotone look-up table h(x) = E[y | x]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

QUANTILES = 64
LEVELS = 4096


def standardise(stored: np.ndarray, shift: float, factor: float) -> np.ndarray:
    """Return `(stored - shift) * factor` as float32, computed in float64 for types of more than 16 bits."""
    wide = np.dtype(np.float64 if stored.dtype.itemsize > 2 else np.float32)
    values = np.subtract(stored.astype(wide), wide.type(shift))
    np.multiply(values, wide.type(factor), out=values)
    return values.astype(np.float32, copy=False)


@dataclass(frozen=True)
class Lookup:
    """A monotone map h(x), tabulated at `LEVELS` equal steps from `low` to `high` and constant outside."""

    low: float
    high: float
    table: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return h(x) as float32 for stored values of any dtype."""
        factor = (LEVELS - 1) / (self.high - self.low) if self.high > self.low else 1.0
        steps = standardise(x, self.low - 0.5 / factor, factor)
        return self.table.take(steps.astype(np.int32), mode="clip")


def fit_lookup(x: np.ndarray, y: np.ndarray) -> Lookup:
    """Fit h(x) = E[y | x] to samples by the means of 64 quantile bins of `x`, made monotone by isotonic regression.

    The map rises or falls, whichever fits better, because a translation may invert the contrast.
    """
    cuts = np.unique(np.quantile(x, np.arange(1, QUANTILES) / QUANTILES))
    bins = np.searchsorted(cuts, x, side="right")
    sizes = np.bincount(bins)
    filled, sizes = sizes > 0, sizes[sizes > 0]
    centres, heights = (np.bincount(bins, weights=values)[filled] / sizes for values in (x, y))
    fits = [isotonic_regression(heights, weights=sizes, increasing=rising).x for rising in (True, False)]
    fitted = min(fits, key=lambda fit: float(np.sum(sizes * (heights - fit) ** 2)))
    at = np.linspace(centres[0], centres[-1], LEVELS)
    return Lookup(float(centres[0]), float(centres[-1]), np.interp(at, centres, fitted).astype(np.float32))
