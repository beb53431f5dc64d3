"""The verb: open, answer what the steps have to know, then make one output after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import vol2vol
from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.locks import writing
from vol2vol.preparation.chain import Chain, answered
from vol2vol.preparation.output import KEY, Job, Prepared, Progress, found_before
from vol2vol.preparation.settings import Preparation
from vol2vol.preparation.steps import Crop
from vol2vol.preparation.storage import Layout
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
    """Write what the steps make of a volume, block by block; the same call continues where an earlier one was killed.

    `stated` (`Stated`) describes an input whose file does not, `level` picks from a multiscale image. Memory does not
    grow with the volume; bytes depend neither on `workers` (threads) nor on kills. Raises `Mismatch` if an output was
    begun with another input or other steps, `AlreadyExists` if something else is there and `overwrite` is not given.
    """
    if workers < 1:
        raise BadInput(f"{workers} workers prepare nothing: give --workers 1 or more")
    outputs = preparation.outputs(address(output))
    for place in outputs.values():
        refuse_input(str(input), place)
    with writing(*outputs.values()), _opened(input, preparation, level, stated) as volume:
        asked = _first(volume, preparation)
        chosen = {"chosen": dict(volume.chosen)} if volume.chosen else {}
        record = {"version": vol2vol.__version__, **chosen, "input": volume.fingerprint(), KEY: preparation.record()}
        records = {part: {**record, "part": part} for part in outputs}
        before = {part: {} if overwrite else found_before(outputs[part], records[part]) for part in outputs}
        steps = next((said["steps"] for said in before.values() if said), None)
        chain = answered(asked) if steps is None else _again(asked, steps)
        cuts, made = _cuts(chain, preparation), []
        jobs = {
            part: Job(chain.then(*cuts[part]), chain.steps, place, record=records[part], preparation=preparation)
            for part, place in outputs.items()
        }
        for part, job in jobs.items():
            made.append(job.run(before[part], overwrite=overwrite, workers=workers, progress=progress))
    return made


def dry_run(
    input: str | Path,
    output: str | Path,
    preparation: Preparation,
    *,
    level: int = 0,
    workers: int = WORKERS,
    **stated: Unpack[Stated],
) -> dict[str, Any]:
    """Return, as plain data, what a preparation would do and cost; reads no voxels and writes nothing.

    What has to be looked up first (the box of the content, a measured range) is named under `found when it runs`;
    until then shapes and bytes are the most they can be.
    """
    outputs = preparation.outputs(str(output))
    with _opened(input, preparation, level, stated) as volume:
        chain = _first(volume, preparation)
        said: dict[str, Any] = {"input": volume.path, **_look(chain.until(0))}
        for number, step in enumerate(chain.steps, start=1):
            said[f"{number} {step.words()}"] = _look(chain.until(number))
        if unknown := [step.words() for step in chain.steps if step.open_question]:
            said["found when it runs"] = unknown
        cuts = _cuts(chain, preparation)
        for part, place in outputs.items():
            said[place] = _cost(chain.then(*cuts[part]), preparation, workers)
    return said


def _opened(input: str | Path, preparation: Preparation, level: int, stated: Stated) -> Volume:
    """Open the input; the preparation's voxel size fills in what neither the file nor the caller says."""
    volume = open_finished(input, level=level, **stated)
    if volume.sized or preparation.voxel_size is None:
        return volume
    volume.close()
    about: Stated = {**stated, "voxel_size": preparation.voxel_size, "unit": preparation.unit}
    return open_finished(input, level=level, **about)


def _first(volume: Volume, preparation: Preparation) -> Chain:
    """Return the chain, its questions open."""
    wide = volume.dtype.kind in "iu" and volume.dtype.itemsize > 2
    return Chain.of(volume, preparation.steps, labels=wide if preparation.labels is None else preparation.labels)


def _again(asked: Chain, steps: list[dict[str, Any]]) -> Chain:
    """Return the chain as an earlier start answered its questions."""
    return asked.until(0).then(*Preparation.model_validate({"steps": steps}).steps)


def _cuts(chain: Chain, preparation: Preparation) -> dict[str, list[Crop]]:
    """Return by part the step that cuts it out of the result; nothing where there is no split."""
    if preparation.split is None:
        return {"": []}
    return {part: [Crop.of(box)] for part, box in preparation.split.boxes(chain.spatial).items()}


def _look(chain: Chain) -> dict[str, Any]:
    look = chain.look
    kind = f"{look.dtype} labels" if look.labels else str(look.dtype)
    return {"shape": list(look.shape), "voxel size": list(look.voxel_size), "type": kind}


def _cost(chain: Chain, preparation: Preparation, workers: int) -> dict[str, Any]:
    """Return how one output is made, and what that takes."""
    layout, look, volume = Layout.of(chain, preparation), chain.look, chain.volume
    there = volume.channels * Box.of(volume.spatial).size * volume.dtype.itemsize
    read = layout.voxels_read(chain) * volume.channels * volume.dtype.itemsize
    return {
        **_look(chain),
        "chunks": list(layout.chunks),
        "blocks": layout.count(),
        "block": list(layout.block),
        "computed in parts of": list(layout.part),
        "bytes read, before compression": read,
        "bytes read over the input's": round(read / there, 3),
        "bytes written, before compression": look.nbytes(Box.of(look.spatial)),
        "bytes of memory": workers * layout.memory(chain),
    }
