"""Overlap of what segmenters of the target see in a volume with the source's mask."""

from __future__ import annotations

import numpy as np

from vol2vol.metrics.measures.measure import Measure, Number, Quantity, Taken
from vol2vol.metrics.measures.subject import Subject
from vol2vol.metrics.objects.overlap import curve
from vol2vol.metrics.objects.scores import COMBINE

BINS = 256
"""Levels of probability: those of the bytes that segmentations are stored in."""
FAMILY = "segmentation"
EACH = "{segmenter}/{seed}"


def take(subject: Subject) -> Taken:
    """Compare every segmentation with the mask: IoU, Dice, AUPRC."""
    values: dict[str, Number] = {}
    for seen in subject.segmentations:
        counted = curve(seen.probability, subject.mask, block=subject.block, bins=BINS)
        values[f"{seen.name}/auprc"] = counted.auprc()
        values[f"{seen.name}/iou"] = counted.score("iou", seen.threshold)
        values[f"{seen.name}/dice"] = counted.score("dice", seen.threshold)
        values[f"{seen.name}/threshold"] = seen.threshold
        values[f"{seen.name}/iou_at_best"] = counted.score("iou", counted.best_threshold()).value
    return Taken(values=values)


def _filled(sums: np.ndarray) -> np.ndarray:
    """Leave out bins that are empty in all blocks: most of a byte volume's are."""
    bins = sums.reshape(len(sums), 2, -1)
    return bins[..., bins.any((0, 1))].reshape(len(sums), -1)


SEGMENTATION = Measure(
    name="segmentation",
    about="overlap of what segmenters of the target see with the mask",
    needs=("mask", "segmentations"),
    quantities=(
        Quantity(key=f"{EACH}/iou", sense="higher", about="intersection over union, 0 to 1", combine=COMBINE["iou"]),
        Quantity(key=f"{EACH}/dice", sense="higher", about="Dice coefficient, 0 to 1"),
        Quantity(
            key=f"{EACH}/auprc",
            sense="higher",
            about="area under the precision-recall curve, 0 to 1",
            combine=COMBINE["auprc"],
            condense=_filled,
        ),
        Quantity(key=f"{EACH}/threshold", about="probability from which a voxel is foreground, of the own domain"),
        Quantity(
            key=f"{EACH}/iou_at_best",
            sense="higher",
            about="IoU at the threshold that is best on this very mask: what is lost besides is the threshold's",
        ),
    ),
    ranked=False,
    table="",
    take=take,
)
