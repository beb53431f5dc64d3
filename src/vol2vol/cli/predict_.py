"""`vol2vol predict MODEL INPUT OUTPUT`."""

from __future__ import annotations

from typing import Annotated, Any

import tyro

from vol2vol.cli import parse, show
from vol2vol.machines.devices import find_device
from vol2vol.machines.memory import peak_memory
from vol2vol.prediction import Prediction, PredictSettings, dry_run, predict


def run(words: list[str]) -> None:
    """Parse the command line and predict."""
    parse.call(_predict, words, "predict")


def _predict(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    input: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="INPUT")],
    output: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")],
    settings: tyro.conf.OmitArgPrefixes[PredictSettings] = PredictSettings(),  # noqa: B008
    *,
    checkpoint: str = "auto",
    about: parse.About = parse.SAID,
    overwrite: bool = False,
    dry_run_: Annotated[bool, tyro.conf.arg(name="dry-run")] = False,
    json: bool = False,
) -> None:
    """Translate a volume of any size; the same command continues a prediction that was stopped or killed.

    Args:
        model: a model, or the folder of a run.
        input: OME-Zarr, Zarr, N5, TIFF, folder of slices, HDF5 (file.h5:/dataset), MRC; s3://, gs:// and http(s)://.
        output: where to write: NAME.zarr (OME-Zarr) or NAME.tif.
        settings: settings of the prediction.
        checkpoint: of a run: best, last or epoch-0005; auto is the best that training judged, else the last.
        about: metadata missing from the volume files.
        overwrite: replace an output that exists.
        dry_run_: print blocks, operations, memory, expected time, and the script of a job array; compute nothing.
        json: print the result as JSON.
    """
    where: dict[str, Any] = {"which": checkpoint, **about.keywords()}
    if dry_run_:
        show.result(dry_run(model, input, settings, **where, output=output), as_json=json)
        return
    with show.block_progress() as progress, peak_memory(find_device(settings.device)) as peak:
        made = predict(model, input, output, settings, **where, overwrite=overwrite, progress=progress)
    if made.submitted is not None:
        begun = {"output": made.output, "checkpoint": made.checkpoint, "blocks": made.blocks}
        show.result({**begun, "submitted": made.submitted}, as_json=json)
        return
    alone = settings.executor == "local" and settings.workers == 1
    show.result({**_summary(made), "bytes of peak memory": round(peak()) if alone else None}, as_json=json)


def _summary(made: Prediction) -> dict[str, Any]:
    rate = made.voxels / made.seconds if made.voxels else 0.0
    return {
        "output": made.output,
        "checkpoint": made.checkpoint,
        "blocks": made.blocks,
        "blocks done before": made.blocks_before,
        "voxels computed": made.voxels,
        "seconds": round(made.seconds, 2),
        "voxels per second": round(rate),
    }
