"""Compute the cost of a layout: operations, voxels read, blocks, memory; blocks are counted, never listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, lcm, prod

from torch import nn

from vol2vol.geometry import Box, Shape, cover
from vol2vol.nets import flops, footprint, layers
from vol2vol.nets.demand import operations
from vol2vol.plans.counting import count_blocks, intervals, rows_of
from vol2vol.plans.layout import Layout, Pass

Kinds = Sequence[tuple[list[Box], int]]
"""Kinds of rows of blocks: the first and last block of a row, and the number of rows of equal cost."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of a prediction."""

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
    """Operations per voxel of an infinitely large tile."""
    memory: int
    """Estimated peak bytes, weights included."""


def cost_of(layout: Layout, net: nn.Module) -> Cost:
    """Return the cost of this layout when it runs through `net`."""
    total, read, rows = 0, 0, kinds_of_rows(layout, net)
    for pass_ in layout.passes:
        counted, voxels = (
            _swept(pass_, layout, net, rows) if pass_.sweep is not None else _tiled(pass_, layout, net, rows)
        )
        total, read = total + counted, read + voxels
    voxels = layout.region.size
    return Cost(
        blocks=count_blocks(layout.region, layout.block),
        voxels=voxels,
        redundancy=read / voxels / len(layout.passes),
        reads=_stored_reads(layout, net, rows) / voxels,
        flops=total,
        flops_per_voxel=total / voxels,
        floor_per_voxel=len(layout.passes) * floor(net),
        memory=layout.memory,
    )


def kinds_of_rows(layout: Layout, net: nn.Module) -> list[tuple[list[Box], int]]:
    """Return each kind of row as its first and last block, with the number of rows of equal cost."""
    foot, axes_intervals = footprint(net), []
    for axis in range(3):
        edge, repeat, even = 1, 1, True
        for pass_ in layout.passes:
            even = even and (axis > 0 or pass_.planes == layout.spatial[0])
            if pass_.sweep is None:
                edge, repeat = max(edge, 2 * pass_.plan.tile[axis]), lcm(repeat, pass_.plan.step[axis])
            elif axis in (axes := pass_.sweep.network_axes()):
                at, push = axes.index(axis), pass_.sweep.push if axis == pass_.sweep.axis else 1
                far = foot.reach[0][at] + foot.reach[1][at] + 3 * (push + foot.period[at]) + foot.minimum[at]
                edge, repeat = max(edge, far), lcm(repeat, push, foot.period[at])
        phases = repeat // gcd(repeat, layout.block[axis]) if even else None
        ends = layout.region.start[axis], layout.region.stop[axis]
        axes_intervals.append(intervals(*ends, layout.block[axis], edge=edge, phases=phases))
    along = layout.sweep.axis if layout.sweep is not None else None
    return list(rows_of(layout.region, layout.block, axes_intervals, along))


def floor(net: nn.Module) -> float:
    """Return the operations per output voxel that this network needs on an infinitely large tile."""
    foot = footprint(net)
    large = tuple(p * 10**5 + r for p, r in zip(foot.period, foot.residue, strict=True))
    return flops(net, large) / prod(large)


def stretched(block: Box, pass_: Pass, spatial: Shape) -> Box:
    """Return the box of a pass's own, possibly stretched z axis that a block is interpolated from."""
    if pass_.planes == spatial[0]:
        return block
    scale = pass_.planes / spatial[0]
    low = max(0, int((block.start[0] + 0.5) * scale - 0.5))
    high = min(pass_.planes, int((block.stop[0] - 0.5) * scale - 0.5) + 2)
    return Box((low, *block.start[1:]), (high, *block.stop[1:]))


def _tiled(pass_: Pass, layout: Layout, net: nn.Module, kinds: Kinds) -> tuple[int, int]:
    """Return operations and voxels read by the network, tile by tile."""
    plan = pass_.plan
    if layout.march is not None:
        return layout.march.total * flops(net, pass_.seen), layout.march.total * prod(plan.tile)
    tiles = 0
    for (block, *_), count in kinds:
        seen = stretched(block, pass_, layout.spatial)
        axes = zip(seen.start, seen.stop, plan.step, plan.origin, plan.kept, strict=True)
        tiles += count * prod(len(cover(a, b, s, o, n)) for a, b, s, o, n in axes)
    return tiles * flops(net, pass_.seen), tiles * prod(plan.tile)


def _swept(pass_: Pass, layout: Layout, net: nn.Module, kinds: Kinds) -> tuple[int, int]:
    """Return operations and voxels read by the network, swept row by row."""
    sweep = pass_.sweep
    assert sweep is not None
    foot, records = footprint(net), layers(net)
    total = read = 0
    for row, count in kinds:
        boxes = [stretched(box, pass_, layout.spatial) for box in row]
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
    """Return the number of voxels read from storage; voxels outside the volume are mirrored, not read."""
    foot, whole = footprint(net), Box.of(layout.spatial)
    if layout.march is not None:
        return layout.march.voxels_read()
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
        elif all(pass_.sweep is not None for pass_ in layout.passes):
            total += count * (layout.surroundings(first, foot) & whole).size
        else:
            for pass_ in layout.passes:
                kept = list(pass_.plan.kept_boxes(stretched(first, pass_, layout.spatial)))
                total += count * ((pass_.plan.read_box(kept[0]) | pass_.plan.read_box(kept[-1])) & whole).size
    return total
