"""Planes of a volume and the tile borders that cross them: all that a picture needs to read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vol2vol.geometry import Box, Shape
from vol2vol.plans.record import Record
from vol2vol.volumes import Volume

VIEWS = {"xy": 0, "xz": 1, "yz": 2}
"""The axis (z, y, x) each view looks along."""
LETTERS = "zyx"
SIGNS = {"angstrom": "Å", "nanometer": "nm", "micrometer": "\N{MICRO SIGN}m", "millimeter": "mm"}
CROP = 300
"""Largest side of a picture in voxels, as in Fig. 2 of the stitching paper."""


@dataclass(frozen=True)
class Plane:
    """One plane of a volume: grey values `(rows, columns)` of the first channel and where they come from."""

    view: str
    box: Box
    """In voxels of the volume it was cut from."""
    pixels: np.ndarray
    voxel_size: tuple[float, float]
    """Of a row and a column, in `unit`."""
    unit: str

    @property
    def axes(self) -> tuple[int, int]:
        """The volume's axes along rows and columns."""
        return inside(self.view)

    @property
    def where(self) -> str:
        """Say which plane this is, such as `z = 48`."""
        across = VIEWS[self.view]
        return f"{LETTERS[across]} = {self.box.start[across]}"


def short(unit: str) -> str:
    """Return the sign of a unit's full name, the name itself where it has none we know."""
    return SIGNS.get(unit, unit)


def inside(view: str) -> tuple[int, int]:
    """Return the axes that lie in the plane of a view, rows first."""
    rows, columns = (axis for axis in range(3) if axis != VIEWS[view])
    return rows, columns


def views(spatial: Shape, smallest: int = 8) -> list[str]:
    """Return the views in which a volume of this shape is a picture and not a line."""
    return [view for view in VIEWS if view == "xy" or min(spatial[a] for a in inside(view)) >= smallest]


def middle(spatial: Shape) -> Shape:
    """Return the voxel in the middle of a volume."""
    return tuple(n // 2 for n in spatial)


def window(spatial: Shape, view: str, centre: Shape, side: int = CROP) -> Box:
    """Return the part of a plane to show: through `centre`, at most `side` voxels wide, inside the volume."""
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
    """Return where in its source a predicted volume starts: the corner of its region of interest."""
    record = Record.of(volume)
    return (0, 0, 0) if record is None else record.layout.region.start


def borders(volume: Volume) -> tuple[list[int], ...]:
    """Return, per axis z, y, x, the voxels of a predicted volume at which a new tile starts; none of any other."""
    record = Record.of(volume)
    return ([], [], []) if record is None else record.layout.borders()


def borders_in(plane: Plane, positions: tuple[list[int], ...]) -> tuple[list[int], list[int]]:
    """Return the borders that cross a plane, as rows and columns of its pixels."""
    rows, columns = (
        [p - plane.box.start[axis] for p in positions[axis] if plane.box.start[axis] < p < plane.box.stop[axis]]
        for axis in plane.axes
    )
    return rows, columns
