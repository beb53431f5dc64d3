"""Score segmentations per block, for intervals and for paired comparisons on the same blocks.

An object counts in the block that contains its centre, and a match in the block of its true object. Blocks are
resampled as for voxel scores; they should be large compared with the objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vol2vol.geometry import Shape
from vol2vol.metrics.bootstrap import Blockwise, Combine
from vol2vol.metrics.objects import overlap
from vol2vol.metrics.objects.instances import Contingency, shared_objects
from vol2vol.metrics.objects.matching import matched, ranked
from vol2vol.metrics.objects.watershed import Parting
from vol2vol.metrics.similarity.volume_pairs import ROWS, blocks_of
from vol2vol.volumes import Volume

LEVELS = (0.5, 0.75)
"""Minimum IoU of a match."""
RANKS = 1024
"""Number of ranks in average precision; of more predicted objects, neighbours in rank share one."""


def f1(counts: np.ndarray) -> np.ndarray:
    """Return 2 TP / (2 TP + FP + FN) of `(..., 3)` matched, invented and missed objects; 1 without objects."""
    return overlap.dice(counts)


def ranked_precision(sums: np.ndarray) -> np.ndarray:
    """Return average precision from `(..., 2 k + 1)` counts: k hits, k predicted, true objects; NaN without these."""
    ranks = (sums.shape[-1] - 1) // 2
    hits, every, real = sums[..., :ranks], sums[..., ranks:-1], sums[..., -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.cumsum(every, axis=-1)
        precision = np.where(total > 0, np.cumsum(hits, axis=-1) / total, 0.0)
        monotone = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
        return np.where(real > 0, (monotone * hits).sum(-1) / real, np.nan)


def rand_error(sums: np.ndarray) -> np.ndarray:
    """Return the adapted Rand error of `(..., 5)` sums over true objects; NaN if no true object has two voxels.

    With n the voxels that a true object shares with a predicted one, the sums are: n^2 over all predicted objects and
    the background; the square of the object's voxels; n times the predicted object's voxels in the true foreground; its
    missed voxels; its voxels.
    """
    shared, own, other, missed, voxels = np.moveaxis(sums, -1, 0)
    together, truth, predicted = shared - voxels, own - voxels, other + missed**2 - voxels
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(truth > 0, 1 - 2 * together / (truth + predicted), np.nan)


def count_ratio(counts: np.ndarray) -> np.ndarray:
    """Return predicted over true objects of `(..., 2)` counts; NaN without true ones."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts[..., 1] > 0, counts[..., 0] / counts[..., 1], np.nan)


def count_error(counts: np.ndarray) -> np.ndarray:
    """Return |predicted - true| / true of `(..., 2)` counts of objects; NaN without true ones."""
    result: np.ndarray = np.abs(count_ratio(counts) - 1)
    return result


COMBINE: dict[str, Combine] = {
    "iou": overlap.iou,
    "dice": overlap.dice,
    "auprc": lambda sums: overlap.average_precision(sums.reshape(*sums.shape[:-1], 2, -1)),
    **{f"f1_{round(100 * level)}": f1 for level in LEVELS},
    **{f"ap_{round(100 * level)}": ranked_precision for level in LEVELS},
    "rand_error": rand_error,
    "count_ratio": count_ratio,
    "count_error": count_error,
}
"""The function that combines the sums of each score: `Blockwise(name=name, sums=sums, combine=COMBINE[name])`."""


def segmentation_scores(
    prediction: Volume,
    truth: Volume,
    *,
    threshold: float = 0.5,
    parting: Parting | None = None,
    least: int = 1,
    block: Shape | None = None,
) -> dict[str, Blockwise]:
    """Return all scores of `COMBINE` for predicted probabilities, in two passes over both volumes.

    Objects are connected components, or with `parting` components split at narrow necks; `least` is as in
    `object_scores`. `auprc` is missing if the truth is empty. Compare two predictions of one truth with
    `Blockwise.against`. Raises `BadInput` if shapes or voxel sizes differ or a value is not a probability.
    """
    counted = overlap.curve(prediction, truth, block=block)
    voxels = [counted.score("iou", threshold), counted.score("dice", threshold)]
    voxels += [counted.auprc()] if counted.foreground else []
    shared = shared_objects(prediction, truth, threshold=threshold, parting=parting, block=block)
    return {score.name: score for score in voxels} | object_scores(shared, truth, least=least, block=block)


def object_scores(
    shared: Contingency, truth: Volume, *, least: int = 1, block: Shape | None = None
) -> dict[str, Blockwise]:
    """Return F1 and AP for each IoU in `LEVELS`, the adapted Rand error and counts, from `instances.shared_objects`.

    Counts include true and predicted objects of at least `least` voxels. AP ranks objects by size.
    """
    places = _Places(truth, block)
    true_rows, predicted_rows = places.of(shared.truth_centres), places.of(shared.predicted_centres)
    sums = {"rand_error": places.add(true_rows, _rand_sums(shared))}
    for level in LEVELS:
        name = round(100 * level)
        sums[f"f1_{name}"] = _matches(shared, level, (true_rows, predicted_rows), places)
        sums[f"ap_{name}"] = _ranks(shared, level, (true_rows, predicted_rows), places)
    both = [
        places.add(where, size >= least)
        for where, size in ((predicted_rows, shared.predicted), (true_rows, shared.truth))
    ]
    sums["count_ratio"] = sums["count_error"] = np.concatenate(both, axis=1)
    return {
        name: Blockwise(name=name, sums=sums_of_score, combine=COMBINE[name]) for name, sums_of_score in sums.items()
    }


class _Places:
    """The blocks of a volume in at most `ROWS` rows of neighbouring blocks, as for voxel scores."""

    def __init__(self, volume: Volume, block: Shape | None) -> None:
        boxes = blocks_of(volume, block)
        self.size = np.array(boxes[0].shape)
        self.counts = tuple(-(-n // int(s)) for n, s in zip(volume.spatial, self.size, strict=True))
        self.blocks, self.rows = len(boxes), min(len(boxes), ROWS)

    def of(self, centres: np.ndarray) -> np.ndarray:
        """Return the row of every centre, `(n, 3)`."""
        index = np.minimum(centres // self.size, np.array(self.counts) - 1).astype(np.int64)
        result: np.ndarray = np.ravel_multi_index(tuple(index.T), self.counts) * self.rows // self.blocks
        return result

    def add(self, where: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return sums of `(n,)` or `(n, k)` values per row, `(rows, k)`."""
        values = np.asarray(values, np.float64)
        values = values[:, None] if values.ndim == 1 else values
        sums = np.zeros((self.rows, values.shape[1]))
        np.add.at(sums, where, values)
        return sums


def _matches(shared: Contingency, level: float, where: Sequence[np.ndarray], places: _Places) -> np.ndarray:
    """Return the numbers of matched, invented and missed objects per row, `(rows, 3)`."""
    partner = matched(shared, level)
    hit, invented = partner >= 0, np.ones(len(where[1]), bool)
    invented[partner[hit]] = False
    parts = [(where[0], hit), (where[1], invented), (where[0], ~hit)]
    return np.concatenate([places.add(rows, counted_objects) for rows, counted_objects in parts], axis=1)


def _ranks(shared: Contingency, level: float, where: Sequence[np.ndarray], places: _Places) -> np.ndarray:
    """Return, per row, hits and predicted objects by rank and the number of true objects, `(rows, 2 ranks + 1)`."""
    order, taken = ranked(shared, level, shared.predicted)
    ranks = min(len(order), RANKS)
    rank = np.arange(len(order)) * ranks // max(len(order), 1)
    hit = taken >= 0
    rows = where[1][order].copy()
    rows[hit] = where[0][taken[hit]]
    sums = np.zeros((places.rows, 2 * ranks + 1))
    np.add.at(sums, (rows[hit], rank[hit]), 1)
    np.add.at(sums, (rows, ranks + rank), 1)
    sums[:, -1:] = places.add(where[0], np.ones(len(where[0])))
    return sums


def _rand_sums(shared: Contingency) -> np.ndarray:
    """Return the sums of `rand_error` per true object, `(objects, 5)`."""
    table = shared.table[1:].astype(np.float64)
    voxels = np.asarray(table.sum(1)).ravel()
    inside = np.asarray(table.sum(0)).ravel()
    inside[0] = 0
    missed = np.asarray(table[:, [0]].todense()).ravel()
    return np.stack([np.asarray((table**2).sum(1)).ravel(), voxels**2, table @ inside, missed, voxels], axis=1)
