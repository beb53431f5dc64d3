"""Coarser levels of an OME-Zarr, averaged block by block."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, ceil_div, grid
from vol2vol.volumes.chunked import Node, read_node
from vol2vol.volumes.ome import multiscale, version_of
from vol2vol.volumes.omezarr import Layout, write_group
from vol2vol.volumes.opening import open_volume
from vol2vol.volumes.store import ChunkedArray, join
from vol2vol.volumes.volume import Volume

THIN = 2**0.5
"""An axis is halved while its voxel is at most this much longer than the shortest side."""


def build_pyramid(path: str, levels: int | None = None) -> int:
    """Write coarser levels of an OME-Zarr made by `create_volume` and return how many levels there are then.

    Each voxel is the mean of the (up to) 2 x 2 x 2 below it, halves of integers rounded up; an axis whose voxel is
    longer than the others is not halved until they have caught up. `levels` counts the finest; by default halving
    goes on until a level fits into one chunk. Memory: one shard and eight chunks. The list of levels is written last,
    so a reader never sees an unfinished one; starting again gives the same bytes.
    """
    location = str(path)
    group = read_node(location)
    image = multiscale(group.attributes) if group else None
    if group is None or image is None or image["datasets"][0].get("path") != "0":
        raise BadInput(f"{location} is not an OME-Zarr written by vol2vol: only these get a pyramid")
    with open_volume(location) as finest:
        layout = _layout(finest, version_of(group.attributes))
        steps = _steps(layout, finest.voxel_size, levels)
        _list_levels(group, layout, finest.unit, [finest.voxel_size])
        scales: list[tuple[float, ...]] = [finest.voxel_size]
        for level, step in enumerate(steps, start=1):
            layout = _coarser(layout, step)
            above = join(location, str(level - 1))
            with open_volume(above, axes=finest.axes, voxel_size=scales[-1], unit=finest.unit) as source:
                _average(source, join(location, str(level)), layout, step)
            scales.append(tuple(v * s for v, s in zip(scales[-1], step, strict=True)))
        _list_levels(group, layout, finest.unit, scales)
    return len(scales)


def _layout(volume: Volume, version: str) -> Layout:
    shards = volume.shards if volume.shards != volume.chunks else None
    return Layout(shape=volume.shape, dtype=volume.dtype, chunks=volume.chunks, shards=shards, version=version)


def _coarser(layout: Layout, step: Shape) -> Layout:
    spatial = tuple(ceil_div(n, s) for n, s in zip(layout.shape[1:], step, strict=True))
    return Layout(
        shape=(layout.shape[0], *spatial),
        dtype=layout.dtype,
        chunks=layout.chunks,
        shards=layout.shards,
        version=layout.version,
    )


def _steps(layout: Layout, voxel_size: Sequence[float], levels: int | None) -> list[Shape]:
    """Return by how much each level is coarser than the one before, per axis."""
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


def _list_levels(group: Node, layout: Layout, unit: str, scales: Sequence[Sequence[float]]) -> None:
    attrs = {key: value for key, value in group.attributes.items() if key not in ("ome", "multiscales")}
    write_group(group.location, layout, unit=unit, scales=scales, attrs=attrs)


def _average(source: Volume, location: str, layout: Layout, step: Shape) -> None:
    """Write one level, whole shards at a time, reading the level above chunk by chunk."""
    target = ChunkedArray(location, {**layout.spec(), "delete_existing": True})
    within = Box.of(layout.shape[1:])
    for shard in grid(within, layout.shards or layout.chunks):
        block = np.empty((layout.shape[0], *shard.shape), layout.dtype)
        for part in grid(shard, layout.chunks):
            fine = Box(
                tuple(a * s for a, s in zip(part.start, step, strict=True)),
                tuple(b * s for b, s in zip(part.stop, step, strict=True)),
            )
            here = part.relative_to(shard.start).slices
            block[(slice(None), *here)] = mean(source.read(fine & Box.of(source.spatial)), step)
        target.write((slice(None),) * layout.channels + shard.slices, block if layout.channels else block[0])


def mean(block: np.ndarray, step: Shape) -> np.ndarray:
    """Return a `(C, Z, Y, X)` block averaged over `step` voxels per axis; an odd voxel at the end stands twice.

    Integers are rounded to the nearest, halves up; floats are summed in double precision.
    """
    odd = [(0, -n % s) for n, s in zip(block.shape[1:], step, strict=True)]
    block = np.pad(block, [(0, 0), *odd], mode="edge")
    exact = block.dtype.kind in "iu" and block.dtype.itemsize <= 4
    total = np.zeros(
        (block.shape[0], *(n // s for n, s in zip(block.shape[1:], step, strict=True))),
        np.int64 if exact else np.float64,
    )
    for offset in product(*(range(s) for s in step)):
        total += block[(slice(None), *(slice(o, None, s) for o, s in zip(offset, step, strict=True)))]
    count = step[0] * step[1] * step[2]
    if exact:
        total = (2 * total + count) // (2 * count)
    else:
        total /= count
        total = np.floor(total + 0.5) if block.dtype.kind in "iu" else total
    return total.astype(block.dtype)
