"""Verify stored outputs: by checksums for a prediction in progress, by computing blocks again for any output."""

from __future__ import annotations

import logging
import random
from collections.abc import Container, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import chain
from math import inf, prod
from pathlib import Path
from typing import Any, Unpack

import numpy as np

import vol2vol
from vol2vol.errors import BadInput, Mismatch, NotFound, Unreadable
from vol2vol.geometry import Box, grid
from vol2vol.prediction.job import Job
from vol2vol.prediction.marching import repair
from vol2vol.prediction.output_types import settled_before
from vol2vol.prediction.parts import bytes_per_voxel, parts_of, volumes_of
from vol2vol.prediction.records import check_record, read_plan
from vol2vol.prediction.request import Request
from vol2vol.prediction.settings import PredictSettings
from vol2vol.prediction.statistics import with_statistics
from vol2vol.progress import counted
from vol2vol.volumes import Stated, open_volume, outputs
from vol2vol.volumes.addresses import address
from vol2vol.volumes.formats import ngff
from vol2vol.volumes.formats.nodes import name_of, read_node
from vol2vol.volumes.ledger import Ledger, block_name
from vol2vol.volumes.marks import Marks
from vol2vol.volumes.pyramid import Level, coarser_levels

log = logging.getLogger(__name__)
READERS = 4


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The result of `verify`."""

    output: str
    blocks: int
    """Number of blocks that were computed again."""
    of: int
    """Number of blocks of the output."""
    coarser: int
    """Number of blocks of coarser levels that were averaged again."""
    voxels: int
    differing: int
    """Number of voxels whose stored value differs from the recomputed one."""
    largest: float
    """Largest difference, in stored values."""
    wrong: dict[str, str] = field(default_factory=dict)
    """For each block that differs, a description of the difference."""


def intact(job: Job, output: str, boxes: Sequence[Box], marks: Marks) -> set[str]:
    """Return the names of the blocks that are done and match their checksums; the others lose their marks.

    So do the tiles of a march that have to be computed again; no worker may be running then.
    Costs some percent of the time to compute the blocks.
    """
    storage: dict[str, Any] = {"origin": job.layout.region.start, "readers": readers(job)}
    sound = outputs.intact(output, boxes, marks, **storage, volumes=volumes_of(job, output))
    repair(job, output, marks)
    return sound


def readers(job: Job) -> int:
    """Return the number of blocks that may be read at once within the memory budget."""
    held = prod(job.layout.block) * bytes_per_voxel(job)
    return max(1, min(READERS, job.settings.budget() // (4 * held)))


def verify(
    output: str | Path,
    *,
    model: str | Path | None = None,
    input: str | Path | None = None,
    sample: int = 8,
    seed: int = 0,
    tolerance: float = 0.0,
    which: str = "auto",
    device: str = "auto",
    **stated: Unpack[Stated],
) -> Verification:
    """Compute a random sample of an output's blocks, and of the blocks of its coarser levels, again and compare them.

    A complete output records model and input only as hashes: both must be given, and are refused if they are not those
    it was made with. An unfinished output records their paths; only its finished blocks are compared. Differences up to
    `tolerance`, in stored values, count as equal, since another device rounds differently. Raises `BadInput`,
    `Mismatch`.
    """
    output = address(output)
    if sample < 1:
        raise BadInput(f"a sample of {sample} blocks verifies nothing: give `sample` 1 or more")
    if not 0 <= tolerance < inf:
        raise BadInput(f"tolerance {tolerance:g} is not valid: give `tolerance` 0 or more")
    done: set[str] | None = None
    if read_plan(output) is not None:
        job = Job.attach(output, device=device)
        done = Ledger.of(output).marks(job.begun).done
        blocks = [box for box in job.layout.blocks() if block_name(box) in done]
    else:
        job = _reopened(output, model, input, which=which, device=device, stated=stated)
        blocks = job.layout.blocks()
    generator = random.Random(seed)
    chosen = sorted(generator.sample(range(len(blocks)), min(sample, len(blocks))))
    verification = _compare(job, output, [blocks[i] for i in chosen], tolerance)
    coarser = _coarser_blocks(job, output, done)
    return _with_coarser(verification, output, generator.sample(coarser, min(sample, len(coarser))))


def _reopened(
    output: str,
    model: str | Path | None,
    input: str | Path | None,
    *,
    which: str,
    device: str,
    stated: Stated,
) -> Job:
    """Open the job of a complete output from its attributes, the model and the input."""
    attributes = outputs.read_record(output)
    if not attributes:
        open_volume(output).close()  # raises the reason if the output cannot be read
        raise BadInput(f"{output} does not say how it was made: only predictions of vol2vol can be verified")
    record = check_record(attributes, output)
    if not record.complete:
        raise Mismatch(f"{output} is not complete: finish it with the same vol2vol predict, then verify")
    if model is None or input is None:
        missing = " and ".join(flag for flag, value in (("`model`", model), ("`input`", input)) if value is None)
        raise BadInput(
            f"{output} records its model and input only as hashes: give {missing} "
            f"(input {record.input_name}, model {record.model[:12]})"
        )
    settings = PredictSettings(**{**settled_before(record.settings), "device": device})
    request = Request.of(model, input, settings, which, **stated).choosing(attributes)
    request = replace(request, measured=record.intensity_from)
    job = Job.open(request, record.layout)
    if record.version != vol2vol.__version__:
        log.warning("%s was made by version %s, this is %s", output, record.version, vol2vol.__version__)
    job.refuse_other({**attributes, "version": vol2vol.__version__}, output)
    return with_statistics(job)


def _compare(job: Job, output: str, boxes: list[Box], tolerance: float) -> Verification:
    if not boxes:
        raise NotFound(f"{output} has no finished block yet: nothing to verify")
    wrong: dict[str, str] = {}
    differing, largest, start = 0, 0.0, job.layout.region.start
    computed = chain.from_iterable(job.predict_row(row) for row in job.layout.rows(boxes))
    with ExitStack() as opened:
        stored = [(opened.enter_context(open_volume(path)), part) for path, part in parts_of(job, output)]
        for box, raw in counted(computed, "computing again", len(boxes)):
            for volume, part in stored:
                name = _block_label(block_name(box), volume.path, output)
                values = part.stored(raw)
                try:
                    stored_values = volume.read(box.relative_to(start))
                except Unreadable as error:
                    wrong[name], differing = str(error), differing + values.size
                    continue
                difference = np.abs(stored_values.astype(np.float64) - values.astype(np.float64))
                worst, count = float(difference.max()), int((~(difference <= tolerance)).sum())
                largest, differing = max(largest, worst), differing + count
                if count:
                    wrong[name] = f"{count} of {values.size} voxels differ, by up to {worst:g}"
    return Verification(
        output=output,
        blocks=len(boxes),
        of=len(job.layout.blocks()),
        coarser=0,
        voxels=sum(box.size for box in boxes) * job.channels,
        differing=differing,
        largest=largest,
        wrong=wrong,
    )


def _block_label(block: str, volume: str, output: str) -> str:
    """Return a block's name, with that of its volume if the output has several."""
    return block if volume == output else f"{block} of {name_of(volume)}"


def _coarser_blocks(job: Job, output: str, done: Container[str] | None) -> list[tuple[str, Level, Box]]:
    """Return the blocks of the listed coarser levels; for an unfinished output, those that are done."""
    if not Ledger.of(output).inside:
        return []
    blocks = []
    for path in volumes_of(job, output):
        node = read_node(path)
        image = ngff.multiscale(node.attributes) if node is not None else None
        listed = len(image["datasets"]) if image is not None and done is None else None
        for level in [] if listed == 1 else coarser_levels(path, listed):
            blocks += [(path, level, box) for box in grid(Box.of(level.spatial), job.layout.block)]
    return [block for block in blocks if done is None or block_name(block[2], block[1].number) in done]


def _with_coarser(verification: Verification, output: str, blocks: Sequence[tuple[str, Level, Box]]) -> Verification:
    """Add the differences of blocks of coarser levels from the mean of the finer level."""
    wrong, differing = dict(verification.wrong), verification.differing
    for path, level, box in blocks:
        name = _block_label(block_name(box, level.number), path, output)
        try:
            difference = level.read(path, box) != level.average(path, box)
        except Unreadable as error:
            wrong[name], differing = str(error), differing + box.size
            continue
        if count := int(difference.sum()):
            differing += count
            wrong[name] = f"{count} of {difference.size} voxels are not the mean of the level above"
    return replace(verification, coarser=len(blocks), wrong=wrong, differing=differing)
