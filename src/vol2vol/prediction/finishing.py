"""The two ends of an output: how it comes into being, and what follows its last block."""

from __future__ import annotations

import logging

import numpy as np

from vol2vol.prediction.compute import check_input
from vol2vol.prediction.job import Job
from vol2vol.prediction.lazy import Translated
from vol2vol.prediction.work_items import coarser
from vol2vol.volumes import Volume, create_volume, open_volume
from vol2vol.volumes.ledger import Ledger, block_name
from vol2vol.volumes.marks import Marks
from vol2vol.volumes.outputs import clear_output, how_made
from vol2vol.volumes.pyramid import coarser_levels, list_levels
from vol2vol.volumes.windows import store_windows

log = logging.getLogger(__name__)


def create(job: Job, output: str, *, overwrite: bool) -> Volume:
    """Create and open the empty volume that the blocks go into; with `overwrite` in place of what is there."""
    made = Translated(job)
    _warn_range(job)
    if overwrite:
        clear_output(output)
    return create_volume(
        output,
        shape=made.shape,
        dtype=made.dtype,
        voxel_size=made.voxel_size,
        unit=made.unit,
        offset=made.offset if made.placed else None,
        chunks=job.layout.chunks,
        shards=job.layout.block if job.settings.ome_version == "0.5" else None,
        version=job.settings.ome_version,
        attrs={"vol2vol": {**job.provenance(), "complete": False}},
        channel_names=made.channel_names,
    )


def finish(job: Job, output: str, marks: Marks) -> None:
    """Write what follows the last block: which levels there are, the attributes; then remove the ledger.

    Raises `Mismatch` if the input has changed since the prediction was begun; the output never becomes complete then.
    """
    ledger = Ledger.of(output)
    ledger.check(job.begun)
    check_input(job, ledger)
    coarse = coarser(job, output)
    marks.refresh()
    needed = {block_name(box) for box in job.layout.blocks()} | {b.name for portion in coarse for b in portion.blocks}
    missing = needed - marks.done
    assert not missing, f"{output} lacks blocks {sorted(missing)[:4]}"
    if coarse:
        list_levels(output, coarser_levels(output))
    with open_volume(output) as made:
        complete(job, made)
    ledger.remove()


def complete(job: Job, made: Volume) -> None:
    """Let an output whose voxels are all on disk say so, and how it is shown."""
    store_windows(made.path)
    made.set_attrs({"vol2vol": {**job.provenance(), "complete": True}})


def finished(output: str) -> bool:
    """Say whether an output is complete: no plan is left, and it says so itself."""
    return Ledger.of(output).plan() is None and bool(how_made(output).get("complete"))


def _warn_range(job: Job) -> None:
    if job.settings.raw or job.dtype.kind == "f":
        return
    made = job.translation.makes
    top = max(job.bundle.maps(made).high)
    if top > np.iinfo(job.dtype).max:
        what = " and ".join(made)
        log.warning("the %s domain reaches %g, more than %s holds: give --dtype uint16", what, top, job.dtype)
