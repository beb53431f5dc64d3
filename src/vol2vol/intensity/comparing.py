"""Whether intensities fit those that a map was measured on, by a sample: few voxels, always the same."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from vol2vol.geometry import Box, Shape
from vol2vol.intensity.affine import Intensity
from vol2vol.intensity.streaming import Readable

BOXES = 24
"""Boxes of a sample, spread over the volume."""
BOX_VOXELS = 1 << 16
"""Voxels of a box, about; they lie in one chunk where it holds as many."""
DECODED = 1 << 26
"""Voxels of chunks that a sample may decode, about; it has fewer boxes where chunks are large."""
SPREAD = 1.32471795724474602596
"""The plastic number: multiples of its powers fall evenly into a volume (Roberts 2018)."""
FEW, MOST = 0.01, 0.5
"""Share of the voxels outside the trained range from which intensities are unlike, and from which they do not fit."""
NARROW, VANISHING = 0.1, 0.01
"""Share of the trained span below which the input's span is unlike, and below which it does not fit."""
MARGIN = 0.5
"""Widths of the trained range, on either side, that still count as inside: stains and exposures differ."""
LEVELS = 16
"""Different values that a sample must hold to be more than an empty piece of background, which may be flat."""


def sample(volume: Readable, region: Box | None = None, *, boxes: int = BOXES) -> np.ndarray:
    """Return finite voxels (C, n) of boxes spread over a region, by default the whole volume; equal calls are equal.

    Reads at most about `boxes * BOX_VOXELS` voxels, and at least one box.
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
    """Return the shape of a box: of a chunk, brought to about `BOX_VOXELS`."""
    shape = [min(n, max(1, chunk)) for n, chunk in zip(spatial, chunks, strict=True)]
    while prod(shape) > BOX_VOXELS:
        axis = int(np.argmax(shape))
        shape[axis] = ceil(shape[axis] / 2)
    while prod(shape) < BOX_VOXELS // 2 and (free := [a for a in range(3) if shape[a] < spatial[a]]):
        axis = min(free, key=lambda a: shape[a])
        shape[axis] = min(spatial[axis], 2 * shape[axis])
    return tuple(shape)


def _start(region: Box, chunks: Shape, shape: Shape, index: int) -> Shape:
    """Return where a box starts, inside the region, cutting through as few chunks as possible."""
    starts = []
    for axis, (low, high, chunk, n) in enumerate(zip(region.start, region.stop, chunks, shape, strict=True)):
        room = high - n - low
        at = low + int(((index + 0.5) * SPREAD ** -(axis + 1)) % 1 * (room + 1))
        first = at // max(1, chunk) * max(1, chunk)
        inside = min(at, first + chunk - n) if n <= chunk else first
        starts.append(inside if low <= inside else at)
    return tuple(starts)


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How a channel's intensities lie to the range that a model was trained on."""

    low: float
    """0.01 and 99.99 percentile of the sample, in stored values."""
    high: float
    trained: tuple[float, float]
    """What the map sends to the ends of the network's range, in stored values."""
    outside: float
    """Share of the voxels beyond `MARGIN`, not counting 0 and the most frequent value: borders are often blank."""
    share: float
    """How much of that range the sample spans; 1 for constant samples, which have no span."""
    levels: int
    """Different values in the sample."""

    @property
    def fits(self) -> bool:
        """Say whether most voxels lie near the trained range, and structure fills more than a vanishing part of it."""
        return self.outside <= MOST and (self.share >= VANISHING or self.levels <= LEVELS)

    @property
    def unlike(self) -> bool:
        """Say whether more than some voxels lie outside the trained range, or all of them in a small part of it."""
        return self.outside > FEW or self.share < NARROW

    @property
    def words(self) -> str:
        """What is unlike, in words, with numbers."""
        low, high = self.trained
        if self.outside > FEW:
            return f"{100 * self.outside:.3g} % of the voxels lie far outside the range of {low:g} to {high:g}"
        taken = f"{100 * self.share:.2g} % of the range of {low:g} to {high:g}"
        return f"the values, {self.low:g} to {self.high:g}, take only {taken}"


def likeness(values: np.ndarray, trained: Intensity) -> Likeness | None:
    """Compare a sample (C, n) with what a map was measured on; return the worst channel, None of an empty sample."""
    return Sample("", values).likeness(trained)


class Sample:
    """A sample (C, n) of a volume's voxels, to be compared with several others."""

    def __init__(self, path: object, values: np.ndarray) -> None:
        self.path = path
        self._ends: list[tuple[float, float]] = [tuple(np.percentile(v, [0.01, 99.99])) for v in values if v.size]
        self._counts = [_counted(v) for v in values if v.size]
        self.map = _map(values)
        """The map by percentiles; None where the sample is empty or a channel constant."""

    @classmethod
    def of(cls, volume: Readable, *, boxes: int = BOXES) -> Sample:
        """Return a sample of a volume, see `sample`."""
        return cls(volume.path, sample(volume, boxes=boxes))

    def likeness(self, trained: Intensity) -> Likeness | None:
        """Compare it with what a map was measured on; return the worst channel, None where it is empty."""
        channels = [self._channel(trained, index) for index in range(len(self._ends))]
        return max(channels, key=lambda c: (not c.fits, c.unlike, c.outside, -c.share), default=None)

    def _channel(self, trained: Intensity, index: int) -> Likeness:
        low, high = (ends[index if len(ends) > 1 else 0] for ends in (trained.low, trained.high))
        room = MARGIN * (high - low)
        (first, last), (numbers, counts) = self._ends[index], self._counts[index]
        counted = np.where((numbers == 0) | (np.arange(len(numbers)) == counts.argmax()), 0, counts)
        beyond = int(counted[(numbers < low - room) | (numbers > high + room)].sum())
        return Likeness(
            low=float(first),
            high=float(last),
            trained=(float(low), float(high)),
            outside=beyond / max(1, int(counted.sum())),
            share=float(np.ptp(np.clip([first, last], low, high))) / (high - low) if len(numbers) > 1 else 1.0,
            levels=len(numbers),
        )

    def apart(self, other: Sample) -> str:
        """Say in words how the intensities of two volumes do not fit each other, empty where they do."""
        for mine, its in ((other, self), (self, other)):
            found = None if its.map is None else mine.likeness(its.map)
            if found is not None and not found.fits:
                return f"{mine.path} does not fit {its.path}: {found.words}"
        return ""


def _counted(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values (n,) that are there, ascending, and how often each is."""
    if values.dtype not in (np.uint8, np.uint16):
        return np.unique(values, return_counts=True)
    counts = np.bincount(values)  # without sorting
    numbers = np.flatnonzero(counts)
    return numbers, counts[numbers]


def _map(values: np.ndarray) -> Intensity | None:
    """Return the map by percentiles of a sample (C, n); None where it is empty or a channel constant."""
    if not values.size:
        return None
    low, high = np.percentile(values, [0.1, 99.9], axis=1)
    if not (low < high).all():
        return None
    return Intensity(low=tuple(low.tolist()), high=tuple(high.tolist()), method="percentile")


def apart(first: Readable, second: Readable, *, boxes: int = BOXES) -> str:
    """Say in words how the intensities of two volumes do not fit each other, empty where they do."""
    return Sample.of(first, boxes=boxes).apart(Sample.of(second, boxes=boxes))
