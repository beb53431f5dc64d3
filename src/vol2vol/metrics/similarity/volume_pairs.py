"""Two volumes of the same tissue read side by side, block by block, each block with a halo around it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np

from vol2vol.errors import BadInput
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
"""Rows of sums kept of a volume; beyond, runs of neighbouring blocks share one."""
THREADS = min(4, os.cpu_count() or 1)
"""Blocks that are measured at once."""
RELATIVE = 1e-3
"""Voxel sizes that differ by less are the same."""


@dataclass(frozen=True)
class Pair:
    """A block of both volumes, float64 `(Z, Y, X)` of one channel, with as much halo as the volume has."""

    first: np.ndarray
    second: np.ndarray
    inner: tuple[slice, ...]
    """Where the block lies in the arrays."""
    box: Box
    """Where it lies in the volume."""
    spatial: Shape
    """Voxels of the volume."""
    bytes: bool = False
    """Both hold whole numbers of 8 bits without sign."""

    def whole(self, radius: Sequence[int]) -> tuple[slice, ...]:
        """Return, in the arrays, the voxels of the block whose window of this radius lies in the volume."""
        return tuple(
            slice(s.start + max(0, r - a), s.stop - max(0, b - (n - r)))
            for s, a, b, n, r in zip(self.inner, self.box.start, self.box.stop, self.spatial, radius, strict=True)
        )

    def windows(self, radius: Sequence[int]) -> tuple[slice, ...] | None:
        """Return, in the arrays, all voxels of the windows of this radius around `whole`; None where there is none."""
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
    """What makes a value of the sums."""
    halo: Shape = (0, 0, 0)
    """Voxels it has to see around a block."""


def alike(first: Volume, second: Volume) -> None:
    """Raise `BadInput`, naming both, unless two volumes have the same shape and voxel size; warn of other places."""
    if first.shape != second.shape:
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
    """Return the blocks that a volume is measured in; the last on an axis may be smaller."""
    size = block or (BLOCK_2D if volume.spatial[0] == 1 else BLOCK)
    if len(size) != 3 or min(size) < 1:
        raise BadInput(f"block {size} must be three positive numbers of voxels: Z, Y, X")
    return grid(Box.of(volume.spatial), size)


def pairs(first: Volume, second: Volume, box: Box, halo: Shape = (0, 0, 0)) -> list[Pair]:
    """Return a block as one pair per channel. Raises `BadInput` on voxels that are not finite."""
    wide = box.grow(halo, halo) & Box.of(first.spatial)
    arrays = [finite(volume, wide) for volume in (first, second)]
    inner, small = box.relative_to(wide.start).slices, first.dtype == second.dtype == np.uint8
    return [Pair(a, b, inner, box, first.spatial, small) for a, b in zip(*arrays, strict=True)]


def finite(volume: Volume, box: Box) -> np.ndarray:
    """Return voxels `(C, *box.shape)` as float64; raise `BadInput`, naming the first, where one is not finite."""
    stored = volume.read(box)
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        at = np.argwhere(~np.isfinite(stored))[0]
        where = tuple(int(a + b) for a, b in zip(at, (0, *box.start), strict=True))
        raise BadInput(
            f"{volume.path}: voxel {where} (channel, z, y, x) is {stored[tuple(at)]}: "
            "replace NaN and infinite voxels by a number in the file"
        )
    return stored.astype(np.float64)


def compare(
    first: Volume, second: Volume, measures: Sequence[BlockMetric], *, block: Shape | None = None
) -> dict[str, Blockwise]:
    """Return every measure of two volumes, each block read once; memory is that of a few blocks.

    Blocks are measured side by side in `THREADS` and added up in their order: the result does not depend on it. Raises
    `BadInput` where shapes or voxel sizes differ, or a voxel is not finite.
    """
    alike(first, second)
    halo = tuple(max(m.halo[axis] for m in measures) for axis in range(3))
    boxes = blocks_of(first, block)
    rows = {m.name: Rows(len(boxes)) for m in measures}

    def measured(box: Box) -> list[np.ndarray]:
        channels = pairs(first, second, box, halo)
        return [np.sum([measure.sums(pair) for pair in channels], axis=0) for measure in measures]

    begun = measured(boxes[0])  # alone: a measure may take from its first block what all others are centred on
    with ThreadPoolExecutor(THREADS) as pool:
        for found in counted(chain([begun], pool.map(measured, boxes[1:])), "comparing", len(boxes)):
            for measure, sums in zip(measures, found, strict=True):
                rows[measure.name].add(sums)
    return {m.name: Blockwise(name=m.name, sums=rows[m.name].sums, combine=m.combine) for m in measures}


class Rows:
    """Sums of blocks, added one by one, in at most `ROWS` rows of as many neighbouring blocks."""

    def __init__(self, blocks: int) -> None:
        self.blocks, self.seen = blocks, 0
        self.sums: np.ndarray = np.zeros((min(blocks, ROWS), 0))

    def add(self, sums: np.ndarray) -> None:
        """Add the sums of the next block, of one shape for all."""
        if not self.seen:
            self.sums = np.zeros((len(self.sums), *sums.shape))
        self.sums[self.seen * len(self.sums) // self.blocks] += sums
        self.seen += 1


def extremes(volume: Volume, block: Shape | None = None) -> tuple[float, float]:
    """Return the smallest and the largest voxel, in one pass."""
    low, high = np.inf, -np.inf
    boxes = blocks_of(volume, block)
    for box in counted(boxes, "reading", len(boxes)):
        values = finite(volume, box)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return low, high
