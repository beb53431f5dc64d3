"""Positions of possible seams: the planes at which tiles meet, and the cells into which tiles divide these planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.plans import Plan

AXES = "zyx"
SMALLEST_CELL = 8
"""Cells narrower than this many voxels are joined, because their means are too noisy."""
MOST_CELLS = 1 << 20
"""Largest number of pairs of plane and cell per axis; their sums take at most 72 MB per channel."""
BETWEEN = 1 << 40
"""Step of an axis whose tiles meet between its planes."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Tiles whose kept parts start at `origin + k * step`, per axis Z, Y, X in voxels.

    `overlap` is the number of voxels that neighbouring kept parts share and in which they are averaged or blended.
    A step of 1 means that every plane is a tile of its own.
    """

    step: Shape
    origin: Shape = (0, 0, 0)
    overlap: Shape = (0, 0, 0)
    period: Shape = (1, 1, 1)
    """The network's period in voxels; only planes in the same phase of its pattern are compared."""
    between: tuple[Shape, Shape] | None = None
    """The first and the last border, per axis, where tiles do not go on to the ends of the volume; None: they do."""

    def __post_init__(self) -> None:
        fields = (self.step, self.origin, self.overlap, self.period)
        if any(len(field) != 3 for field in fields) or min(*self.step, *self.period) < 1 or min(self.overlap) < 0:
            raise BadInput(
                f"grid step {self.step}, origin {self.origin}, overlap {self.overlap}, period {self.period}: "
                "give three integers each (Z,Y,X), steps and periods of at least 1"
            )

    @classmethod
    def of(cls, plan: Plan) -> Grid:
        """Return the grid of a plan; with a plan of two axes, every plane is a tile."""
        overlap = tuple(kept - step for kept, step in zip(plan.kept, plan.step, strict=True))
        if plan.dims == 2:
            return cls(step=(1, *plan.step), origin=(0, *plan.origin), overlap=(0, *overlap))
        return cls(step=plan.step, origin=plan.origin, overlap=overlap)

    def borders(self, size: int, axis: int) -> np.ndarray:
        """Return the positions p, 0 < p < size, at which tiles start; the seam lies between p - 1 and p."""
        step, origin = self.step[axis], self.origin[axis]
        borders = np.arange(origin % step or step, size, step)
        if self.between is None or step == 1:
            return borders
        first, last = (side[axis] for side in self.between)
        return borders[(borders >= first) & (borders <= last)]

    def tiled(self, size: int, axis: int) -> bool:
        """Return whether tiles meet across an axis of `size` planes, other than plane by plane."""
        return self.step[axis] == BETWEEN or (self.step[axis] > 1 and self.borders(size, axis).size > 0)

    def cells(self, spatial: Shape, most: int) -> list[np.ndarray]:
        """Return, per axis, the ascending edges from 0 to the size that divide a plane into one cell per tile.

        A remainder of less than half a step joins its neighbour. Neighbouring cells are joined until they are at least
        8 voxels wide and no axis has more than `most` pairs of plane and cell.
        """
        edges = []
        for axis, size in enumerate(spatial):
            step = self.step[axis]
            inner = [p for p in self.borders(size, axis) if step <= 2 * p and step <= 2 * (size - p)]
            join = -(-SMALLEST_CELL // step)
            edges.append(np.array([0, *inner[join - 1 : len(inner) - join + 1 : join], size]))
        while True:
            counts = [len(e) - 1 for e in edges]
            pairs = [spatial[axis] * prod(counts) // counts[axis] for axis in range(3)]
            if max(pairs) <= most or max(counts) == 1:
                return edges
            widest = int(np.argmax(counts))
            edges[widest] = np.array([0, *edges[widest][2:-1:2], spatial[widest]])


def borders_of(grids: Sequence[Grid], spatial: Shape, path: str) -> list[list[int]]:
    """Return the planes along Z, Y and X at which tiles of any pass meet; `path` names the volume in errors.

    Raises `BadInput` if the tiles of the passes have different steps.
    """
    planes: list[list[int]] = []
    for axis, size in enumerate(spatial):
        tiled = [grid for grid in grids if 1 < grid.step[axis] < size]
        if len({grid.step[axis] for grid in tiled}) > 1:
            raise BadInput(f'{path}: its passes use different tile sizes, so "near a seam" is undefined')
        planes.append(sorted({int(p) for grid in tiled for p in grid.borders(size, axis)}))
    return planes
