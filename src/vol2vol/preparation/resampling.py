"""Resample a box of a volume: every output voxel is a fixed weighted mean of input voxels, whatever the block it is in.

Voxels are intervals: input voxel j covers `[j, j + 1)`, output voxel i `[i * ratio, (i + 1) * ratio)`, both from the
volume's corner, so that nothing is shifted. Positions are rational numbers, weights one sparse matrix per axis, and
sums run voxel by voxel in one order: a block's bytes do not depend on the blocks around it. Beyond the border there is
nothing; the weights inside are scaled up to one.
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
"""Ratios are fractions with at most this denominator: exact for voxel sizes of two decimals, else right to a hundredth
of a voxel over ten thousand of them. Lengths, areas and volumes in such units are whole numbers that floats hold."""


@dataclass(frozen=True)
class Grid:
    """One axis of `size` voxels, cut anew from the same corner into voxels `ratio` times as long."""

    size: int
    ratio: Fraction

    @classmethod
    def between(cls, size: int, old: float, new: float) -> Grid:
        """Return the grid that leads from voxels of length `old` to voxels of length `new`."""
        ratio = Fraction(repr(float(new))) / Fraction(repr(float(old)))  # as written: 5.24 is 131/25
        return cls(size, ratio.limit_denominator(FINEST))

    @property
    def new_size(self) -> int:
        """Output voxels: the nearest number that fills the same length, at least one."""
        return max(1, int(self.size / self.ratio + Fraction(1, 2)))

    def window(self, start: int, stop: int, method: Method) -> tuple[int, int]:
        """Return the input voxels that output voxels `[start, stop)` are made of, as `[first, last)`."""
        if self.ratio == 1:
            return start, stop
        first, last = self._span(np.array([start, stop - 1]), method)
        return int(first[0]), int(last[1])

    def weights(self, start: int, stop: int, method: Method, dtype: Any) -> Any:
        """Return the weights of output voxels `[start, stop)` over those of `window`, as a sparse matrix.

        Rows sum to one, but for `majority`, whose weights are lengths in whole units of one over the denominator.
        """
        from scipy.sparse import csr_array

        index = np.arange(start, stop)
        first, last = self._span(index, method)
        source = first[:, None] + np.arange(self._most(method))
        there = source < last[:, None]
        values = np.where(there, self._values(index[:, None], source, method), 0)
        if method != "majority":
            values = values / values.sum(1, keepdims=True)
        origin, end = int(first[0]), int(last[-1])
        ends = np.concatenate([[0], np.cumsum(there.sum(1))])
        shape = (stop - start, end - origin)
        return csr_array((values[there].astype(dtype), source[there] - origin, ends), shape=shape)

    def _most(self, method: Method) -> int:
        """Return how many input voxels an output voxel can be made of; the same for all, so that sums are."""
        if method == "nearest":
            return 1
        return int(2 * REACH[method] * max(self.ratio, Fraction(1))) + 2 if method in REACH else int(self.ratio) + 2

    def _span(self, index: np.ndarray, method: Method) -> tuple[np.ndarray, np.ndarray]:
        """Return the first input voxel of each output voxel, and the one after its last."""
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
        """Return the weights of input voxels in output voxels, before they are scaled to one."""
        p, q = self.ratio.numerator, self.ratio.denominator
        if method == "nearest":
            return np.ones(np.broadcast_shapes(index.shape, source.shape))
        if method not in REACH:
            overlap = np.minimum((index + 1) * p, (source + 1) * q) - np.maximum(index * p, source * q)
            result: np.ndarray = np.maximum(overlap, 0)
            return result
        away = np.abs((2 * source + 1) * q - (2 * index + 1) * p) / (2 * max(p, q))
        return _cubic(away) if method == "cubic" else np.maximum(1 - away, 0)


def _cubic(away: np.ndarray) -> np.ndarray:
    """Return the cubic convolution kernel at some distances (Keys 1981, equation 15: a = -1/2)."""
    near = (1.5 * away - 2.5) * away**2 + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    return np.where(away < 1, near, np.where(away < 2, far, 0))


def resample(values: np.ndarray, grids: Sequence[Grid], box: Box, method: Method) -> np.ndarray:
    """Return the output voxels of a box from the input voxels of its window, `(C, Z, Y, X)` of the same dtype.

    `cubic` and `linear` interpolate; where voxels grow, their kernel grows with them, so that it averages and nothing
    is aliased. `area` is the mean over the voxel. `nearest` and `majority` make no new values: the voxel at the
    centre, and the value that fills most of the voxel (the smaller one of two that fill as much). Integers are
    rounded and clipped, never wrapped.
    """
    if method == "majority":
        return np.stack([_majority(channel, grids, box) for channel in values])
    wide = np.float64 if values.dtype.itemsize > 2 and values.dtype != np.float32 else np.float32
    made = values
    for axis in sorted(range(3), key=lambda axis: -grids[axis].ratio):
        if grids[axis].ratio != 1:
            kind = values.dtype if method == "nearest" else wide
            matrix = grids[axis].weights(box.start[axis], box.stop[axis], method, kind)
            made = along(matrix, made.astype(kind, copy=False), axis + 1)
    return fit(made, values.dtype)


def along(matrix: Any, values: np.ndarray, axis: int) -> np.ndarray:
    """Return a sparse matrix applied along one axis; each element is summed on its own, in the order of its row."""
    front = np.moveaxis(values, axis, 0)
    made = matrix @ np.ascontiguousarray(front).reshape(front.shape[0], -1)
    return np.moveaxis(made.reshape(-1, *front.shape[1:]), 0, axis)


def fit(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return values as another type; integers are rounded and clipped to what it holds, never wrapped."""
    if values.dtype == dtype or dtype.kind == "f":
        return np.ascontiguousarray(values, dtype)
    limits = np.iinfo(dtype)
    return np.ascontiguousarray(np.clip(np.rint(values), limits.min, limits.max), dtype)


def _majority(values: np.ndarray, grids: Sequence[Grid], box: Box) -> np.ndarray:
    """Return of one channel `(Z, Y, X)` the value with the greatest weight, the smaller one of two as great."""
    found = np.unique(values)
    made = np.full(box.shape, found[0], values.dtype)
    if found.size == 1:
        return made
    wide = np.float32 if prod(g.ratio.numerator for g in grids) < 1 << 24 else np.float64
    weights = [g.weights(a, b, "majority", wide) for g, a, b in zip(grids, box.start, box.stop, strict=True)]
    if found.size == 2:
        z, y, x = (matrix.sum(1) for matrix in weights)
        everywhere = tuple(slice(0, n) for n in values.shape)
        votes, _ = _votes(values == found[1], weights, everywhere)
        made[2 * votes > z[:, None, None] * y[:, None] * x] = found[1]
        return made
    return _most_votes(values, weights, made)


def _most_votes(values: np.ndarray, weights: Sequence[Any], made: np.ndarray) -> np.ndarray:
    """Fill in the value with most votes, one value after the other within its own bounds, the smallest first."""
    from scipy.ndimage import find_objects

    found, numbers = np.unique(values, return_inverse=True)
    numbers = numbers.reshape(values.shape) + 1
    most = np.zeros(made.shape, weights[0].dtype)
    for number, where in enumerate(find_objects(numbers), start=1):
        votes, here = _votes(numbers[where] == number, weights, where)
        better = votes > most[here]
        made[here][better] = found[number - 1]
        most[here][better] = votes[better]
    return made


def _votes(mask: np.ndarray, weights: Sequence[Any], where: Sequence[slice]) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Return the weight of a mask, which lies at `where` in the input, and the slices of the output it reaches.

    Whole numbers: the order of the axes, by how much they leave out, changes none.
    """
    votes, rows = mask.astype(weights[0].dtype), [slice(0, 0)] * 3
    for axis in sorted(range(3), key=lambda axis: weights[axis].shape[0] / weights[axis].shape[1]):
        part = weights[axis][:, where[axis]]
        filled = np.flatnonzero(np.diff(part.indptr))
        rows[axis] = slice(int(filled[0]), int(filled[-1]) + 1) if filled.size else slice(0, 0)
        votes = along(part[rows[axis]], votes, axis)
    return votes, tuple(rows)
