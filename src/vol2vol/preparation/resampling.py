"""Resample boxes of a volume; every output voxel is a fixed weighted mean of input voxels, whatever its block.

Voxels are intervals: input voxel j covers `[j, j + 1)`, output voxel i `[i * ratio, (i + 1) * ratio)`, both measured
from the volume's corner, so that nothing is shifted. Positions are rational numbers, weights form one sparse matrix
per axis, and each voxel is summed in a fixed order: the bytes of a block do not depend on other blocks. Voxels beyond
the border have no weight; the remaining weights are scaled to a sum of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any, Literal, get_args

import numpy as np

from vol2vol.geometry import Box

Method = Literal["cubic", "linear", "area", "nearest", "majority"]
METHODS: tuple[str, ...] = get_args(Method)
REACH = {"cubic": 2, "linear": 1}
"""Half the width of a kernel, in voxels of the coarser grid."""
FINEST = 1000
"""Greatest denominator of a ratio: ratios are exact for voxel sizes of two decimals, otherwise accurate to a hundredth
of a voxel over ten thousand voxels. In such units, lengths, areas and volumes are integers that floats represent."""


@dataclass(frozen=True)
class Grid:
    """One axis of `size` voxels and its division, from the same corner, into voxels `ratio` times as long."""

    size: int
    ratio: Fraction

    @classmethod
    def between(cls, size: int, old: float, new: float) -> Grid:
        """Return the grid that divides an axis of `size` voxels of length `old` into voxels of length `new`."""
        ratio = Fraction(repr(float(new))) / Fraction(repr(float(old)))  # as written: 5.24 is 131/25
        return cls(size, ratio.limit_denominator(FINEST))

    @property
    def new_size(self) -> int:
        """Number of output voxels: the length of the axis in new voxels, rounded, at least one."""
        return max(1, int(self.size / self.ratio + Fraction(1, 2)))

    def window(self, start: int, stop: int, method: Method) -> tuple[int, int]:
        """Return the input voxels `[first, last)` that output voxels `[start, stop)` depend on."""
        if self.ratio == 1:
            return start, stop
        first, last = self._span(np.array([start, stop - 1]), method)
        return int(first[0]), int(last[1])

    def weights(self, start: int, stop: int, method: Method, dtype: Any) -> Any:
        """Return the sparse matrix of weights (output voxels `[start, stop)`, input voxels of their `window`).

        Rows sum to one, except for `majority`, whose weights are integers: lengths in units of 1 / denominator.
        """
        from scipy.sparse import csr_array

        index = np.arange(start, stop)
        first, last = self._span(index, method)
        source = first[:, None] + np.arange(self._max_inputs(method))
        inside = source < last[:, None]
        values = np.where(inside, self._values(index[:, None], source, method), 0)
        if method != "majority":
            values = values / values.sum(1, keepdims=True)
        origin, end = int(first[0]), int(last[-1])
        ends = np.concatenate([[0], np.cumsum(inside.sum(1))])
        shape = (stop - start, end - origin)
        return csr_array((values[inside].astype(dtype), source[inside] - origin, ends), shape=shape)

    def _max_inputs(self, method: Method) -> int:
        """Return the maximum number of input voxels of an output voxel: the length of all rows, so that sums agree."""
        if method == "nearest":
            return 1
        return int(2 * REACH[method] * max(self.ratio, Fraction(1))) + 2 if method in REACH else int(self.ratio) + 2

    def _span(self, index: np.ndarray, method: Method) -> tuple[np.ndarray, np.ndarray]:
        """Return the first input voxel of each output voxel, and one after the last."""
        p, q = self.ratio.numerator, self.ratio.denominator
        centre = (2 * index + 1) * p  # in units of 1 / 2q
        if method == "nearest":
            first = np.clip(centre // (2 * q), 0, self.size - 1)
            return first, first + 1
        if method in REACH:
            reach = 2 * REACH[method] * max(p, q)
            first, last = (centre - reach - q) // (2 * q) + 1, -(-(centre + reach - q) // (2 * q))
        else:
            first, last = index * p // q, -(-(index + 1) * p // q)
        return np.maximum(first, 0), np.minimum(last, self.size)

    def _values(self, index: np.ndarray, source: np.ndarray, method: Method) -> np.ndarray:
        """Return the weights of input voxels in output voxels, not yet scaled to a sum of one."""
        p, q = self.ratio.numerator, self.ratio.denominator
        if method == "nearest":
            return np.ones(np.broadcast_shapes(index.shape, source.shape))
        if method not in REACH:
            overlap = np.minimum((index + 1) * p, (source + 1) * q) - np.maximum(index * p, source * q)
            result: np.ndarray = np.maximum(overlap, 0)
            return result
        distance = np.abs((2 * source + 1) * q - (2 * index + 1) * p) / (2 * max(p, q))
        return _cubic(distance) if method == "cubic" else np.maximum(1 - distance, 0)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Return the cubic convolution kernel at these distances, in voxels (Keys 1981, equation 15: a = -1/2)."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


def resample(values: np.ndarray, grids: Sequence[Grid], box: Box, method: Method) -> np.ndarray:
    """Return the output voxels `(C, *box.shape)` of a box from the input voxels `(C, Z, Y, X)` of its window.

    `cubic` and `linear` interpolate; where voxels become larger, the kernel is widened by the same factor, which
    averages and avoids aliasing. `area` is the mean over the voxel. `nearest` and `majority` create no new values:
    they take the voxel at the centre, or the value that fills most of the voxel (the smaller of two that fill equally
    much). The data type is kept; integers are rounded and clipped, never wrapped.
    """
    if method == "majority":
        return np.stack([_majority(channel, grids, box) for channel in values])
    wide = np.float64 if values.dtype.itemsize > 2 and values.dtype != np.float32 else np.float32
    result = values
    for axis in sorted(range(3), key=lambda axis: -grids[axis].ratio):
        if grids[axis].ratio != 1:
            kind = values.dtype if method == "nearest" else wide
            matrix = grids[axis].weights(box.start[axis], box.stop[axis], method, kind)
            result = along(matrix, result.astype(kind, copy=False), axis + 1)
    return fit(result, values.dtype)


def along(matrix: Any, values: np.ndarray, axis: int) -> np.ndarray:
    """Apply a sparse matrix along one axis; every element is summed in the order of its row, for any shape."""
    front = np.moveaxis(values, axis, 0)
    result = matrix @ np.ascontiguousarray(front).reshape(front.shape[0], -1)
    return np.moveaxis(result.reshape(-1, *front.shape[1:]), 0, axis)


def fit(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return values as another type; integers are rounded and clipped to its limits, never wrapped."""
    if values.dtype == dtype or dtype.kind == "f":
        return np.ascontiguousarray(values, dtype)
    limits = np.iinfo(dtype)
    return np.ascontiguousarray(np.clip(np.rint(values), limits.min, limits.max), dtype)


def _majority(values: np.ndarray, grids: Sequence[Grid], box: Box) -> np.ndarray:
    """Return, for one channel `(Z, Y, X)`, the value with the greatest weight; of equal weights, the smaller value."""
    present = np.unique(values)
    result = np.full(box.shape, present[0], values.dtype)
    if present.size == 1:
        return result
    wide = np.float32 if prod(g.ratio.numerator for g in grids) < 1 << 24 else np.float64
    weights = [g.weights(a, b, "majority", wide) for g, a, b in zip(grids, box.start, box.stop, strict=True)]
    if present.size == 2:
        z, y, x = (matrix.sum(1) for matrix in weights)
        everywhere = tuple(slice(0, n) for n in values.shape)
        votes, _ = _votes(values == present[1], weights, everywhere)
        result[2 * votes > z[:, None, None] * y[:, None] * x] = present[1]
        return result
    return _most_votes(values, weights, result)


def _most_votes(values: np.ndarray, weights: Sequence[Any], result: np.ndarray) -> np.ndarray:
    """Fill `result` with the values of greatest weight; each value, smallest first, is weighed in its bounding box."""
    from scipy.ndimage import find_objects

    present, numbers = np.unique(values, return_inverse=True)
    numbers = numbers.reshape(values.shape) + 1
    most = np.zeros(result.shape, weights[0].dtype)
    for number, where in enumerate(find_objects(numbers), start=1):
        votes, region = _votes(numbers[where] == number, weights, where)
        better = votes > most[region]
        result[region][better] = present[number - 1]
        most[region][better] = votes[better]
    return result


def _votes(mask: np.ndarray, weights: Sequence[Any], where: Sequence[slice]) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Return the weight of a mask, which lies at `where` in the input, and the slices of the output that it reaches.

    Weights are integers, so the order of the axes (those that shrink most come first) does not change the result.
    """
    votes, rows = mask.astype(weights[0].dtype), [slice(0, 0)] * 3
    for axis in sorted(range(3), key=lambda axis: weights[axis].shape[0] / weights[axis].shape[1]):
        part = weights[axis][:, where[axis]]
        filled = np.flatnonzero(np.diff(part.indptr))
        rows[axis] = slice(int(filled[0]), int(filled[-1]) + 1) if filled.size else slice(0, 0)
        votes = along(part[rows[axis]], votes, axis)
    return votes, tuple(rows)
