"""Describe how a volume is cut for one prediction: into passes, blocks and rows of blocks.

A *pass* covers the volume once: slices and 3D need one pass, orthoslices three. A *block* is written at once and then
marked as complete: one shard of the output. A *row* is computed by one worker without interruption: neighbouring blocks
along the axis of a sweep, or a single block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Footprint, Shape, boxes, ceil_div, cover, grid, round_up
from vol2vol.plans.counting import count_blocks
from vol2vol.plans.ordered_tiles import OrderedTiles
from vol2vol.plans.plan import Plan
from vol2vol.schemas import FORBID, checked

MAX_BLOCKS = 20_000_000
"""Maximum number of blocks; a longer list takes gigabytes of memory."""
MAX_STRETCH = 10_000
"""Maximum number of planes of a pass per plane of the volume."""


@dataclass(frozen=True)
class Sweep:
    """The axis of the volume along which a stream is swept, and the number of planes per push.

    `planar` is the axis perpendicular to the planes of a 2D network (they form the batch), None for a 3D network.
    """

    __pydantic_config__ = FORBID

    axis: int
    push: int
    start: int = 0
    """First plane of the predicted region: a stream that begins there needs no extra push."""
    planar: int | None = None
    rows: bool = True
    """Whether the stream continues from block to block; blocks that are swept separately need no extra push."""

    def network_axes(self) -> Shape:
        """Return the axes of the volume that are axes of the network, in order."""
        return tuple(axis for axis in range(3) if axis != self.planar)

    def tile(self, footprint: Footprint, block: Box) -> tuple[Box, dict[int, tuple[int, int]]]:
        """Return the box that a column with the cross-section of a block reads, and the part of its output to keep.

        On the swept axis the box starts where the stream starts and is as long as one push. The part to keep is given
        as first and last voxel (exclusive) of the column's output, by axis of the volume, without the swept axis.
        """
        start, stop, window = list(block.start), list(block.stop), {}
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
            window[axis] = (first, first + block.shape[axis])
        return Box(tuple(start), tuple(stop)), window


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One traversal of the volume."""

    __pydantic_config__ = FORBID

    plan: Plan
    """Positions of the tiles, or of the columns of a sweep, whose result does not depend on tiles."""
    planar: int | None
    """Axis perpendicular to the planes of a 2D network, None for 3D networks."""
    planes: int
    """Length of the z axis in this pass: that of the volume, or of the volume stretched to isotropic voxels."""
    sweep: Sweep | None = None
    """How a stream is swept along the volume; None for prediction tile by tile."""
    frugal: bool = False
    """Read and compute one tile after another, which needs least memory; used after the memory has run out."""
    march: bool = False
    """Compute tiles in order, each of which is shown what earlier ones painted (`OrderedTiles`)."""

    @property
    def consistent(self) -> bool:
        """Whether plan and sweep are consistent with each other and with three axes."""
        axes = (0, 1, 2, None)
        consistent_sweep = self.sweep is None or (
            self.sweep.axis in axes[:3] and self.sweep.planar == self.planar != self.sweep.axis and self.sweep.push > 0
        )
        plan = self.plan
        consistent_march = not self.march or (
            self.sweep is None and self.planar in (0, None) and plan.kept == plan.step and plan.origin == plan.margin[0]
        )
        return plan.dims == 3 and self.planes > 0 and self.planar in axes and consistent_sweep and consistent_march

    @property
    def seen(self) -> Shape:
        """Spatial shape of a tile as the network sees it."""
        return tuple(n for axis, n in enumerate(self.plan.tile) if axis != self.planar)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        sweep = None if self.sweep is None else asdict(self.sweep)
        march = {"march": True} if self.march else {}
        return {"plan": self.plan.to_dict(), "planar": self.planar, "planes": self.planes, "sweep": sweep, **march}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Passes over a region of a volume, and the blocks of its output."""

    __pydantic_config__ = FORBID

    spatial: Shape
    """Shape of the whole volume, Z, Y, X."""
    region: Box
    """The part of the volume that is predicted."""
    passes: tuple[Pass, ...]
    block: Shape
    """Shape of a shard of the output."""
    chunks: Shape
    """Shape of a chunk of the output."""
    memory: int
    """Estimated peak memory of one worker in bytes, weights included."""

    @property
    def sweep(self) -> Sweep | None:
        """The sweep along rows of blocks, where there is a single pass and it is swept; else None."""
        return self.passes[0].sweep if len(self.passes) == 1 else None

    @cached_property
    def march(self) -> OrderedTiles | None:
        """The tiles in their order where each is shown what earlier ones painted; else None."""
        first = self.passes[0]
        return OrderedTiles(first.plan, self.spatial, self.region, first.planar) if first.march else None

    def blocks(self) -> list[Box]:
        """Return the blocks in volume coordinates, last axis fastest; raise `BadInput` for more than `MAX_BLOCKS`."""
        if (count := count_blocks(self.region, self.block)) > MAX_BLOCKS:
            raise BadInput(f"the region has {count} blocks, more than {MAX_BLOCKS}: predict parts of it, with `roi`")
        return grid(self.region, self.block)

    def touching(self, target: Box) -> Iterator[Box]:
        """Yield the blocks that touch a box, last axis fastest; parts of the box outside the region are ignored."""
        if not (target & self.region).size:
            return
        inside = (target & self.region).relative_to(self.region.start)
        starts = [range(a // n * n, b, n) for a, b, n in zip(inside.start, inside.stop, self.block, strict=True)]
        for block in boxes(starts, self.block):
            yield block.shift(self.region.start) & self.region

    def rows(self, todo: Sequence[Box], workers: int = 1) -> list[list[Box]]:
        """Return the blocks in rows, each for one worker, and if possible at least as many rows as workers.

        Along a sweep, neighbouring blocks form one row, which costs one warm-up; the longest rows are halved until
        every worker has one. All blocks of a march, which depend on the same tiles, are one row. Else every block is a
        row.
        """
        if self.march is not None:
            return [[*todo]] if todo else []
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
        """Return, for each axis Z, Y, X, the voxels of the region, from its corner, at which a new tile starts.

        The borders of all passes are included (orthoslices have three); there are none between separate slices.
        """
        positions: tuple[set[int], ...] = (set(), set(), set())
        for pass_ in self.passes:
            for axis in set(range(3)) - {pass_.planar}:
                positions[axis].update(self._borders(pass_, axis))
        return tuple(sorted(axis) for axis in positions)

    def _borders(self, pass_: Pass, axis: int) -> Iterator[int]:
        """Yield the borders of a pass along an axis; the time depends on the region, not on the volume."""
        whole, seen = self.spatial[axis], pass_.planes if axis == 0 else self.spatial[axis]
        low, high = self.region.start[axis], self.region.stop[axis]
        if self.march is not None:
            yield from (p - low for p in self.march.borders(axis) if low < p < high)
            return
        step, origin = pass_.plan.step[axis], pass_.plan.origin[axis]
        for k in cover(low * seen // whole, ceil_div(high * seen, whole) + 1, step, origin):
            tile = origin + k * step
            border = round(tile * whole / seen) - low
            if 0 < tile < seen and 0 < border < high - low:
                yield border

    def surroundings(self, block: Box, foot: Footprint) -> Box:
        """Return the box of the volume that all passes together read for a block, so that it is read only once."""
        around = block
        for pass_ in self.passes:
            if pass_.sweep is None or pass_.planes != self.spatial[0]:
                continue
            axes = pass_.sweep.network_axes()
            before = [foot.reach[0][axes.index(a)] + foot.period[axes.index(a)] if a in axes else 0 for a in range(3)]
            spare = pass_.sweep.push + max(foot.period)
            after = [foot.reach[1][axes.index(a)] + spare if a in axes else 0 for a in range(3)]
            around = around | block.grow(before, after)
        return around

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as kept in the ledger and in the output's attributes."""
        data = asdict(self)
        data["passes"] = [pass_.to_dict() for pass_ in self.passes]
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Layout:
        """Return the layout that `to_dict` wrote, also through JSON; raise `BadInput` where it is inconsistent."""
        return checked(cls, data, "layout")

    def __post_init__(self) -> None:
        sizes = (self.spatial, self.block, self.chunks)
        three_axes = all(len(size) == 3 and min(size) > 0 for size in sizes) and len(self.region.start) == 3
        inside = three_axes and self.region.size > 0 and Box.of(self.spatial).contains(self.region)
        stretches = three_axes and all(pass_.planes <= MAX_STRETCH * self.spatial[0] for pass_ in self.passes)
        marches = any(pass_.march for pass_ in self.passes) and len(self.passes) > 1
        if not inside or not self.passes or not stretches or not all(p.consistent for p in self.passes) or marches:
            raise BadInput("sizes, region and passes are not those of one volume")
