"""Voxels on which patches are centred more often: foreground of a mask, some labels, or what is bright in an image.

They are counted once, block by block; drawing one reads a block. Memory: one number per block, of which there are about
a million at most whatever the size of the volumes, and the voxels of one block.
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
"""Blocks in all, where the volumes are not more themselves."""
SIDES = {2: (1, 256, 256), 3: (64, 64, 64)}
"""Voxels along Z, Y, X of the smallest blocks, for patches of two and three axes."""


class Weight(BaseModel):
    """Which voxels of a domain patches are centred on, and how often."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    share: float = Field(default=0.5, gt=0, le=1)
    """Share of patches whose centre lies on such a voxel, each as often as any other, or as near to it as the border of
    the volume allows. The other patches lie anywhere, so that a few more hit one."""
    labels: tuple[int, ...] = ()
    """Of a mask or a label image: the numbers that count; by default all but 0."""
    quantile: float | None = Field(default=None, ge=0, lt=1)
    """Of an image: voxels count that are brighter than this share of all, such as 0.95, in any channel."""
    along: str | None = None
    """Of a mask that the task itself does not need: the domain it lies on; by default the task's first."""

    def check(self, need: Need) -> None:
        """Raise `BadInput`, naming the setting, where it does not fit the kind of its domain."""
        where = f"data.weights.{need.name}"
        if need.kind == "image" and self.quantile is None:
            raise BadInput(f"{where}: {need.name} is an image: say which voxels count, such as {where}.quantile=0.95")
        if need.kind == "image" and self.labels:
            raise BadInput(f"{where}.labels: {need.name} is an image, which has no labels: use {where}.quantile alone")
        if need.kind != "image" and self.quantile is not None:
            raise BadInput(f"{where}.quantile: {need.name} is not an image: leave it out, or use {where}.labels")


@dataclass(frozen=True)
class Part:
    """What patches see of a volume."""

    volume: Readable
    box: Box
    """The region whose voxels may be centres."""
    origin: Shape
    """The voxel from which patches count; it may lie outside the volume."""


@dataclass(frozen=True)
class Chosen:
    """Which stored values (C, Z, Y, X) count: those that are foreground, have a label, or exceed a value by channel."""

    labels: tuple[int, ...] = ()
    above: tuple[float, ...] = ()

    def __call__(self, values: np.ndarray, where: str) -> np.ndarray:
        """Return which voxels (Z, Y, X) count."""
        if self.above:
            there = values > np.reshape(self.above, (-1, 1, 1, 1))
        else:
            there = np.isin(values, self.labels) if self.labels else foreground(values, where)
        return np.asarray(there.any(0))


class Centres:
    """The voxels of some volumes that count, each of them drawn as often as any other.

    `parts` are those of the volumes of a domain, one each; `dims` is the number of a patch's axes. Raises `BadInput`
    where no voxel counts.
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
        """Say whether the next patch is centred on a voxel that counts."""
        return bool(random.random() < self.share)

    def draw(self, random: np.random.Generator) -> tuple[int, Shape]:
        """Return the number of a volume and a voxel (Z, Y, X) of it, counted from its part's origin."""
        rank = int(random.integers(self.ends[-1]))
        block = int(np.searchsorted(self.ends, rank, side="right"))
        which = int(np.searchsorted(self.first, block, side="right")) - 1
        part = self.parts[which]
        cell = np.unravel_index(block - int(self.first[which]), self.grids[which])
        start = tuple(a + int(i) * n for a, i, n in zip(part.box.start, cell, self.block, strict=True))
        box = Box(start, tuple(a + n for a, n in zip(start, self.block, strict=True))) & part.box
        counting = np.flatnonzero(self._of(part, box))
        at = np.unravel_index(counting[rank - (int(self.ends[block - 1]) if block else 0)], box.shape)
        return which, tuple(a + int(i) - o for a, i, o in zip(box.start, at, part.origin, strict=True))

    def _of(self, part: Part, box: Box) -> np.ndarray:
        return self.chosen(part.volume.read(box), str(part.volume.path))

    def _counts(self, which: int) -> np.ndarray:
        """Return how many voxels count in every block of a part, in one pass."""
        part, counts = self.parts[which], np.zeros(self.grids[which], np.int64)
        boxes = [box & part.box for box in tiles(part.volume)]
        for box in counted([box for box in boxes if box.size], "counting voxels", len(boxes)):
            summed = self._of(part, box)
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
    """Return the smallest blocks of which there are few enough; single planes stay single as long as they can."""
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
        what, cure = f"is brighter than {weight.quantile:g} of all", f"lower {where}.quantile"
    elif weight.labels:
        what, cure = f"has a label of {', '.join(map(str, weight.labels))}", f"correct {where}.labels"
    else:
        what, cure = "is foreground", f"look at the masks, or leave out {where}"
    return BadInput(f"no voxel that training may see of {parts[0].volume.path}{more} {what}: {cure}")
