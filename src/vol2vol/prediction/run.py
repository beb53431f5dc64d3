"""Predict a volume: plan or continue, compute the unfinished blocks, finish the output."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Unpack

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.locks import writing
from vol2vol.models.checkpoints import checkpoint_name
from vol2vol.plans.layout import Layout
from vol2vol.prediction.compute import compute
from vol2vol.prediction.finishing import create, finish
from vol2vol.prediction.intensities import check_fit
from vol2vol.prediction.job import Job
from vol2vol.prediction.loaded import LoadedModel
from vol2vol.prediction.parts import parts_of, refuse_split, volumes_of
from vol2vol.prediction.records import check_record, read_plan
from vol2vol.prediction.request import Request
from vol2vol.prediction.settings import PredictSettings
from vol2vol.prediction.statistics import with_statistics
from vol2vol.prediction.submission import submission
from vol2vol.prediction.verification import intact, readers
from vol2vol.prediction.whole import predict_whole
from vol2vol.volumes import Stated
from vol2vol.volumes.addresses import address
from vol2vol.volumes.completeness import missing
from vol2vol.volumes.ledger import Ledger, block_name, refuse_other
from vol2vol.volumes.marks import Marks
from vol2vol.volumes.outputs import check_store, clear_aborted, read_record, refuse_input, reopen

log = logging.getLogger(__name__)
Progress = Callable[[int, int, int], None]
"""Called with the number of finished blocks, of all blocks, and of voxels computed since the start."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The result of `predict`."""

    output: str
    voxels: int
    """Voxels computed by this call; fewer than the output's if it continued an earlier call."""
    seconds: float
    blocks: int
    blocks_before: int
    """Blocks that were already done when this call began."""
    layout: Layout
    checkpoint: str = ""
    """Name of the model that was used; for a run with the role of the checkpoint, such as `epoch-0005 (best)`."""
    submitted: str | None = None
    """How to watch the job array that was submitted instead of computing here."""


def predict(
    model: str | Path,
    input: str | Path,
    output: str | Path,
    settings: PredictSettings | None = None,
    *,
    which: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
    **stated: Unpack[Stated],
) -> Prediction:
    """Translate a whole volume, block by block, and continue where an earlier call was killed.

    `model` is a bundle or a run folder, of which `which` picks a checkpoint (see `find_bundle`). `stated`
    (`Stated`) supplies metadata missing from the input file. Memory does not grow with the volume. With several
    workers, a script needs the usual `if __name__ == "__main__"`; with executor slurm, the job array is submitted and
    nothing is computed here. Raises `Mismatch` if the output was started with another model, input or setting,
    `AlreadyExists` if something else exists at the output's path and `overwrite` is not set.
    """
    request = Request.of(model, input, settings or PredictSettings(), which, **stated)
    return carry_out(request, address(output), overwrite=overwrite, progress=progress)


def carry_out(
    request: Request,
    output: str,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    model: LoadedModel | None = None,
    aside: str | None = None,
) -> Prediction:
    """Do what `predict` does, with a model that may already be loaded.

    If `aside` names a folder on the same disk as the output, an output of one block is written there and then moved to
    its final path, which needs no ledger.
    """
    began = time.monotonic()
    with writing(output):
        before, job = find(request, output, overwrite=overwrite, model=model)
        submitted, blocks = None, len(job.layout.blocks())
        if before == "new" and aside is not None and blocks == 1:
            left, voxels = 1, predict_whole(with_statistics(job), output, aside, overwrite=overwrite)
        elif before == "complete":
            left = voxels = 0
            if progress is not None:
                progress(blocks, blocks, 0)
        else:
            job = with_statistics(start(job, output, overwrite=overwrite) if before == "new" else job, output)
            left, voxels, submitted = _continue(job, output, progress, new=before == "new")
        job.source.close()
    return Prediction(
        output=output,
        voxels=voxels,
        seconds=time.monotonic() - began,
        blocks=blocks,
        blocks_before=blocks - left,
        layout=job.layout,
        checkpoint=checkpoint_name(request.model),
        submitted=submitted,
    )


def _continue(job: Job, output: str, progress: Progress | None, *, new: bool) -> tuple[int, int, str | None]:
    """Compute or submit the unfinished blocks; return their number, the voxels computed and the submission."""
    blocks, marks = job.layout.blocks(), Ledger.of(output).marks(job.begun)
    done = set() if new else intact(job, output, blocks, marks)
    todo = [box for box in blocks if block_name(box) not in done]
    if progress is not None:
        progress(len(done), len(blocks), 0)
    if job.settings.executor == "slurm":
        Ledger.of(output).clear_leases()
        return len(todo), 0, submission(job, output, len(todo)).submit()
    return len(todo), _compute(job, output, todo, marks, progress), None


def _compute(job: Job, output: str, todo: Sequence[Box], marks: Marks, progress: Progress | None) -> int:
    """Compute the unfinished blocks, finish the output and return the number of voxels computed."""
    voxels, blocks = 0, len(job.layout.blocks())
    for count, box in enumerate(compute(job, output, todo, marks), start=blocks - len(todo) + 1):
        voxels += box.size
        if progress is not None:
            progress(count, blocks, voxels)
    finish(job, output, marks)
    return voxels


def find(
    request: Request, output: str, *, overwrite: bool, model: LoadedModel | None = None
) -> tuple[Literal["new", "begun", "complete"], Job]:
    """Check what exists at the output's path and return its state with the job to continue or start.

    Whenever an earlier start was killed, a second one continues it or starts again by itself.
    """
    refuse_input(request.input, output)
    _refuse_tiff_on_many_machines(request.settings, output)
    refuse_split(request.settings, output)
    ledger = Ledger.of(output)
    before = None if overwrite else read_plan(output)
    if before is not None:
        job = Job.continued(request, before, output, model=model)
        if ledger.inside:  # some levels may exist already, and workers follow the plan
            planned = before["request"]["settings"]["pyramid"]
            refuse_other({"pyramid": planned}, {"pyramid": job.settings.pyramid}, output)
        _check_stores(job, output)
        return "begun", job
    record_data = {} if overwrite else read_record(output)
    if record_data.get("complete"):
        record = check_record(record_data, output)
        job = Job.open(request.choosing(record_data), record.layout, before=record_data, model=model)
        job.refuse_other(record_data, output)
        if ledger.inside and any(missing(path) for path in volumes_of(job, output)):
            return "begun", _restart_incomplete(job, output)
        ledger.remove()
        log.info("%s is complete: nothing to do", output)
        return "complete", job
    job = Job.open(request, model=model)
    check_fit(job)
    if not overwrite:
        clear_aborted(
            output,
            ours=bool(record_data) and all(record_data.get(key) == value for key, value in job.decisive().items()),
        )
    return "new", job


def start(job: Job, output: str, *, overwrite: bool) -> Job:
    """Create an output and its ledger; return the job with the identifier of this start."""
    for volume, _ in create(job, output, overwrite=overwrite):
        volume.close()
    return replace(job, begun=Ledger.of(output).begin(_plan(job)))


def _plan(job: Job) -> dict[str, Any]:
    return {**job.decisive(), "request": job.request.to_dict(), "layout": job.layout.to_dict()}


def _check_stores(job: Job, output: str) -> None:
    """Raise `Mismatch` unless all volumes of an output have the planned shape, dtype and blocks."""
    storage: dict[str, Any] = {"block": job.layout.block, "sharded": job.settings.ome_version == "0.5"}
    for path, part in parts_of(job, output):
        check_store(path, shape=(part.channels, *job.layout.region.shape), dtype=part.dtype, **storage)


def _restart_incomplete(job: Job, output: str) -> Job:
    """Restart a complete output that lacks some of its shards, keep the intact blocks, and return its job."""
    origin = job.layout.region.start
    storage: dict[str, Any] = {"origin": origin, "readers": readers(job), "volumes": volumes_of(job, output)}
    begun, _ = reopen(output, job.layout.blocks(), _plan(job), **storage)
    return replace(job, begun=begun)


def _refuse_tiff_on_many_machines(settings: PredictSettings, output: str) -> None:
    several = settings.executor == "slurm" or settings.scheduler is not None
    if several and output.lower().endswith((".tif", ".tiff")):
        raise BadInput(f"several machines cannot write into one TIFF: the name of {output} must end in .zarr")
