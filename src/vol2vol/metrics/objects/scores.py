"""Everything that is said of a segmentation, kept per block: for intervals, and to compare two on the same blocks.

An object counts in the block that its centre lies in, a match in that of its true object. Blocks are then drawn as
for voxels; they should be large against the objects.
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
"""IoU from which an object is found."""
RANKS = 1024
"""Ranks of predicted objects that average precision tells apart; with more objects, runs of neighbours share one."""


def f1(counts: np.ndarray) -> np.ndarray:
    """Return 2 TP / (2 TP + FP + FN) of `(..., 3)` objects found, invented and missed; 1 where there are none."""
    return overlap.dice(counts)


def ranked_precision(sums: np.ndarray) -> np.ndarray:
    """Return the average precision of `(..., 2 k + 1)` hits per rank, objects per rank, true objects; NaN without."""
    ranks = (sums.shape[-1] - 1) // 2
    hits, every, real = sums[..., :ranks], sums[..., ranks:-1], sums[..., -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.cumsum(every, axis=-1)
        precision = np.where(total > 0, np.cumsum(hits, axis=-1) / total, 0.0)
        monotone = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
        return np.where(real > 0, (monotone * hits).sum(-1) / real, np.nan)


def rand_error(sums: np.ndarray) -> np.ndarray:
    """Return the adapted Rand error of `(..., 5)` sums over true objects; NaN where they hold no pair of voxels.

    The sums, n being shared voxels: n^2 over all predicted objects and the background; voxels^2; n times the
    predicted object's voxels in the true foreground; voxels that were missed; voxels.
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
"""What makes a value of the sums of each score: `Blockwise(name=name, sums=sums, combine=COMBINE[name])`."""


def segmentation_scores(
    prediction: Volume,
    truth: Volume,
    *,
    threshold: float = 0.5,
    parting: Parting | None = None,
    least: int = 1,
    block: Shape | None = None,
) -> dict[str, Blockwise]:
    """Return every score of `COMBINE` of a predicted probability, two passes over both volumes.

    Objects are connected components, with `parting` those of a watershed; `least` as in `object_scores`. `auprc` is
    missing where the truth is empty. Two predictions of one truth are compared with `Blockwise.against`. Raises
    `BadInput` where shapes or voxel sizes differ or a value is not a probability.
    """
    counted = overlap.curve(prediction, truth, block=block)
    voxels = [counted.score("iou", threshold), counted.score("dice", threshold)]
    voxels += [counted.auprc()] if counted.foreground else []
    shared = shared_objects(prediction, truth, threshold=threshold, parting=parting, block=block)
    return {one.name: one for one in voxels} | object_scores(shared, truth, least=least, block=block)


def object_scores(
    found: Contingency, truth: Volume, *, least: int = 1, block: Shape | None = None
) -> dict[str, Blockwise]:
    """Return F1 and AP per IoU in `LEVELS`, adapted Rand error and counts of objects, of `instances.shared_objects`.

    Counts are of objects of at least `least` voxels, true and predicted. AP ranks by size.
    """
    places = _Places(truth, block)
    real, made = places.of(found.truth_centres), places.of(found.predicted_centres)
    sums = {"rand_error": places.add(real, _rand_sums(found))}
    for level in LEVELS:
        name = round(100 * level)
        sums[f"f1_{name}"] = _matches(found, level, (real, made), places)
        sums[f"ap_{name}"] = _ranks(found, level, (real, made), places)
    both = [places.add(where, size >= least) for where, size in ((made, found.predicted), (real, found.truth))]
    sums["count_ratio"] = sums["count_error"] = np.concatenate(both, axis=1)
    return {name: Blockwise(name=name, sums=one, combine=COMBINE[name]) for name, one in sums.items()}


class _Places:
    """The blocks of a volume, in at most `ROWS` rows of as many neighbours, as voxels are counted."""

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


def _matches(found: Contingency, level: float, where: Sequence[np.ndarray], places: _Places) -> np.ndarray:
    """Return objects found, invented and missed per row, `(rows, 3)`."""
    partner = matched(found, level)
    hit, invented = partner >= 0, np.ones(len(where[1]), bool)
    invented[partner[hit]] = False
    parts = [(where[0], hit), (where[1], invented), (where[0], ~hit)]
    return np.concatenate([places.add(rows, one) for rows, one in parts], axis=1)


def _ranks(found: Contingency, level: float, where: Sequence[np.ndarray], places: _Places) -> np.ndarray:
    """Return hits per rank, objects per rank and true objects per row, `(rows, 2 ranks + 1)`."""
    order, taken = ranked(found, level, found.predicted)
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


def _rand_sums(found: Contingency) -> np.ndarray:
    """Return the sums of `rand_error` per true object, `(objects, 5)`."""
    table = found.table[1:].astype(np.float64)
    voxels = np.asarray(table.sum(1)).ravel()
    inside = np.asarray(table.sum(0)).ravel()
    inside[0] = 0
    missed = np.asarray(table[:, [0]].todense()).ravel()
    return np.stack([np.asarray((table**2).sum(1)).ravel(), voxels**2, table @ inside, missed, voxels], axis=1)
