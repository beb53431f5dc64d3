"""Objects that the target's segmenters detect, invent, miss and count in a volume."""

from __future__ import annotations

from vol2vol.metrics.measures.measure import Measure, Number, Quantity, Taken
from vol2vol.metrics.measures.segmentation import EACH, FAMILY
from vol2vol.metrics.measures.subject import Subject
from vol2vol.metrics.objects.instances import shared_objects
from vol2vol.metrics.objects.scores import object_scores

ROW_NAMES = {
    "f1_50": "f1",
    "f1_75": "f1_75",
    "ap_50": "ap50",
    "ap_75": "ap75",
    "count_error": "count_error",
    "count_ratio": "count_ratio",
    "rand_error": "rand",
}
"""Names of object scores in a study's rows."""


def take(subject: Subject) -> Taken:
    """Compare the objects of every segmentation with those of the mask."""
    how, block, mask = subject.judging, subject.block, subject.mask
    values: dict[str, Number] = {}
    for seen in subject.segmentations:
        shared = shared_objects(seen.probability, mask, threshold=seen.threshold, parting=how.parting(), block=block)
        scores = object_scores(shared, mask, least=how.least, block=block)
        values |= {f"{seen.name}/{row_name}": scores[name] for name, row_name in ROW_NAMES.items()}
    return Taken(values=values)


OBJECTS = Measure(
    name="objects",
    family=FAMILY,
    about="objects detected, missed and counted",
    needs=("mask", "segmentations"),
    quantities=(
        Quantity(
            key=f"{EACH}/f1",
            sense="higher",
            about="F1 of objects that match at an IoU of 0.5 or more, 0 to 1",
            title="F1 at IoU 0.5",
            column="f1",
            places=True,
        ),
        Quantity(
            key=f"{EACH}/ap50",
            sense="higher",
            about="average precision of objects at an IoU of 0.5 or more, 0 to 1",
            title="AP at 0.5",
            column="ap50",
            places=True,
        ),
        Quantity(
            key=f"{EACH}/ap75",
            sense="higher",
            about="average precision of objects at an IoU of 0.75 or more, 0 to 1",
            title="AP at 0.75",
            column="ap75",
            places=True,
        ),
        Quantity(
            key=f"{EACH}/count_error",
            sense="lower",
            about="|predicted - true| / true number of objects",
            title="Count error",
            column="count_error",
            places=True,
        ),
        Quantity(
            key=f"{EACH}/rand",
            sense="lower",
            about="adapted Rand error, 0 to 1",
            title="Adapted Rand error",
            column="rand_error",
            places=True,
        ),
        Quantity(
            key=f"{EACH}/f1_75", sense="higher", about="F1 of objects that match at an IoU of 0.75 or more, 0 to 1"
        ),
        Quantity(key=f"{EACH}/count_ratio", sense="nearer 1", about="predicted / true number of objects"),
    ),
    ranked=False,
    table="objects",
    take=take,
)
