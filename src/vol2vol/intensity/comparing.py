"""Compare the intensities of a volume with those that a map was measured on, by a small reproducible sample."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from vol2vol.geometry import Box, Shape
from vol2vol.intensity.affine import Intensity
from vol2vol.intensity.streaming import Readable

BOXES = 24
"""Number of boxes of a sample, spread over the volume."""
BOX_VOXELS = 1 << 16
"""Approximate number of voxels of a box, which lies within one chunk where the chunk is large enough."""
DECODED = 1 << 26
"""Approximate maximum of voxels to decode for a sample; it has fewer boxes where chunks are large."""
SPREAD = 1.32471795724474602596
"""The plastic number: multiples of its inverse powers, modulo 1, are evenly distributed (Roberts 2018)."""
FEW, MOST = 0.01, 0.5
"""Fraction of voxels outside the trained range above which intensities are unlike, and above which they do not fit."""
NARROW, VANISHING = 0.1, 0.01
"""Fraction of the trained range below which the input's range is unlike, and below which it does not fit."""
MARGIN = 0.5
"""Tolerance on either side of the trained range, in widths of that range: stains and exposures differ."""
LEVELS = 16
"""Number of distinct values above which a sample is more than empty background, whose range may be narrow."""


def sample(volume: Readable, region: Box | None = None, *, boxes: int = BOXES) -> np.ndarray:
    """Return finite voxels (C, n) of boxes spread over a region, by default the whole volume.

    The sample is deterministic. It reads at most about `boxes * BOX_VOXELS` voxels, and at least one box.
    """
    region = region or Box.of(volume.spatial)
    chunks = volume.chunks[1:]
    shape = _shape(region.shape, chunks)
    boxes = max(1, min(boxes, DECODED // max(1, prod(chunks)), ceil(region.size / prod(shape))))
    starts = dict.fromkeys(_start(region, chunks, shape, index) for index in range(boxes))
    parts = [volume.read(Box(start, tuple(a + n for a, n in zip(start, shape, strict=True)))) for start in starts]
    values = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
    return values[:, np.isfinite(values).all(axis=0)] if values.dtype.kind == "f" else values


def _shape(spatial: Shape, chunks: Shape) -> Shape:
    """Return the shape of a box: that of a chunk, halved or doubled along its axes to about `BOX_VOXELS`."""
    shape = [min(n, max(1, chunk)) for n, chunk in zip(spatial, chunks, strict=True)]
    while prod(shape) > BOX_VOXELS:
        axis = int(np.argmax(shape))
        shape[axis] = ceil(shape[axis] / 2)
    while prod(shape) < BOX_VOXELS // 2 and (free := [a for a in range(3) if shape[a] < spatial[a]]):
        axis = min(free, key=lambda a: shape[a])
        shape[axis] = min(spatial[axis], 2 * shape[axis])
    return tuple(shape)


def _start(region: Box, chunks: Shape, shape: Shape, index: int) -> Shape:
    """Return the start of a box inside the region, chosen so that the box touches as few chunks as possible."""
    starts = []
    for axis, (low, high, chunk, n) in enumerate(zip(region.start, region.stop, chunks, shape, strict=True)):
        free = high - n - low
        position = low + int(((index + 0.5) * SPREAD ** -(axis + 1)) % 1 * (free + 1))
        first = position // max(1, chunk) * max(1, chunk)
        inside = min(position, first + chunk - n) if n <= chunk else first
        starts.append(inside if low <= inside else position)
    return tuple(starts)


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How the intensities of one channel compare with the range that a model was trained on."""

    low: float
    """0.01 and 99.99 percentile of the sample, in stored values."""
    high: float
    trained: tuple[float, float]
    """Stored values that the map sends to the ends of the network's range."""
    outside: float
    """Fraction of voxels beyond `MARGIN`, without 0 and the most frequent value: borders are often blank."""
    share: float
    """Fraction of that range that the sample covers; 1 for constant samples."""
    levels: int
    """Number of distinct values in the sample."""

    @property
    def fits(self) -> bool:
        """Whether most voxels lie near the trained range and cover more than a vanishing part of it."""
        return self.outside <= MOST and (self.share >= VANISHING or self.levels <= LEVELS)

    @property
    def unlike(self) -> bool:
        """Whether more than a few voxels lie outside the trained range, or all of them in a small part of it."""
        return self.outside > FEW or self.share < NARROW

    @property
    def words(self) -> str:
        """The difference in words, with numbers."""
        low, high = self.trained
        if self.outside > FEW:
            return f"{100 * self.outside:.3g} % of the voxels lie far outside the range of {low:g} to {high:g}"
        covered = f"{100 * self.share:.2g} % of the range of {low:g} to {high:g}"
        return f"the values, {self.low:g} to {self.high:g}, cover only {covered}"


def likeness(values: np.ndarray, trained: Intensity) -> Likeness | None:
    """Compare a sample (C, n) with the range of a map; return the worst channel, None for an empty sample."""
    return Sample("", values).likeness(trained)


class Sample:
    """A sample (C, n) of a volume's voxels, for comparison with maps and other samples."""

    def __init__(self, path: object, values: np.ndarray) -> None:
        self.path = path
        self._ends: list[tuple[float, float]] = [tuple(np.percentile(v, [0.01, 99.99])) for v in values if v.size]
        self._counts = [_counted(v) for v in values if v.size]
        self.map = _map(values)
        """The map by percentiles; None where the sample is empty or a channel is constant."""

    @classmethod
    def of(cls, volume: Readable, *, boxes: int = BOXES) -> Sample:
        """Return a sample of a volume, see `sample`."""
        return cls(volume.path, sample(volume, boxes=boxes))

    def likeness(self, trained: Intensity) -> Likeness | None:
        """Compare the sample with the range of a map; return the worst channel, None for an empty sample."""
        channels = [self._channel(trained, index) for index in range(len(self._ends))]
        return max(channels, key=lambda c: (not c.fits, c.unlike, c.outside, -c.share), default=None)

    def _channel(self, trained: Intensity, index: int) -> Likeness:
        low, high = (ends[index if len(ends) > 1 else 0] for ends in (trained.low, trained.high))
        tolerance = MARGIN * (high - low)
        (first, last), (levels, counts) = self._ends[index], self._counts[index]
        counts = np.where((levels == 0) | (np.arange(len(levels)) == counts.argmax()), 0, counts)
        beyond = int(counts[(levels < low - tolerance) | (levels > high + tolerance)].sum())
        return Likeness(
            low=float(first),
            high=float(last),
            trained=(float(low), float(high)),
            outside=beyond / max(1, int(counts.sum())),
            share=float(np.ptp(np.clip([first, last], low, high))) / (high - low) if len(levels) > 1 else 1.0,
            levels=len(levels),
        )

    def apart(self, other: Sample) -> str:
        """Return in words how the intensities of two volumes differ; empty where they fit each other."""
        for sample, reference in ((other, self), (self, other)):
            comparison = None if reference.map is None else sample.likeness(reference.map)
            if comparison is not None and not comparison.fits:
                return f"{sample.path} does not fit {reference.path}: {comparison.words}"
        return ""


def _counted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values (n,) that are there, ascending, and how often each is."""
    if values.dtype not in (np.uint8, np.uint16):
        return np.unique(values, return_counts=True)
    counts = np.bincount(values)  # without sorting
    numbers = np.flatnonzero(counts)
    return numbers, counts[numbers]


def _map(values: np.ndarray) -> Intensity | None:
    """Return the map by percentiles of a sample (C, n); None where it is empty or a channel is constant."""
    if not values.size:
        return None
    low, high = np.percentile(values, [0.1, 99.9], axis=1)
    if not (low < high).all():
        return None
    return Intensity(low=tuple(low.tolist()), high=tuple(high.tolist()), method="percentile")


def apart(first: Readable, second: Readable, *, boxes: int = BOXES) -> str:
    """Return in words how the intensities of two volumes differ; empty where they fit each other."""
    return Sample.of(first, boxes=boxes).apart(Sample.of(second, boxes=boxes))
