"""Cycle error of a volume translated back to the source, after quantisation."""

from __future__ import annotations

import numpy as np

from vol2vol.geometry import Box
from vol2vol.metrics.measures.measure import Measure, Quantity, Taken
from vol2vol.metrics.measures.subject import Subject
from vol2vol.metrics.similarity.cycle import cycle_error, quantised


def take(subject: Subject) -> Taken:
    """Translate the volume back without seams, as stored and rounded to 256 levels with noise; compare with the source.

    A volume stored in 8 bits can hide no detail below a grey level; its `hidden` is the effect of the noise.
    """
    levels = subject.target_range

    def coarse(box: Box, values: np.ndarray) -> np.ndarray:
        return quantised(values, levels, seed=box.start)

    with subject.network.returned(coarse) as returned, subject.network.returned() as plain:
        return Taken(values=cycle_error(subject.source, returned, plain, block=subject.block))


CYCLE = Measure(
    name="cycle",
    about="error after translation back to the source from the volume, rounded to 256 levels with noise of one level",
    needs=("source", "network", "target_range"),
    quantities=(
        Quantity(
            key="psnr",
            sense="higher",
            about="peak signal-to-noise ratio in decibels, with the source's maximum minus its minimum as peak",
            title="PSNR, back (dB)",
            column="cycle_psnr",
            digits=1,
            places=True,
        ),
        Quantity(key="mean_absolute", sense="lower", about="mean absolute difference in grey values of the source"),
        Quantity(
            key="hidden",
            sense="lower",
            about="mean absolute difference minus that without quantisation, in grey values; above 0 if detail was "
            "hidden",
            column="cycle_hidden",
        ),
    ),
    table="fidelity",
    take=take,
)
