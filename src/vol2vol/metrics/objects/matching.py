"""Objects found: adapted Rand error, F1 and average precision at an overlap, counts; all from one contingency table."""

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
    """Pairs that are together in both, of those together in the prediction."""
    recall: float
    """Of those together in the truth."""


def adapted_rand(found: Contingency) -> Rand:
    """Return the adapted Rand error over the true foreground, the prediction's background being an object there.

    `skimage.metrics.adapted_rand_error(truth, prediction)`. Raises `BadInput` where the truth has no pair of voxels.
    """
    table = found.table[1:].astype(np.float64)
    total = table.sum()
    together = float((table.data**2).sum() - total)
    truth = float((np.asarray(table.sum(1)) ** 2).sum() - total)
    predicted = float((np.asarray(table.sum(0)) ** 2).sum() - total)
    if truth <= 0:
        raise BadInput("an adapted Rand error needs true objects, the truth is empty: choose a region that has some")
    precision = together / predicted if predicted > 0 else 1.0
    recall = together / truth
    score = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return Rand(error=1 - score, precision=precision, recall=recall)


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Objects found, matched one to one at an overlap."""

    threshold: float
    """IoU from which an object is found."""
    found: int
    invented: int
    """Predicted objects that match none."""
    missed: int
    """True objects that match none."""

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 where there are no objects on either side."""
        every = 2 * self.found + self.invented + self.missed
        return 2 * self.found / every if every else 1.0

    @property
    def accuracy(self) -> float:
        """TP / (TP + FP + FN), which some call average precision at this overlap; 1 where there are no objects."""
        every = self.found + self.invented + self.missed
        return self.found / every if every else 1.0

    @property
    def surplus(self) -> int:
        """Predicted minus true objects."""
        return self.invented - self.missed


def overlaps(found: Contingency) -> sparse.csr_array:
    """Return the IoU of every true with every predicted object that it touches."""
    shared = sparse.coo_array(found.table[1:, 1:])
    union = found.truth[shared.row] + found.predicted[shared.col] - shared.data
    return sparse.csr_array((shared.data / union, (shared.row, shared.col)), shape=shared.shape)


def matched(found: Contingency, threshold: float = 0.5) -> np.ndarray:
    """Return the predicted object, 0 ..., that each true object is matched with, -1 where with none.

    One to one, at an IoU of at least `threshold`, as many as possible.
    """
    if not 0 < threshold <= 1:
        raise BadInput(f"objects cannot be matched at an overlap of {threshold:g}: use 0.5 or 0.75")
    enough = overlaps(found)
    enough.data = (enough.data >= threshold).astype(np.float64)
    enough.eliminate_zeros()
    if not enough.nnz:
        return np.full(len(found.truth), -1)
    result: np.ndarray = csgraph.maximum_bipartite_matching(enough, perm_type="column")
    return result


def objects(found: Contingency, threshold: float = 0.5) -> Objects:
    """Match true and predicted objects of at least this IoU so that as many as possible are found."""
    hits = int((matched(found, threshold) >= 0).sum())
    invented, missed = len(found.predicted) - hits, len(found.truth) - hits
    return Objects(threshold=threshold, found=hits, invented=invented, missed=missed)


def ranked(found: Contingency, threshold: float, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted objects by falling score, and the true object that each takes in this order, -1 for none.

    Each takes the free true object of largest IoU, if that reaches `threshold`.
    """
    columns = sparse.csc_array(overlaps(found))
    free = np.ones(len(found.truth), bool)
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


def average_precision(found: Contingency, threshold: float = 0.5, scores: np.ndarray | None = None) -> float:
    """Return the average precision of predicted objects, ranked by `scores`, best first, or by their size.

    Each takes, in that order, the free true object of largest IoU, if that reaches `threshold`; the area under
    precision over recall, precision made monotone (Everingham et al. 2010). Raises `BadInput` without true objects
    or where there is not one score per predicted object.
    """
    if not len(found.truth):
        raise BadInput("average precision needs true objects, the truth is empty: choose a region that has some")
    scores = found.predicted if scores is None else np.asarray(scores)
    if len(scores) != len(found.predicted):
        raise BadInput(f"{len(scores)} scores for {len(found.predicted)} predicted objects: give one for each")
    hits = ranked(found, threshold, scores)[1] >= 0
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    return float(monotone[hits].sum() / len(found.truth))
