"""What a prediction would cost, without making it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.nets import flops, footprint
from vol2vol.prediction.job import Job
from vol2vol.prediction.settings import PredictSettings
from vol2vol.volumes import open_volume

TRIAL = 2.0e10
"""Operations of the tile that is timed: a second or two on one core."""


def dry_run(
    model: str | Path,
    input: str | Path,
    settings: PredictSettings | None = None,
    *,
    which: str = "last",
    axes: str | None = None,
    voxel_size: Sequence[float] | None = None,
    unit: str | None = None,
) -> dict[str, Any]:
    """Return blocks, redundancy, operations, memory and expected time of a prediction; writes nothing.

    The time is that of the convolutions at the rate measured on one small tile now, here; reading and writing come on
    top.
    """
    settings = settings or PredictSettings()
    source = open_volume(input, axes=axes, voxel_size=voxel_size, unit=unit)
    job = Job.plan(model, source, settings, which=which)
    layout, cost = job.layout, job.layout.cost(job.network)
    plan = layout.passes[0].plan
    return {
        "input": str(source.path),
        "voxels": cost.voxels,
        "strategy": settings.strategy,
        "passes": len(layout.passes),
        "tile": plan.tile,
        "margin": plan.margin,
        "step": plan.step,
        "block": layout.block,
        "chunks": layout.chunks,
        "blocks": cost.blocks,
        "redundancy": round(cost.redundancy, 3),
        "operations": cost.flops,
        "operations per voxel": round(cost.flops_per_voxel),
        "operations per voxel of an infinite tile": round(cost.floor_per_voxel),
        "memory": cost.memory,
        "memory budget": settings.budget(),
        "expected seconds": round(cost.flops / rate(job), 1),
    }


def rate(job: Job) -> float:
    """Return the operations per second that the job's network reaches on a small tile, here and now."""
    foot = footprint(job.network)
    size = tuple(n for n, _ in zip(foot.minimum, range(foot.dims), strict=False))
    while flops(job.network, bigger := tuple(n + p for n, p in zip(size, foot.period, strict=True))) < TRIAL:
        size = bigger
    channels = int(job.bundle.meta["channels"][job.domains[0]])
    tile = np.zeros((1, channels, *size), np.float32)
    job.runner(tile)
    began = time.perf_counter()
    job.runner(tile)
    return flops(job.network, size) / (time.perf_counter() - began)
