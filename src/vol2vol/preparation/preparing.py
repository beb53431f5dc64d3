"""Prepare a volume: open it, measure the boxes and ranges that its steps need, and write one output after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import vol2vol
from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.locks import writing
from vol2vol.preparation.chain import Chain, resolved
from vol2vol.preparation.output import KEY, Output, Prepared, Progress, earlier_record
from vol2vol.preparation.settings import Preparation
from vol2vol.preparation.steps import Crop
from vol2vol.preparation.storage import Storage
from vol2vol.volumes import Stated, Volume, open_finished
from vol2vol.volumes.addresses import address
from vol2vol.volumes.outputs import refuse_input

WORKERS = 2


def prepare_volume(
    input: str | Path,
    output: str | Path,
    preparation: Preparation,
    *,
    level: int = 0,
    overwrite: bool = False,
    workers: int = WORKERS,
    progress: Progress | None = None,
    **stated: Unpack[Stated],
) -> list[Prepared]:
    """Write the result of a preparation, block by block, and return one `Prepared` per output.

    The same call continues where an earlier one was interrupted. `stated` (see `Stated`) gives the metadata that the
    input file lacks; `level` selects a level of a multiscale image; `workers` is the number of threads. Memory does
    not depend on the size of the volume, and the bytes depend neither on `workers` nor on interruptions. Raises
    `Mismatch` where an output was begun with another input or other steps, and `AlreadyExists` where something else
    exists, unless `overwrite`.
    """
    if workers < 1:
        raise BadInput(f"{workers} workers prepare nothing: give `workers` 1 or more")
    outputs = preparation.outputs(address(output))
    for path in outputs.values():
        refuse_input(str(input), path)
    with writing(*outputs.values()), _opened(input, preparation, level, stated) as volume:
        requested = _chain(volume, preparation)
        chosen = {"chosen": dict(volume.chosen)} if volume.chosen else {}
        record = {"version": vol2vol.__version__, **chosen, "input": volume.fingerprint(), KEY: preparation.record()}
        records = {part: {**record, "part": part} for part in outputs}
        earlier = {part: {} if overwrite else earlier_record(outputs[part], records[part]) for part in outputs}
        steps = next((begun["steps"] for begun in earlier.values() if begun), None)
        chain = resolved(requested) if steps is None else _with_steps(requested, steps)
        crops = _crops(chain, preparation)
        parts = {
            part: Output(chain.then(*crops[part]), chain.steps, path, record=records[part], preparation=preparation)
            for part, path in outputs.items()
        }
        options: dict[str, Any] = {"overwrite": overwrite, "workers": workers, "progress": progress}
        return [output.run(earlier[part], **options) for part, output in parts.items()]


def dry_run(
    input: str | Path,
    output: str | Path,
    preparation: Preparation,
    *,
    level: int = 0,
    workers: int = WORKERS,
    **stated: Unpack[Stated],
) -> dict[str, Any]:
    """Return the plan of a preparation and its cost as plain data; reads no voxels and writes nothing.

    Steps that need a measurement (the box of the content, a range of values) are listed under `measured when it runs`;
    shapes and bytes are then upper bounds. Takes the arguments of `prepare_volume` and raises the same errors.
    """
    outputs = preparation.outputs(str(output))
    with _opened(input, preparation, level, stated) as volume:
        chain = _chain(volume, preparation)
        plan: dict[str, Any] = {"input": volume.path, **_header(chain.until(0))}
        for number, step in enumerate(chain.steps, start=1):
            plan[f"{number} {step.words()}"] = _header(chain.until(number))
        if unmeasured := [step.words() for step in chain.steps if step.data_dependent]:
            plan["measured when it runs"] = unmeasured
        crops = _crops(chain, preparation)
        for part, path in outputs.items():
            plan[path] = _cost(chain.then(*crops[part]), preparation, workers)
    return plan


def _opened(input: str | Path, preparation: Preparation, level: int, stated: Stated) -> Volume:
    """Open the input; the preparation's voxel size applies where neither the file nor the caller gives one."""
    volume = open_finished(input, level=level, **stated)
    if volume.sized or preparation.voxel_size is None:
        return volume
    volume.close()
    completed: Stated = {**stated, "voxel_size": preparation.voxel_size, "unit": preparation.unit}
    return open_finished(input, level=level, **completed)


def _chain(volume: Volume, preparation: Preparation) -> Chain:
    """Return the chain of a preparation, before any measurement."""
    wide = volume.dtype.kind in "iu" and volume.dtype.itemsize > 2
    return Chain.of(volume, preparation.steps, labels=wide if preparation.labels is None else preparation.labels)


def _with_steps(requested: Chain, steps: list[dict[str, Any]]) -> Chain:
    """Return the chain with the recorded steps of an earlier start, whose boxes and ranges are measured."""
    return requested.until(0).then(*Preparation.model_validate({"steps": steps}).steps)


def _crops(chain: Chain, preparation: Preparation) -> dict[str, list[Crop]]:
    """Return, by part of a split, the step that cuts it out of the result; no step where there is no split."""
    if preparation.split is None:
        return {"": []}
    return {part: [Crop.of(box)] for part, box in preparation.split.boxes(chain.spatial).items()}


def _header(chain: Chain) -> dict[str, Any]:
    header = chain.header
    kind = f"{header.dtype} labels" if header.labels else str(header.dtype)
    return {"shape": list(header.shape), "voxel size": list(header.voxel_size), "type": kind}


def _cost(chain: Chain, preparation: Preparation, workers: int) -> dict[str, Any]:
    """Return the storage of one output and the bytes that computing it reads, writes and holds in memory."""
    storage, header, volume = Storage.of(chain, preparation), chain.header, chain.volume
    stored = volume.channels * Box.of(volume.spatial).size * volume.dtype.itemsize
    read = storage.voxels_read(chain) * volume.channels * volume.dtype.itemsize
    return {
        **_header(chain),
        "chunks": list(storage.chunks),
        "blocks": storage.count(),
        "block": list(storage.block),
        "computed in parts of": list(storage.part),
        "bytes read, before compression": read,
        "bytes read over the input's": round(read / stored, 3),
        "bytes written, before compression": header.nbytes(Box.of(header.spatial)),
        "bytes of memory": workers * storage.memory(chain),
    }
