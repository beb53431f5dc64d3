"""Measures of segmentations that need no mask: confidence, foreground and agreement."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from vol2vol.metrics.measures.measure import Measure, Number, Quantity, Taken
from vol2vol.metrics.measures.subject import Subject
from vol2vol.metrics.objects.overlap import full_scale, iou, probability
from vol2vol.metrics.similarity.volume_pairs import blocks_of

SEGMENTERS = 2
"""Largest number of segmenters that are used."""


def take(subject: Subject) -> Taken:
    """Return confidence, foreground and, with two segmenters, agreement, in one pass over their probabilities."""
    seen = subject.segmentations[:SEGMENTERS]
    boxes = blocks_of(seen[0].probability, subject.block)
    scales = [full_scale(view.probability, boxes) for view in seen]
    sums = np.zeros((len(seen), 4))
    pairs = list(combinations(range(len(seen)), 2))
    shared = np.zeros((len(pairs), 3))
    for box in boxes:
        p = [probability(view.probability, box, scale) for view, scale in zip(seen, scales, strict=True)]
        m = [values >= view.threshold for values, view in zip(p, seen, strict=True)]
        sums += [[float(a[b].sum()), float(a.sum()), float(b.sum()), b.size] for a, b in zip(p, m, strict=True)]
        for row, (i, j) in zip(shared, pairs, strict=True):
            row += [(m[i] & m[j]).sum(), (m[i] & ~m[j]).sum(), (~m[i] & m[j]).sum()]
    both, soft, hard, count = sums.T
    with np.errstate(invalid="ignore", divide="ignore"):
        values: dict[str, Number] = {"confidence": float(np.mean(2 * both / (soft + hard)))}
    values["foreground"] = float(np.mean(hard / count / np.array([view.foreground for view in seen])))
    if pairs:
        values["agreement"] = float(np.mean(iou(shared)))
    return Taken(values=values)


LABEL_FREE = Measure(
    name="label_free",
    about="confidence and agreement of the target's segmenters on the volume, without a mask",
    needs=("segmentations",),
    quantities=(
        Quantity(
            key="confidence",
            sense="higher",
            about="Dice coefficient that a segmenter expects of its own mask, 2 sum(p m) / (sum p + sum m), 0 to 1",
            segmenters=1,
        ),
        Quantity(
            key="foreground",
            sense="nearer 1",
            about="fraction of foreground, relative to that in the segmenter's own domain",
            segmenters=1,
        ),
        Quantity(key="agreement", sense="higher", about="IoU of the masks of two segmenters, 0 to 1", segmenters=2),
    ),
    segmenters=SEGMENTERS,
    cheap=True,
    table="",
    take=take,
)
