"""Choose the layout of a prediction: the largest columns or tiles that fit in memory, in blocks of whole chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch import nn

from vol2vol import plans
from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, ceil_div, largest_that, round_up
from vol2vol.nets import footprint, peak_memory, tile_dependent
from vol2vol.nets.stream_memory import stream_memory
from vol2vol.plans import Plan
from vol2vol.plans.layout import Layout, Pass, Sweep
from vol2vol.prediction.settings import PredictSettings

CHUNK = 64
SLAB = 16
"""Planes of a block when predicting slice by slice, and of the batch they form."""
SWEEP_LENGTH = 256
"""Length of a block along the swept axis when predicting slice by slice."""
SWEEP_ROWS = 64
"""Minimum rows per step of a sweep within slices."""
MAX_TRIED_PARTS = 16
"""Number of parts of an axis up to which every number is tried; more parts are found by bisection."""
SAFETY = 1.4
"""Ratio of resident to estimated memory of a stream, measured on CPUs (`benchmarks/predict.py`, column memory)."""


def make_layout(
    net: nn.Module,
    spatial: Shape,
    settings: PredictSettings,
    *,
    assembly: str,
    voxel_size: tuple[float, ...],
    patch: int | None,
    channels: int,
    limit: int | None = None,
    shown: tuple[float, float] | None = None,
) -> Layout:
    """Choose passes and blocks for a volume.

    `net` is the network that the strategy runs (cropped, padded or full). `patch` is the size it was trained on, which
    is the default tile of strategies whose result depends on the tile. Exact prediction is swept unless `settings` name
    a tile. `voxel_size` is (z, y, x). `limit` is the memory of the device in bytes, if it is not the host's.
    `shown` are the overlaps that the model was shown in training, see `plans.Overlap`.
    Raises `BadInput` naming the tiles that fit, or the smallest sufficient memory.
    """
    budget = min(settings.budget(), limit or settings.budget())
    choice = _Choice(net, spatial, settings, assembly, voxel_size, channels, budget, shown)
    settings.origin(footprint(net).dims)  # refuses an offset that this strategy would not heed
    tile = settings.tile_shape(footprint(net).dims)
    if tile is not None:
        return choice.fitting(choice.tiled, iter([tile]))
    if settings.strategy == "exact" and not tile_dependent(net):
        return choice.fitting(choice.swept, choice.columns())
    if settings.strategy in ("exact", "printed"):
        foot = footprint(net)
        sizes = range(max(foot.period), round_up(max(spatial), max(foot.period)) + 1, max(foot.period))
        best = largest_that(lambda kept: choice.tiled(choice.balanced(kept)).memory <= budget, sizes)
        return choice.fitting(lambda kept: choice.tiled(choice.balanced(kept)), iter([best or sizes[0]]))
    foot = footprint(net)
    tile = tuple(foot.admissible(patch or 190, axis, at_least=True) for axis in range(foot.dims))
    return choice.fitting(choice.tiled, iter([tile])) if settings.strategy == "march" else choice.tiled(tile)


@dataclass
class _Choice:
    """The volume, network and settings for which a layout is chosen."""

    net: nn.Module
    spatial: Shape
    settings: PredictSettings
    assembly: str
    voxel_size: tuple[float, ...]
    channels: int
    budget: int
    shown: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        self.foot = footprint(self.net)
        self.region = self.settings.region(self.spatial)

    def fitting(self, lay_out: Callable[[Any], Layout], choices: Iterator[Any]) -> Layout:
        """Return the first layout that fits the memory budget; raise `BadInput` naming what the last one would need."""
        layout = None
        for choice in choices:
            layout = lay_out(choice)
            if layout.memory <= self.budget:
                return layout
        assert layout is not None
        needed = ceil_div((layout.memory + self.settings.resident()) * self.settings.sharing, 10**6)
        subject = f"tile {self.settings.tile}" if self.settings.tile != "auto" else "the smallest layout of this model"
        raise BadInput(f"{subject} does not fit {self.budget / 1e9:.3g} GB: it needs `memory` {needed}MB")

    # Sweeps

    def columns(self) -> Iterator[Shape]:
        """Yield cross-sections in voxels per axis, largest first, in whole chunks."""
        max_parts = max(ceil_div(n, max(CHUNK, max(self.foot.period))) for n in self.region.shape)
        yield from map(self._column, range(1, min(max_parts, MAX_TRIED_PARTS) + 1))
        if max_parts > MAX_TRIED_PARTS:  # more parts are found by bisection: there may be millions
            smaller = range(max_parts - MAX_TRIED_PARTS)
            best = largest_that(lambda i: self.swept(self._column(max_parts - i)).memory <= self.budget, smaller)
            yield self._column(max_parts - (best or 0))

    def _column(self, parts: int) -> Shape:
        """Return the cross-section of a volume divided into `parts` along each axis."""
        return tuple(round_up(ceil_div(n, parts), CHUNK) if n > CHUNK else round_up(n, 8) for n in self.region.shape)

    def swept(self, column: Shape) -> Layout:
        """Lay out sweeps with columns of this cross-section."""
        if self.assembly == "volume":
            long = min(CHUNK, round_up(self.region.shape[0], max(self.foot.period)))
            return self._sweeps((long, *column[1:]), [(0, max(self.foot.period), None)])
        rows = round_up(SWEEP_ROWS, max(self.foot.period))
        if self.assembly == "slices":
            long = min(SWEEP_LENGTH, round_up(self.region.shape[1], CHUNK))
            block = (min(SLAB, self.region.shape[0]), long, column[2])
            return self._sweeps(block, [(1, rows, 0)])
        return self._sweeps(column, [(1, rows, 0), (0, rows, 1), (0, rows, 2)])

    def _sweeps(self, block: Shape, ways: list[tuple[int, int, int | None]]) -> Layout:
        passes = []
        for axis, push, planar in ways:
            planes = self._planes(planar)
            start = self.region.start[axis] if planes == self.spatial[0] or axis != 0 else 0
            sweep = Sweep(axis=axis, push=push, start=start, planar=planar, rows=len(ways) == 1)
            passes.append(Pass(plan=self._nominal(block, planar), planar=planar, planes=planes, sweep=sweep))
        layout = self._layout(tuple(passes), block)
        return replace(layout, memory=self._sweep_memory(layout))

    def _nominal(self, block: Shape, planar: int | None) -> Plan:
        """Return the plan whose kept parts equal the blocks."""
        sides: list[list[int]] = [[], []]
        seen = iter(range(self.foot.dims))
        for axis in range(3):
            position = None if axis == planar else next(seen)
            for side in (0, 1):
                sides[side].append(0 if position is None else self.foot.reach[side][position])
        step = tuple(1 if axis == planar else n for axis, n in enumerate(block))
        tile = tuple(n + a + b for n, a, b in zip(step, *sides, strict=True))
        return Plan(tile=tile, margin=(tuple(sides[0]), tuple(sides[1])), step=step, origin=self.region.start)

    def _sweep_memory(self, layout: Layout) -> int:
        peak = 0
        item = 4 if self.settings.precision == "float32" else 2
        for pass_ in layout.passes:
            assert pass_.sweep is not None
            block = Box.of(layout.block).shift(layout.region.start)
            tile, target = pass_.sweep.tile(self.foot, block)
            axes = pass_.sweep.network_axes()
            batch = 1 if pass_.planar is None else layout.block[pass_.planar]
            size = tuple(tile.shape[axis] for axis in axes)
            position = axes.index(pass_.sweep.axis)
            window = [target.get(axis) for axis in axes]
            stream = stream_memory(self.net, (batch, *size), position, window=window, bytes_per_value=item)
            peak = max(peak, int(SAFETY * stream) + 2 * 8 * self.channels * tile.size * batch // max(1, tile.shape[0]))
        block_voxels = 3 * prod(layout.block)
        if len(layout.passes) > 1:
            around = layout.surroundings(Box.of(layout.block), self.foot)
            block_voxels = 4 * prod(layout.block) + around.size
        return _weights(self.net) + peak + 4 * self.channels * block_voxels

    # Tiles

    def tiled(self, tile: Shape) -> Layout:
        """Lay out tiles of this size."""
        passes = []
        for planar in {"volume": (None,), "slices": (0,), "ortho": (0, 1, 2)}[self.assembly]:
            plan = self._plan(tile)
            lifted = plan if planar is None else plans.planar(plan, planar)
            march = self.settings.strategy == "march"
            passes.append(Pass(plan=lifted, planar=planar, planes=self._planes(planar), march=march))
        block = []
        overlaps = any(pass_.plan.overlaps for pass_ in passes)
        for axis in range(3):
            step = max((pass_.plan.step[axis] for pass_ in passes if pass_.planar != axis), default=1)
            target = SLAB if self.assembly == "slices" and axis == 0 else 4 * CHUNK if overlaps else CHUNK
            several = step * ceil_div(target, step)
            block.append(min(several, round_up(self.region.shape[axis], min(step, 32))))
        layout = self._layout(tuple(passes), tuple(block))
        return replace(layout, memory=self._tile_memory(layout))

    def balanced(self, kept: int) -> Shape:
        """Return the exact tile whose kept parts, at most `kept` long, divide each axis most evenly."""
        tile = []
        for axis, size in enumerate(self.spatial[-self.foot.dims :]):
            period = self.foot.period[axis]
            limit = max(kept // period, 1) * period
            step = round_up(ceil_div(size, ceil_div(size, limit)), period)
            tile.append(plans.smallest_exact_tile(self.foot, axis) - period + step)
        return tuple(tile)

    def _plan(self, tile: Shape) -> Plan:
        settings = self.settings
        overlap = plans.Overlap(
            halo=settings.halo,
            overlap=settings.overlap,
            window=settings.window,
            keep=settings.keep,
            shown=self.shown,
        )
        plan = plans.WAYS[settings.strategy].make(self.foot, tile, overlap)
        shift = settings.origin(self.foot.dims)
        return replace(plan, origin=tuple(o + s for o, s in zip(plan.origin, shift, strict=True)))

    def _tile_memory(self, layout: Layout) -> int:
        peak = 0
        for pass_ in layout.passes:
            margins = tuple(a + b for a, b in zip(*pass_.plan.margin, strict=True))
            read = prod(b + m + k for b, m, k in zip(layout.block, margins, pass_.plan.kept, strict=True))
            sums = (24 if pass_.plan.overlaps else 8) * prod(layout.block)
            batch = self.settings.batch_size * peak_memory(self.net, pass_.seen)
            peak = max(peak, batch + self.channels * (8 * read + sums))
        more = 4 * self.channels * prod(layout.block) if len(layout.passes) > 1 else 0
        return _weights(self.net) + peak + more

    # Both

    def _planes(self, planar: int | None) -> int:
        """Return the number of z planes in a pass: re-slices are stretched to isotropic voxels."""
        if planar in (None, 0):
            return self.spatial[0]
        return max(1, round(self.spatial[0] * self.voxel_size[0] / self.voxel_size[3 - planar]))

    def _layout(self, passes: tuple[Pass, ...], block: Shape) -> Layout:
        chunks = tuple(_chunk(n) for n in block)
        return Layout(spatial=self.spatial, region=self.region, passes=passes, block=block, chunks=chunks, memory=0)


def _weights(net: nn.Module) -> int:
    return 2 * sum(p.numel() * p.element_size() for p in net.parameters())


def _chunk(block: int) -> int:
    """Return the divisor of a block's length whose ratio to the usual chunk is closest to 1.

    Lengths such as 254 have no divisor near the usual chunk: chunks of 127 are better than chunks of 2.
    """
    divisors = [d for d in range(1, min(block, CHUNK**2) + 1) if block % d == 0]
    return min(divisors, key=lambda d: (max(d, CHUNK) / min(d, CHUNK), -d))
