"""Connected components of masks of any size.

Components are labelled block by block and united across faces; labels are not stored but made again when read, so
that memory holds a block, the faces of one layer of blocks and one number per component of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape

Mask = Callable[[Box], np.ndarray]
"""A block to bool `(Z, Y, X)`."""
FACES = {6: 1, 18: 2, 26: 3}
"""Neighbours of a voxel to scipy's connectivity."""


@dataclass(frozen=True, eq=False)
class Components:
    """Objects found block by block; call it with a block to read their labels, 1 to `count`."""

    local: Callable[[Box], np.ndarray]
    """A block to provisional labels of its own, int64, 0 is background."""
    offsets: dict[Box, int]
    roots: np.ndarray
    """Label of every provisional label, counted on from `offsets`, the first being background."""
    count: int

    def __call__(self, box: Box) -> np.ndarray:
        """Return the labels of one of the blocks that the objects were found in."""
        labels = self.local(box)
        return self.roots[np.where(labels > 0, labels + self.offsets[box], 0)]


def components(mask: Mask, spatial: Shape, boxes: Sequence[Box], *, neighbours: int = 6) -> Components:
    """Find the connected components of a mask, one block at a time.

    `boxes` partition the volume in reading order, as `pairs.blocks_of` gives them. `neighbours` is 6 (faces), 18 or
    26 (corners). Equal to `scipy.ndimage.label` of the whole, up to the order of labels.
    """
    if neighbours not in FACES:
        raise BadInput(f"voxels with {neighbours} neighbours: choose 6, 18 or 26")
    faces = Faces(spatial)
    offsets: dict[Box, int] = {}
    joined = [np.zeros((0, 2), np.int64)]
    total = 0
    for box in boxes:
        local, found = _label(mask(box), neighbours)
        labels = np.where(local > 0, local + total, 0)
        offsets[box] = total
        total += found
        faces.enter(box)
        for axis in range(3):
            if box.start[axis] > 0:
                before, spans = faces.before(axis, box)
                joined.append(_meet(before, labels.take(0, axis), spans, neighbours))
        faces.keep(box, labels)
    roots, count = unite(np.concatenate(joined), total)
    return Components(lambda box: _label(mask(box), neighbours)[0], offsets, roots, count)


class Faces:
    """The last planes of labels before a block: of the layer above, of the row before, of the block before."""

    def __init__(self, spatial: Shape) -> None:
        self.spatial = spatial
        self.above = self.layer = np.zeros(spatial[1:], np.int64)
        self.behind = self.row = self.left = np.zeros((0, 0), np.int64)

    def enter(self, box: Box) -> None:
        """Turn over what is complete: corners of neighbours must not see the layer or row being written."""
        if box.start[1:] == (0, 0):
            self.above, self.layer = self.layer, np.zeros(self.spatial[1:], np.int64)
        if box.start[2] == 0:
            self.behind, self.row = self.row, np.zeros((box.shape[0], self.spatial[2]), np.int64)

    def before(self, axis: int, box: Box) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Return the plane before a block on an axis, and where in it the block's face lies."""
        (_, y, x), (_, y1, x1), depth = box.start, box.stop, (0, box.shape[0])
        if axis == 0:
            return self.above, [(y, y1), (x, x1)]
        return (self.behind, [depth, (x, x1)]) if axis == 1 else (self.left, [depth, (0, y1 - y)])

    def keep(self, box: Box, labels: np.ndarray) -> None:
        """Keep the last planes of a block for those after it."""
        self.layer[box.slices[1:]] = labels[-1]
        self.row[:, box.slices[2]] = labels[:, -1]
        self.left = labels[:, :, -1]


def _label(mask: np.ndarray, neighbours: int) -> tuple[np.ndarray, int]:
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(3, FACES[neighbours]))
    return labels.astype(np.int64), int(count)


def _meet(before: np.ndarray, here: np.ndarray, spans: list[tuple[int, int]], neighbours: int) -> np.ndarray:
    """Return the distinct pairs of labels that touch across a face, `(n, 2)`; `spans` say where it lies in `before`."""
    pairs = []
    steps = [(0, 0)]
    steps += [(0, 1), (0, -1), (1, 0), (-1, 0)] if neighbours > 6 else []
    steps += [(1, 1), (1, -1), (-1, 1), (-1, -1)] if neighbours > 18 else []
    for step in steps:
        there, mine = [], []
        for (a, b), n, d in zip(spans, before.shape, step, strict=True):
            low, high = max(0, a + d), min(n, b + d)
            there.append(slice(low, high))
            mine.append(slice(low - a - d, high - a - d))
        one, two = before[tuple(there)], here[tuple(mine)]
        touch = (one > 0) & (two > 0)
        pairs.append(np.unique(np.stack([one[touch], two[touch]], axis=1), axis=0))
    return np.unique(np.concatenate(pairs), axis=0)


def unite(pairs: np.ndarray, total: int) -> tuple[np.ndarray, int]:
    """Return the label, 0 to `count`, of every provisional label 0 to `total`."""
    graph = sparse.coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(total + 1,) * 2)
    count, roots = csgraph.connected_components(graph, directed=False)
    assert roots[0] == 0, "background is connected to nothing and comes first"
    return roots.astype(np.int64), count - 1
