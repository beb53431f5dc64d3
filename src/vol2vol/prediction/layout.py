"""How a volume is cut for one prediction: passes, blocks, rows of blocks, and what they cost.

A *pass* goes over the volume once: one pass for slices and for 3D, three for orthoslices. A *block* is what is written
and marked as done at once: one shard of the output. A *row* is what one worker computes in one go: neighbouring blocks
along the axis of a sweep, or a single block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import gcd, lcm, prod
from typing import Any

from torch import nn

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Footprint, Shape, cover, grid
from vol2vol.nets import flops, footprint, layers
from vol2vol.nets.demand import operations
from vol2vol.plans import Plan
from vol2vol.prediction.counting import count_blocks, intervals, rows_of
from vol2vol.prediction.sweep import Sweep
from vol2vol.schemas import FORBID, checked

MOST = 20_000_000
"""Blocks that are listed; a list of more takes gigabytes."""
Kinds = Sequence[tuple[list[Box], int]]
"""Rows of blocks, as their first and last block, and how many rows cost the same."""


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
class Cost:
    """What a prediction asks of a machine."""

    blocks: int
    voxels: int
    redundancy: float
    """Voxels read by the network per voxel of the result, mean over passes."""
    reads: float
    """Voxels of the volume read from storage per voxel of the result."""
    flops: int
    """Floating-point operations of all convolutions; a multiply-add counts two."""
    flops_per_voxel: float
    floor_per_voxel: float
    """The same for an infinitely large tile."""
    memory: int
    """Estimated peak bytes, weights included."""


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

    def kinds(self, net: nn.Module) -> list[tuple[list[Box], int]]:
        """Return the kinds of rows, each as its first and last block, and how many rows cost the same as it."""
        foot, found = footprint(net), []
        for axis in range(3):
            edge, repeat, even = 1, 1, True
            for one in self.passes:
                even = even and (axis > 0 or one.planes == self.spatial[0])
                if one.sweep is None:
                    edge, repeat = max(edge, 2 * one.plan.tile[axis]), lcm(repeat, one.plan.step[axis])
                elif axis in (axes := one.sweep.network_axes()):
                    at, push = axes.index(axis), one.sweep.push if axis == one.sweep.axis else 1
                    far = foot.reach[0][at] + foot.reach[1][at] + 3 * (push + foot.period[at]) + foot.minimum[at]
                    edge, repeat = max(edge, far), lcm(repeat, push, foot.period[at])
            phases = repeat // gcd(repeat, self.block[axis]) if even else None
            ends = self.region.start[axis], self.region.stop[axis]
            found.append(intervals(*ends, self.block[axis], edge=edge, phases=phases))
        along = self.sweep.axis if self.sweep is not None else None
        return list(rows_of(self.region, self.block, found, along))

    def cost(self, net: nn.Module) -> Cost:
        """Return what this layout asks of a machine when it runs through `net`."""
        total, read, kinds = 0, 0, self.kinds(net)
        for one in self.passes:
            counted, voxels = _swept(one, self, net, kinds) if one.sweep is not None else _tiled(one, self, net, kinds)
            total, read = total + counted, read + voxels
        voxels = self.region.size
        return Cost(
            blocks=count_blocks(self.region, self.block),
            voxels=voxels,
            redundancy=read / voxels / len(self.passes),
            reads=_stored_reads(self, net, kinds) / voxels,
            flops=total,
            flops_per_voxel=total / voxels,
            floor_per_voxel=len(self.passes) * floor(net),
            memory=self.memory,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as kept in the ledger and in the output's attributes."""
        data = asdict(self)
        data["passes"] = [one.to_dict() for one in self.passes]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Layout:
        """Read what `to_dict` wrote, also after a detour through JSON; raise `BadInput` where it makes no sense."""
        layout = checked(cls, data, "layout")
        layout._check()
        return layout

    def _check(self) -> None:
        """Raise `BadInput` unless shapes, region and passes are those of one volume."""
        sizes = (self.spatial, self.block, self.chunks)
        three = all(len(size) == 3 and min(size) > 0 for size in sizes) and len(self.region.start) == 3
        inside = three and self.region.size > 0 and Box.of(self.spatial).contains(self.region)
        if not inside or not self.passes or not all(one.sound for one in self.passes):
            raise BadInput("layout: its sizes, region and passes are not those of one volume")


def floor(net: nn.Module) -> float:
    """Return the operations per output voxel that this network needs on an infinitely large tile."""
    foot = footprint(net)
    large = tuple(p * 10**5 + r for p, r in zip(foot.period, foot.residue, strict=True))
    return flops(net, large) / prod(large)


def stretched(block: Box, one: Pass, spatial: Shape) -> Box:
    """Return which part of a pass's own z axis a block needs: itself, or what interpolates back to it."""
    if one.planes == spatial[0]:
        return block
    scale = one.planes / spatial[0]
    low = max(0, int((block.start[0] + 0.5) * scale - 0.5))
    high = min(one.planes, int((block.stop[0] - 0.5) * scale - 0.5) + 2)
    return Box((low, *block.start[1:]), (high, *block.stop[1:]))


def _tiled(one: Pass, layout: Layout, net: nn.Module, kinds: Kinds) -> tuple[int, int]:
    """Return operations and voxels read by the network, tile by tile."""
    plan = one.plan
    tiles = 0
    for (block, *_), count in kinds:
        seen = stretched(block, one, layout.spatial)
        axes = zip(seen.start, seen.stop, plan.step, plan.origin, plan.kept, strict=True)
        tiles += count * prod(len(cover(a, b, s, o, n)) for a, b, s, o, n in axes)
    return tiles * flops(net, one.seen), tiles * prod(plan.tile)


def _swept(one: Pass, layout: Layout, net: nn.Module, kinds: Kinds) -> tuple[int, int]:
    """Return operations and voxels read by the network, swept row by row."""
    sweep = one.sweep
    assert sweep is not None
    foot, records = footprint(net), layers(net)
    total = read = 0
    for row, count in kinds:
        boxes = [stretched(box, one, layout.spatial) for box in row]
        first, wanted = sweep.tile(foot, boxes[0])
        position = sweep.network_axes().index(sweep.axis)
        end = boxes[-1].stop[sweep.axis]
        length = foot.admissible(end - first.start[sweep.axis] + foot.reach[1][position], position, at_least=True)
        begin = boxes[0].start[sweep.axis] - first.start[sweep.axis] - foot.trim[0][position]
        wanted[sweep.axis] = (begin, begin + end - boxes[0].start[sweep.axis])
        shape = {axis: first.shape[axis] for axis in sweep.network_axes()} | {sweep.axis: length}
        planes = 1 if sweep.planar is None else boxes[0].shape[sweep.planar]
        size = [shape[axis] for axis in sweep.network_axes()]
        total += count * planes * operations(records, size, [wanted[axis] for axis in sweep.network_axes()])
        read += count * planes * prod(size)
    return total, read


def _stored_reads(layout: Layout, net: nn.Module, kinds: Kinds) -> int:
    """Return the voxels of the volume that are read from storage; what lies outside it is mirrored, not read."""
    foot, whole = footprint(net), Box.of(layout.spatial)
    total = 0
    for row, count in kinds:
        first, last = row[0], row[-1]
        if layout.sweep is not None:
            box, _ = layout.sweep.tile(foot, first)
            axis = layout.sweep.axis
            position = layout.sweep.network_axes().index(axis)
            end = last.stop[axis] + foot.reach[1][position] + foot.period[position]
            total += (
                count * (Box(box.start, tuple(end if a == axis else b for a, b in enumerate(box.stop))) & whole).size
            )
        elif all(one.sweep is not None for one in layout.passes):
            total += count * (layout.surroundings(first, foot) & whole).size
        else:
            for one in layout.passes:
                kept = list(one.plan.kept_boxes(stretched(first, one, layout.spatial)))
                total += count * ((one.plan.read_box(kept[0]) | one.plan.read_box(kept[-1])) & whole).size
    return total
