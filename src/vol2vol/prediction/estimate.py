"""What a prediction would cost, without making it."""

from __future__ import annotations

import time
from math import prod
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from vol2vol.geometry import Shape
from vol2vol.models.checkpoints import checkpoint_name
from vol2vol.nets import flops
from vol2vol.plans.layout import Layout
from vol2vol.prediction.intensities import check_fit
from vol2vol.prediction.job import Job
from vol2vol.prediction.layout_cost import Cost, cost_of
from vol2vol.prediction.parts import parts_of, refuse_split
from vol2vol.prediction.request import Request
from vol2vol.prediction.settings import PredictSettings
from vol2vol.prediction.submission import submission
from vol2vol.volumes import Stated
from vol2vol.volumes.addresses import address

TRIAL = 2.0e9
"""Operations of the tile that is timed: some tenths of a second on one core."""
MOST = 2**22
"""Voxels of the tile that is timed, at most: a look-up table has no operations at all."""


def dry_run(
    model: str | Path,
    input: str | Path,
    settings: PredictSettings | None = None,
    *,
    which: str = "auto",
    output: str | Path = "output.zarr",
    **stated: Unpack[Stated],
) -> dict[str, Any]:
    """Return blocks, redundancy, operations, memory and expected time of a prediction; writes nothing.

    The time is that of the network at the rate measured on one small tile now, here; reading and writing come on top.
    A network without convolutions (a look-up table) has no operations, and is timed by its voxels. For a job array
    there is also its script.
    """
    settings = settings or PredictSettings()
    refuse_split(settings, address(output))
    job = Job.open(Request.of(model, input, settings, which, **stated))
    check_fit(job)
    said = _expected(job)
    if settings.executor == "slurm":
        said["script"] = submission(job, address(output), said["blocks"]).text
    return said


def _expected(job: Job) -> dict[str, Any]:
    """Return how a job would be computed, and what that takes."""
    layout, cost = job.layout, cost_of(job.layout, job.engine.network)
    plan = layout.passes[0].plan
    written = sum(part.channels * part.dtype.itemsize for _, part in parts_of(job, ""))
    return {
        "input": job.source.path,
        "checkpoint": checkpoint_name(job.request.model),
        "voxels": cost.voxels,
        "strategy": job.settings.strategy,
        "swept": plan_words(layout),
        "passes": len(layout.passes),
        "tile": plan.tile,
        "margin": plan.margin,
        "step": plan.step,
        "block": layout.block,
        "chunks": layout.chunks,
        "blocks": cost.blocks,
        "redundancy": round(cost.redundancy, 3),
        "bytes read": round(cost.reads * cost.voxels * job.source.channels * job.source.dtype.itemsize),
        "bytes read over the volume's": round(cost.reads, 3),
        "bytes written, before compression": cost.voxels * written,
        "operations": cost.flops,
        "operations per voxel": round(cost.flops_per_voxel),
        "operations per voxel of an infinite tile": round(cost.floor_per_voxel),
        "operations over that floor": (
            round(cost.flops_per_voxel / cost.floor_per_voxel, 3) if cost.floor_per_voxel else None
        ),
        "bytes of memory": cost.memory,
        "bytes of memory allowed": job.settings.budget(),
        "expected seconds": round(expected_seconds(job, cost, time_tile(job)), 1),
    }


def plan_words(layout: Layout) -> str:
    """Say in words how a layout is computed."""
    sweeps = [one.sweep for one in layout.passes if one.sweep is not None]
    if not sweeps:
        return "no, tile by tile"
    return "; ".join(f"along {'zyx'[sweep.axis]}, {sweep.push} planes at a time" for sweep in sweeps)


def expected_seconds(job: Job, cost: Cost, timed: tuple[Shape, float]) -> float:
    """Return the seconds that the network takes, by its operations, or by its voxels where it has none.

    `timed` is a small tile and its seconds, see `time_tile`.
    """
    size, seconds = timed
    if not cost.flops:
        return cost.redundancy * cost.voxels * len(job.layout.passes) / prod(size) * seconds
    return cost.flops / flops(job.engine.network, size) * seconds


def time_tile(job: Job) -> tuple[Shape, float]:
    """Return the size of a small tile, and the seconds that the job's network takes for it, here and now."""
    network, foot = job.engine.network, job.engine.footprint
    size = tuple(n for n, _ in zip(foot.minimum, range(foot.dims), strict=False))
    while flops(network, size) < TRIAL / 2 and prod(size) < MOST:
        size = tuple(n + max(p, n // 4 // p * p) for n, p in zip(size, foot.period, strict=True))
    tile = np.zeros((1, job.bundle.width(job.translation.reads), *size), np.float32)
    job.engine.run(tile)
    began = time.perf_counter()
    job.engine.run(tile)
    return size, time.perf_counter() - began
