"""Measure the overlap of a segmentation with the truth from voxel counts per probability bin, in one pass.

IoU and Dice are 1 if truth and prediction are both empty, and 0 if only one of them is. Average precision and the
choice of a threshold raise an error without foreground.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.similarity.volume_pairs import Rows, alike, blocks_of
from vol2vol.plans.record import is_predicted
from vol2vol.progress import counted
from vol2vol.volumes import Volume
from vol2vol.volumes.masks import foreground

BINS = 4096
"""Number of probability bins; the 256 values of an 8-bit volume fall into different bins."""

Score = Literal["iou", "dice"]


def iou(counts: np.ndarray) -> np.ndarray:
    """Return TP / (TP + FP + FN) of `(..., 3)` counts TP, FP, FN; 1 if all are 0."""
    hit, wrong, missed = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    union = hit + wrong + missed
    return np.where(union > 0, hit / np.where(union > 0, union, 1), 1.0)


def dice(counts: np.ndarray) -> np.ndarray:
    """Return 2 TP / (2 TP + FP + FN) of `(..., 3)` counts TP, FP, FN; 1 if all are 0."""
    both = iou(counts)
    return cast(np.ndarray, 2 * both / (1 + both))


SCORES = {"iou": iou, "dice": dice}


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Numbers of background and foreground voxels per bin of predicted probability, `(blocks, 2, bins)`."""

    counts: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Number of voxels per class and bin, `(2, bins)`."""
        return cast(np.ndarray, self.counts.sum(0))

    @property
    def foreground(self) -> int:
        """Number of voxels of the true foreground."""
        return int(self.counts[:, 1].sum())

    @property
    def thresholds(self) -> np.ndarray:
        """Lower edges of the bins; a voxel is foreground if its probability is at least the threshold."""
        return cast(np.ndarray, np.arange(self.counts.shape[2]) / self.counts.shape[2])

    def at(self, threshold: float) -> np.ndarray:
        """Return TP, FP and FN per block, `(blocks, 3)`, at the bin edge nearest to a threshold.

        The last bin includes probability 1; its lower edge is the highest threshold.
        """
        bins = self.counts.shape[2]
        first = int(np.clip(round(threshold * bins), 0, bins - 1))
        above = self.counts[:, :, first:].sum(2)
        return np.stack([above[:, 1], above[:, 0], self.counts[:, 1].sum(1) - above[:, 1]], axis=1)

    def score(self, score: Score, threshold: float) -> Blockwise:
        """Return IoU or Dice at a threshold, with its blocks for an interval."""
        return Blockwise(name=score, sums=self.at(threshold).astype(np.float64), combine=SCORES[score])

    def auprc(self) -> Blockwise:
        """Return the average precision: the sum over all bins of precision times the step in recall.

        It equals `sklearn.metrics.average_precision_score` with the voxels of a bin as ties. Raises `BadInput` without
        foreground.
        """
        self._need_foreground("average precision")
        bins = self.counts.shape[2]
        return Blockwise(
            name="auprc",
            sums=self.counts.reshape(len(self.counts), -1).astype(np.float64),
            combine=lambda sums: average_precision(sums.reshape(*sums.shape[:-1], 2, bins)),
        )

    def best_threshold(self, score: Score = "iou") -> float:
        """Return the threshold of the highest score, or the middle of a run of equal highest scores.

        Use it on validation data: a threshold chosen on the data that are scored makes the score too good. Raises
        `BadInput` without foreground.
        """
        self._need_foreground("the choice of a threshold")
        above = np.cumsum(self.total[:, ::-1], axis=1)[:, ::-1]
        counts = np.stack([above[1], above[0], above[1, 0] - above[1]], axis=1)
        values = SCORES[score](counts)
        first = int(np.argmax(values))
        last = first
        while last + 1 < len(values) and values[last + 1] == values[first]:
            last += 1
        return float(self.thresholds[(first + last + 1) // 2])

    def _need_foreground(self, what: str) -> None:
        if not self.foreground:
            raise BadInput(f"{what} needs foreground, but the truth is empty: choose a region with foreground")


def average_precision(counts: np.ndarray) -> np.ndarray:
    """Return average precision from numbers of background and foreground voxels per rising bin, `(..., 2, bins)`."""
    above = np.cumsum(counts[..., ::-1].astype(np.float64), axis=-1)
    wrong, hit = above[..., 0, :], above[..., 1, :]
    everything = hit[..., -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(hit + wrong > 0, hit / (hit + wrong), 0.0)
        recall = hit / everything
        return np.where(everything[..., 0] > 0, (np.diff(recall, axis=-1, prepend=0.0) * precision).sum(-1), np.nan)


def curve(prediction: Volume, truth: Volume, *, block: Shape | None = None, bins: int = BINS) -> Curve:
    """Count the voxels of a prediction per class and bin, one block at a time.

    Predictions are probabilities: floats in 0..1, or unsigned integers from 0 to the largest of their type; integers of
    0 and 1 only are a mask. The truth is a mask. Memory holds `2 x bins` numbers for each of at most
    `volume_pairs.ROWS` rows. Raises `BadInput` if shapes or voxel sizes differ, or if values are not probabilities but,
    for example, instance labels.
    """
    alike(prediction, truth)
    boxes = blocks_of(truth, block)
    scale = full_scale(prediction, boxes)
    rows = Rows(len(boxes))
    for box in counted(boxes, "counting voxels", len(boxes)):
        keys = probability(prediction, box, scale) * bins
        index = np.minimum(keys.astype(np.int64), bins - 1) + bins * foreground(truth.read(box), truth.path)
        rows.add(np.bincount(index.ravel(), minlength=2 * bins).reshape(2, bins))
    return Curve(counts=rows.sums)


def scores_at(
    prediction: Volume, truth: Volume, threshold: float, *, block: Shape | None = None
) -> dict[Score, Blockwise]:
    """Return IoU and Dice at exactly the threshold, which need not be the edge of a bin.

    Both volumes are read once, one block at a time. Raises `BadInput` as `curve` does.
    """
    alike(prediction, truth)
    boxes = blocks_of(truth, block)
    scale = full_scale(prediction, boxes)
    rows = Rows(len(boxes))
    for box in counted(boxes, "scoring", len(boxes)):
        rows.add(np.array([part.sum() for part in _parts(prediction, truth, box, scale, threshold)], np.float64))
    return {score: Blockwise(name=score, sums=rows.sums, combine=SCORES[score]) for score in ("iou", "dice")}


def _parts(prediction: Volume, truth: Volume, box: Box, scale: float, threshold: float) -> list[np.ndarray]:
    """Return masks of the true positive, false positive and false negative voxels of a box at a threshold."""
    chosen, real = probability(prediction, box, scale) >= threshold, foreground(truth.read(box), truth.path)
    return [chosen & real, chosen & ~real, ~chosen & real]


def full_scale(prediction: Volume, boxes: Sequence[Box]) -> float:
    """Return the stored value of probability 1: 1 for floats and masks of 0 and 1, else the largest of the dtype.

    Integer volumes written by `vol2vol predict` contain probabilities, however low. Others are read until a value
    exceeds half of the largest of the dtype. Raises `BadInput` if none does but some exceed 1, as instance labels do.
    """
    if prediction.dtype.kind != "u":
        return 1.0
    certain, largest = int(np.iinfo(prediction.dtype).max), 0
    if is_predicted(prediction):
        return float(certain)
    for box in boxes:
        if (largest := max(largest, int(prediction.read(box).max()))) > certain // 2:
            return float(certain)
    if largest > 1:
        raise BadInput(
            f"{prediction.path} holds 0 to {largest} in {prediction.dtype}, instance labels rather than "
            f"probabilities of 0 to {certain}: make it a mask with vol2vol prepare `binarise`, or store floats in 0..1"
        )
    return 1.0


def probability(prediction: Volume, box: Box, scale: float) -> np.ndarray:
    """Return a box of a prediction as float64 in 0..1. Raises `BadInput` on values that are not probabilities."""
    stored = prediction.read(box)
    if not (stored.min() >= 0 and stored.max() <= scale):
        raise BadInput(
            f"{prediction.path} holds {stored.min():g} to {stored.max():g}, which are not "
            "probabilities: give values of 0 to 1, or uint8; make a mask of instance labels with vol2vol prepare "
            "`binarise`"
        )
    return stored.astype(np.float64) / scale


@dataclass(frozen=True, kw_only=True)
class SeamOverlap:
    """IoU near seams and away from them, and their difference on shifted grids without seams."""

    near: float
    interior: float
    shifted: tuple[float, ...]
    """Near minus interior IoU on shifted grids, for voxels that are not near a seam."""
    effect: Blockwise
    """Near minus interior IoU, minus its mean over shifted grids; below 0 if seams cost overlap.

    Its block-bootstrap interval is the test. The rank of the true grid among shifted grids would not be a test, because
    grids shifted by a few voxels share most of their voxels.
    """


def near_seams(
    prediction: Volume,
    truth: Volume,
    planes: Sequence[Sequence[int]],
    *,
    threshold: float = 0.5,
    width: int = 8,
    shifts: int = 31,
    block: Shape | None = None,
) -> SeamOverlap:
    """Return the overlap lost within `width` voxels of the seams, compared with grids shifted along all axes.

    `planes` are the positions of seams along Z, Y and X, as `Plan.borders` returns them: a seam at p lies between
    voxels p - 1 and p; an axis may have none. Along every axis, the zones near shifted and true seams do not touch;
    voxels near true seams are excluded from both zones of shifted grids. Raises `BadInput` without seams, or if their
    spacing leaves no room for shifted grids.
    """
    alike(prediction, truth)
    offsets = _offsets(planes, truth.spatial, width, shifts)
    boxes = blocks_of(truth, block)
    scale = full_scale(prediction, boxes)
    rows = Rows(len(boxes))
    for box in counted(boxes, "scoring near seams", len(boxes)):
        parts = _parts(prediction, truth, box, scale, threshold)
        inside = [_inside(p, offsets, width, range(a, b)) for p, a, b in zip(planes, box.start, box.stop, strict=True)]
        for axis in inside:
            axis[1:] *= axis[0]  # voxels away from the shifted and from the true seams
        far = np.stack([_separable(part.sum(0, dtype=np.float64), inside) for part in parts], axis=1)
        total = np.broadcast_to(far[0], far.shape).copy()  # of shifted grids: voxels away from the true seams
        total[0] = [part.sum() for part in parts]
        rows.add(np.stack([total - far, far], axis=1))  # shift, near or far, count
    counts = rows.sums
    near, interior = iou(counts[:, 0].sum(0))
    return SeamOverlap(
        near=float(near),
        interior=float(interior),
        shifted=tuple(map(float, _apart(counts[:, 1:].sum(0)))),
        effect=Blockwise(name="near_seam_effect", sums=counts.reshape(len(counts), -1), combine=near_seam_effect),
    )


def _apart(counts: np.ndarray) -> np.ndarray:
    """Return near minus interior IoU of `(..., 2, 3)` counts."""
    return cast(np.ndarray, iou(counts[..., 0, :]) - iou(counts[..., 1, :]))


def near_seam_effect(sums: np.ndarray) -> np.ndarray:
    """Return near minus interior IoU, minus its mean over shifted grids, of `SeamOverlap.effect`'s sums `(..., k)`."""
    apart = _apart(sums.reshape(*sums.shape[:-1], -1, 2, 3))
    return cast(np.ndarray, apart[..., 0] - apart[..., 1:].mean(-1))


def _offsets(planes: Sequence[Sequence[int]], spatial: Shape, width: int, shifts: int) -> np.ndarray:
    """Return shifts of the grid in voxels: first 0, then shifts around half of the distance between seams."""
    if len(planes) != 3 or not any(len(p) for p in planes):
        raise BadInput("overlap near seams needs seams: give their positions along Z, Y and X")
    spacing = min(int(np.diff(p).min()) if len(p) > 1 else n for p, n in zip(planes, spatial, strict=True) if len(p))
    free = np.arange(2 * width, spacing - 2 * width + 1)
    if len(free) < 2:
        raise BadInput(
            f"seams {spacing} voxels apart leave no room for shifted grids with {width} voxels on both sides: "
            "use a smaller width"
        )
    picked = free[np.unique(np.linspace(0, len(free) - 1, min(shifts, len(free))).round().astype(int))]
    return np.concatenate([[0], picked])


def _inside(planes: Sequence[int], offsets: np.ndarray, width: int, span: range) -> np.ndarray:
    """Return, per shift, which positions along an axis are farther than `width` from every plane, `(shifts, n)`."""
    at = np.arange(span.start, span.stop)
    result = np.ones((len(offsets), len(at)))
    if len(planes):
        step = int(np.diff(planes).min()) if len(planes) > 1 else 0
        for row, offset in zip(result, offsets, strict=True):
            moved = np.array([planes[0] - step, *planes])[0 if step and offset else 1 :] + offset
            apart = at[:, None] - moved
            row[((apart >= -width) & (apart < width)).any(1)] = 0
    return result


def _separable(counts: np.ndarray, inside: list[np.ndarray]) -> np.ndarray:
    """Return, per shift, the sum of the voxels that lie inside along all axes."""
    return cast(np.ndarray, np.einsum("zyx,kz,ky,kx->k", counts, *inside, optimize=True))
