"""How a volume is cut for one prediction: passes, tiles, blocks, and what that costs.

A *pass* sweeps one plan over the volume: one pass for slices and for 3D tiles, three for orthoslices. A *block* is what
is computed, written and marked as done at once: one shard of the output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from torch import nn

from vol2vol import plans
from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Footprint, Shape, ceil_div, cover, grid, largest_that, round_up
from vol2vol.nets import flops, footprint, peak_memory
from vol2vol.plans import Plan
from vol2vol.prediction.settings import PredictSettings

CHUNK = 64
SLAB = 16
"""Planes of a block when predicting slice by slice."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One sweep of a plan over the volume."""

    plan: Plan
    planar: int | None
    """Axis across which planes are images of their own, None for 3D tiles."""
    planes: int
    """Length of the z axis this sweep sees: the volume's own, or that of the volume stretched to isotropic voxels."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"plan": self.plan.to_dict(), "planar": self.planar, "planes": self.planes}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Pass:
        """Read what `to_dict` wrote."""
        return cls(plan=Plan.from_dict(data["plan"]), planar=data["planar"], planes=data["planes"])


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Passes over a region of a volume, and the blocks its output is written in."""

    spatial: Shape
    """The whole volume, Z, Y, X."""
    region: Box
    """The part that is predicted."""
    passes: tuple[Pass, ...]
    block: Shape
    """Shape of a shard of the output."""
    chunks: Shape
    memory: int
    """Estimated peak memory in bytes, weights included."""

    def blocks(self) -> list[Box]:
        """Return the blocks in volume coordinates, last axis fastest."""
        return grid(self.region, self.block)

    def cost(self, net: nn.Module) -> Cost:
        """Return what this layout asks of a machine when its tiles run through `net`."""
        total, read = 0, 0
        for one in self.passes:
            tiles = sum(_tiles(one, self, block) for block in self.blocks())
            total += tiles * flops(net, _seen(one))
            read += tiles * prod(one.plan.tile)
        voxels = self.region.size
        return Cost(
            blocks=len(self.blocks()),
            voxels=voxels,
            redundancy=read / voxels / len(self.passes),
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
        """Read what `to_dict` wrote, also after a detour through JSON."""
        return cls(
            spatial=tuple(data["spatial"]),
            region=Box(tuple(data["region"]["start"]), tuple(data["region"]["stop"])),
            passes=tuple(Pass.from_dict(one) for one in data["passes"]),
            block=tuple(data["block"]),
            chunks=tuple(data["chunks"]),
            memory=data["memory"],
        )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a prediction asks of a machine."""

    blocks: int
    voxels: int
    redundancy: float
    """Voxels read by the network per voxel of the result, mean over passes."""
    flops: int
    """Floating-point operations of all convolutions; a multiply-add counts two."""
    flops_per_voxel: float
    floor_per_voxel: float
    """The same for an infinitely large tile."""
    memory: int


def floor(net: nn.Module) -> float:
    """Return the operations per output voxel that this network needs on an infinitely large tile."""
    foot = footprint(net)
    large = tuple(p * 10**5 + r for p, r in zip(foot.period, foot.residue, strict=True))
    return flops(net, large) / prod(large)


def make_layout(
    net: nn.Module,
    spatial: Shape,
    settings: PredictSettings,
    *,
    assembly: str,
    voxel_size: tuple[float, ...],
    patch: int | None,
    channels: int,
) -> Layout:
    """Choose passes, tiles and blocks for a volume.

    `net` is the predicting network of the strategy (cropped, padded or full); `patch` the size it was trained on, which
    is the default tile of strategies whose result depends on the tile. Raises `BadInput` naming the tiles that fit, or
    the smallest memory that would do.
    """
    region = settings.region(spatial)
    asked = settings.tile_shape(footprint(net).dims)

    def attempt(size: int | Shape) -> Layout:
        passes = tuple(_passes(net, spatial, settings, assembly, voxel_size, size))
        return _with_blocks(net, spatial, region, passes, channels, settings.batch_size)

    if asked is not None:
        return attempt(asked)
    foot = footprint(net)
    if settings.strategy not in ("exact", "printed"):
        size = foot.admissible(patch or 190, 0, at_least=True)
        return attempt((size,) * foot.dims)
    return _largest(attempt, foot, spatial, settings.budget())


def _largest(attempt: Callable[[int], Layout], foot: Footprint, spatial: Shape, budget: int) -> Layout:
    """Return the layout with the largest kept part per tile that fits the budget."""
    period = max(foot.period)
    sizes = range(period, round_up(max(*spatial, period), period) + 1, period)
    best = largest_that(lambda size: attempt(size).memory <= budget, sizes)
    if best is None:
        needed = attempt(period).memory
        raise BadInput(
            f"no tile of this model fits {budget / 1e9:.2f} GB: the smallest needs --memory {needed / 1e6:.0f}MB"
        )
    return attempt(best)


def _passes(
    net: nn.Module,
    spatial: Shape,
    settings: PredictSettings,
    assembly: str,
    voxel_size: tuple[float, ...],
    size: int | Shape,
) -> list[Pass]:
    if assembly == "volume":
        return [Pass(plan=_plan(net, spatial, settings, size), planar=None, planes=spatial[0])]
    result = []
    for axis in (0,) if assembly == "slices" else (0, 1, 2):
        planes = spatial[0]
        if axis > 0:
            planes = max(1, round(spatial[0] * voxel_size[0] / voxel_size[3 - axis]))
        seen = (planes, *spatial[1:])
        plane = tuple(n for a, n in enumerate(seen) if a != axis)
        result.append(Pass(plan=plans.planar(_plan(net, plane, settings, size), axis), planar=axis, planes=planes))
    return result


def _plan(net: nn.Module, extent: Shape, settings: PredictSettings, size: int | Shape) -> Plan:
    """Make the plan for a tile (a shape) or for a largest kept part (a number of voxels, exact strategies only)."""
    foot = footprint(net)
    strategy = settings.strategy
    if strategy in ("exact", "printed"):
        make = plans.exact if strategy == "exact" else plans.printed
        return make(foot, size if isinstance(size, tuple) else _balanced(foot, extent, size))
    assert isinstance(size, tuple)
    if strategy == "disjoint":
        return plans.disjoint(foot, size)
    halo = min(16, min(size) // 8) if settings.halo is None else settings.halo
    overlap = min(32, min(size) // 4) if settings.overlap is None else settings.overlap
    if strategy == "average":
        return plans.average(foot, size, halo, overlap)
    return plans.blend(foot, size, settings.window, halo=halo, overlap=overlap)


def _balanced(foot: Footprint, extent: Shape, kept: int) -> Shape:
    """Return the tile whose kept parts, at most `kept` long, divide each axis most evenly."""
    tile = []
    for axis, size in enumerate(extent):
        period = foot.period[axis]
        most = max(kept // period, 1) * period
        step = round_up(ceil_div(size, ceil_div(size, most)), period)
        smallest = plans.smallest_exact_tile(foot, axis)
        tile.append(smallest - period + step)
    return tuple(tile)


def _with_blocks(
    net: nn.Module, spatial: Shape, region: Box, passes: tuple[Pass, ...], channels: int, batch_size: int
) -> Layout:
    block = []
    for axis in range(3):
        steps = [one.plan.step[axis] for one in passes if one.planar != axis]
        planar = passes[0].planar == axis
        step = max(steps, default=1)
        wanted = SLAB if planar and len(passes) == 1 else CHUNK
        several = step * ceil_div(wanted, step)
        block.append(min(several, round_up(region.shape[axis], min(step, 32))))
    chunks = tuple(_chunk(n) for n in block)
    layout = Layout(spatial=spatial, region=region, passes=passes, block=tuple(block), chunks=chunks, memory=0)
    return Layout(**{**vars(layout), "memory": _memory(net, layout, channels, batch_size)})


def _chunk(block: int) -> int:
    """Return the divisor of a block's length that is nearest to the usual chunk, preferring not to exceed twice it."""
    divisors = [d for d in range(1, min(block, 2 * CHUNK) + 1) if block % d == 0]
    return min(divisors, key=lambda d: (abs(d - CHUNK), -d))


def _memory(net: nn.Module, layout: Layout, channels: int, batch_size: int) -> int:
    """Estimate peak bytes: weights, activations of a batch, the block's input with margins, its sums and its output."""
    weights = sum(p.numel() * p.element_size() for p in net.parameters())
    peak = 0
    for one in layout.passes:
        margins = tuple(a + b for a, b in zip(*one.plan.margin, strict=True))
        reach = prod(b + m + s for b, m, s in zip(layout.block, margins, one.plan.kept, strict=True))
        source = (4 + 4) * channels * reach
        sums = (24 if one.plan.overlaps else 8) * channels * prod(layout.block)
        peak = max(peak, batch_size * peak_memory(net, _seen(one)) + source + sums)
    if len(layout.passes) > 1:
        peak += 4 * channels * prod(layout.block)
    return weights + peak


def _seen(one: Pass) -> Shape:
    """Return the spatial shape of a tile as the network sees it."""
    return tuple(n for axis, n in enumerate(one.plan.tile) if axis != one.planar)


def _tiles(one: Pass, layout: Layout, block: Box) -> int:
    """Count the tiles one block pulls."""
    if one.planes != layout.spatial[0]:
        scale = one.planes / layout.spatial[0]
        start, stop = int(block.start[0] * scale), min(one.planes, int(block.stop[0] * scale) + 1)
        block = Box((start, *block.start[1:]), (stop, *block.stop[1:]))
    plan = one.plan
    axes = zip(block.start, block.stop, plan.step, plan.origin, plan.kept, strict=True)
    return prod(len(cover(a, b, s, o, n)) for a, b, s, o, n in axes)
