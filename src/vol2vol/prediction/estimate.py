"""Estimate the cost of a prediction without computing it."""

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
from vol2vol.prediction.parts import bytes_per_voxel, refuse_split
from vol2vol.prediction.request import Request
from vol2vol.prediction.settings import PredictSettings
from vol2vol.prediction.statistics import operations
from vol2vol.prediction.submission import submission
from vol2vol.volumes import Stated
from vol2vol.volumes.addresses import address

TRIAL = 2.0e9
"""Operations of the timed tile: some tenths of a second on one core."""
MAX_VOXELS = 2**22
"""Maximum voxels of the timed tile, for networks without operations such as look-up tables."""


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

    The time is the network's only, at the rate measured on one small tile on this machine; reading and writing are not
    included. A network without convolutions (a look-up table) has no operations and is timed by its voxels. For a job
    array, the result also contains its batch script.
    """
    settings = settings or PredictSettings()
    refuse_split(settings, address(output))
    job = Job.open(Request.of(model, input, settings, which, **stated))
    check_fit(job)
    estimate = _expected(job)
    if settings.executor == "slurm":
        estimate["script"] = submission(job, address(output), estimate["blocks"]).text
    return estimate


def _expected(job: Job) -> dict[str, Any]:
    """Return how a job would be computed and its cost."""
    layout, cost = job.layout, cost_of(job.layout, job.engine.network)
    plan = layout.passes[0].plan
    measuring = operations(job)
    return {
        "input": job.source.path,
        "checkpoint": checkpoint_name(job.request.model),
        "voxels": cost.voxels,
        "strategy": job.settings.strategy,
        "statistics": job.settings.statistics if job.engine.stitchable else "tile",
        "swept": describe_sweeps(layout),
        "passes": len(layout.passes),
        "tile": plan.tile,
        "margin": plan.margin,
        "step": plan.step,
        **_describe_march(job),
        "block": layout.block,
        "chunks": layout.chunks,
        "blocks": cost.blocks,
        "redundancy": round(cost.redundancy, 3),
        "bytes read": round(cost.reads * cost.voxels * job.source.channels * job.source.dtype.itemsize),
        "bytes read over the volume's": round(cost.reads, 3),
        "bytes written, before compression": cost.voxels * bytes_per_voxel(job),
        "operations": cost.flops,
        "operations per voxel": round(cost.flops_per_voxel),
        "operations per voxel of an infinite tile": round(cost.floor_per_voxel),
        "operations over that floor": (
            round(cost.flops_per_voxel / cost.floor_per_voxel, 3) if cost.floor_per_voxel else None
        ),
        "bytes of memory": cost.memory,
        "bytes of memory allowed": job.settings.budget(),
        **({"operations of measuring statistics": measuring} if measuring else {}),
        "expected seconds": round(expected_seconds(job, cost, time_tile(job)), 1),
    }


def _describe_march(job: Job) -> dict[str, Any]:
    """Return how many tiles a march computes, how many of them at once at most, and keeps on disk; else nothing."""
    if (march := job.layout.march) is None:
        return {}
    alive = march.most_alive(job.layout.block[0])
    return {
        "tiles": march.total,
        "waves": march.waves(job.layout.block[0]),
        "tiles kept at once": alive,
        "bytes of painted tiles on disk": alive * job.channels * prod(march.plan.tile) * job.dtype.itemsize,
    }


def describe_sweeps(layout: Layout) -> str:
    """Describe the sweeps of a layout in words."""
    sweeps = [pass_.sweep for pass_ in layout.passes if pass_.sweep is not None]
    if not sweeps:
        return "no, tile by tile"
    return "; ".join(f"along {'zyx'[sweep.axis]}, {sweep.push} planes at a time" for sweep in sweeps)


def expected_seconds(job: Job, cost: Cost, timed: tuple[Shape, float]) -> float:
    """Return the network's seconds for a job, from its operations, or from its voxels if it has no operations.

    `timed` is the size of a small tile and its seconds, see `time_tile`.
    """
    size, seconds = timed
    if not cost.flops:
        return cost.redundancy * cost.voxels * len(job.layout.passes) / prod(size) * seconds
    return (cost.flops + operations(job)) / flops(job.engine.network, size) * seconds


def time_tile(job: Job) -> tuple[Shape, float]:
    """Return the size of a small tile and the seconds that the job's network takes for it on this machine."""
    network, foot = job.engine.network, job.engine.footprint
    size = tuple(n for n, _ in zip(foot.minimum, range(foot.dims), strict=False))
    while flops(network, size) < TRIAL / 2 and prod(size) < MAX_VOXELS:
        size = tuple(n + max(p, n // 4 // p * p) for n, p in zip(size, foot.period, strict=True))
    tile = np.zeros((1, job.engine.channels, *size), np.float32)
    job.engine.run(tile)
    began = time.perf_counter()
    job.engine.run(tile)
    return size, time.perf_counter() - began
