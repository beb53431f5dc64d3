"""How far one volume is from another, voxel by voxel, read slab by slab."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log10, nan, sqrt

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, grid
from vol2vol.volumes import Volume

SLAB = 2**22
"""Voxels held at once, about."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Differences between a volume and a reference of the same shape."""

    mean_absolute: float
    """In stored grey values."""
    psnr: float
    """Decibels; the peak is the span of an integer type, or the range of a float reference. Infinite if equal."""
    pearson: float
    """-1 to 1; NaN where either is constant."""


def compare(volume: Volume, reference: Volume) -> Comparison:
    """Return the differences between two volumes; memory does not grow with them.

    Sums are float64 and centred on the first voxel of each, so that large offsets cost no digits. Raises `BadInput`
    where the shapes differ.
    """
    if volume.shape != reference.shape:
        raise BadInput(
            f"{volume.path} has shape {volume.shape}, {reference.path} has {reference.shape}: compare equal shapes"
        )
    sums = np.zeros(7)
    zero: tuple[float, float] | None = None
    low, high = inf, -inf
    for box in _slabs(volume):
        a, b = (np.asarray(one.read(box), dtype=np.float64) for one in (volume, reference))
        zero = zero or (float(a.flat[0]), float(b.flat[0]))
        low, high = min(low, float(b.min())), max(high, float(b.max()))
        difference = a - b
        a -= zero[0]
        b -= zero[1]
        parts = [np.abs(difference), difference**2, a, b, a * a, b * b, a * b]
        sums += [float(part.sum()) for part in parts]
    absolute, square, *moments = sums / (volume.channels * Box.of(volume.spatial).size)
    peak = float(np.ptp(_span(reference.dtype))) if reference.dtype.kind in "iu" else high - low
    return Comparison(mean_absolute=absolute, psnr=_psnr(square, peak), pearson=_pearson(*moments))


def _slabs(volume: Volume) -> list[Box]:
    depth = max(1, SLAB // (volume.channels * volume.spatial[1] * volume.spatial[2]))
    if depth > volume.chunks[0]:
        depth -= depth % volume.chunks[0]
    return grid(Box.of(volume.spatial), (depth, *volume.spatial[1:]))


def _span(dtype: np.dtype) -> tuple[int, int]:
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def _psnr(square: float, peak: float) -> float:
    if square == 0:
        return inf
    return 10 * log10(peak**2 / square) if peak > 0 else nan


def _pearson(a: float, b: float, aa: float, bb: float, ab: float) -> float:
    spread = (aa - a * a) * (bb - b * b)
    return (ab - a * b) / sqrt(spread) if spread > 0 else nan
