"""Overlap lost near the seams of a volume."""

from __future__ import annotations

from vol2vol.metrics.measures.measure import Bounded, Measure, Number, Quantity, Taken
from vol2vol.metrics.measures.segmentation import EACH, FAMILY
from vol2vol.metrics.measures.subject import Subject
from vol2vol.metrics.objects.overlap import SeamOverlap, near_seam_effect, near_seams
from vol2vol.metrics.seams.grid import borders_of
from vol2vol.volumes import Volume


def take(subject: Subject) -> Taken:
    """Measure the overlap lost near the volume's seams, also relative to the first strategy at the same places."""
    how, mask = subject.judging, subject.mask
    planes = borders_of(subject.grids, subject.volume.spatial, subject.volume.path)

    def near(probability: Volume, threshold: float) -> SeamOverlap:
        return near_seams(
            probability,
            mask,
            planes,
            threshold=threshold,
            width=how.near,
            shifts=how.shifts,
            block=subject.block,
        )

    values: dict[str, Number] = {}
    for seen in subject.segmentations:
        effect = near(seen.probability, seen.threshold).effect
        values[f"{seen.name}/near_seam"] = effect
        if seen.first is not None:
            apart = effect.against(near(seen.first, seen.threshold).effect)
            values[f"{seen.name}/near_seam/against_first"] = Bounded(apart.value, apart.low, apart.high)
    return Taken(values=values)


NEAR_SEAM = Measure(
    name="near_seam",
    family=FAMILY,
    about="overlap lost near seams",
    needs=("mask", "segmentations", "grids"),
    quantities=(
        Quantity(
            key=f"{EACH}/near_seam",
            sense="higher",
            about="IoU near seams minus elsewhere, minus the same on shifted grids; 0 if seams cost nothing",
            combine=near_seam_effect,
        ),
        Quantity(
            key=f"{EACH}/near_seam/against_first",
            about="the same minus that of the first strategy's volume at the same places",
        ),
    ),
    ranked=False,
    table="",
    take=take,
)
