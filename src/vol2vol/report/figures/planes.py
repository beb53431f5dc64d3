"""Read planes of a volume, and the tile borders that cross them, for pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vol2vol.geometry import Box, Shape
from vol2vol.plans.record import Record
from vol2vol.volumes import Volume

VIEWS = {"xy": 0, "xz": 1, "yz": 2}
"""The axis (0 to 2 for z, y, x) that each view looks along."""
LETTERS = "zyx"
SIGNS = {"angstrom": "Å", "nanometer": "nm", "micrometer": "\N{MICRO SIGN}m", "millimeter": "mm"}
CROP = 300
"""Largest side of a picture in voxels, as in Fig. 2 of the stitching paper."""


@dataclass(frozen=True)
class Plane:
    """One plane of a volume: the grey values `(rows, columns)` of its first channel, and its position."""

    view: str
    box: Box
    """Position in voxels of the volume."""
    pixels: np.ndarray
    voxel_size: tuple[float, float]
    """Height of a row and width of a column, in `unit`."""
    unit: str

    @property
    def axes(self) -> tuple[int, int]:
        """The volume's axes along rows and columns."""
        return inside(self.view)

    @property
    def where(self) -> str:
        """Position across the plane in words, such as `z = 48`."""
        across = VIEWS[self.view]
        return f"{LETTERS[across]} = {self.box.start[across]}"


def short(unit: str) -> str:
    """Return the symbol of a unit's full name, or the name itself if its symbol is unknown."""
    return SIGNS.get(unit, unit)


def inside(view: str) -> tuple[int, int]:
    """Return the axes that lie in the plane of a view, rows first."""
    rows, columns = (axis for axis in range(3) if axis != VIEWS[view])
    return rows, columns


def views(spatial: Shape, smallest: int = 8) -> list[str]:
    """Return xy, and the other views whose planes have at least `smallest` voxels along both sides."""
    return [view for view in VIEWS if view == "xy" or min(spatial[a] for a in inside(view)) >= smallest]


def middle(spatial: Shape) -> Shape:
    """Return the voxel in the middle of a volume."""
    return tuple(n // 2 for n in spatial)


def window(spatial: Shape, view: str, centre: Shape, side: int = CROP) -> Box:
    """Return a box of one plane through `centre`, at most `side` voxels along each side, inside the volume."""
    start, stop = [], []
    for axis, (size, at) in enumerate(zip(spatial, centre, strict=True)):
        length = 1 if axis == VIEWS[view] else min(side, size)
        first = min(max(at - length // 2, 0), size - length)
        start.append(first)
        stop.append(first + length)
    return Box(tuple(start), tuple(stop))


def cut(volume: Volume, view: str, box: Box) -> Plane:
    """Read one plane of a volume's first channel; `box` is one voxel thick along the view."""
    rows, columns = inside(view)
    return Plane(
        view=view,
        box=box,
        pixels=volume.read(box)[0].squeeze(VIEWS[view]),
        voxel_size=(float(volume.voxel_size[rows]), float(volume.voxel_size[columns])),
        unit=short(volume.unit),
    )


def origin(volume: Volume) -> Shape:
    """Return the position in its source at which a predicted volume starts: the corner of its region of interest."""
    record = Record.of(volume)
    return (0, 0, 0) if record is None else record.layout.region.start


def borders(volume: Volume) -> tuple[list[int], ...]:
    """Return, for axes z, y and x, the voxels at which tiles of a predicted volume start; [] for other volumes."""
    record = Record.of(volume)
    return ([], [], []) if record is None else record.layout.borders()


def borders_in(plane: Plane, positions: tuple[list[int], ...]) -> tuple[list[int], list[int]]:
    """Return the borders that cross a plane, as rows and columns of its pixels."""
    rows, columns = (
        [p - plane.box.start[axis] for p in positions[axis] if plane.box.start[axis] < p < plane.box.stop[axis]]
        for axis in plane.axes
    )
    return rows, columns
