"""The verb: plan or continue, compute what is not done, finish."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import AlreadyExists
from vol2vol.geometry import Box
from vol2vol.prediction.job import Job, Request
from vol2vol.prediction.layout import Layout
from vol2vol.prediction.ledger import Ledger, block_name, refuse_other
from vol2vol.prediction.settings import PredictSettings
from vol2vol.prediction.work import compute
from vol2vol.volumes import build_pyramid, create_volume, open_volume

log = logging.getLogger(__name__)
Progress = Callable[[int, int, int], None]
"""Called with blocks done, blocks in all and voxels done since the start."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What `predict` returns."""

    output: str
    voxels: int
    """Voxels computed by this call; fewer than the output's where it continued an earlier one."""
    seconds: float
    blocks: int
    blocks_before: int
    """Blocks that were already done when this call began."""
    layout: Layout


def predict(
    model: str | Path,
    input: str | Path,
    output: str | Path,
    settings: PredictSettings | None = None,
    *,
    which: str = "last",
    axes: str | None = None,
    voxel_size: Sequence[float] | None = None,
    unit: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Prediction:
    """Translate a whole volume, block by block, and continue where an earlier call was killed.

    `model` is a bundle or a run folder, of which `which` picks a checkpoint (`last`, `best`, `epoch-0005`). `axes`,
    `voxel_size` and `unit` describe an input whose file does not. Memory does not grow with the volume. Raises
    `Mismatch` if the output was begun with another model, input or setting, `AlreadyExists` if something else is
    there and `overwrite` is not given.
    """
    began = time.monotonic()
    request = Request.of(
        model, input, settings or PredictSettings(), which, axes=axes, voxel_size=voxel_size, unit=unit
    )
    output = str(output)
    before, job = begin(request, output, overwrite=overwrite)
    blocks = job.layout.blocks()
    done = Ledger.of(output).done() if before != "complete" else {block_name(box) for box in blocks}
    todo = [box for box in blocks if block_name(box) not in done]
    voxels = 0

    def report(box: Box) -> None:
        nonlocal voxels
        voxels += box.size
        done.add(block_name(box))
        if progress is not None:
            progress(len(done), len(blocks), voxels)

    if progress is not None:
        progress(len(done), len(blocks), 0)
    if before != "complete":
        compute(job, output, todo, report)
        finish(job, output)
    return Prediction(
        output=output,
        voxels=voxels,
        seconds=time.monotonic() - began,
        blocks=len(blocks),
        blocks_before=len(blocks) - len(todo),
        layout=job.layout,
    )


def begin(request: Request, output: str, *, overwrite: bool) -> tuple[str, Job]:
    """Create an output and its ledger, or attach to those of an earlier start; return which, and the job.

    The first word is `new`, `begun` or `complete`.
    """
    _refuse_input(request, output)
    ledger = Ledger.of(output)
    before = None if overwrite else ledger.plan()
    if before is not None:
        job = Job.open(request, Layout.from_dict(before["layout"]))
        refuse_other(before, job.record(), output)
        return "begun", job
    made = {} if overwrite else _made(output)
    job = Job.open(request, Layout.from_dict(made["layout"]) if made else None)
    if made:
        refuse_other(made, job.record(), output)
        log.info("%s is complete: nothing to do", output)
        return "complete", job
    _create(job, output, overwrite=overwrite)
    ledger.begin({**job.record(), "request": request.to_dict(), "layout": job.layout.to_dict()})
    return "new", job


def finish(job: Job, output: str) -> None:
    """Write what follows the last block: the pyramid, the attributes; then remove the ledger."""
    ledger = Ledger.of(output)
    if job.settings.pyramid and ledger.inside:
        build_pyramid(output)
    with open_volume(output) as made:
        made.set_attrs({"vol2vol": {**job.provenance(), "complete": True}})
    ledger.remove()


def _create(job: Job, output: str, *, overwrite: bool) -> None:
    _warn_range(job)
    if overwrite:
        Ledger.of(output).remove()
    sharded = job.settings.ome_version == "0.5"
    create_volume(
        output,
        shape=(job.channels, *job.layout.region.shape),
        dtype=job.dtype,
        voxel_size=job.source.voxel_size,
        unit=job.source.unit,
        chunks=job.layout.chunks,
        shards=job.layout.block if sharded else None,
        version=job.settings.ome_version,
        overwrite=overwrite,
        attrs={"vol2vol": {**job.provenance(), "complete": False}},
    ).close()


def _made(output: str) -> dict[str, Any]:
    """Return how a complete output was made, nothing where there is no output; raise if something else is there."""
    if "://" in output or not Path(output).exists():
        return {}
    made: dict[str, Any] = {}
    if Path(output).is_dir():
        made = open_volume(output).attrs.get("vol2vol", {})
    if not made.get("complete"):
        raise AlreadyExists(f"{output} exists and was not begun by this prediction: choose another name or --overwrite")
    return made


def _warn_range(job: Job) -> None:
    if job.settings.raw or job.dtype.kind == "f":
        return
    top = max(job.bundle.intensity[job.domains[1]].high)
    if top > np.iinfo(job.dtype).max:
        log.warning("the %s domain reaches %g, more than %s holds: give --dtype uint16", job.domains[1], top, job.dtype)


def _refuse_input(request: Request, output: str) -> None:
    if "://" not in output and Path(output).exists() and Path(output).resolve() == Path(request.input).resolve():
        raise AlreadyExists(f"{output} is the input: choose another name for the output")
