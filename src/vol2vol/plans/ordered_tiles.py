"""List the tiles of a march: their order, what each paints and keeps, which earlier tiles it is shown.

    tile k     |-------- tile --------|                      starts at k * step, from the corner of the volume
    tile k+1               |-- kept --|- rest -|--------     the earlier tile keeps the first part of the overlap

Tiles paint in raster order, last axis fastest, each over what earlier tiles painted, except for the part of the overlap
that these keep; what a tile is shown is the canvas at that time. It reaches beyond the end of the volume, where the
input is mirrored. Tiles of one *wave* do not show each other anything: 2 * row + column in 2D, 4 * z + 2 * y + x in 3D,
where tiles overlap by at most half. So they may be computed together, or in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import numpy as np

from vol2vol.geometry import Box, Shape, ceil_div
from vol2vol.plans.plan import Plan

Index = tuple[int, ...]
"""Number of a tile on each axis."""
MAX_ROWS = 1 << 20
"""Of more rows of tiles, a region is taken to need all tiles up to its last plane."""


@dataclass(frozen=True)
class OrderedTiles:
    """The tiles that a region of a volume needs, if they are predicted in order.

    The march begins at the corner of the volume, whatever the region: so its voxels are those of the whole volume.
    """

    plan: Plan
    """A plan of `strategies.march` with three axes."""
    spatial: Shape
    """Shape of the volume, Z, Y, X."""
    region: Box
    planar: int | None = None
    """Axis of separate planes, which show each other nothing; None for volumes."""

    @cached_property
    def count(self) -> Shape:
        """Number of tiles of the whole volume along each axis: the fewest that reach its end."""
        axes = zip(self.spatial, self.plan.tile, self.plan.step, strict=True)
        return tuple(max(1, ceil_div(size - tile, step) + 1) for size, tile, step in axes)

    @cached_property
    def overlap(self) -> Shape:
        """Voxels that neighbouring tiles share, per axis."""
        return tuple(tile - step for tile, step in zip(self.plan.tile, self.plan.step, strict=True))

    def box(self, index: Index) -> Box:
        """Return the tile, in voxels of the volume; it may reach beyond its end."""
        start = tuple(k * step for k, step in zip(index, self.plan.step, strict=True))
        return Box(start, tuple(a + n for a, n in zip(start, self.plan.tile, strict=True)))

    def before(self, index: Index) -> tuple[bool, ...]:
        """Return for each axis whether an earlier tile shows something to this one."""
        return tuple(k > 0 and axis != self.planar for axis, k in enumerate(index))

    def painted(self, index: Index) -> Box:
        """Return the part of a tile that it paints: all but what earlier tiles keep of the overlaps."""
        kept = (self.plan.margin[0][axis] if k else 0 for axis, k in enumerate(index))
        box = self.box(index)
        return Box(tuple(a + n for a, n in zip(box.start, kept, strict=True)), box.stop)

    def kept(self, index: Index) -> Box:
        """Return the part of the volume whose voxels are those of this tile."""
        painted = self.painted(index)
        last = (k == n - 1 for k, n in zip(index, self.count, strict=True))
        ends = zip(last, self.spatial, painted.stop, self.plan.margin[1], strict=True)
        return Box(painted.start, tuple(size if at_end else stop - rest for at_end, size, stop, rest in ends))

    def needs(self, index: Index) -> Iterator[Index]:
        """Yield the earlier tiles of which a tile is shown something, in the order in which they paint."""
        box = self.box(index)
        for other in self._around(index, self._reaches):
            if other < index and (self.painted(other) & box).size:
                yield other

    def followers(self, index: Index) -> Iterator[Index]:
        """Yield the later tiles, of those that the region needs, that are shown something of a tile."""
        back = tuple((after, before) for before, after in self._reaches)
        painted = self.painted(index)
        for other in self._around(index, back):
            if other > index and self.is_needed(other) and (painted & self.box(other)).size:
                yield other

    @cached_property
    def _reaches(self) -> tuple[tuple[int, int], ...]:
        """How many tiles before and after it a tile can be shown, per axis."""
        axes = zip(self.plan.tile, self.plan.step, self.plan.margin[0], strict=True)
        return tuple(((tile - 1) // step, (tile - kept - 1) // step) for tile, step, kept in axes)

    def _around(self, index: Index, reaches: tuple[tuple[int, int], ...]) -> Iterator[Index]:
        axes = zip(index, reaches, self.count, strict=True)
        yield from product(*(range(max(0, k - low), min(n, k + high + 1)) for k, (low, high), n in axes))

    def touching(self, box: Box) -> Iterator[Index]:
        """Yield the tiles whose kept part touches a box inside the volume."""
        yield from product(*(range(low, high + 1) for low, high in self._touching(box)))

    def _touching(self, box: Box) -> list[tuple[int, int]]:
        """Return the first and the last tile, per axis, whose kept part touches a box."""
        axes = zip(box.start, box.stop, self.plan.step, self.plan.margin[0], self.count, strict=True)
        return [
            tuple(min(n - 1, max(0, (voxel - kept) // step)) for voxel in (start, stop - 1))  # type: ignore[misc]
            for start, stop, step, kept, n in axes
        ]

    def borders(self, axis: int) -> range:
        """Return the voxels of the volume along an axis at which the kept part of a tile begins, but the first."""
        step, first = self.plan.step[axis], self.plan.margin[0][axis]
        return range(first + step, first + self.count[axis] * step, step)

    # Order

    @cached_property
    def _weights(self) -> Shape:
        """What a step along each axis adds to the number of the wave."""
        weights, following = [0, 0, 0], 1
        for axis in (a for a in (2, 1, 0) if a != self.planar):
            weights[axis] = following
            following *= self._reaches[axis][1] + 1
        return tuple(weights)

    def wave(self, index: Index) -> int:
        """Return the number of a tile's wave: all that it is shown belongs to earlier waves."""
        return sum(k * weight for k, weight in zip(index, self._weights, strict=True))

    def batches(self, most: int, slab: int = 1) -> list[list[Index]]:
        """Return the needed tiles wave by wave, in batches of at most `most` tiles of one wave.

        Separate planes take their turns in slabs: the next `slab` planes begin when those before them are done.
        """
        waves: dict[tuple[int, int], list[Index]] = {}
        for index in self.needed():
            turn = 0 if self.planar is None else (index[self.planar] - self.region.start[self.planar]) // slab
            waves.setdefault((turn, self.wave(index)), []).append(index)
        return [wave[at : at + most] for _, wave in sorted(waves.items()) for at in range(0, len(wave), most)]

    def waves(self, slab: int = 1) -> int:
        """Return how many waves follow each other, at most, if they are computed in turn."""
        one = self.wave(tuple(n - 1 for n in self.count)) + 1
        planes = 1 if self.planar is None else self.region.shape[self.planar]
        return one * ceil_div(planes, slab)

    def most_alive(self, slab: int = 1) -> int:
        """Return how many painted tiles are kept at once, at most, if waves are computed in turn.

        A tile is kept until the last tile that is shown it is painted, some waves later.
        """
        reaches = zip(self._reaches, self._weights, strict=True)
        span = sum(before * weight for (before, _), weight in reaches) + 1
        waves = np.ones(1)
        for axis, weight in enumerate(self._weights):
            if axis != self.planar:
                ones = np.zeros((self.count[axis] - 1) * weight + 1)
                ones[::weight] = 1
                waves = np.convolve(waves, ones)
        alive = int(np.convolve(waves, np.ones(min(span, len(waves)))).max())
        return min(alive * (1 if self.planar is None else slab), self.total)

    # What a region needs

    def is_needed(self, index: Index) -> bool:
        """Return whether the region depends on a tile."""
        return index[2] < self._row_length(index[0], index[1])

    def needed(self) -> Iterator[Index]:
        """Yield the tiles on which the region depends, in raster order."""
        for z, y in product(*self._rows):
            yield from ((z, y, x) for x in range(self._row_length(z, y)))

    @cached_property
    def total(self) -> int:
        """Number of tiles on which the region depends."""
        if self._lengths is not None:
            return sum(self._lengths.values())
        return prod(len(rows) for rows in self._rows) * self.count[2]

    def voxels_read(self) -> int:
        """Return the number of voxels of the volume that its tiles read together, where a region needs some: at most.

        What lies beyond the end of the volume is mirrored, not read.
        """
        axes = enumerate(zip(self.count, self.plan.step, self.plan.tile, self.spatial, strict=True))
        whole = prod(
            len(self._rows[0]) if axis == self.planar else (n - 1) * tile + min(tile, size - (n - 1) * step)
            for axis, (n, step, tile, size) in axes
        )
        return min(whole, self.total * prod(self.plan.tile))

    @property
    def _rows(self) -> tuple[range, range]:
        """The numbers along Z and Y of the rows of tiles on which the region may depend."""
        first, last = self._touching(self.region)[0]
        return range(0 if self.planar is None else first, last + 1), range(self.count[1])

    def _row_length(self, z: int, y: int) -> int:
        if self._lengths is None:
            return self.count[2] if z in self._rows[0] else 0
        return self._lengths.get((z, y), 0)

    @cached_property
    def _lengths(self) -> dict[tuple[int, int], int] | None:
        """How many tiles of each row along X the region depends on, counted from its start; None: on all of them."""
        touched = self._touching(self.region)
        at_end = all(stop == n - 1 for axis, ((_, stop), n) in self._axes(touched) if axis != self.planar)
        if at_end or prod(len(rows) for rows in self._rows) > MAX_ROWS:
            return None
        (before_z, _), (before_y, after_y), (_, after_x) = self._reaches
        (z0, z1), (y0, y1), (_, x1) = touched
        lengths = {(z, y): x1 + 1 for z in range(z0, z1 + 1) for y in range(y0, y1 + 1)}
        for z, y in ((z, y) for z in reversed(self._rows[0]) for y in reversed(self._rows[1])):
            if (z, y) not in lengths:
                continue
            shown = min(self.count[2], lengths[z, y] + after_x)
            for row in product(range(max(0, z - before_z), z + 1), range(max(0, y - before_y), y + after_y + 1)):
                if row < (z, y) and row[1] < self.count[1]:
                    lengths[row] = max(lengths.get(row, 0), shown)
        return lengths

    def _axes(self, touched: list[tuple[int, int]]) -> Iterator[tuple[int, tuple[tuple[int, int], int]]]:
        yield from enumerate(zip(touched, self.count, strict=True))
