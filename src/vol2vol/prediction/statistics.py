"""Measure the statistics of the whole input for `statistics` global, before anything is predicted; restartable."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vol2vol import nets
from vol2vol.errors import Mismatch
from vol2vol.geometry import Box, ceil_div
from vol2vol.nets.demand import Span
from vol2vol.nets.volume_statistics import Progress, measure, measured_layers, measuring_operations, store
from vol2vol.volumes.ledger import Ledger

if TYPE_CHECKING:
    from vol2vol.prediction.job import Job

IMAGES = 16
"""Images of a stack that are measured at once."""


def with_statistics(job: Job, output: str | None = None) -> Job:
    """Return the job whose network has its statistics, after measuring them where they are those of the input.

    With an output, what is measured is kept in its ledger, from which a second start continues. Raises `Mismatch` where
    the input has changed meanwhile.
    """
    if job.normalised:
        return job
    ledger = Ledger.of(output) if output is not None else None
    progress = Progress()
    if ledger is not None and (kept := ledger.statistics(job.begun)) is not None:
        progress = Progress.from_dict(kept)

    def save(now: Progress) -> None:
        if ledger is not None:
            ledger.keep_statistics(job.begun, now.to_dict())

    network = nets.unmeasured(job.translation.network).to(job.engine.device)
    dims = job.engine.footprint.dims
    batches = 1 if dims == 3 else ceil_div(job.source.spatial[0], IMAGES)
    size = job.source.spatial[-dims:]
    measure(network, size, lambda *place: _read(job, *place), batches=batches, progress=progress, save=save)
    if job.source_changed():
        reason = f"{job.source.path} was changed while its statistics were measured: start again with `overwrite`"
        if ledger is not None:
            ledger.spoil(reason)
        raise Mismatch(reason)
    return _filled(job, progress)


def known(job: Job, output: str) -> Job:
    """Return the job with the statistics in an output's ledger if all are measured, else the job as it is."""
    if job.normalised or (kept := Ledger.of(output).statistics(job.begun)) is None:
        return job
    progress = Progress.from_dict(kept)
    names = {layer.name for layer in measured_layers(job.engine.network)}
    return _filled(job, progress) if names <= progress.finished.keys() else job


def operations(job: Job) -> int:
    """Return the floating-point operations of measuring; 0 where nothing is measured."""
    if job.settings.statistics != "global":
        return 0
    dims = job.engine.footprint.dims
    images = 1 if dims == 3 else job.source.spatial[0]
    return images * measuring_operations(nets.unmeasured(job.translation.network), job.source.spatial[-dims:])


def _filled(job: Job, progress: Progress) -> Job:
    network = copy.deepcopy(job.engine.network)
    for layer in measured_layers(network):
        store(layer, *progress.finished[layer.name])
    return replace(job, engine=replace(job.engine, network=network), normalised=True)


def _read(job: Job, batch: int, spans: tuple[Span, ...]) -> Tensor:
    """Return a box of the volume, or of a batch of its images, as the network sees it, (B, C, *space)."""
    if len(spans) == 3:
        values = job.read(Box(*_corners(spans)))[None]
    else:
        images = (batch * IMAGES, min((batch + 1) * IMAGES, job.source.spatial[0]))
        values = np.moveaxis(job.read(Box(*_corners((images, *spans)))), 1, 0)
    return torch.from_numpy(np.ascontiguousarray(values)).to(job.engine.device)


def _corners(spans: tuple[Span, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(a for a, _ in spans), tuple(b for _, b in spans)
