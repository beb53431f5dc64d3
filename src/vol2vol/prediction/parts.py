"""List the volumes of an output: one, or one for each domain that the model makes.

Each volume is exactly what a prediction of its domain alone would have written, so that it can be read, verified and
judged like any output. All volumes share blocks, one ledger and one computation.
"""

from __future__ import annotations

from dataclasses import replace

from vol2vol.errors import BadInput
from vol2vol.prediction.job import Job
from vol2vol.prediction.output_types import settled
from vol2vol.prediction.settings import PredictSettings
from vol2vol.volumes.addresses import join

Parts = list[tuple[str, Job]]
"""The path of each volume of an output, and the job that would write it alone."""


def parts_of(job: Job, output: str) -> Parts:
    """Return the volumes of an output, each with the job that would write it alone."""
    if not job.settings.split_outputs:
        return [(output, job)]
    return [(join(output, name), _alone(job, name)) for name in job.makes]


def volumes_of(job: Job, output: str) -> tuple[str, ...]:
    """Return the paths of the volumes of an output."""
    return tuple(path for path, _ in parts_of(job, output))


def refuse_split(settings: PredictSettings, output: str) -> None:
    """Raise `BadInput` if an output is to be split into several volumes but is not a .zarr."""
    if settings.split_outputs and not output.rstrip("/").lower().endswith(".zarr"):
        raise BadInput(
            f"{output}: the volumes of several domains are written into one .zarr: name it NAME.zarr, or for many "
            "inputs give `suffix` .zarr"
        )


def bytes_per_voxel(job: Job) -> int:
    """Return the bytes that all volumes of an output together hold for a voxel."""
    return sum(part.channels * part.dtype.itemsize for _, part in parts_of(job, ""))


def _alone(job: Job, name: str) -> Job:
    settings = job.settings.model_copy(update={"outputs": (name,), "split_outputs": False})
    settings = settled(settings, job.bundle, job.source, measured=job.request.measured is not None)
    return replace(job, request=replace(job.request, settings=settings))
