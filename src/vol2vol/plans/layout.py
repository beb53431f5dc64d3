"""How a volume is cut for one prediction: passes, blocks and rows of blocks.

A *pass* goes over the volume once: one pass for slices and for 3D, three for orthoslices. A *block* is what is written
and marked as done at once: one shard of the output. A *row* is what one worker computes in one go: neighbouring blocks
along the axis of a sweep, or a single block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Footprint, Shape, ceil_div, cover, grid, round_up
from vol2vol.plans.counting import count_blocks
from vol2vol.plans.strategies import Plan
from vol2vol.schemas import FORBID, checked

MOST = 20_000_000
"""Blocks that are listed; a list of more takes gigabytes."""
STRETCH = 10_000
"""Voxels along z that a pass may see for one of the volume."""


@dataclass(frozen=True)
class Sweep:
    """Along which axis of the volume a stream is swept, by how many planes at a time.

    `planar` is the axis across which planes are images of their own (they form the batch), None for a 3D network.
    """

    __pydantic_config__ = FORBID

    axis: int
    push: int
    start: int = 0
    """Where the predicted region begins: a stream that begins there needs no extra push."""
    planar: int | None = None
    rows: bool = True
    """Whether it goes on from block to block; where each block is swept alone, no stream needs the extra push."""

    def network_axes(self) -> Shape:
        """Return the volume's axes that the network sees, in order."""
        return tuple(axis for axis in range(3) if axis != self.planar)

    def tile(self, footprint: Footprint, block: Box) -> tuple[Box, dict[int, tuple[int, int]]]:
        """Return what a column of this cross-section reads, and the part wanted of its output, by volume axis.

        On the swept axis the box starts where the stream starts and is as long as one push.
        """
        start, stop, wanted = list(block.start), list(block.stop), {}
        for position, axis in enumerate(self.network_axes()):
            period, before = footprint.period[position], footprint.reach[0][position]
            origin = block.start[axis] // period * period - round_up(before, period)
            trim = footprint.trim[0][position]
            if axis == self.axis:
                early = self.push if self.rows and block.start[axis] != self.start else 0
                start[axis] = origin // self.push * self.push - early
                stop[axis] = start[axis] + self.push
                continue
            needed = block.stop[axis] - origin + footprint.reach[1][position]
            start[axis], stop[axis] = origin, origin + footprint.admissible(needed, position, at_least=True)
            first = block.start[axis] - origin - trim
            wanted[axis] = (first, first + block.shape[axis])
        return Box(tuple(start), tuple(stop)), wanted


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One way over the volume."""

    __pydantic_config__ = FORBID

    plan: Plan
    """Where tiles lie; for a sweep, whose result does not depend on tiles, its columns."""
    planar: int | None
    """Axis across which planes are images of their own, None for 3D networks."""
    planes: int
    """Length of the z axis this pass sees: the volume's own, or that of the volume stretched to isotropic voxels."""
    sweep: Sweep | None = None
    """How a stream goes along the volume; None for tile by tile."""
    frugal: bool = False
    """Read and compute tile after tile, holding no more than one: where the memory has run out."""

    @property
    def sound(self) -> bool:
        """Say whether plan and sweep are those of a volume."""
        axes = (0, 1, 2, None)
        swept = self.sweep is None or (
            self.sweep.axis in axes[:3] and self.sweep.planar == self.planar != self.sweep.axis and self.sweep.push > 0
        )
        return self.plan.dims == 3 and self.planes > 0 and self.planar in axes and swept

    @property
    def seen(self) -> Shape:
        """The spatial shape of a tile as the network sees it."""
        return tuple(n for axis, n in enumerate(self.plan.tile) if axis != self.planar)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        sweep = None if self.sweep is None else asdict(self.sweep)
        return {"plan": self.plan.to_dict(), "planar": self.planar, "planes": self.planes, "sweep": sweep}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Passes over a region of a volume, and the blocks its output is written in."""

    __pydantic_config__ = FORBID

    spatial: Shape
    """The whole volume, Z, Y, X."""
    region: Box
    """The part that is predicted."""
    passes: tuple[Pass, ...]
    block: Shape
    """Shape of a shard of the output."""
    chunks: Shape
    memory: int
    """Estimated peak memory of one worker in bytes, weights included."""

    @property
    def sweep(self) -> Sweep | None:
        """The sweep that runs along rows of blocks, where there is one pass and it is swept."""
        return self.passes[0].sweep if len(self.passes) == 1 else None

    def blocks(self) -> list[Box]:
        """Return the blocks in volume coordinates, last axis fastest; raise `BadInput` where nobody can hold them."""
        if (count := count_blocks(self.region, self.block)) > MOST:
            raise BadInput(f"the region is cut into {count} blocks, more than {MOST}: predict parts of it, with --roi")
        return grid(self.region, self.block)

    def rows(self, todo: Sequence[Box], workers: int = 1) -> list[list[Box]]:
        """Return blocks grouped so that a worker takes one group at a time, at least one per worker if there are.

        Along a sweep, neighbouring blocks form one row, which costs one warm-up; long rows are halved until every
        worker has one.
        """
        if self.sweep is None:
            return [[box] for box in todo]
        axis = self.sweep.axis
        rows: list[list[Box]] = []
        ordered = sorted(todo, key=lambda box: (*(a for i, a in enumerate(box.start) if i != axis), box.start[axis]))
        for box in ordered:
            last = rows[-1][-1] if rows else None
            follows = last is not None and box.start == tuple(
                last.stop[axis] if i == axis else a for i, a in enumerate(last.start)
            )
            if follows:
                rows[-1].append(box)
            else:
                rows.append([box])
        while 0 < len(rows) < workers and max(map(len, rows)) > 1:
            longest = max(rows, key=len)
            rows.remove(longest)
            rows += [longest[: len(longest) // 2], longest[len(longest) // 2 :]]
        return rows

    def borders(self) -> tuple[list[int], ...]:
        """Return, per axis Z, Y, X, the voxels of the region, from its corner, at which a new tile starts.

        Every pass counts (orthoslices have three); slices that are images of their own have no border between them.
        """
        met: tuple[set[int], ...] = (set(), set(), set())
        for one in self.passes:
            for axis in set(range(3)) - {one.planar}:
                met[axis].update(self._borders(one, axis))
        return tuple(sorted(axis) for axis in met)

    def _borders(self, one: Pass, axis: int) -> Iterator[int]:
        """Yield where tiles of a pass start along an axis; only the region is looked at, however large the volume."""
        whole, seen = self.spatial[axis], one.planes if axis == 0 else self.spatial[axis]
        low, high = self.region.start[axis], self.region.stop[axis]
        step, origin = one.plan.step[axis], one.plan.origin[axis]
        for k in cover(low * seen // whole, ceil_div(high * seen, whole) + 1, step, origin):
            tile = origin + k * step
            border = round(tile * whole / seen) - low
            if 0 < tile < seen and 0 < border < high - low:
                yield border

    def surroundings(self, block: Box, foot: Footprint) -> Box:
        """Return what all passes together read to make a block, in voxels of the volume: it is read once for all."""
        around = block
        for one in self.passes:
            if one.sweep is None or one.planes != self.spatial[0]:
                continue
            axes = one.sweep.network_axes()
            before = [foot.reach[0][axes.index(a)] + foot.period[axes.index(a)] if a in axes else 0 for a in range(3)]
            spare = one.sweep.push + max(foot.period)
            after = [foot.reach[1][axes.index(a)] + spare if a in axes else 0 for a in range(3)]
            around = around | block.grow(before, after)
        return around

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as kept in the ledger and in the output's attributes."""
        data = asdict(self)
        data["passes"] = [one.to_dict() for one in self.passes]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Layout:
        """Read what `to_dict` wrote, also after a detour through JSON; raise `BadInput` where it makes no sense."""
        return checked(cls, data, "layout")

    def __post_init__(self) -> None:
        sizes = (self.spatial, self.block, self.chunks)
        three = all(len(size) == 3 and min(size) > 0 for size in sizes) and len(self.region.start) == 3
        inside = three and self.region.size > 0 and Box.of(self.spatial).contains(self.region)
        likely = three and all(one.planes <= STRETCH * self.spatial[0] for one in self.passes)
        if not inside or not self.passes or not likely or not all(one.sound for one in self.passes):
            raise BadInput("sizes, region and passes are not those of one volume")
