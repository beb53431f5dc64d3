"""Describe how a volume is cut into tiles and reassembled, in voxels.

    volume     |<-------------------- V -------------------->|
    tile k     [before |        kept        | after]            starts at origin + k*step - before
    tile k+1                [before |        kept        | after]

A tile is the input of the network; `margin` is cut off its output on each side; the kept part of tile k starts at
`origin + k*step`. Kept parts that overlap are averaged with the weights of `window`. A seam has three causes: margin <
reach (context), tiles off the period grid (phase), and statistics that depend on the tile (the network's
normalisation). The first two are numbers of a plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, boxes, cover
from vol2vol.schemas import FORBID, checked

Window = Literal["flat", "linear", "gaussian", "distance"]
WINDOWS: tuple[str, ...] = get_args(Window)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to cut and reassemble; all fields in voxels of the volume, one entry per spatial axis."""

    __pydantic_config__ = FORBID

    tile: Shape
    """Shape of a tile, the input of the network."""
    margin: tuple[Shape, Shape]
    """Voxels cut off its output, before and after."""
    step: Shape
    """Distance between neighbouring tiles."""
    origin: Shape
    """Position of the first kept voxel of the grid in the volume: the phase."""
    window: Window = "flat"
    """Weight of a kept voxel where tiles overlap."""

    def __post_init__(self) -> None:
        if len({len(part) for part in (self.tile, self.step, self.origin, *self.margin)}) != 1:
            raise BadInput(f"margin, step and origin of a plan need as many axes as its tile, {self.tile}")
        if self.window not in WINDOWS:
            raise BadInput(f"window {self.window!r} is unknown: use one of {', '.join(WINDOWS)}")
        for axis, (kept, step) in enumerate(zip(self.kept, self.step, strict=True)):
            if kept < 1:
                raise BadInput(
                    f"tile {self.tile[axis]} leaves nothing after its margin of "
                    f"{self.margin[0][axis]} + {self.margin[1][axis]} voxels: use a larger tile"
                )
            if not 1 <= step <= kept:
                raise BadInput(f"step {step} leaves gaps between kept parts of {kept} voxels: use 1 to {kept}")

    @property
    def dims(self) -> int:
        """Number of axes."""
        return len(self.tile)

    @property
    def kept(self) -> Shape:
        """Shape of the part of one tile's output that is kept."""
        return tuple(t - a - b for t, a, b in zip(self.tile, *self.margin, strict=True))

    @property
    def overlaps(self) -> bool:
        """Whether neighbouring kept parts share voxels."""
        return self.kept != self.step

    def kept_boxes(self, within: Box) -> Iterator[Box]:
        """Yield the kept parts, in volume coordinates, of all tiles that touch a box (not clipped to it)."""
        starts = [
            [o + k * s for k in cover(a, b, s, o, n)]
            for a, b, s, o, n in zip(within.start, within.stop, self.step, self.origin, self.kept, strict=True)
        ]
        yield from boxes(starts, self.kept)

    def read_box(self, kept: Box) -> Box:
        """Return the tile of a kept part; it may reach outside the volume."""
        return kept.grow(*self.margin)

    def borders(self, volume: Shape, axis: int) -> list[int]:
        """Return the positions on one axis at which a new tile starts to contribute: possible seams."""
        step, origin = self.step[axis], self.origin[axis]
        return [p for k in cover(0, volume[axis], step, origin) if 0 < (p := origin + k * step) < volume[axis]]

    def redundancy(self, volume: Shape) -> float:
        """Return the number of voxels that the network reads per voxel of a volume of this shape."""
        tiles = 1.0
        for axis, size in enumerate(volume):
            count = len(cover(0, size, self.step[axis], self.origin[axis], self.kept[axis]))
            tiles *= count * self.tile[axis] / size
        return tiles

    def weight(self) -> np.ndarray:
        """Return the weights of one kept part, float64 of shape `kept`, positive, largest 1.

        Flat: ones. Linear: a product of ramps across the overlap. Gaussian: standard deviation 1/8 of the kept
        length. Distance: minimum over the axes of the distance to the border of the kept part, as in weighted tiling
        (de Bel et al. 2021).
        """
        profiles = [_profile(self.window, n, n - s) for n, s in zip(self.kept, self.step, strict=True)]
        combine = np.minimum if self.window == "distance" else np.multiply
        weight = np.ones((), dtype=np.float64)
        for profile in profiles:
            weight = combine(weight[..., None], profile)
        return np.broadcast_to(weight, self.kept)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data, as in an output's attributes."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        """Return the plan that `to_dict` wrote, also through JSON; raise `BadInput` where it is inconsistent."""
        return checked(cls, data, "plan")


def _profile(window: Window, kept: int, overlap: int) -> np.ndarray:
    """Return the 1D weights of a kept part of `kept` voxels that shares `overlap` voxels with each neighbour."""
    centred = np.arange(kept) + 0.5
    edge = np.minimum(centred, kept - centred)
    if window == "flat" or overlap <= 0:
        return np.ones(kept)
    profile: np.ndarray = np.minimum(1.0, edge / min(overlap, kept / 2))
    if window == "gaussian":
        profile = np.exp(-0.5 * ((centred - kept / 2) / (kept / 8)) ** 2)
    return profile


def planar(plan: Plan, axis: int) -> Plan:
    """Return a 2D plan for volumes: every plane perpendicular to `axis` (0 = z, 1 = y, 2 = x) is a separate image."""
    assert plan.dims == 2, plan

    def lift(shape: Shape, value: int) -> Shape:
        return (*shape[:axis], value, *shape[axis:])

    return replace(
        plan,
        tile=lift(plan.tile, 1),
        margin=(lift(plan.margin[0], 0), lift(plan.margin[1], 0)),
        step=lift(plan.step, 1),
        origin=lift(plan.origin, 0),
    )
