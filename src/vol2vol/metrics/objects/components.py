"""Label the connected components of masks of any size.

Components are labelled block by block and joined across the faces of blocks. Labels are not stored but computed again
when they are read; memory holds a block, the faces of one layer of blocks and a number per component of a block.
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
"""Maps a block to bool `(Z, Y, X)`."""
FACES = {6: 1, 18: 2, 26: 3}
"""Maps the number of neighbours of a voxel to scipy's connectivity."""


@dataclass(frozen=True, eq=False)
class Components:
    """Objects of a volume; call it with a block to read their labels, 1 to `count`."""

    local: Callable[[Box], np.ndarray]
    """Maps a block to its own provisional labels, int64; 0 is background."""
    offsets: dict[Box, int]
    roots: np.ndarray
    """Final label of every provisional label, counted from the block's offset; the first is background."""
    count: int

    def __call__(self, box: Box) -> np.ndarray:
        """Return the labels `(Z, Y, X)` of one of the blocks in which the volume was labelled."""
        labels = self.local(box)
        return self.roots[np.where(labels > 0, labels + self.offsets[box], 0)]


def components(mask: Mask, spatial: Shape, boxes: Sequence[Box], *, connectivity: int = 6) -> Components:
    """Label the connected components of a mask, one block at a time.

    `boxes` partition the volume in reading order, as `volume_pairs.blocks_of` returns them. `connectivity` is 6
    (faces), 18 (edges) or 26 (corners). The result equals `scipy.ndimage.label` of the whole mask, except for the order
    of labels. Raises `BadInput` for another connectivity.
    """
    if connectivity not in FACES:
        raise BadInput(f"connectivity {connectivity} is not supported: use 6, 18 or 26")
    faces = Faces(spatial)
    offsets: dict[Box, int] = {}
    joined = [np.zeros((0, 2), np.int64)]
    total = 0
    for box in boxes:
        local, local_count = _label(mask(box), connectivity)
        labels = np.where(local > 0, local + total, 0)
        offsets[box] = total
        total += local_count
        faces.enter(box)
        for axis in range(3):
            if box.start[axis] > 0:
                before, spans = faces.before(axis, box)
                joined.append(_meet(before, labels.take(0, axis), spans, connectivity))
        faces.keep(box, labels)
    roots, count = unite(np.concatenate(joined), total)
    return Components(lambda box: _label(mask(box), connectivity)[0], offsets, roots, count)


class Faces:
    """The last planes of labels before a block: of the layer above, the previous row and the previous block."""

    def __init__(self, spatial: Shape) -> None:
        self.spatial = spatial
        self.above = self.layer = np.zeros(spatial[1:], np.int64)
        self.behind = self.row = self.left = np.zeros((0, 0), np.int64)

    def enter(self, box: Box) -> None:
        """Start a new layer or row, so that corner neighbours do not read the one that is being written."""
        if box.start[1:] == (0, 0):
            self.above, self.layer = self.layer, np.zeros(self.spatial[1:], np.int64)
        if box.start[2] == 0:
            self.behind, self.row = self.row, np.zeros((box.shape[0], self.spatial[2]), np.int64)

    def before(self, axis: int, box: Box) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Return the plane before a block along an axis, and the span of the block's face in it."""
        (_, y, x), (_, y1, x1), depth = box.start, box.stop, (0, box.shape[0])
        if axis == 0:
            return self.above, [(y, y1), (x, x1)]
        return (self.behind, [depth, (x, x1)]) if axis == 1 else (self.left, [depth, (0, y1 - y)])

    def keep(self, box: Box, labels: np.ndarray) -> None:
        """Keep the last planes of a block for later blocks."""
        self.layer[box.slices[1:]] = labels[-1]
        self.row[:, box.slices[2]] = labels[:, -1]
        self.left = labels[:, :, -1]


def _label(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, int]:
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(3, FACES[connectivity]))
    return labels.astype(np.int64), int(count)


def _meet(before: np.ndarray, here: np.ndarray, spans: list[tuple[int, int]], connectivity: int) -> np.ndarray:
    """Return the distinct pairs of labels that touch across a face, `(n, 2)`; `spans` is its position in `before`."""
    pairs = []
    steps = [(0, 0)]
    steps += [(0, 1), (0, -1), (1, 0), (-1, 0)] if connectivity > 6 else []
    steps += [(1, 1), (1, -1), (-1, 1), (-1, -1)] if connectivity > 18 else []
    for step in steps:
        there, mine = [], []
        for (a, b), n, d in zip(spans, before.shape, step, strict=True):
            low, high = max(0, a + d), min(n, b + d)
            there.append(slice(low, high))
            mine.append(slice(low - a - d, high - a - d))
        labels_before, labels_here = before[tuple(there)], here[tuple(mine)]
        touch = (labels_before > 0) & (labels_here > 0)
        pairs.append(np.unique(np.stack([labels_before[touch], labels_here[touch]], axis=1), axis=0))
    return np.unique(np.concatenate(pairs), axis=0)


def unite(pairs: np.ndarray, total: int) -> tuple[np.ndarray, int]:
    """Return the final label, 0 to `count`, of every provisional label 0 to `total`, and `count`."""
    graph = sparse.coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(total + 1,) * 2)
    count, roots = csgraph.connected_components(graph, directed=False)
    assert roots[0] == 0, "background is connected to nothing and comes first"
    return roots.astype(np.int64), count - 1
