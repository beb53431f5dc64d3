"""Count the voxels that objects of truth and prediction share, in volumes of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.metrics.objects.components import Components, components
from vol2vol.metrics.objects.overlap import full_scale, probability
from vol2vol.metrics.objects.watershed import Parting, parted
from vol2vol.metrics.similarity.volume_pairs import alike, blocks_of
from vol2vol.progress import counted
from vol2vol.volumes import Volume
from vol2vol.volumes.masks import foreground
from vol2vol.volumes.space import need_voxel_size

Labels = Callable[[Box], np.ndarray]
"""Maps a block of a partition to int64 labels `(Z, Y, X)`; 0 is background."""
WAITING = 1 << 20
"""Number of label pairs that are collected before equal pairs are added up."""
DENSE = 1 << 22
"""Largest number of labels, or of label pairs, that are counted in a table instead of by sorting."""


def stored_labels(volume: Volume) -> Labels:
    """Return a reader of stored instance labels: integers of one channel, 0 is background.

    Raises `BadInput` for other volumes.
    """
    if volume.dtype.kind not in "iu" or volume.channels != 1:
        raise BadInput(
            f"{volume.path} has {volume.channels} channels of {volume.dtype}, not instance labels: give one channel of "
            "integers"
        )
    return lambda box: volume.read(box)[0].astype(np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Contingency:
    """Numbers of voxels that true and predicted objects share; row and column 0 are background."""

    table: sparse.csr_array
    """A row per true object, a column per predicted object, after the background."""
    truth_centres: np.ndarray
    """Mean position of every true object's voxels, `(objects, 3)`, ZYX in voxels."""
    predicted_centres: np.ndarray
    """The same for every predicted object."""

    @property
    def truth(self) -> np.ndarray:
        """Voxels per true object."""
        return np.asarray(self.table.sum(1)).ravel()[1:]

    @property
    def predicted(self) -> np.ndarray:
        """Voxels per predicted object."""
        return np.asarray(self.table.sum(0)).ravel()[1:]

    def at_least(self, least: int) -> Contingency:
        """Return the table with true and predicted objects of fewer voxels counted as background."""
        rows, columns = (size >= least for size in (self.truth, self.predicted))
        table = _onto_background(rows) @ self.table @ _onto_background(columns).T
        return replace(
            self,
            table=sparse.csr_array(table),
            truth_centres=self.truth_centres[rows],
            predicted_centres=self.predicted_centres[columns],
        )


def _onto_background(kept: np.ndarray) -> sparse.csr_array:
    """Return the matrix of zeros and ones that adds the rows of objects that are not kept to row 0, the background."""
    rows = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)])
    shape = (int(kept.sum()) + 1, len(rows))
    return sparse.csr_array((np.ones(len(rows), np.int64), (rows, np.arange(len(rows)))), shape=shape)


def tenth_of_median(shared: Contingency) -> int:
    """Return a tenth of the median size of true objects in voxels, at least 1; smaller objects count as noise."""
    return max(1, -(-int(np.median(shared.truth)) // 10)) if len(shared.truth) else 1


def contingency(truth: Labels, prediction: Labels, boxes: Iterable[Box]) -> Contingency:
    """Count shared voxels block by block; memory grows with the numbers of objects and of pairs that overlap.

    Raises `BadInput` on labels below 0.
    """
    pairs: list[np.ndarray] = [np.zeros((0, 2), np.int64)]
    counts: list[np.ndarray] = [np.zeros(0, np.int64)]
    centres = _Centres(), _Centres()
    waiting = 0
    for box in boxes:
        (true_names, i), (predicted_names, j) = (named(labels(box)) for labels in (truth, prediction))
        centres[0].add(true_names, i, box)
        centres[1].add(predicted_names, j, box)
        occurring, times = _counted(i * len(predicted_names) + j, len(true_names) * len(predicted_names))
        pairs.append(
            np.stack(
                [true_names[occurring // len(predicted_names)], predicted_names[occurring % len(predicted_names)]],
                axis=1,
            )
        )
        counts.append(times)
        waiting += len(occurring)
        if waiting > max(WAITING, len(pairs[0])):
            pairs, counts, waiting = *_merged(pairs, counts), 0
    (keys,), (sizes,) = _merged(pairs, counts)
    places, names = zip(*(_places(column) for column in keys.T), strict=True)
    return Contingency(
        table=sparse.csr_array((sizes, places), shape=names),
        truth_centres=centres[0].centres(),
        predicted_centres=centres[1].centres(),
    )


class _Centres:
    """Numbers of voxels and sums of their positions, by label."""

    def __init__(self) -> None:
        self.names: list[np.ndarray] = [np.zeros(0, np.int64)]
        self.sums: list[np.ndarray] = [np.zeros((0, 4))]

    def add(self, names: np.ndarray, place: np.ndarray, box: Box) -> None:
        """Add a block: its ascending labels and, for each voxel, the index of its label."""
        count = len(names)
        if names[-1] == 0:
            return
        sums = np.zeros((count, 4))
        sums[:, 0] = np.bincount(place, minlength=count)
        for axis, (length, start) in enumerate(zip(box.shape, box.start, strict=True)):
            along = np.arange(length).reshape([-1 if a == axis else 1 for a in range(3)])
            keys = place.reshape(box.shape) * length + along
            profile = np.bincount(keys.ravel(), minlength=count * length).reshape(count, length)
            sums[:, 1 + axis] = profile @ np.arange(start, start + length)
        self.names.append(names[names > 0])
        self.sums.append(sums[names > 0])

    def centres(self) -> np.ndarray:
        """Return the centres of all labels except 0, in ascending order, `(labels, 3)`."""
        names, place = np.unique(np.concatenate(self.names), return_inverse=True)
        sums = np.zeros((len(names), 4))
        np.add.at(sums, place, np.concatenate(self.sums))
        return sums[:, 1:] / sums[:, :1]


def named(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels that occur, in ascending order, and the index of each voxel's label."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise BadInput("instance labels below 0 are not allowed: number objects from 1 and background 0")
    if high >= DENSE:
        names, place = np.unique(labels, return_inverse=True)
        return names, place.ravel()
    occurs = np.zeros(high + 1, bool)
    occurs[labels] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[labels].ravel()


def _counted(keys: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys below `size` that occur, and how often."""
    if size > DENSE:
        return np.unique(keys, return_counts=True)
    times = np.bincount(keys, minlength=size)
    occurring = np.flatnonzero(times)
    return occurring, times[occurring]


def _merged(pairs: list[np.ndarray], counts: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Add up the counts of equal pairs."""
    keys, sizes = np.concatenate(pairs), np.concatenate(counts)
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    keys, sizes = keys[order], sizes[order]
    first = np.flatnonzero(np.concatenate([[True], (keys[1:] != keys[:-1]).any(1)])[: len(keys)])
    return [keys[first]], [np.add.reduceat(sizes, first) if len(first) else sizes]


def _places(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the row of every label, and the number of rows; row 0 is background even if it does not occur."""
    names, place = np.unique(np.concatenate([[0], labels]), return_inverse=True)
    return place.reshape(-1)[1:], len(names)


def instances_of(
    volume: Volume,
    boxes: Sequence[Box],
    *,
    threshold: float | None = 0.5,
    connectivity: int = 6,
    parting: Parting | None = None,
) -> Components:
    """Return the objects of a volume: connected components, or with `parting` components split at narrow necks.

    Foreground are voxels whose probability is at least the threshold; without a threshold, the volume is a mask. Raises
    `BadInput` unless the volume has one channel.
    """
    if volume.channels != 1:
        raise BadInput(
            f"{volume.path} has {volume.channels} channels, but objects need one: give a volume of one channel"
        )
    scale = 1.0 if threshold is None else full_scale(volume, boxes)

    def mask(box: Box) -> np.ndarray:
        if threshold is None:
            return foreground(volume.read(box)[0], volume.path)
        result: np.ndarray = probability(volume, box, scale)[0] >= threshold
        return result

    if parting is not None:
        if volume.spatial[0] > 1:
            need_voxel_size(volume, "a watershed in 3D needs")
        return parted(mask, volume.spatial, boxes, parting, voxel_size=volume.voxel_size)
    return components(mask, volume.spatial, boxes, connectivity=connectivity)


def shared_objects(
    prediction: Volume,
    truth: Volume,
    *,
    labelled: tuple[bool, bool] = (False, False),
    threshold: float = 0.5,
    connectivity: int = 6,
    parting: Parting | None = None,
    block: Shape | None = None,
) -> Contingency:
    """Return the numbers of voxels that objects of prediction and truth share, from which all object scores follow.

    Objects are connected components, or with `parting` components split at narrow necks; `labelled` tells whether
    prediction and truth are instance labels instead. Raises `BadInput` if shapes or voxel sizes differ.
    """
    alike(prediction, truth)
    boxes = blocks_of(truth, block)
    predicted_labels, true_labels = (
        stored_labels(volume)
        if has_labels
        else instances_of(volume, boxes, threshold=level, connectivity=connectivity, parting=parting)
        for volume, has_labels, level in zip((prediction, truth), labelled, (threshold, None), strict=True)
    )
    return contingency(true_labels, predicted_labels, counted(boxes, "matching objects", len(boxes)))
