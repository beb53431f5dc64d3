"""Average the coarser levels of an OME-Zarr block by block; the blocks of a level are independent of each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, ceil_div, grid
from vol2vol.volumes.addresses import address, join
from vol2vol.volumes.axes import from_czyx, to_czyx, where_stored
from vol2vol.volumes.display import full_window, make_omero, stated_omero
from vol2vol.volumes.formats.chunked_array import ChunkedArray
from vol2vol.volumes.formats.ngff import multiscale, version_of
from vol2vol.volumes.formats.nodes import Node, read_node
from vol2vol.volumes.formats.omezarr import ArrayLayout, write_group
from vol2vol.volumes.formats.store import delete_keys, refusal
from vol2vol.volumes.opening import open_volume
from vol2vol.volumes.volume import Volume

THIN = 2**0.5
"""An axis is halved while its voxel is at most this much longer than the shortest side."""
_WIDE = {1: np.int16, 2: np.int32, 4: np.int64}
"""Integers that hold twice the sum of eight of so many bytes."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """One of the coarser levels of an image."""

    number: int
    """1 is the level below the finest."""
    step: Shape
    """Voxels of the level above per voxel of this one."""
    above: Shape
    """The spatial shape of the level above."""
    layout: ArrayLayout
    voxel_size: tuple[float, ...]

    @property
    def spatial(self) -> Shape:
        """Voxels along Z, Y, X."""
        return self.layout.shape[1:]

    def finer(self, box: Box) -> Box:
        """Return the box of the level above whose average is a box of this level."""
        start = tuple(a * s for a, s in zip(box.start, self.step, strict=True))
        stop = tuple(b * s for b, s in zip(box.stop, self.step, strict=True))
        return Box(start, stop) & Box.of(self.above)

    def create(self, location: str, **options: bool) -> ChunkedArray:
        """Create this level of an image, or open it (`open=True`) or replace it (`delete_existing=True`)."""
        return ChunkedArray(join(location, str(self.number)), {**self.layout.spec(), **options})

    def read(self, location: str, box: Box) -> np.ndarray:
        """Return a box of this level, `(C, *box.shape)`; raise `Unreadable` where a chunk is lost or damaged."""
        return self._read(self._open(location, self.number, whole=True), box)

    def average(self, location: str, box: Box, begun: str = "") -> np.ndarray:
        """Return a box of this level, averaged from the level above chunk by chunk, `(C, *box.shape)`.

        `begun` is the name in the ledger of the output being written; with it, levels are opened only once.
        """
        coarse = np.empty((self.layout.shape[0], *box.shape), self.layout.dtype)
        above = _opened(self, location, begun, -1) if begun else self._open(location, self.number - 1)
        for part in grid(box, self.layout.chunks):
            fine = self._read(above, self.finer(part))
            coarse[(slice(None), *part.relative_to(box.start).slices)] = mean(fine, self.step)
        return coarse

    def write(self, location: str, box: Box, values: np.ndarray, begun: str = "") -> None:
        """Write whole shards of this level, which is created if it does not exist."""
        array = _opened(self, location, begun, 0) if begun else self.create(location, open=True)
        array.write(where_stored(box, self.layout.axes), from_czyx(values, self.layout.axes))

    def erase(self, location: str, box: Box) -> None:
        """Delete the shards under a box of this level; damaged shards cannot be overwritten."""
        array = self.create(location, open=True)
        delete_keys(array.location, *array.keys(where_stored(box, self.layout.axes)))

    def _open(self, location: str, number: int, *, whole: bool = False) -> ChunkedArray:
        """Open a level; in a `whole` one, reading a missing chunk is an error."""
        options = {"driver": self.layout.spec()["driver"], "open": True, "fill_missing_data_reads": not whole}
        return ChunkedArray(join(location, str(number)), options)

    def _read(self, array: ChunkedArray, box: Box) -> np.ndarray:
        try:
            values = array.read(where_stored(box, self.layout.axes))
        except (ValueError, OSError) as error:
            raise refusal(array.location, error) from error
        return to_czyx(values, self.layout.axes)


@lru_cache(maxsize=32)
def _opened(level: Level, location: str, begun: str, step: int) -> ChunkedArray:
    """Return an array that blocks of a level are read from (`step` -1, the level above) or written to (0)."""
    assert begun, "arrays are cached only while one named run writes them"
    return level.create(location, open=True) if step == 0 else level._open(location, level.number - 1, whole=True)


def build_pyramid(path: str, levels: int | None = None) -> int:
    """Write coarser levels of an OME-Zarr made by `create_volume` and return how many levels there are then.

    Each voxel is the mean of the (up to) 2 x 2 x 2 below it, halves of integers rounded up; an axis whose voxel is
    longer than the others is not halved until they are as long. `levels` includes the finest; by default halving
    continues until a level fits into one chunk. Memory: one shard and eight chunks. The list of levels is written last,
    so a reader never sees an unfinished one; starting again gives the same bytes.
    """
    location = address(path)
    coarser = coarser_levels(location, levels)
    list_levels(location, [])
    for level in coarser:
        level.create(location, delete_existing=True)
        for shard in grid(Box.of(level.spatial), level.layout.shards or level.layout.chunks):
            level.write(location, shard, level.average(location, shard))
    list_levels(location, coarser)
    return len(coarser) + 1


def coarser_levels(location: str, levels: int | None = None) -> list[Level]:
    """Return the levels that an image made by `create_volume` should have besides its finest; raise `BadInput`."""
    group = _group(location)
    with open_volume(location) as finest:
        layout, size = _finest(finest, group), tuple(finest.voxel_size)
    coarser = []
    for number, step in enumerate(_steps(layout, size, levels), start=1):
        above, layout = layout.shape[1:], _coarser(layout, step)
        size = tuple(v * s for v, s in zip(size, step, strict=True))
        coarser.append(Level(number=number, step=step, above=above, layout=layout, voxel_size=size))
    return coarser


def list_levels(location: str, levels: Sequence[Level]) -> None:
    """Write metadata that list these levels besides the finest."""
    group = _group(location)
    with open_volume(location) as finest:
        layout, unit = _finest(finest, group), finest.unit
        offset = finest.offset if finest.placed else None
        scales = [tuple(finest.voxel_size), *(level.voxel_size for level in levels)]
        names = finest.channel_names
    windows = [full_window(layout.dtype)] * layout.shape[0]
    omero = stated_omero(group.attributes) or make_omero(names, layout.dtype, windows)
    attrs = {key: value for key, value in group.attributes.items() if key not in ("ome", "multiscales", "omero")}
    write_group(location, layout, unit=unit, scales=scales, offset=offset, attrs=attrs, omero=omero)


def _group(location: str) -> Node:
    group = read_node(location)
    image = multiscale(group.attributes) if group else None
    levels = image.get("datasets") if image is not None else None
    first = levels[0] if isinstance(levels, list) and levels else None
    if group is None or not isinstance(first, dict) or first.get("path") != "0":
        raise BadInput(f"{location} is not an OME-Zarr written by vol2vol: only those get a pyramid")
    return group


def _finest(volume: Volume, group: Node) -> ArrayLayout:
    shards = volume.shards[1:] if volume.shards != volume.chunks else None
    options: dict[str, Any] = {"shards": shards, "version": version_of(group.attributes), "flat": volume.is_2d}
    return ArrayLayout(shape=volume.shape, dtype=volume.dtype, chunks=volume.chunks[1:], **options)


def _coarser(layout: ArrayLayout, step: Shape) -> ArrayLayout:
    spatial = tuple(ceil_div(n, s) for n, s in zip(layout.shape[1:], step, strict=True))
    return replace(layout, shape=(layout.shape[0], *spatial))


def _steps(layout: ArrayLayout, voxel_size: Sequence[float], levels: int | None) -> list[Shape]:
    """Return the downsampling factors (z, y, x) of each level relative to the one before."""
    steps: list[Shape] = []
    size = list(voxel_size)
    while levels is None or len(steps) + 1 < levels:
        spatial = layout.shape[1:]
        small = all(n <= c for n, c in zip(spatial, layout.chunks, strict=True))
        if max(spatial) == 1 or (levels is None and small):
            break
        shortest = min(s for s, n in zip(size, spatial, strict=True) if n > 1)
        step = tuple(2 if n > 1 and s <= THIN * shortest else 1 for s, n in zip(size, spatial, strict=True))
        steps.append(step)
        size = [a * b for a, b in zip(size, step, strict=True)]
        layout = _coarser(layout, step)
    return steps


def mean(block: np.ndarray, step: Shape) -> np.ndarray:
    """Return a `(C, Z, Y, X)` block averaged over `step` voxels per axis; an odd voxel at the end is repeated.

    Integers are rounded to the nearest, halves up; floats are summed in double precision.
    """
    if any(n % s for n, s in zip(block.shape[1:], step, strict=True)):
        odd = [(0, -n % s) for n, s in zip(block.shape[1:], step, strict=True)]
        block = np.pad(block, [(0, 0), *odd], mode="edge")
    kind, exact = block.dtype, block.dtype.kind in "iu" and block.dtype.itemsize <= 4
    wide = _WIDE[kind.itemsize] if exact else np.float64
    total = block.astype(wide) if max(step) == 1 else block
    for axis, size in enumerate(step, start=1):
        parts = [total[(slice(None),) * axis + (slice(at, None, size),)] for at in range(size)]
        for part in parts[1:]:
            parts[0] = np.add(parts[0], part, dtype=wide)
        total = parts[0]
    count = prod(step)
    if exact:
        return ((2 * total + count) // (2 * count)).astype(kind)
    total = total / count
    return (np.floor(total + 0.5) if kind.kind in "iu" else total).astype(kind)
