"""Define the stitching strategies: how to cut a volume into tiles and reassemble the network's outputs.

    volume     |<-------------------- V -------------------->|
    tile k     [before |        kept        | after]            starts at origin + k*step - before
    tile k+1                [before |        kept        | after]

A tile is the input of the network; `margin` is cut off its output on each side; the kept part of tile k starts at
`origin + k*step`. Kept parts that overlap are averaged with the weights of `window`. A seam has three causes: margin <
reach (context), tiles off the period grid (phase), and statistics that depend on the tile (the network's
normalisation). The first two are numbers of a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Footprint, Shape, boxes, cover, round_up
from vol2vol.schemas import FORBID, checked

Window = Literal["flat", "linear", "gaussian", "distance"]
Strategy = Literal["exact", "printed", "disjoint", "average", "blend"]
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


def exact(footprint: Footprint, tile: Shape) -> Plan:
    """Return the plan of tile-and-stitch in phase with one pass from the volume's origin (Rumberger et al. 2021).

    The margins are the smallest that cover the reach and keep every tile on the period grid: 64/62 for the paper's
    U-Net of five levels, where the paper's own 63/63 is one voxel out of phase. Raises `BadInput` for a tile that the
    network does not admit or that is too small.
    """
    footprint.check(tile)
    before = tuple(round_up(r, p) for r, p in zip(footprint.reach[0], footprint.period, strict=True))
    after = tuple(
        r + (t - b - r) % p for r, t, b, p in zip(footprint.reach[1], tile, before, footprint.period, strict=True)
    )
    step = tuple(t - b - a for t, b, a in zip(tile, before, after, strict=True))
    if min(step) < 1:
        smallest = tuple(smallest_exact_tile(footprint, axis) for axis in range(footprint.dims))
        raise BadInput(f"tile {tile} is too small for exact stitching: the smallest that works is {smallest}")
    return Plan(tile=tile, margin=(before, after), step=step, origin=(0,) * len(tile))


def smallest_exact_tile(footprint: Footprint, axis: int) -> int:
    """Return the smallest tile of an exact plan on one axis: one period of kept voxels."""
    period = footprint.period[axis]
    least = round_up(footprint.reach[0][axis], period) + footprint.reach[1][axis] + 1
    size = footprint.admissible(least, axis, at_least=True)
    kept = size - round_up(footprint.reach[0][axis], period) - footprint.reach[1][axis]
    return size if kept >= period else size + period


def printed(footprint: Footprint, tile: Shape) -> Plan:
    """Return the plan of tile-and-stitch as printed in the paper (section 8.2): even margins, 63/63 for 190.

    It is seamless, but out of phase with one pass from the volume's origin. Raises what `exact` raises.
    """
    plan = exact(footprint, tile)
    total = tuple(a + b for a, b in zip(*plan.margin, strict=True))
    before = tuple(t // 2 for t in total)
    return replace(plan, margin=(before, tuple(t - b for t, b in zip(total, before, strict=True))))


def disjoint(footprint: Footprint, tile: Shape) -> Plan:
    """Return the plan that puts whole outputs side by side ("valid, no overlap" in the paper): seams by construction.

    Tiles overlap by the voxels that the network itself cuts off; a network that cuts off its whole reach leaves no
    seams. Raises `BadInput` for a tile that the network does not admit.
    """
    footprint.check(tile)
    before, after = footprint.trim
    step = tuple(n - a - b for n, a, b in zip(tile, before, after, strict=True))
    return Plan(tile=tile, margin=(before, after), step=step, origin=(0,) * len(tile))


def average(footprint: Footprint, tile: Shape, halo: int = 16, overlap: int = 32) -> Plan:
    """Return the plan of padded tiles without their halo, averaged where they overlap ("same padding, overlap").

    The paper's 190 + 2*16 = 222 is not admissible for a padded network of five levels; its code used 192. Raises
    `BadInput` for a tile that the network does not admit, or that is too small for halo and overlap.
    """
    return _overlapping(footprint, tile, halo, overlap, "flat")


def blend(footprint: Footprint, tile: Shape, window: Window = "linear", *, halo: int = 16, overlap: int = 32) -> Plan:
    """Return the plan of `average` with weights that decrease towards the border of a tile."""
    return _overlapping(footprint, tile, halo, overlap, window)


@dataclass(frozen=True, kw_only=True)
class Way:
    """What a strategy consists of: its plan and the variant of the network."""

    make: Callable[[Footprint, Shape, Overlap], Plan]
    network: Literal["cropped", "full", "padded"]
    """Variant of the network: `cropped` to certain voxels, `full` output, or `padded` inside."""
    seamless: bool
    """Whether the strategy needs a network whose output does not depend on the tile."""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How tiles share voxels, for the strategies that average them."""

    halo: int | None = None
    """Voxels cut off each side of a tile; by default 16, fewer for small tiles."""
    overlap: int | None = None
    """Voxels shared by neighbouring kept parts; by default 32, fewer for small tiles."""
    window: Window = "linear"

    def of(self, tile: Shape, footprint: Footprint) -> tuple[int, int]:
        """Return halo and overlap for a tile; by default the halo is at least the network's trim."""
        cut = max(max(side) for side in footprint.trim)
        halo = max(cut, min(16, min(tile) // 8)) if self.halo is None else self.halo
        return halo, min(32, min(tile) // 4) if self.overlap is None else self.overlap


WAYS: dict[Strategy, Way] = {
    "exact": Way(make=lambda foot, tile, _: exact(foot, tile), network="cropped", seamless=True),
    "printed": Way(make=lambda foot, tile, _: printed(foot, tile), network="cropped", seamless=True),
    "disjoint": Way(make=lambda foot, tile, _: disjoint(foot, tile), network="full", seamless=False),
    "average": Way(make=lambda foot, tile, o: average(foot, tile, *o.of(tile, foot)), network="padded", seamless=False),
    "blend": Way(
        make=lambda foot, tile, o: blend(foot, tile, o.window, halo=o.of(tile, foot)[0], overlap=o.of(tile, foot)[1]),
        network="padded",
        seamless=False,
    ),
}
"""Every strategy by name. To add one, write a function that returns a `Plan`; add its name here and to `Strategy`."""


def _overlapping(footprint: Footprint, tile: Shape, halo: int, overlap: int, window: Window) -> Plan:
    footprint.check(tile)
    if halo < 0 or overlap < 0:
        raise BadInput(f"halo {halo} and overlap {overlap} must not be negative")
    if (cut := max(max(side) for side in footprint.trim)) > halo:
        raise BadInput(f"halo {halo} is less than the {cut} voxels that the network cuts off a tile: use {cut} or more")
    margin = (halo,) * len(tile)
    step = tuple(t - 2 * halo - overlap for t in tile)
    if min(step) < 1:
        raise BadInput(
            f"tile {tile} is too small for halo {halo} and overlap {overlap}: use more than {2 * halo + overlap}"
        )
    return Plan(tile=tile, margin=(margin, margin), step=step, origin=(0,) * len(tile), window=window)


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
