"""The two ends of an output: how it comes into being, and what follows its last block."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from vol2vol.errors import AlreadyExists, BadInput, Mismatch, NotFound, UserError
from vol2vol.prediction.job import Job
from vol2vol.prediction.ledger import Ledger, block_name
from vol2vol.prediction.work import check_input
from vol2vol.volumes import build_pyramid, create_volume, open_volume
from vol2vol.volumes.store import delete_all, is_remote, list_keys

log = logging.getLogger(__name__)
_METADATA = {"zarr.json", ".zarray", ".zattrs", ".zgroup", "plan.json"}


def create(job: Job, output: str, *, overwrite: bool) -> None:
    """Create the empty volume that the blocks go into; with `overwrite` in place of what is there."""
    _warn_range(job)
    if overwrite:
        Ledger.of(output).remove()
    create_volume(
        output,
        shape=(job.channels, *job.layout.region.shape),
        dtype=job.dtype,
        voxel_size=job.source.voxel_size,
        unit=job.source.unit,
        chunks=job.layout.chunks,
        shards=job.layout.block if job.settings.ome_version == "0.5" else None,
        version=job.settings.ome_version,
        overwrite=overwrite,
        attrs={"vol2vol": {**job.provenance(), "complete": False}},
    ).close()


def finish(job: Job, output: str) -> None:
    """Write what follows the last block: the pyramid, the attributes; then remove the ledger.

    Raises `Mismatch` if the input has changed since the prediction was begun; the output never becomes complete then.
    """
    ledger = Ledger.of(output)
    ledger.check(job.begun)
    check_input(job, ledger)
    missing = {block_name(box) for box in job.layout.blocks()} - ledger.done()
    assert not missing, f"{output} lacks blocks {sorted(missing)[:4]}"
    if job.settings.pyramid and ledger.inside:
        build_pyramid(output)
    with open_volume(output) as made:
        made.set_attrs({"vol2vol": {**job.provenance(), "complete": True}})
    ledger.remove()


def how_made(output: str) -> dict[str, Any]:
    """Return how an output says it was made, nothing where there is no output or it does not say."""
    try:
        with open_volume(output) as made:
            said = made.attrs.get("vol2vol", {})
    except (NotFound, UserError):
        return {}
    return said if isinstance(said, dict) else {}


def finished(output: str) -> bool:
    """Say whether an output is complete: no plan is left, and it says so itself."""
    return Ledger.of(output).plan() is None and bool(how_made(output).get("complete"))


def make_room(output: str, *, ours: bool) -> None:
    """Remove what is left of a creation that was killed before its plan was written: metadata, and no voxel.

    Raises `AlreadyExists` for anything else that is there. `ours` says that its attributes name this prediction.
    """
    if is_remote(output):
        keys = list_keys(output)
    elif Path(output).is_dir() and not Path(output).is_symlink():
        keys = [str(path.relative_to(output)) for path in Path(output).rglob("*") if path.is_file()]
    elif Path(output).exists():
        keys = [] if ours else ["a file"]
    else:
        return
    bare = {key.removesuffix(".__lock").rpartition("/")[2] for key in keys} <= _METADATA
    first = all(key.startswith(("0/", ".vol2vol/")) or "/" not in key for key in keys)
    unsaid = {"zarr.json", ".zattrs", ".zgroup"}.isdisjoint(keys)
    if keys and not (bare and first and (ours or unsaid)):
        raise AlreadyExists(f"{output} exists and was not begun by this prediction: choose another name or --overwrite")
    if not is_remote(output):
        shutil.rmtree(output) if Path(output).is_dir() else Path(output).unlink()
    elif keys:
        delete_all(output)


def check_store(job: Job, output: str) -> None:
    """Raise `Mismatch` unless an output is stored as planned, so that every block is whole shards of one writer."""
    try:
        made = open_volume(output)
    except BadInput as error:
        raise Mismatch(f"{output} is damaged ({error}): start again with --overwrite") from None
    with made:
        planned = (job.channels, *job.layout.region.shape)
        shards = made.shards if job.settings.ome_version == "0.5" else made.chunks
        whole = all(n % s == 0 or s >= m for n, s, m in zip(job.layout.block, shards, planned[1:], strict=True))
        if (
            made.shape != planned
            or made.dtype != job.dtype
            or not (whole or output.lower().endswith((".tif", ".tiff")))
        ):
            raise Mismatch(
                f"{output} holds {made.shape} {made.dtype} in shards of {shards}, planned were {planned} {job.dtype} "
                f"in {job.layout.block}: start again with --overwrite"
            )


def _warn_range(job: Job) -> None:
    if job.settings.raw or job.dtype.kind == "f":
        return
    top = max(job.bundle.intensity[job.domains[1]].high)
    if top > np.iinfo(job.dtype).max:
        log.warning("the %s domain reaches %g, more than %s holds: give --dtype uint16", job.domains[1], top, job.dtype)
