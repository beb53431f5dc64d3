"""`vol2vol predict MODEL INPUT OUTPUT`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import tyro

from vol2vol.cli import parse, show
from vol2vol.errors import BadInput
from vol2vol.machines.devices import find_device
from vol2vol.machines.memory import peak_memory
from vol2vol.prediction import Prediction, PredictSettings, dry_run, dry_run_files, predict, predict_files
from vol2vol.prediction.many.pairs import Suffix, is_folder, is_volume


def run(words: list[str]) -> None:
    """Parse the command line and predict."""
    parse.call(_predict, words, "predict")


def _predict(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    input: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="INPUT ...")],
    output: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")],
    more: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="")] = (),
    settings: tyro.conf.OmitArgPrefixes[PredictSettings] = PredictSettings(),  # noqa: B008
    *,
    suffix: Suffix = "auto",
    checkpoint: parse.Name = "auto",
    about: parse.MetadataOptions = parse.NO_METADATA,
    overwrite: bool = False,
    dry_run_: Annotated[bool, tyro.conf.arg(name="dry-run")] = False,
    json: bool = False,
) -> None:
    """Predict volumes of any size with a model; the same command continues a prediction that was stopped or killed.

    Args:
        model: a model, or the folder of a run.
        input: OME-Zarr, Zarr, N5, TIFF, PNG, JPEG, folder of slices, HDF5 (file.h5:/dataset) or MRC, also at s3://,
            gs:// and http(s)://; if OUTPUT is a folder, several of these, 'in/*.tif', or folders of separate images.
        output: NAME.zarr (OME-Zarr) or NAME.tif; or a folder, which gets an output with the name of each INPUT.
        settings: settings of the prediction.
        suffix: suffix of the outputs in a folder; auto is .tif for TIFF, PNG and JPEG, else .zarr.
        checkpoint: checkpoint of a run: best, last or epoch-0005; auto is the best if there is one, else the last.
        about: metadata missing from the volume files.
        overwrite: replace an output that exists; in a folder, outputs of another input, model or setting.
        dry_run_: print blocks, operations, memory, expected time, and the script of a job array; compute nothing.
        json: print the result as JSON.
    """
    paths = [input, output, *more]
    how: dict[str, Any] = {"settings": settings, "which": checkpoint, **about.keywords()}
    if is_folder(paths[:-1], paths[-1], about.pattern):
        how |= {"suffix": suffix} if dry_run_ else {"suffix": suffix, "overwrite": overwrite}
        (_plan_files if dry_run_ else _predict_files)(model, paths, how, as_json=json)
        return
    _check_output(output, suffix)
    if dry_run_:
        show.result(dry_run(model, input, output=output, **how), as_json=json)
    else:
        _predict_one(model, input, output, {**how, "overwrite": overwrite}, as_json=json)


def _check_output(output: str, suffix: Suffix) -> None:
    """Raise `BadInput` if the output is not the name of a volume, or if there is a suffix, which is for folders."""
    if not is_volume(output):
        raise BadInput(
            f"{output} cannot be written: use a name that ends in .zarr (OME-Zarr), .tif or, for a folder, /"
        )
    if suffix != "auto":
        raise BadInput(f"--suffix is for a folder of outputs, and {output} is a single output: leave --suffix out")


def _predict_one(model: str, input: str, output: str, how: dict[str, Any], *, as_json: bool) -> None:
    """Predict a volume, or submit it as a job array."""
    settings: PredictSettings = how["settings"]
    with show.block_progress() as progress, peak_memory(find_device(settings.device)) as peak:
        prediction = predict(model, input, output, **how, progress=progress)
    if prediction.submitted is not None:
        job = {"output": prediction.output, "checkpoint": prediction.checkpoint, "blocks": prediction.blocks}
        show.result({**job, "submitted": prediction.submitted}, as_json=as_json)
        return
    alone = settings.executor == "local" and settings.workers == 1
    show.result({**_summary(prediction), "bytes of peak memory": round(peak()) if alone else None}, as_json=as_json)


def _plan_files(model: str, paths: list[str], how: dict[str, Any], *, as_json: bool) -> None:
    """Print the cost of a prediction of many files; the last path is the folder of the outputs."""
    show.result(dry_run_files(model, paths[:-1], paths[-1], **how), as_json=as_json)


def _predict_files(model: str, paths: list[str], how: dict[str, Any], *, as_json: bool) -> None:
    """Predict many files into the folder that is the last path; exit with code 1 if some failed."""
    settings: PredictSettings = how["settings"]
    with show.block_progress("file") as progress, peak_memory(find_device(settings.device)) as peak:
        outcome = predict_files(model, paths[:-1], paths[-1], **how, progress=progress)
    alone = settings.executor == "local" and settings.workers == 1
    show.result(
        {
            "output": outcome.output,
            "checkpoint": outcome.checkpoint,
            "files": outcome.files,
            "files done before": outcome.files_before,
            "files predicted": outcome.predicted,
            "files that failed": len(outcome.failed),
            "voxels computed": outcome.voxels,
            "seconds": round(outcome.seconds, 2),
            "files per second": round(outcome.predicted / outcome.seconds, 2),
            "voxels per second": round(outcome.voxels / outcome.seconds),
            "bytes of peak memory": round(peak()) if alone else None,
            **({"failed": outcome.failed} if outcome.failed else {}),
        },
        as_json=as_json,
    )
    if outcome.failed:
        print(f"vol2vol: {len(outcome.failed)} of {outcome.files} files could not be predicted", file=sys.stderr)
        raise SystemExit(1)


def _summary(prediction: Prediction) -> dict[str, Any]:
    rate = prediction.voxels / prediction.seconds if prediction.voxels else 0.0
    return {
        "output": prediction.output,
        "checkpoint": prediction.checkpoint,
        "blocks": prediction.blocks,
        "blocks done before": prediction.blocks_before,
        "voxels computed": prediction.voxels,
        "seconds": round(prediction.seconds, 2),
        "voxels per second": round(rate),
    }
