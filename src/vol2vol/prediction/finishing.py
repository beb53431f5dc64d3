"""Create an output before its first block and finish it after its last one."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import ExitStack

import numpy as np

from vol2vol.prediction.compute import check_input
from vol2vol.prediction.job import Job
from vol2vol.prediction.lazy import Translated
from vol2vol.prediction.output_types import narrowest, of_floats
from vol2vol.prediction.parts import parts_of
from vol2vol.prediction.work_items import coarser
from vol2vol.volumes import Volume, create_volume, open_volume
from vol2vol.volumes.formats.imagegroups import create_group, set_attributes
from vol2vol.volumes.ledger import Ledger, block_name
from vol2vol.volumes.marks import Marks
from vol2vol.volumes.outputs import clear_output, read_record
from vol2vol.volumes.pyramid import coarser_levels, list_levels
from vol2vol.volumes.windows import store_windows

log = logging.getLogger(__name__)

COARSE = 16
"""A range of floats narrower than this loses its grey values where it is rounded to whole numbers."""


def create(job: Job, output: str, *, overwrite: bool) -> list[tuple[Volume, Job]]:
    """Create the empty volumes of an output; with `overwrite`, replace an existing output.

    Returns the open volumes, each with the job that would write it alone.
    """
    parts = parts_of(job, output)
    for _, part in parts:
        _warn_range(part)
    if overwrite:
        clear_output(output)
    if job.settings.split_outputs:
        attrs = job.record(complete=False).attributes()
        create_group(output, job.makes, version=job.settings.ome_version, attrs=attrs)
    return [(_create(part, path), part) for path, part in parts]


def _create(job: Job, output: str) -> Volume:
    translation = Translated(job)
    return create_volume(
        output,
        shape=translation.shape,
        dtype=translation.dtype,
        voxel_size=translation.voxel_size,
        unit=translation.unit,
        offset=translation.offset if translation.placed else None,
        chunks=job.layout.chunks,
        shards=job.layout.block if job.settings.ome_version == "0.5" else None,
        version=job.settings.ome_version,
        attrs=job.record(complete=False).attributes(),
        channel_names=translation.channel_names,
        flat=job.source.is_2d,
    )


def finish(job: Job, output: str, marks: Marks) -> None:
    """List the coarser levels, write the attributes, then remove the ledger.

    Raises `Mismatch` if the input has changed since the prediction was started; the output then never becomes complete.
    """
    ledger = Ledger.of(output)
    ledger.check(job.begun)
    check_input(job, ledger)
    coarse, parts = coarser(job, output), parts_of(job, output)
    marks.refresh()
    needed = {block_name(box) for box in job.layout.blocks()} | {b.name for item in coarse for b in item.blocks}
    missing = needed - marks.done
    assert not missing, f"{output} lacks blocks {sorted(missing)[:4]}"
    with ExitStack() as opened:
        volumes = [(opened.enter_context(open_volume(path)), part) for path, part in parts]
        if coarse:
            for path, _ in parts:
                list_levels(path, coarser_levels(path))
        complete(job, output, volumes)
    ledger.remove()


def complete(job: Job, output: str, volumes: Iterable[tuple[Volume, Job]]) -> None:
    """Record in the attributes that an output is complete, and the display windows of its volumes."""
    for volume, part in volumes:
        store_windows(volume.path)
        volume.set_attrs(part.record(complete=True).attributes())
    if job.settings.split_outputs:
        set_attributes(output, job.record(complete=True).attributes())


def finished(output: str) -> bool:
    """Return whether an output is complete: it has no plan any more, and its attributes state that it is complete."""
    return Ledger.of(output).plan() is None and bool(read_record(output).get("complete"))


def _warn_range(job: Job) -> None:
    """Warn of domains whose stored values the type of the output cannot hold, or would round to a few."""
    if job.dtype.kind == "f":
        return
    held = np.iinfo(job.dtype)
    for name in job.makes:
        intensity = job.bundle.intensity[name]
        if not intensity.clip:
            continue  # its low and high are no range
        low, high = min(intensity.low), max(intensity.high)
        beyond = round(low) < held.min or round(high) > held.max
        if not beyond and not (of_floats(job.bundle, name) and high - low < COARSE):
            continue
        loss = "does not hold" if beyond else "rounds to a few"
        log.warning(
            "the %s domain takes values from %g to %g, which %s %s: give `dtype` %s",
            *(name, low, high, job.dtype, loss, narrowest(job.bundle, [name])),
        )
