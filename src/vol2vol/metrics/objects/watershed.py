"""Split touching objects at their narrow necks: an exact blockwise watershed of the distance to the background.

From every voxel, a path climbs to the highest of the six neighbours until it reaches a peak; the voxels that reach the
same peak are a basin (toboggan, Fairfield 1990). Of two basins that meet, the lower one is an object of its own if its
peak lies at least `depth` above the pass between them (dynamics, Grimaud 1992; such peaks are the h-maxima); otherwise
it joins the other. Every step depends on a bounded neighbourhood, so that blocks of any size give the same objects.
Memory holds a block with its surroundings, and a number per basin and per pair of basins that meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy import ndimage

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.metrics.objects.components import Components, Faces, Mask, unite

UNIT = 1024
"""Height steps per voxel; heights are integers, so that they are equal in every block."""
PLACE = 42
"""Number of low bits with the position of a voxel, below its height, so that no two voxels are equally high."""


@dataclass(frozen=True, kw_only=True)
class Parting:
    """Where touching objects are split; lengths are in voxels of the finest axis."""

    depth: float = 2.0
    """How much farther from the background the centre of the thinner object must be than the middle of the neck."""
    reach: int = 32
    """Largest distance from the background that counts; objects are not split at necks wider than twice this."""

    def __post_init__(self) -> None:
        if not (0 < self.depth <= self.reach <= 512):
            raise BadInput(
                f"a watershed of depth {self.depth:g} and reach {self.reach} is not possible: use 0 < depth <= reach "
                "<= 512"
            )


@dataclass(frozen=True, eq=False)
class _Slopes:
    """The heights of a block and the direction of ascent from each voxel; arrays are one voxel larger on every side."""

    keys: np.ndarray
    """Height and position in one integer; 0 in the background and outside the volume."""
    up: np.ndarray
    """0 on a peak, 1 + 2 axis towards the previous voxel, 2 + 2 axis towards the next voxel."""

    @property
    def inner(self) -> tuple[slice, ...]:
        return tuple(slice(1, n - 1) for n in self.keys.shape)


def parted(
    mask: Mask, spatial: Shape, boxes: Sequence[Box], how: Parting | None = None, *, voxel_size: Sequence[float] = ()
) -> Components:
    """Label the objects of a mask one block at a time, splitting objects that touch.

    `boxes` partition the volume in reading order, as `volume_pairs.blocks_of` returns them; only the order of labels
    depends on them. Voxels are connected across faces. Distances account for `voxel_size` (Z, Y, X) if it is not empty.
    """
    how = how or Parting()
    size = np.array(voxel_size or (1.0, 1.0, 1.0), np.float64)
    sampling = size / size.min()
    faces, passes = Faces(spatial), _Passes()
    offsets: dict[Box, int] = {}

    def slopes(box: Box) -> _Slopes | None:
        return _slopes(mask, spatial, box, sampling, how.reach)

    for box in boxes:
        offsets[box] = passes.total
        faces.enter(box)
        labels = np.zeros(box.shape, np.int64)
        if (land := slopes(box)) is not None:
            local, peaks = _climb(land)
            labels = np.where(local > 0, local + passes.total, 0)
            passes.add(peaks, labels, land)
            for axis in range(3):
                if box.start[axis] > 0:
                    plane, (rows, columns) = faces.before(axis, box)
                    passes.across(axis, plane[slice(*rows), slice(*columns)], np.take(labels, 0, axis=axis), land)
        faces.keep(box, labels)
    roots, count = passes.united(how.depth)

    def local_labels(box: Box) -> np.ndarray:
        land = slopes(box)
        return np.zeros(box.shape, np.int64) if land is None else _climb(land)[0]

    return Components(local_labels, offsets, roots, count)


def _slopes(mask: Mask, spatial: Shape, box: Box, sampling: np.ndarray, reach: int) -> _Slopes | None:
    """Return the heights in and around a block with the directions of ascent; None if it has no foreground."""
    near = box.grow((2, 2, 2), (2, 2, 2))
    part = near & Box.of(spatial)
    heights = _heights(mask, spatial, part, sampling, reach)
    if not heights[box.relative_to(part.start).slices].any():
        return None
    steps = (spatial[1] * spatial[2], spatial[2], 1)
    places = sum(np.arange(part.start[a], part.stop[a]).reshape(_along(a)) * steps[a] for a in range(3))
    keys = np.zeros(near.shape, np.int64)
    keys[part.relative_to(near.start).slices] = np.where(heights > 0, (heights << PLACE) | places, 0)
    inner = (slice(1, -1),) * 3
    best, up = keys[inner].copy(), np.zeros([n - 2 for n in keys.shape], np.int8)
    for axis in range(3):
        for side, cut in ((1, slice(None, -2)), (2, slice(2, None))):
            other = keys[tuple(cut if a == axis else inner[a] for a in range(3))]
            higher = (other > best) & (best > 0)
            best[higher], up[higher] = other[higher], 2 * axis + side
    return _Slopes(keys[inner], up)


def _heights(mask: Mask, spatial: Shape, part: Box, sampling: np.ndarray, reach: int) -> np.ndarray:
    """Return the distances of a region to the background in steps of 1 / `UNIT`, 0 in the background.

    Background inside the region bounds the distances, and thereby the halo that has to be read.
    """
    seen = mask(part)
    if not seen.any():
        return np.zeros(part.shape, np.int64)
    bound = reach if seen.all() else min(float(reach), float(_distance(seen, sampling).max()))
    halo = tuple(ceil(bound / step) for step in sampling)
    around = part.grow(halo, halo) & Box.of(spatial)
    wide = mask(around)
    if wide.all():
        return np.full(part.shape, reach * UNIT, np.int64)
    distance = _distance(wide, sampling)[part.relative_to(around.start).slices]
    result: np.ndarray = np.rint(np.minimum(distance, reach) * UNIT).astype(np.int64)
    return result


def _distance(mask: np.ndarray, sampling: np.ndarray) -> np.ndarray:
    result: np.ndarray = ndimage.distance_transform_edt(mask, sampling=sampling)
    return result


def _along(axis: int) -> tuple[int, ...]:
    return tuple(-1 if a == axis else 1 for a in range(3))


def _climb(land: _Slopes) -> tuple[np.ndarray, np.ndarray]:
    """Return the basins of a block, 1, 2 ..., and the keys of their peaks; a path that leaves it ends at the border."""
    keys, up = land.keys[land.inner], land.up[land.inner]
    shape = keys.shape
    steps = (shape[1] * shape[2], shape[2], 1)
    flat = np.flatnonzero(keys)
    rank = np.zeros(keys.size, np.int64)
    rank[flat] = np.arange(flat.size)
    ways, target = up.ravel()[flat], flat.copy()
    for axis in range(3):
        at = flat // steps[axis] % shape[axis]
        target[(ways == 2 * axis + 1) & (at > 0)] -= steps[axis]
        target[(ways == 2 * axis + 2) & (at < shape[axis] - 1)] += steps[axis]
    parent = rank[target]
    while not np.array_equal(further := parent[parent], parent):
        parent = further
    peaks = np.flatnonzero(parent == np.arange(parent.size))
    number = np.zeros(parent.size, np.int64)
    number[peaks] = np.arange(1, peaks.size + 1)
    labels = np.zeros(keys.size, np.int64)
    labels[flat] = number[parent]
    return labels.reshape(shape), keys.ravel()[flat[peaks]]


class _Passes:
    """The basins of the blocks so far, which of them continue across faces, and the highest pass between each pair."""

    def __init__(self) -> None:
        self.total = 0
        self.peaks: list[np.ndarray] = [np.zeros(1, np.int64)]
        self.links: list[np.ndarray] = [np.zeros((0, 2), np.int64)]
        self.pairs: list[np.ndarray] = [np.zeros((0, 3), np.int64)]

    def add(self, peaks: np.ndarray, labels: np.ndarray, land: _Slopes) -> None:
        """Add the basins of a block and the passes within it."""
        self.peaks.append(peaks)
        self.total += len(peaks)
        heights = land.keys[land.inner] >> PLACE
        rows = []
        for axis in range(3):
            first = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
            second = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
            rows.append(_meeting(labels[first], labels[second], np.minimum(heights[first], heights[second])))
        self.pairs.append(_highest(np.concatenate(rows)))

    def across(self, axis: int, before: np.ndarray, here: np.ndarray, land: _Slopes) -> None:
        """Join basins that continue across a face, and add the passes in it."""
        inner = tuple(part for a, part in enumerate(land.inner) if a != axis)
        (up_before, up_here), (keys_before, keys_here) = (
            [field.take(at, axis)[inner] for at in (0, 1)] for field in (land.up, land.keys)
        )
        touch = (before > 0) & (here > 0)
        climbs = touch & ((up_before == 2 * axis + 2) | (up_here == 2 * axis + 1))
        self.links.append(np.unique(np.stack([before[climbs], here[climbs]], axis=1), axis=0))
        self.pairs.append(_highest(_meeting(before, here, np.minimum(keys_before, keys_here) >> PLACE)))

    def united(self, depth: float) -> tuple[np.ndarray, int]:
        """Return the object of every basin, from 0 to the number of objects, and that number."""
        basins, count = unite(np.concatenate(self.links), self.total)
        peaks = np.zeros(count + 1, np.int64)
        np.maximum.at(peaks, basins, np.concatenate(self.peaks))
        pairs = np.concatenate(self.pairs)
        pairs = np.concatenate([basins[pairs[:, :2]], pairs[:, 2:]], axis=1)
        pairs = _highest(pairs[pairs[:, 0] != pairs[:, 1]])
        ends = np.sort(peaks[pairs[:, :2]], axis=1)
        order = np.lexsort((ends[:, 1], ends[:, 0], -pairs[:, 2]))
        joined = _join(pairs[order].tolist(), (peaks >> PLACE).tolist(), round(depth * UNIT))
        objects, object_count = unite(np.array(joined, np.int64).reshape(-1, 2), count)
        return objects[basins], object_count


def _meeting(first: np.ndarray, second: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Return, wherever two labels meet, both labels in ascending order and the height, `(n, 3)`."""
    meet = (first > 0) & (second > 0) & (first != second)
    a, b = first[meet], second[meet]
    return np.stack([np.minimum(a, b), np.maximum(a, b), height[meet]], axis=1)


def _highest(rows: np.ndarray) -> np.ndarray:
    """Return the highest pass between each pair of basins, `(n, 3)`."""
    rows = np.concatenate([np.sort(rows[:, :2], axis=1), rows[:, 2:]], axis=1)
    rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
    last = np.ones(len(rows), bool)
    last[:-1] = (rows[1:, :2] != rows[:-1, :2]).any(axis=1)
    return rows[last]


def _join(passes: list[list[int]], peaks: list[int], depth: int) -> list[tuple[int, int]]:
    """Return the pairs of basins that join, from the highest pass down; `peaks` becomes the highest of the joined."""
    parent = list(range(len(peaks)))
    joined = []
    for a, b, height in passes:
        first_root, second_root = _top(parent, a), _top(parent, b)
        if first_root == second_root or min(peaks[first_root], peaks[second_root]) - height >= depth:
            continue
        parent[second_root] = first_root
        peaks[first_root] = max(peaks[first_root], peaks[second_root])
        joined.append((a, b))
    return joined


def _top(parent: list[int], at: int) -> int:
    while parent[at] != at:
        parent[at] = parent[parent[at]]
        at = parent[at]
    return at
