"""Find the bounding box of everything that is not background, reading slabs from the outside in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, grid

Read = Callable[[Box], np.ndarray]


def find_content(read: Read, spatial: Shape, block: Shape, background: tuple[float, float], margin: int) -> Box:
    """Return the bounding box of all voxels outside `background`, grown by `margin` voxels within the volume.

    `read` returns `(C, *box.shape)`. A voxel is content if any of its channels lies outside the closed interval
    `background`; NaN is content. Along each axis, slabs as thick as `block` are read from both ends until a slab holds
    content, within the box that the previous axes left. Memory: one block. Raises `BadInput` where every voxel is
    background.
    """
    content = Box.of(spatial)
    for axis in range(3):
        first = _edge(read, content, block, axis, background, ends=False)
        if first is None:
            low, high = background
            raise BadInput(f"crop content: all is background ({low:g} to {high:g}): give the right range, `background`")
        content = _with(content, axis, first, content.stop[axis])
        last = _edge(read, content, block, axis, background, ends=True)
        assert last is not None, "content found from one end is found from the other"
        content = _with(content, axis, content.start[axis], last)
    return content.grow((margin,) * 3, (margin,) * 3) & Box.of(spatial)


def _with(box: Box, axis: int, start: int, stop: int) -> Box:
    """Return the box with new bounds along one axis."""
    starts, stops = list(box.start), list(box.stop)
    starts[axis], stops[axis] = start, stop
    return Box(tuple(starts), tuple(stops))


def _edge(
    read: Read, within: Box, block: Shape, axis: int, background: tuple[float, float], *, ends: bool
) -> int | None:
    """Return where content begins (or, with `ends`, ends) along one axis; None where there is no content."""
    for start in sorted(range(_floor(within.start[axis], block[axis]), within.stop[axis], block[axis]), reverse=ends):
        slab = _with(within, axis, max(start, within.start[axis]), min(start + block[axis], within.stop[axis]))
        best: int | None = None
        for box in _tiles(slab, block):
            planes = np.flatnonzero(_has_content(read(box), background, axis))
            if planes.size:
                position = box.start[axis] + int(planes[-1] + 1 if ends else planes[0])
                best = position if best is None else max(best, position) if ends else min(best, position)
                if best == (slab.stop if ends else slab.start)[axis]:
                    return best
        if best is not None:
            return best
    return None


def _tiles(slab: Box, block: Shape) -> list[Box]:
    """Cut a slab along the lattice of blocks that starts at voxel zero, so that stored chunks are read once."""
    lattice = Box(tuple(map(_floor, slab.start, block)), slab.stop)
    return [tile & slab for tile in grid(lattice, block)]


def _floor(value: int, step: int) -> int:
    return value // step * step


def _has_content(values: np.ndarray, background: tuple[float, float], axis: int) -> np.ndarray:
    """Return, for each plane of `(C, Z, Y, X)` perpendicular to an axis, whether it holds content."""
    inside = ~((values >= background[0]) & (values <= background[1]))
    return np.asarray(inside.any(axis=tuple(i for i in range(4) if i != axis + 1)))
