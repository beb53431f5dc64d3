"""Fidelity: similarity to the known answer."""

from __future__ import annotations

from vol2vol.metrics.measures.measure import Measure, Quantity, Taken
from vol2vol.metrics.measures.subject import Subject
from vol2vol.metrics.similarity.fidelity import to_truth


def take(subject: Subject) -> Taken:
    """Compare the volume with the known answer."""
    return Taken(values=to_truth(subject.volume, subject.truth, block=subject.block))


FIDELITY = Measure(
    name="fidelity",
    about="similarity to the known answer",
    needs=("truth",),
    quantities=(
        Quantity(
            key="psnr",
            sense="higher",
            about="peak signal-to-noise ratio in decibels, with the truth's maximum minus its minimum as peak",
            title="PSNR (dB)",
            digits=1,
            places=True,
        ),
        Quantity(key="ssim", sense="higher", about="structural similarity, -1 to 1", title="SSIM", places=True),
        Quantity(
            key="pearson", sense="higher", about="Pearson's correlation, -1 to 1", title="Correlation", places=True
        ),
        Quantity(
            key="lncc",
            sense="higher",
            about="local normalised cross-correlation, -1 to 1",
            title="LNCC",
            places=True,
        ),
        Quantity(key="mean_absolute", sense="lower", about="mean absolute difference in grey values"),
    ),
    table="fidelity",
    take=take,
)
