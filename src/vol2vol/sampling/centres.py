"""Centre patches more often on certain voxels: the foreground of a mask, some labels, or bright voxels of an image.

These voxels are counted once, block by block; drawing a voxel reads one block. Memory: the count of every block (at
most about a million blocks, whatever the size of the volumes) and the voxels of one block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, ceil_div
from vol2vol.intensity import Readable, histograms
from vol2vol.intensity.streaming import tiles
from vol2vol.progress import counted
from vol2vol.protocol import Need
from vol2vol.volumes.masks import foreground

MOST = 1 << 20
"""Maximum number of blocks, unless there are more volumes than that."""
SIDES = {2: (1, 256, 256), 3: (64, 64, 64)}
"""Minimum size of a block in voxels along Z, Y, X, for patches of two and of three axes."""


class Weight(BaseModel):
    """The voxels of a domain on which patches are centred, and how often."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    share: float = Field(default=0.5, gt=0, le=1)
    """Fraction of patches that are centred on one of these voxels, or as close to it as the border of the volume
    allows; every such voxel is equally likely. The other patches are drawn from the whole volume."""
    labels: tuple[int, ...] = ()
    """For a mask or a label image: the labels to centre on; by default all except 0."""
    quantile: float | None = Field(default=None, ge=0, lt=1)
    """For an image: centre on voxels above this quantile of intensity, such as 0.95, in any channel."""
    along: str | None = None
    """For a mask that the task itself does not need: the domain it is aligned with; by default the task's first."""

    def check(self, need: Need) -> None:
        """Raise `BadInput`, naming the setting, if it does not fit the kind of its domain."""
        where = f"data.weights.{need.name}"
        if need.kind == "image" and self.quantile is None:
            raise BadInput(f"{where}: {need.name} is an image: set a quantile, such as {where}.quantile=0.95")
        if need.kind == "image" and self.labels:
            raise BadInput(f"{where}.labels: {need.name} is an image, which has no labels: use {where}.quantile alone")
        if need.kind != "image" and self.quantile is not None:
            raise BadInput(f"{where}.quantile: {need.name} is not an image: leave it out, or use {where}.labels")


@dataclass(frozen=True)
class Part:
    """The part of a volume from which patches are drawn."""

    volume: Readable
    box: Box
    """The region whose voxels may be centres of patches."""
    origin: Shape
    """The origin of the coordinates of patches; it may lie outside the volume."""


@dataclass(frozen=True)
class Chosen:
    """Selects voxels by their stored values (C, Z, Y, X): foreground, certain labels, or values above a limit."""

    labels: tuple[int, ...] = ()
    above: tuple[float, ...] = ()

    def __call__(self, values: np.ndarray, where: str) -> np.ndarray:
        """Return the mask (Z, Y, X) of the selected voxels."""
        if self.above:
            mask = values > np.reshape(self.above, (-1, 1, 1, 1))
        else:
            mask = np.isin(values, self.labels) if self.labels else foreground(values, where)
        return np.asarray(mask.any(0))


class Centres:
    """The selected voxels of the volumes of a domain; every voxel is drawn with the same probability.

    `parts` holds one part per volume; `dims` is the number of axes of a patch. Raises `BadInput` if no voxel is
    selected.
    """

    def __init__(self, weight: Weight, need: Need, parts: Sequence[Part], dims: int) -> None:
        weight.check(need)
        self.share, self.parts = weight.share, tuple(parts)
        above: tuple[float, ...] = ()
        if weight.quantile is not None:
            tables = histograms([part.volume for part in parts])
            above = tuple(float(t.values[np.searchsorted(t.shares(), weight.quantile)]) for t in tables)
        self.chosen = Chosen(weight.labels, above)
        self.block = _block([part.box.shape for part in parts], SIDES[dims])
        self.grids = [tuple(map(ceil_div, part.box.shape, self.block)) for part in parts]
        self.first = np.cumsum([0, *map(prod, self.grids)])
        self.ends = np.cumsum(np.concatenate([self._counts(i).ravel() for i in range(len(parts))]))
        if not self.ends[-1]:
            raise _empty(weight, need, parts)

    def wanted(self, random: np.random.Generator) -> bool:
        """Draw whether the next patch is centred on a selected voxel."""
        return bool(random.random() < self.share)

    def draw(self, random: np.random.Generator) -> tuple[int, Shape]:
        """Return the index of a volume and a selected voxel (Z, Y, X) in it, relative to the origin of its part."""
        rank = int(random.integers(self.ends[-1]))
        block = int(np.searchsorted(self.ends, rank, side="right"))
        which = int(np.searchsorted(self.first, block, side="right")) - 1
        part = self.parts[which]
        cell = np.unravel_index(block - int(self.first[which]), self.grids[which])
        start = tuple(a + int(i) * n for a, i, n in zip(part.box.start, cell, self.block, strict=True))
        box = Box(start, tuple(a + n for a, n in zip(start, self.block, strict=True))) & part.box
        selected = np.flatnonzero(self._selected(part, box))
        at = np.unravel_index(selected[rank - (int(self.ends[block - 1]) if block else 0)], box.shape)
        return which, tuple(a + int(i) - o for a, i, o in zip(box.start, at, part.origin, strict=True))

    def _selected(self, part: Part, box: Box) -> np.ndarray:
        return self.chosen(part.volume.read(box), str(part.volume.path))

    def _counts(self, which: int) -> np.ndarray:
        """Return the number of selected voxels in every block of a part, in one pass over the part."""
        part, counts = self.parts[which], np.zeros(self.grids[which], np.int64)
        boxes = [box & part.box for box in tiles(part.volume)]
        for box in counted([box for box in boxes if box.size], "counting voxels", len(boxes)):
            summed = self._selected(part, box)
            cells: list[slice] = []
            for axis in (2, 1, 0):
                start, step = box.start[axis] - part.box.start[axis], self.block[axis]
                first, last = start // step, ceil_div(start + box.shape[axis], step)
                edges = [max(0, i * step - start) for i in range(first, last)]
                summed = np.add.reduceat(summed, edges, axis, dtype=np.int64)
                cells.insert(0, slice(first, last))
            counts[tuple(cells)] += summed
        return counts


def _block(shapes: Sequence[Shape], smallest: Shape) -> Shape:
    """Return the smallest block shape that gives at most `MOST` blocks; blocks of one plane are made thicker last."""
    block, longest = list(smallest), [max(sizes) for sizes in zip(*shapes, strict=True)]
    while sum(prod(map(ceil_div, shape, block)) for shape in shapes) > MOST:
        longer = [axis for axis in range(3) if block[axis] < longest[axis]]
        if not longer:
            break
        block[min(longer, key=lambda axis: block[axis] if block[axis] > 1 else MOST)] *= 2
    return tuple(block)


def _empty(weight: Weight, need: Need, parts: Sequence[Part]) -> BadInput:
    where = f"data.weights.{need.name}"
    more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
    if weight.quantile is not None:
        what, cure = f"is above the quantile {weight.quantile:g}", f"lower {where}.quantile"
    elif weight.labels:
        what, cure = f"has a label of {', '.join(map(str, weight.labels))}", f"correct {where}.labels"
    else:
        what, cure = "is foreground", f"check the masks, or leave out {where}"
    return BadInput(f"in the training part of {parts[0].volume.path}{more}, no voxel {what}: {cure}")
