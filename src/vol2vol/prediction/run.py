"""The verb: plan or continue, compute what is not done, finish."""

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
from vol2vol.prediction.submission import submission
from vol2vol.prediction.verification import intact, readers
from vol2vol.prediction.whole import make_whole
from vol2vol.volumes import Stated
from vol2vol.volumes.addresses import address
from vol2vol.volumes.completeness import missing
from vol2vol.volumes.ledger import Ledger, block_name, refuse_other
from vol2vol.volumes.marks import Marks
from vol2vol.volumes.outputs import check_store, clear_aborted, read_record, refuse_input, reopen

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
    checkpoint: str = ""
    """Which model was taken: the name of a bundle's folder, of a run's with its role, such as `epoch-0005 (best)`."""
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
    (`Stated`) describes an input whose file does not. Memory does not grow with the volume. With several workers a
    script needs the usual `if __name__ == "__main__"`; with executor slurm the job array is submitted and nothing
    computed here. Raises `Mismatch` if the output was begun with another model, input or setting, `AlreadyExists` if
    something else is there and `overwrite` is not given. Long because it explains every option.
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
    """Do what `predict` does, with a model that may be loaded already.

    With a folder `aside`, on the disk of the output, an output of one block is written there and then moved to its
    place: it needs no ledger.
    """
    began = time.monotonic()
    with writing(output):
        before, job = find(request, output, overwrite=overwrite, model=model)
        submitted, blocks = None, len(job.layout.blocks())
        if before == "new" and aside is not None and blocks == 1:
            left, voxels = 1, make_whole(job, output, aside, overwrite=overwrite)
        elif before == "complete":
            left = voxels = 0
            if progress is not None:
                progress(blocks, blocks, 0)
        else:
            job = start(job, output, overwrite=overwrite) if before == "new" else job
            left, voxels, submitted = _go_on(job, output, progress, new=before == "new")
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


def _go_on(job: Job, output: str, progress: Progress | None, *, new: bool) -> tuple[int, int, str | None]:
    """Compute what is left, or submit it; return blocks that were left, voxels computed, and what was submitted."""
    blocks, marks = job.layout.blocks(), Ledger.of(output).marks(job.begun)
    done = set() if new else intact(job, output, blocks, marks)
    todo = [box for box in blocks if block_name(box) not in done]
    if progress is not None:
        progress(len(done), len(blocks), 0)
    if job.settings.executor == "slurm":
        Ledger.of(output).unclaim()
        return len(todo), 0, submission(job, output, len(todo)).submit()
    return len(todo), _compute(job, output, todo, marks, progress), None


def _compute(job: Job, output: str, todo: Sequence[Box], marks: Marks, progress: Progress | None) -> int:
    """Compute what is left, finish the output and return how many voxels were computed."""
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
    """Make room for an output, or attach to what an earlier start made of it; return which, and the job.

    Whatever the moment at which an earlier start was killed, a second one continues it or starts again by itself.
    """
    refuse_input(request.input, output)
    _refuse_tiff_on_many_machines(request.settings, output)
    refuse_split(request.settings, output)
    ledger = Ledger.of(output)
    before = None if overwrite else read_plan(output)
    if before is not None:
        job = Job.continued(request, before, output, model=model)
        if ledger.inside:  # some levels may be there already, and workers heed the plan
            planned = before["request"]["settings"]["pyramid"]
            refuse_other({"pyramid": planned}, {"pyramid": job.settings.pyramid}, output)
        _check_stores(job, output)
        return "begun", job
    made = {} if overwrite else read_record(output)
    if made.get("complete"):
        record = check_record(made, output)
        job = Job.open(request.choosing(made), record.layout, before=made, model=model)
        refuse_other(made, job.decisive(), output)
        if ledger.inside and any(missing(path) for path in volumes_of(job, output)):
            return "begun", _healing(job, output)
        ledger.remove()
        log.info("%s is complete: nothing to do", output)
        return "complete", job
    job = Job.open(request, model=model)
    check_fit(job)
    if not overwrite:
        clear_aborted(output, ours=bool(made) and all(made.get(key) == value for key, value in job.decisive().items()))
    return "new", job


def start(job: Job, output: str, *, overwrite: bool) -> Job:
    """Create an output for which there is room, and its ledger; return the job as it was begun."""
    for volume, _ in create(job, output, overwrite=overwrite):
        volume.close()
    return replace(job, begun=Ledger.of(output).begin(_plan(job)))


def _plan(job: Job) -> dict[str, Any]:
    return {**job.decisive(), "request": job.request.to_dict(), "layout": job.layout.to_dict()}


def _check_stores(job: Job, output: str) -> None:
    """Raise `Mismatch` unless all volumes of an output are stored as planned."""
    how: dict[str, Any] = {"block": job.layout.block, "sharded": job.settings.ome_version == "0.5"}
    for path, part in parts_of(job, output):
        check_store(path, shape=(part.channels, *job.layout.region.shape), dtype=part.dtype, **how)


def _healing(job: Job, output: str) -> Job:
    """Return the job of a complete output that lacks some of its shards, begun again with what it has."""
    origin = job.layout.region.start
    how: dict[str, Any] = {"origin": origin, "readers": readers(job), "volumes": volumes_of(job, output)}
    begun, _ = reopen(output, job.layout.blocks(), _plan(job), **how)
    return replace(job, begun=begun)


def _refuse_tiff_on_many_machines(settings: PredictSettings, output: str) -> None:
    several = settings.executor == "slurm" or settings.scheduler is not None
    if several and output.lower().endswith((".tif", ".tiff")):
        raise BadInput(f"several machines cannot write into one TIFF: let the name of {output} end in .zarr")
