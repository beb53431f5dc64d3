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
    checkpoint: str = "auto",
    about: parse.About = parse.SAID,
    overwrite: bool = False,
    dry_run_: Annotated[bool, tyro.conf.arg(name="dry-run")] = False,
    json: bool = False,
) -> None:
    """Translate a volume of any size, or many; the same command continues a prediction that was stopped or killed.

    Args:
        model: a model, or the folder of a run.
        input: OME-Zarr, Zarr, N5, TIFF, PNG, JPEG, folder of slices, HDF5 (file.h5:/dataset), MRC; s3://, gs:// and
            http(s)://; several of them, 'in/*.tif' and folders of images of their own, where OUTPUT is a folder.
        output: where to write: NAME.zarr (OME-Zarr) or NAME.tif; or a folder, for an output of its own name per INPUT.
        settings: settings of the prediction.
        suffix: of the outputs in a folder; auto is .tif for TIFF, PNG and JPEG, else .zarr.
        checkpoint: of a run: best, last or epoch-0005; auto is the best that training judged, else the last.
        about: metadata missing from the volume files.
        overwrite: replace an output that exists; in a folder, those made of another input, model or setting.
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
    """Raise `BadInput` unless an output is named as one volume, without what is for folders."""
    if not is_volume(output):
        raise BadInput(f"{output} cannot be written: let its name end in .zarr (OME-Zarr), .tif or, for a folder, in /")
    if suffix != "auto":
        raise BadInput(f"--suffix is for a folder of outputs, and {output} is one: leave it out")


def _predict_one(model: str, input: str, output: str, how: dict[str, Any], *, as_json: bool) -> None:
    """Predict one volume, or submit it."""
    settings: PredictSettings = how["settings"]
    with show.block_progress() as progress, peak_memory(find_device(settings.device)) as peak:
        made = predict(model, input, output, **how, progress=progress)
    if made.submitted is not None:
        begun = {"output": made.output, "checkpoint": made.checkpoint, "blocks": made.blocks}
        show.result({**begun, "submitted": made.submitted}, as_json=as_json)
        return
    alone = settings.executor == "local" and settings.workers == 1
    show.result({**_summary(made), "bytes of peak memory": round(peak()) if alone else None}, as_json=as_json)


def _plan_files(model: str, paths: list[str], how: dict[str, Any], *, as_json: bool) -> None:
    """Print what a prediction of many files would cost; the last path is the folder of the outputs."""
    show.result(dry_run_files(model, paths[:-1], paths[-1], **how), as_json=as_json)


def _predict_files(model: str, paths: list[str], how: dict[str, Any], *, as_json: bool) -> None:
    """Predict many files into the folder that is the last path; exit code 1 where some failed."""
    settings: PredictSettings = how["settings"]
    with show.block_progress("file") as progress, peak_memory(find_device(settings.device)) as peak:
        made = predict_files(model, paths[:-1], paths[-1], **how, progress=progress)
    alone = settings.executor == "local" and settings.workers == 1
    show.result(
        {
            "output": made.output,
            "checkpoint": made.checkpoint,
            "files": made.files,
            "files done before": made.files_before,
            "files predicted": made.predicted,
            "files that failed": len(made.failed),
            "voxels computed": made.voxels,
            "seconds": round(made.seconds, 2),
            "files per second": round(made.predicted / made.seconds, 2),
            "voxels per second": round(made.voxels / made.seconds),
            "bytes of peak memory": round(peak()) if alone else None,
            **({"failed": made.failed} if made.failed else {}),
        },
        as_json=as_json,
    )
    if made.failed:
        print(f"vol2vol: {len(made.failed)} of {made.files} files could not be predicted", file=sys.stderr)
        raise SystemExit(1)


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
