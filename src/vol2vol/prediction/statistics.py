"""Measure the statistics of the whole input, or of its thumbnail, before anything is predicted; restartable."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vol2vol import nets
from vol2vol.errors import Mismatch
from vol2vol.geometry import Box, ceil_div, reflect
from vol2vol.nets.demand import Span
from vol2vol.nets.volume_statistics import Progress, measure, measured_layers, measuring_operations, store
from vol2vol.prediction.settings import MEASURED
from vol2vol.volumes.ledger import Ledger

if TYPE_CHECKING:
    from vol2vol.prediction.job import Job

THUMBNAIL = {2: 256, 3: 64}
"""Most voxels per axis of a thumbnail."""
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
    measure(network, _size(job), lambda *place: _read(job, *place), batches=batches, progress=progress, save=save)
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
    if job.settings.statistics not in MEASURED:
        return 0
    dims = job.engine.footprint.dims
    images = 1 if dims == 3 else job.source.spatial[0]
    return images * measuring_operations(nets.unmeasured(job.translation.network), _size(job))


def _filled(job: Job, progress: Progress) -> Job:
    network = copy.deepcopy(job.engine.network)
    for layer in measured_layers(network):
        store(layer, *progress.finished[layer.name])
    return replace(job, engine=replace(job.engine, network=network), normalised=True)


def _factors(job: Job) -> tuple[int, ...]:
    """Return, per axis of the network, how many voxels are averaged into one before they are measured."""
    dims = job.engine.footprint.dims
    if job.settings.statistics == "global":
        return (1,) * dims
    return tuple(ceil_div(n, THUMBNAIL[dims]) for n in job.source.spatial[-dims:])


def _size(job: Job) -> tuple[int, ...]:
    """Return the size of what is measured, on the network's axes."""
    factors = _factors(job)
    return tuple(ceil_div(n, f) for n, f in zip(job.source.spatial[-len(factors) :], factors, strict=True))


def _read(job: Job, batch: int, spans: tuple[Span, ...]) -> Tensor:
    """Return a box of what is measured, mirrored after its end, as the network sees it, (B, C, *space)."""
    factors = _factors(job)
    if max(factors) == 1:
        values = _finest(job, batch, spans)
    else:
        places = [[reflect(i, n) for i in range(*span)] for span, n in zip(spans, _size(job), strict=True)]
        inside = [(min(at), max(at) + 1) for at in places]
        finer = _finest(job, batch, tuple((a * f, b * f) for (a, b), f in zip(inside, factors, strict=True)))
        shape = [n for (a, b), f in zip(inside, factors, strict=True) for n in (b - a, f)]
        within = tuple(3 + 2 * axis for axis in range(len(spans)))
        averaged = finer.reshape(*finer.shape[:2], *shape).mean(within, dtype=np.float32)
        moved = [[i - low for i in at] for at, (low, _) in zip(places, inside, strict=True)]
        values = averaged[:, :, *np.ix_(*moved)]
    return torch.from_numpy(np.ascontiguousarray(values)).to(job.engine.device)


def _finest(job: Job, batch: int, spans: tuple[Span, ...]) -> np.ndarray:
    """Return a box of the volume, or of a batch of its images, (B, C, *space)."""
    if len(spans) == 3:
        return job.read(Box(*_corners(spans)))[None]
    images = (batch * IMAGES, min((batch + 1) * IMAGES, job.source.spatial[0]))
    return np.moveaxis(job.read(Box(*_corners((images, *spans)))), 1, 0)


def _corners(spans: tuple[Span, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(a for a, _ in spans), tuple(b for _, b in spans)
