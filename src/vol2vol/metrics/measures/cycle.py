"""Cycle: what comes back from a volume once it can hide nothing in detail below a grey level."""

from __future__ import annotations

import numpy as np

from vol2vol.geometry import Box
from vol2vol.metrics.measures.measure import Measure, Quantity, Taken
from vol2vol.metrics.measures.subject import Subject
from vol2vol.metrics.similarity.cycle import cycle_error, quantised


def take(subject: Subject) -> Taken:
    """Send the volume back without seams, as stored and rounded to 256 levels with noise; compare with the source.

    A volume that is stored in 8 bits has nothing left to hide: what `hidden` says of it is what the noise costs.
    """
    levels = subject.target_range

    def coarse(box: Box, values: np.ndarray) -> np.ndarray:
        return quantised(values, levels, seed=box.start)

    with subject.network.returned(coarse) as returned, subject.network.returned() as plain:
        return Taken(values=cycle_error(subject.source, returned, plain, block=subject.block))


CYCLE = Measure(
    name="cycle",
    about="what comes back to the source from the volume, rounded to 256 levels with noise of one",
    needs=("source", "network", "target_range"),
    quantities=(
        Quantity(
            key="psnr",
            sense="higher",
            about="peak signal-to-noise ratio in decibels, peak: the source's maximum minus its minimum",
            title="Back again (dB)",
            column="cycle_psnr",
            digits=1,
            places=True,
        ),
        Quantity(key="mean_absolute", sense="lower", about="mean absolute difference in grey values of the source"),
        Quantity(
            key="hidden",
            sense="lower",
            about="that minus the same of the volume as stored, in grey values: above 0 is hidden detail",
            column="cycle_hidden",
        ),
    ),
    table="fidelity",
    take=take,
)
