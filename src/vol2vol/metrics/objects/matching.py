"""Score objects from a contingency table: adapted Rand error, F1 and average precision at an overlap, and counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from vol2vol.errors import BadInput
from vol2vol.metrics.objects.instances import Contingency


@dataclass(frozen=True, kw_only=True)
class Rand:
    """Adapted Rand error, one minus the F-score of pairs of voxels (Arganda-Carreras et al. 2015)."""

    error: float
    precision: float
    """Fraction of the voxel pairs within one predicted object that are also within one true object."""
    recall: float
    """Fraction of the voxel pairs within one true object that are also within one predicted object."""


def adapted_rand(shared: Contingency) -> Rand:
    """Return the adapted Rand error over the true foreground, in which predicted background counts as one object.

    It equals `skimage.metrics.adapted_rand_error(truth, prediction)`. Raises `BadInput` if no true object has two
    voxels.
    """
    table = shared.table[1:].astype(np.float64)
    total = table.sum()
    together = float((table.data**2).sum() - total)
    truth = float((np.asarray(table.sum(1)) ** 2).sum() - total)
    predicted = float((np.asarray(table.sum(0)) ** 2).sum() - total)
    if truth <= 0:
        raise BadInput(
            "the adapted Rand error needs true objects, but the truth is empty: choose a region with objects"
        )
    precision = together / predicted if predicted > 0 else 1.0
    recall = together / truth
    score = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return Rand(error=1 - score, precision=precision, recall=recall)


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Numbers of true and predicted objects that match one to one at an overlap."""

    threshold: float
    """Minimum IoU of a match."""
    found: int
    """Pairs of a true and a predicted object that match."""
    invented: int
    """Predicted objects without a match."""
    missed: int
    """True objects without a match."""

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 if neither truth nor prediction has objects."""
        every = 2 * self.found + self.invented + self.missed
        return 2 * self.found / every if every else 1.0

    @property
    def accuracy(self) -> float:
        """TP / (TP + FP + FN), which some call average precision at this overlap; 1 without objects."""
        every = self.found + self.invented + self.missed
        return self.found / every if every else 1.0

    @property
    def surplus(self) -> int:
        """Number of predicted objects minus that of true objects."""
        return self.invented - self.missed


def overlaps(shared: Contingency) -> sparse.csr_array:
    """Return the IoU of every true object with every predicted object that it overlaps, `(true, predicted)`."""
    voxels = sparse.coo_array(shared.table[1:, 1:])
    union = shared.truth[voxels.row] + shared.predicted[voxels.col] - voxels.data
    return sparse.csr_array((voxels.data / union, (voxels.row, voxels.col)), shape=voxels.shape)


def matched(shared: Contingency, threshold: float = 0.5) -> np.ndarray:
    """Return the index of the predicted object that matches each true object, -1 without a match.

    Matches are one to one at an IoU of at least `threshold`, and as many as possible. Raises `BadInput` unless
    0 < threshold <= 1.
    """
    if not 0 < threshold <= 1:
        raise BadInput(f"objects cannot be matched at an overlap of {threshold:g}: use 0.5 or 0.75")
    enough = overlaps(shared)
    enough.data = (enough.data >= threshold).astype(np.float64)
    enough.eliminate_zeros()
    if not enough.nnz:
        return np.full(len(shared.truth), -1)
    result: np.ndarray = csgraph.maximum_bipartite_matching(enough, perm_type="column")
    return result


def objects(shared: Contingency, threshold: float = 0.5) -> Objects:
    """Match as many true and predicted objects as possible at an IoU of at least `threshold`."""
    hits = int((matched(shared, threshold) >= 0).sum())
    invented, missed = len(shared.predicted) - hits, len(shared.truth) - hits
    return Objects(threshold=threshold, found=hits, invented=invented, missed=missed)


def ranked(shared: Contingency, threshold: float, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted objects by falling score, and the true object that each one matches, -1 without a match.

    In this order, each matches the free true object of largest IoU, if that IoU is at least `threshold`.
    """
    columns = sparse.csc_array(overlaps(shared))
    free = np.ones(len(shared.truth), bool)
    order = np.argsort(-scores, kind="stable")
    taken = np.full(len(order), -1)
    for rank, column in enumerate(order):
        span = slice(columns.indptr[column], columns.indptr[column + 1])
        rows = columns.indices[span]
        values = np.where(free[rows], columns.data[span], 0.0)
        if len(rows) and values.max() >= threshold:
            taken[rank] = rows[values.argmax()]
            free[taken[rank]] = False
    return order, taken


def average_precision(shared: Contingency, threshold: float = 0.5, scores: np.ndarray | None = None) -> float:
    """Return the average precision of predicted objects, ranked by falling `scores`, by default by their size.

    Objects are matched as in `ranked`. The result is the area under precision over recall after precision is made
    monotone (Everingham et al. 2010). Raises `BadInput` without true objects, or unless there is one score per
    predicted object.
    """
    if not len(shared.truth):
        raise BadInput("average precision needs true objects, but the truth is empty: choose a region with objects")
    scores = shared.predicted if scores is None else np.asarray(scores)
    if len(scores) != len(shared.predicted):
        raise BadInput(f"{len(scores)} scores for {len(shared.predicted)} predicted objects: give one for each")
    hits = ranked(shared, threshold, scores)[1] >= 0
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    return float(monotone[hits].sum() / len(shared.truth))
