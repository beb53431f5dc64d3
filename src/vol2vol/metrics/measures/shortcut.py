"""Whether colours of circles are read off their place on the network's stride lattice, so that tiles agree for free."""

from __future__ import annotations

from vol2vol.errors import BadInput
from vol2vol.metrics.measures.circles import measured_images
from vol2vol.metrics.measures.measure import Measure, Number, Quantity, Taken
from vol2vol.metrics.measures.subject import Subject
from vol2vol.metrics.objects.lattice import colour_shortcut, common_period
from vol2vol.metrics.objects.scores import count_ratio


def take(subject: Subject) -> Taken:
    """Measure what the place of objects modulo the period of the network says of their colours."""
    period = common_period([subject.grids])
    if period is None:
        raise BadInput("the network has no stride, so place cannot decide a colour")
    images = measured_images(subject)
    found = colour_shortcut(images, [subject.grids] * len(images), period)
    if found is None:
        raise BadInput("no object has exactly one colour, so none can be compared with its place")
    values: dict[str, Number] = {"predicted": found.predicted, "majority": found.majority}
    return Taken(values=values | {"bits": found.bits, "entropy": found.entropy, "p": found.p})


SHORTCUT = Measure(
    name="shortcut",
    about="whether colours of objects are read off their place modulo the period of the network",
    needs=("mask", "grids"),
    quantities=(
        Quantity(
            key="predicted",
            about="share of colours that place modulo the period predicts in images that were left out, 0 to 1",
            title="Colours by place",
            column="by_place",
            places=True,
            combine=count_ratio,
        ),
        Quantity(
            key="majority",
            about="share that has the most frequent colour of the other images, 0 to 1",
            title="Most frequent colour",
            column="majority",
            places=True,
            combine=count_ratio,
        ),
        Quantity(key="bits", about="mutual information of colour and place in bits, corrected for bias"),
        Quantity(key="entropy", about="bits of the colours: the most that place can say"),
        Quantity(key="p", about="of no information, from random tables of the same margins in each image"),
    ),
    ranked=False,
    usual=False,
    take=take,
)
