"""The cost of training a network and of translating a volume, on the computer that did it."""

from __future__ import annotations

from vol2vol.metrics.measures.measure import Measure, Quantity, Taken
from vol2vol.metrics.measures.subject import Subject


def take(subject: Subject) -> Taken:
    """Return the known costs of the volume."""
    known = {quantity.key for quantity in COST.quantities}
    return Taken(values={key: value for key, value in subject.spent.items() if key in known})


COST = Measure(
    name="cost",
    about="time, memory and operations of training and translation",
    needs=("spent",),
    quantities=(
        Quantity(
            key="parameters", sense="lower", about="number of weights of the network", title="Parameters", amount=True
        ),
        Quantity(
            key="flops_per_voxel",
            sense="lower",
            about="operations per voxel of the volume",
            title="FLOP/voxel",
            amount=True,
        ),
        Quantity(
            key="redundancy", sense="lower", about="voxels that the network reads per voxel written", title="Redundancy"
        ),
        Quantity(key="seconds", sense="lower", about="time of the translation in seconds", title="Time (s)"),
        Quantity(
            key="voxels_per_second",
            sense="higher",
            about="voxels translated per second",
            title="Voxels/s",
            amount=True,
        ),
        Quantity(
            key="peak_memory",
            sense="lower",
            about="peak memory of the translation in bytes, without what the process held before",
            title="Memory (B)",
            column="peak_memory_bytes",
            amount=True,
        ),
        Quantity(
            key="train_seconds_per_step",
            sense="lower",
            about="seconds per step of the training",
            title="Training, s/step",
        ),
        Quantity(
            key="train_seconds",
            sense="lower",
            about="seconds of the training up to the checkpoint",
            title="Training, hours",
            column="train_hours",
            divisor=3600,
        ),
        Quantity(
            key="train_peak_memory",
            sense="lower",
            about="peak memory of the training process in bytes",
            title="Training, memory (B)",
            column="train_peak_memory_bytes",
            amount=True,
        ),
    ),
    ranked=False,
    cheap=True,
    always=True,
    table="cost",
    take=take,
)
