"""Circles, or spheres, that have several colours or none: where tiles of a translation with many answers disagree."""

from __future__ import annotations

from vol2vol.metrics.measures.measure import Measure, Quantity, Taken
from vol2vol.metrics.measures.subject import Subject
from vol2vol.metrics.objects.colours import Coloured, colour_errors, coloured_objects, coloured_planes
from vol2vol.metrics.objects.scores import count_ratio


def measured_images(subject: Subject) -> list[Coloured]:
    """Return the objects, whose numbers the mask holds, of the volume or of each of its planes."""
    how = subject.judging
    if how.planes:
        return coloured_planes(subject.volume, subject.mask, how.colours)
    return [coloured_objects(subject.volume, subject.mask, how.colours)]


def take(subject: Subject) -> Taken:
    """Count the colours of the objects; sums are kept per plane, or per block of a volume."""
    images = measured_images(subject)
    block = None if subject.judging.planes else subject.block or images[0].spatial
    errors = colour_errors(images, block=block)
    return Taken(values={name.replace("-", "_"): error for name, error in errors.items()})


CIRCLES = Measure(
    name="circles",
    about="labelled objects that have several colours, or not exactly one",
    needs=("mask",),
    quantities=(
        Quantity(
            key="multi",
            sense="lower",
            about="share of objects with several colours, 0 to 1",
            title="Several colours",
            column="multi",
            places=True,
            combine=count_ratio,
        ),
        Quantity(
            key="not_1",
            sense="lower",
            about="share of objects without exactly one colour, 0 to 1",
            title="Not one colour",
            column="not_1",
            places=True,
            combine=count_ratio,
        ),
    ),
    usual=False,
    take=take,
)
