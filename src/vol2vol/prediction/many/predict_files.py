"""Predict many files with one model: each process loads it once, finished files are skipped, failures are collected."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from vol2vol.errors import BadInput, CannotWrite, UserError, WorkerLost, one_line
from vol2vol.locks import writing
from vol2vol.machines import executors
from vol2vol.machines.devices import device_of
from vol2vol.models.bundle import Bundle, load_bundle
from vol2vol.models.checkpoints import checkpoint_name
from vol2vol.prediction.compute import ALONE, RETRIES, threads_of
from vol2vol.prediction.intensities import measured_map, with_map
from vol2vol.prediction.loaded import LoadedModel
from vol2vol.prediction.many.done_files import DoneFiles
from vol2vol.prediction.many.file_warnings import OncePerKind, Warned, collect_warnings
from vol2vol.prediction.many.pairs import File, Inputs, Suffix, check_folder, pair_files
from vol2vol.prediction.output_types import settled
from vol2vol.prediction.parts import refuse_split
from vol2vol.prediction.reading import check_outputs
from vol2vol.prediction.request import Request
from vol2vol.prediction.run import Progress, carry_out
from vol2vol.prediction.settings import PredictSettings
from vol2vol.volumes import Stated
from vol2vol.volumes.addresses import absolute, address, is_remote


@dataclass(frozen=True, kw_only=True)
class FilesPrediction:
    """The result of `predict_files`."""

    output: str
    """The folder of the outputs."""
    files: int
    files_before: int
    """Files whose outputs were done when this call began."""
    voxels: int
    """Voxels computed by this call."""
    seconds: float
    checkpoint: str
    """The model that was used, as in `Prediction`."""
    failed: dict[str, str] = field(default_factory=dict)
    """For each input that could not be predicted, the reason in one line."""

    @property
    def predicted(self) -> int:
        """Number of files that this call predicted."""
        return self.files - self.files_before - len(self.failed)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome for one file."""

    file: File
    voxels: int = 0
    before: bool = False
    """Whether its output was already complete."""
    failure: str = ""
    warnings: tuple[Warned, ...] = ()


def predict_files(
    model: str | Path,
    inputs: Inputs,
    output: str | Path,
    settings: PredictSettings | None = None,
    *,
    suffix: Suffix = "auto",
    which: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
    **stated: Unpack[Stated],
) -> FilesPrediction:
    """Predict many images or volumes, each into a file of its own name in the folder `output`.

    `inputs` are paths, patterns such as `in/*.tif`, and folders of images that are not the planes of one stack. TIFF,
    PNG and JPEG become TIFF, everything else OME-Zarr, unless a `suffix` is given. A file that cannot be predicted is
    named in `failed` and does not stop the others. The same call again predicts the files that are not done; with
    `overwrite`, also those made from another input, model or setting. Workers take one file at a time. `progress` is
    called with the number of finished files, of all files and of computed voxels. Raises `BadInput` if two outputs
    would have the same name or the model cannot be used, `CannotWrite` if the folder cannot be written.
    """
    began = time.monotonic()
    settings = settings or PredictSettings()
    options = {"suffix": suffix, "which": which, **stated}
    files, request, bundle = prepare_files(model, inputs, output, settings, options)
    with ExitStack() as stack:
        done = _done_files(stack, absolute(output), request, bundle.hash)
        work = FileWork(_request_per_worker(request), None if done is None else done.aside, overwrite, None)
        before, voxels, failed = _predict_all(work, files, done, _Crew(settings, bundle), progress)
    return FilesPrediction(
        output=absolute(output),
        files=len(files),
        files_before=before,
        voxels=voxels,
        seconds=time.monotonic() - began,
        checkpoint=checkpoint_name(request.model),
        failed=failed,
    )


def _predict_all(
    work: FileWork, files: Sequence[File], done: DoneFiles | None, crew: _Crew, progress: Progress | None
) -> tuple[int, int, dict[str, str]]:
    """Return the number of files done before, the number of computed voxels, and the reason for each failed file."""
    todo = [file for file in files if done is None or not done.has(file)]
    before, voxels, failed, warnings = len(files) - len(todo), 0, dict[str, str](), OncePerKind()
    if progress is not None:
        progress(before, len(files), 0)
    for count, outcome in enumerate(crew.outcomes(work, todo), start=before + 1):
        warnings.show(outcome.warnings)
        before, voxels = before + outcome.before, voxels + outcome.voxels
        if outcome.failure:
            failed[outcome.file.input] = outcome.failure
        elif done is not None:
            done.add(outcome.file)
        if progress is not None:
            progress(count, len(files), voxels)
    warnings.sum_up()
    return before, voxels, failed


def prepare_files(
    model: str | Path, inputs: Inputs, output: str | Path, settings: PredictSettings, options: Mapping[str, Any]
) -> tuple[list[File], Request, Bundle]:
    """Return the files, the request that applies to each of them, and the model; raise `BadInput` if any is unusable.

    `options` holds `suffix`, `which`, and the stated metadata of the inputs.
    """
    if settings.executor == "slurm":
        raise BadInput(
            "executor slurm shares one volume, not many files: give this command without it to sbatch, with `workers` "
            "for the cores of the job, or use `executor` dask with `scheduler` FILE.yaml"
        )
    stated: Any = {key: value for key, value in options.items() if key != "suffix"}
    request = Request.of(model, "", settings, **stated)
    files = pair_files(inputs, absolute(output), options["suffix"], options.get("pattern"))
    check_folder(address(output), len(files), model)
    bundle = load_bundle(request.model)
    check_outputs(settings, bundle.translation(settings.direction))
    for file in files:
        refuse_split(settings, file.output)
    if settings.intensity_from is not None:
        request = replace(request, measured=measured_map(request, bundle, {}))
    mapped = bundle if request.measured is None else with_map(bundle, settings.direction, request.measured)
    settings = settled(settings, mapped, None, measured=request.measured is not None)
    return files, replace(request, settings=settings), bundle


def _done_files(stack: ExitStack, folder: str, request: Request, model: str) -> DoneFiles | None:
    """Lock a local folder for this process and return its list of finished files; None for a remote folder."""
    if is_remote(folder):
        return None
    stack.enter_context(writing(folder))
    return stack.enter_context(DoneFiles(folder, request, model))


def _request_per_worker(request: Request) -> Request:
    """Return a request for one worker that predicts its files alone, with its share of the memory."""
    settings = request.settings
    memory = settings.memory
    if settings.workers > 1:
        memory = str(settings.budget() + settings.resident())
    own = {"executor": "local", "workers": 1, "scheduler": None, "memory": memory}
    return replace(request, settings=settings.model_copy(update=own))


@dataclass(frozen=True)
class _Crew:
    """The processes that predict the files: this one, or the workers of an executor."""

    settings: PredictSettings
    bundle: Bundle

    def outcomes(self, work: FileWork, todo: Sequence[File]) -> Iterator[Outcome]:
        """Yield the outcome of each file."""
        executor, workers, scheduler = self.settings.executor, self.settings.workers, self.settings.scheduler
        if not todo:
            return iter(())
        if executor == "local" and min(workers, len(todo)) == 1:
            model = LoadedModel(work.request.model, work.request.settings, bundle=self.bundle)
            return (work.outcome(file, model) for file in todo)
        if scheduler is None:
            work = replace(work, threads=threads_of(workers))
        if executor == "dask":
            return executors.dask(
                work, todo, workers=workers, scheduler=scheduler, retries=RETRIES, name=_describe, lost=_lost
            )
        return executors.local(work, todo, workers=workers, retries=RETRIES, name=_describe, lost=_lost)


@dataclass(frozen=True)
class FileWork:
    """Predict a file in any process that can read it; loads the model once."""

    request: Request
    """The request of every file, except for its input."""
    aside: str | None
    overwrite: bool
    threads: int | None
    """Threads of this process; None leaves them as they are."""

    def __call__(self, file: File, place: int) -> Iterator[Outcome]:
        """Yield the outcome of a file."""
        with ALONE:
            settings = self.request.settings
            device = device_of(settings.device, place)
            yield self.outcome(file, _loaded(self.request.model, settings, device, self.threads))

    def outcome(self, file: File, model: LoadedModel) -> Outcome:
        """Predict a file and return its outcome; raise only errors that concern all files."""
        with collect_warnings() as warnings:
            try:
                voxels, before = self._predict(file, model)
            except CannotWrite:
                raise
            except (UserError, OSError, MemoryError) as error:
                return Outcome(file=file, failure=one_line(error), warnings=tuple(warnings))
        return Outcome(file=file, voxels=voxels, before=before, warnings=tuple(warnings))

    def _predict(self, file: File, model: LoadedModel) -> tuple[int, bool]:
        request = replace(self.request, input=file.input)
        try:
            prediction = carry_out(request, file.output, model=model, aside=self.aside)
        except CannotWrite:
            raise
        except UserError:
            if not self.overwrite:
                raise
            prediction = carry_out(request, file.output, model=model, aside=self.aside, overwrite=True)
        return prediction.voxels, prediction.blocks == prediction.blocks_before


@functools.lru_cache(maxsize=1)
def _loaded(model: str, settings: PredictSettings, device: str, threads: int | None) -> LoadedModel:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    return LoadedModel(model, settings, device)


def _describe(file: File) -> str:
    return file.input


def _lost(file: File, error: WorkerLost) -> Outcome:
    return Outcome(file=file, failure=str(error))
