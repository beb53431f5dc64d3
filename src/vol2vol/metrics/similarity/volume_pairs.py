"""Read two volumes of the same shape together, block by block with a halo, and compare them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.finite import need_finite
from vol2vol.geometry import Box, Shape, grid
from vol2vol.metrics.bootstrap import Blockwise, Combine
from vol2vol.progress import counted
from vol2vol.volumes import Volume
from vol2vol.volumes.places import same_voxels, warn_apart

BLOCK = (64, 128, 128)
"""Voxels of a block of a volume."""
BLOCK_2D = (1, 512, 512)
"""Voxels of a block of an image."""
ROWS = 2048
"""Largest number of rows of sums per volume; with more blocks, neighbouring blocks share a row."""
THREADS = min(4, os.cpu_count() or 1)
"""Number of blocks that are measured at the same time."""
RELATIVE = 1e-3
"""Relative difference up to which voxel sizes count as equal."""


@dataclass(frozen=True)
class Pair:
    """A block of both volumes, float64 `(Z, Y, X)` of one channel, with the halo as far as the volume extends."""

    first: np.ndarray
    second: np.ndarray
    inner: tuple[slice, ...]
    """Position of the block in the arrays."""
    box: Box
    """Position of the block in the volume."""
    spatial: Shape
    """Shape of the volume in voxels, `(Z, Y, X)`."""
    bytes: bool = False
    """Whether both volumes are uint8."""

    def whole(self, radius: Sequence[int]) -> tuple[slice, ...]:
        """Return the slices of the block's voxels whose window of this radius lies inside the volume."""
        return tuple(
            slice(s.start + max(0, r - a), s.stop - max(0, b - (n - r)))
            for s, a, b, n, r in zip(self.inner, self.box.start, self.box.stop, self.spatial, radius, strict=True)
        )

    def windows(self, radius: Sequence[int]) -> tuple[slice, ...] | None:
        """Return the slices of all windows of this radius around `whole`; None if there is none."""
        where = self.whole(radius)
        if min(s.stop - s.start for s in where) < 1:
            return None
        return tuple(slice(s.start - r, s.stop + r) for s, r in zip(where, radius, strict=True))


@dataclass(frozen=True, kw_only=True)
class BlockMetric:
    """A metric as sums over blocks."""

    name: str
    sums: Callable[[Pair], np.ndarray]
    """Additive sums `(k,)` of a block."""
    combine: Combine
    """Computes the value from the sums."""
    halo: Shape = (0, 0, 0)
    """Number of voxels needed around a block, `(Z, Y, X)`."""


def alike(first: Volume, second: Volume, *, channels: bool = True) -> None:
    """Raise `BadInput` unless two volumes have the same shape and voxel size; warn if their origins differ.

    Without `channels` they may have different numbers of channels.
    """
    if first.spatial != second.spatial or (channels and first.channels != second.channels):
        raise BadInput(
            f"{first.path} has shape {first.shape} and {second.path} {second.shape}: compare volumes of one shape"
        )
    if not same_voxels(first, second, RELATIVE):
        sizes = [f"{v.voxel_size} {v.unit}".strip() for v in (first, second)]
        raise BadInput(
            f"{first.path} has voxels of {sizes[0]} and {second.path} of {sizes[1]}: resample one or give `voxel_size`"
        )
    warn_apart(first, second)


def blocks_of(volume: Volume, block: Shape | None = None) -> list[Box]:
    """Return the blocks of a volume; the last one along an axis may be smaller."""
    size = block or (BLOCK_2D if volume.spatial[0] == 1 else BLOCK)
    if len(size) != 3 or min(size) < 1:
        raise BadInput(f"block {size} is not allowed: give three positive numbers of voxels (Z, Y, X)")
    return grid(Box.of(volume.spatial), size)


def pairs(first: Volume, second: Volume, box: Box, halo: Shape = (0, 0, 0)) -> list[Pair]:
    """Return one pair per channel of a block. Raises `BadInput` on voxels that are not finite."""
    wide = box.grow(halo, halo) & Box.of(first.spatial)
    arrays = [finite(volume, wide) for volume in (first, second)]
    inner, small = box.relative_to(wide.start).slices, first.dtype == second.dtype == np.uint8
    return [Pair(a, b, inner, box, first.spatial, small) for a, b in zip(*arrays, strict=True)]


def finite(volume: Volume, box: Box) -> np.ndarray:
    """Return voxels `(C, *box.shape)` as float64; raise `BadInput`, naming the first, where one is not finite."""
    return need_finite(volume.read(box), volume.path, box.start).astype(np.float64)


def compare(
    first: Volume, second: Volume, measures: Sequence[BlockMetric], *, block: Shape | None = None
) -> dict[str, Blockwise]:
    """Return all measures of two volumes, reading each block once; memory holds a few blocks.

    `THREADS` blocks are measured at the same time, and their sums are added in the order of the blocks, so that results
    do not depend on threads. Raises `BadInput` if shapes or voxel sizes differ, or a voxel is not finite.
    """
    alike(first, second)
    halo = tuple(max(m.halo[axis] for m in measures) for axis in range(3))
    boxes = blocks_of(first, block)
    rows = {m.name: Rows(len(boxes)) for m in measures}

    def measured(box: Box) -> list[np.ndarray]:
        channels = pairs(first, second, box, halo)
        return [np.sum([measure.sums(pair) for pair in channels], axis=0) for measure in measures]

    first_sums = measured(boxes[0])  # first: `pearson` subtracts the first voxel of this block everywhere
    with ThreadPoolExecutor(THREADS) as pool:
        for block_sums in counted(chain([first_sums], pool.map(measured, boxes[1:])), "comparing", len(boxes)):
            for measure, sums in zip(measures, block_sums, strict=True):
                rows[measure.name].add(sums)
    return {m.name: Blockwise(name=m.name, sums=rows[m.name].sums, combine=m.combine) for m in measures}


class Rows:
    """Sums per block, in at most `ROWS` rows of equally many neighbouring blocks."""

    def __init__(self, blocks: int) -> None:
        self.blocks, self.seen = blocks, 0
        self.sums: np.ndarray = np.zeros((min(blocks, ROWS), 0))

    def add(self, sums: np.ndarray) -> None:
        """Add the sums of the next block; all blocks have sums of the same shape."""
        if not self.seen:
            self.sums = np.zeros((len(self.sums), *sums.shape))
        self.sums[self.seen * len(self.sums) // self.blocks] += sums
        self.seen += 1


def extremes(volume: Volume, block: Shape | None = None) -> tuple[float, float]:
    """Return the smallest and the largest grey value, in one pass."""
    low, high = np.inf, -np.inf
    boxes = blocks_of(volume, block)
    for box in counted(boxes, "reading", len(boxes)):
        values = finite(volume, box)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return low, high
