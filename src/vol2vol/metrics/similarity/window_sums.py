"""Compute weighted sums over windows as small matrix products, which is faster than filtering."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

AT_ONCE = 16
"""Number of windows along an axis per product, so that its matrix is mostly nonzero and fits the first cache."""
SLAB = 1 << 17
"""Voxels per slab, so that intermediate results stay in the cache."""


def windowed(values: np.ndarray, weights: Sequence[tuple[float, ...]]) -> np.ndarray:
    """Return the sums of `values` `(Z, Y, X)` over all windows that fit, weighted by one row of weights per axis.

    The precision is that of `values`, float32 or float64. An axis of n voxels and k weights has n + 1 - k sums.
    """
    shape = tuple(n + 1 - len(along) for n, along in zip(values.shape, weights, strict=True))
    result = np.empty(shape, values.dtype)
    for planes, source in _runs(shape[0], len(weights[0])):
        part = values[source]
        if len(weights[0]) > 1:
            band = _band(weights[0], planes.stop - planes.start, values.dtype.char)
            part = (band.T @ part.reshape(len(part), -1)).reshape(-1, *part.shape[1:])
        if len(weights[1]) > 1:
            part = _rows(part, weights[1], shape[1])
        _columns(part, weights[2], result[planes])
    return result


def _rows(values: np.ndarray, weights: tuple[float, ...], count: int) -> np.ndarray:
    result = np.empty((len(values), count, values.shape[2]), values.dtype)
    for rows, source in _runs(count, len(weights)):
        band = _band(weights, rows.stop - rows.start, values.dtype.char)
        np.matmul(band.T, values[:, source], out=result[:, rows])
    return result


def _columns(values: np.ndarray, weights: tuple[float, ...], result: np.ndarray) -> None:
    for columns, source in _runs(result.shape[2], len(weights)):
        band = _band(weights, columns.stop - columns.start, values.dtype.char)
        np.matmul(values[..., source], band, out=result[..., columns])


def _runs(count: int, weights: int) -> Iterator[tuple[slice, slice]]:
    """Yield runs of windows along an axis, and the voxels that they contain."""
    for first in range(0, count, AT_ONCE):
        last = min(first + AT_ONCE, count)
        yield slice(first, last), slice(first, last + weights - 1)


@cache
def _band(weights: tuple[float, ...], count: int, dtype: str) -> np.ndarray:
    """Return the matrix `(count + weights - 1, count)` whose columns are the weights, each shifted down by one."""
    band = np.zeros((count + len(weights) - 1, count), dtype)
    for column in range(count):
        band[column : column + len(weights), column] = weights
    return band


def slabs(depth: int, plane: int) -> Iterator[slice]:
    """Yield runs of planes of about `SLAB` voxels."""
    step = max(1, SLAB // max(plane, 1))
    for first in range(0, depth, step):
        yield slice(first, min(first + step, depth))
