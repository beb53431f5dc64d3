"""Instances: connected components of volumes of any size, contingency with the truth, adapted Rand, objects found.

Components are labelled block by block and united across faces; labels are not stored but made again when read, so
that memory holds a block, the faces of one layer of blocks and one number per object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.metrics.overlap import full_scale, probability
from vol2vol.metrics.pairs import alike, blocks_of
from vol2vol.volumes import Volume

Labels = Callable[[Box], np.ndarray]
"""A block of a partition to int64 labels `(Z, Y, X)`, 0 is background."""
Mask = Callable[[Box], np.ndarray]
"""A block to bool `(Z, Y, X)`."""
WAITING = 1 << 20
"""Pairs of labels collected before they are added up."""
DENSE = 1 << 22
"""Labels, or pairs of them, up to which counting takes a table instead of sorting."""
FACES = {6: 1, 18: 2, 26: 3}
"""Neighbours of a voxel to scipy's connectivity."""


@dataclass(frozen=True, eq=False)
class Components:
    """The connected components of a mask; call it with a block to read their labels, 1 to `count`."""

    mask: Mask
    neighbours: int
    offsets: dict[Box, int]
    roots: np.ndarray
    """Label of every provisional label, the first being background."""
    count: int

    def __call__(self, box: Box) -> np.ndarray:
        """Return the labels of one of the blocks that the components were found in."""
        labels, _ = _label(self.mask(box), self.neighbours)
        return self.roots[np.where(labels > 0, labels + self.offsets[box], 0)]


def components(mask: Mask, spatial: Shape, boxes: Sequence[Box], *, neighbours: int = 6) -> Components:
    """Find the connected components of a mask, one block at a time.

    `boxes` partition the volume in reading order, as `pairs.blocks_of` gives them. `neighbours` is 6 (faces), 18 or
    26 (corners). Equal to `scipy.ndimage.label` of the whole, up to the order of labels.
    """
    if neighbours not in FACES:
        raise BadInput(f"voxels with {neighbours} neighbours: choose 6, 18 or 26")
    faces = _Faces(spatial)
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
    roots, count = _unite(np.concatenate(joined), total)
    return Components(mask, neighbours, offsets, roots, count)


class _Faces:
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


def _unite(pairs: np.ndarray, total: int) -> tuple[np.ndarray, int]:
    """Return the label, 0 to `count`, of every provisional label 0 to `total`."""
    graph = sparse.coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(total + 1,) * 2)
    count, roots = csgraph.connected_components(graph, directed=False)
    assert roots[0] == 0, "background is connected to nothing and comes first"
    return roots.astype(np.int64), count - 1


def stored_labels(volume: Volume) -> Labels:
    """Read given instances: integer labels of one channel, 0 is background."""
    if volume.dtype.kind not in "iu" or volume.channels != 1:
        raise BadInput(f"{volume.path} holds {volume.channels} x {volume.dtype}, no instances: give integer labels")
    return lambda box: volume.read(box)[0].astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Contingency:
    """Voxels that an instance of the truth shares with one of the prediction; row and column 0 are background."""

    table: sparse.csr_array
    """Truth by prediction; rows and columns of labels that occur, and background."""

    @property
    def truth(self) -> np.ndarray:
        """Voxels per true object."""
        return np.asarray(self.table.sum(1)).ravel()[1:]

    @property
    def predicted(self) -> np.ndarray:
        """Voxels per predicted object."""
        return np.asarray(self.table.sum(0)).ravel()[1:]

    def without_specks(self, least: int) -> Contingency:
        """Return the table with predicted objects of fewer voxels taken as background."""
        kept = np.concatenate([[0], 1 + np.flatnonzero(self.predicted >= least)])
        table = sparse.lil_array(self.table[:, kept])
        table[:, [0]] = sparse.csr_array(self.table.sum(1)[:, None] - self.table[:, kept[1:]].sum(1)[:, None])
        return Contingency(table=sparse.csr_array(table))


def contingency(truth: Labels, prediction: Labels, boxes: Iterable[Box]) -> Contingency:
    """Count shared voxels, block by block; memory is one number per pair of objects that touch.

    Raises `BadInput` on labels below 0.
    """
    pairs: list[np.ndarray] = [np.zeros((0, 2), np.int64)]
    counts: list[np.ndarray] = [np.zeros(0, np.int64)]
    waiting = 0
    for box in boxes:
        (one, i), (two, j) = (_named(labels(box)) for labels in (truth, prediction))
        found, times = _counted(i * len(two) + j, len(one) * len(two))
        pairs.append(np.stack([one[found // len(two)], two[found % len(two)]], axis=1))
        counts.append(times)
        waiting += len(found)
        if waiting > max(WAITING, len(pairs[0])):
            pairs, counts, waiting = *_merged(pairs, counts), 0
    (keys,), (sizes,) = _merged(pairs, counts)
    places, names = zip(*(_places(column) for column in keys.T), strict=True)
    return Contingency(table=sparse.csr_array((sizes, places), shape=names))


def _named(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels that occur, ascending, and the place of each voxel's among them."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise BadInput("instances have labels below 0: number objects from 1, background 0")
    if high >= DENSE:
        names, place = np.unique(labels, return_inverse=True)
        return names, place.ravel()
    occurs = np.zeros(high + 1, bool)
    occurs[labels] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[labels].ravel()


def _counted(keys: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys below `size` that occur and how often."""
    if size > DENSE:
        return np.unique(keys, return_counts=True)
    times = np.bincount(keys, minlength=size)
    found = np.flatnonzero(times)
    return found, times[found]


def _merged(pairs: list[np.ndarray], counts: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Add up the counts of equal pairs."""
    keys, sizes = np.concatenate(pairs), np.concatenate(counts)
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    keys, sizes = keys[order], sizes[order]
    first = np.flatnonzero(np.concatenate([[True], (keys[1:] != keys[:-1]).any(1)])[: len(keys)])
    return [keys[first]], [np.add.reduceat(sizes, first) if len(first) else sizes]


def _places(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the row of every label, background first whether it occurs or not, and the number of rows."""
    names, place = np.unique(np.concatenate([[0], labels]), return_inverse=True)
    return place.reshape(-1)[1:], len(names)


def instances_of(volume: Volume, boxes: Sequence[Box], *, threshold: float = 0.5, neighbours: int = 6) -> Components:
    """Find the connected components of a mask, or of probabilities from a threshold on."""
    if volume.channels != 1:
        raise BadInput(f"{volume.path} has {volume.channels} channels: objects are found in volumes of one")
    scale = full_scale(volume, boxes)
    return components(
        lambda box: probability(volume, box, scale)[0] >= threshold, volume.spatial, boxes, neighbours=neighbours
    )


def shared_objects(
    prediction: Volume,
    truth: Volume,
    *,
    given: tuple[bool, bool] = (False, False),
    threshold: float = 0.5,
    neighbours: int = 6,
    block: Shape | None = None,
) -> Contingency:
    """Return which objects of prediction and truth share how many voxels: what every score of objects starts from.

    Objects are connected components; `given` says of which volume, prediction or truth, they are its labels instead.
    Raises `BadInput` where shapes or voxel sizes differ.
    """
    alike(prediction, truth)
    boxes = blocks_of(truth, block)
    found, real = (
        stored_labels(volume) if labelled else instances_of(volume, boxes, threshold=level, neighbours=neighbours)
        for volume, labelled, level in zip((prediction, truth), given, (threshold, 0.5), strict=True)
    )
    return contingency(real, found, boxes)
