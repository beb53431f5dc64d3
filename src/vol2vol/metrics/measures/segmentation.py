"""Overlap of the segmentations by the target's segmenters with the source's mask."""

from __future__ import annotations

import numpy as np

from vol2vol.metrics.measures.measure import Measure, Number, Quantity, Taken
from vol2vol.metrics.measures.subject import Subject
from vol2vol.metrics.objects.overlap import curve
from vol2vol.metrics.objects.scores import COMBINE

BINS = 256
"""Number of probability levels, that of the 8-bit segmentations."""
FAMILY = "segmentation"
EACH = "{segmenter}/{seed}"


def take(subject: Subject) -> Taken:
    """Return IoU, Dice and AUPRC of every segmentation against the mask."""
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
    """Leave out bins that are empty in all blocks, as most are for 8-bit volumes."""
    bins = sums.reshape(len(sums), 2, -1)
    return bins[..., bins.any((0, 1))].reshape(len(sums), -1)


SEGMENTATION = Measure(
    name="segmentation",
    about="overlap of the target's segmentations with the mask",
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
        Quantity(
            key=f"{EACH}/threshold", about="minimum probability of foreground, chosen on the segmenter's own domain"
        ),
        Quantity(
            key=f"{EACH}/iou_at_best",
            sense="higher",
            about="IoU at the threshold that is best on this mask; the difference from IoU is due to the threshold",
        ),
    ),
    ranked=False,
    table="",
    take=take,
)
