"""Many images with one model: a process loads it once, done outputs are left alone, failures wait for the end."""

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
from vol2vol.prediction.donefiles import DoneFiles
from vol2vol.prediction.gathered import Once, Warned, gathered
from vol2vol.prediction.intensities import measured_map
from vol2vol.prediction.loaded import LoadedModel
from vol2vol.prediction.pairs import File, Inputs, Suffix, check_folder, paired
from vol2vol.prediction.parts import refuse_split
from vol2vol.prediction.reading import check_outputs
from vol2vol.prediction.request import Request
from vol2vol.prediction.run import Progress, carry_out
from vol2vol.prediction.settings import PredictSettings
from vol2vol.volumes import Stated
from vol2vol.volumes.addresses import absolute, address, is_remote


@dataclass(frozen=True, kw_only=True)
class FilesPrediction:
    """What `predict_files` returns."""

    output: str
    """The folder of the outputs."""
    files: int
    files_before: int
    """Files whose outputs were done when this call began."""
    voxels: int
    """Voxels computed by this call."""
    seconds: float
    checkpoint: str
    """Which model was taken, as in `Prediction`."""
    failed: dict[str, str] = field(default_factory=dict)
    """By input that could not be predicted: why, in one line."""

    @property
    def predicted(self) -> int:
        """How many files this call has predicted."""
        return self.files - self.files_before - len(self.failed)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one file."""

    file: File
    voxels: int = 0
    before: bool = False
    """Whether its output was complete already."""
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
    PNG and JPEG become TIFF, everything else OME-Zarr, unless a `suffix` is given. What cannot be predicted is named in
    `failed` and stops nothing else. The same call again predicts what is not done; with `overwrite` also what was made
    of another input, model or setting. Workers share the files, one at a time each. `progress` is called with files
    done, files in all and voxels done. Raises `BadInput` where two outputs would have one name or the model cannot be
    used at all, `CannotWrite` where the folder cannot be written. Long because it explains every option.
    """
    began = time.monotonic()
    settings = settings or PredictSettings()
    how = {"suffix": suffix, "which": which, **stated}
    files, request, bundle = prepared(model, inputs, output, settings, how)
    with ExitStack() as stack:
        done = _done_files(stack, absolute(output), request, bundle.hash)
        work = FileWork(_one_each(request), None if done is None else done.aside, overwrite, None)
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
    """Return how many files were done before, how many voxels were computed, and which files failed, why."""
    todo = [file for file in files if done is None or not done.has(file)]
    before, voxels, failed, warnings = len(files) - len(todo), 0, dict[str, str](), Once()
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


def prepared(
    model: str | Path, inputs: Inputs, output: str | Path, settings: PredictSettings, how: Mapping[str, Any]
) -> tuple[list[File], Request, Bundle]:
    """Return the files, what is asked of each of them, and the model; raise `BadInput` for what cannot be done.

    `how` holds `suffix`, `which`, and what is stated of the inputs.
    """
    if settings.executor == "slurm":
        raise BadInput(
            "executor slurm shares one volume, not many files: give this command without it to sbatch, with --workers "
            "for the cores of the job, or use --executor dask --scheduler FILE.yaml"
        )
    stated: Any = {key: value for key, value in how.items() if key != "suffix"}
    request = Request.of(model, "", settings, **stated)
    files = paired(inputs, absolute(output), how["suffix"], how.get("pattern"))
    check_folder(address(output), len(files), model)
    bundle = load_bundle(request.model)
    check_outputs(settings, bundle.translation(settings.direction))
    for file in files:
        refuse_split(settings, file.output)
    if settings.intensity_from is not None:
        request = replace(request, measured=measured_map(request, bundle, {}))
    return files, request, bundle


def _done_files(stack: ExitStack, folder: str, request: Request, model: str) -> DoneFiles | None:
    """Return what is known of a local folder, which this process alone writes from now on."""
    if is_remote(folder):
        return None
    stack.enter_context(writing(folder))
    return stack.enter_context(DoneFiles(folder, request, model))


def _one_each(request: Request) -> Request:
    """Return a request by which each worker predicts its files alone, with its share of the memory."""
    settings = request.settings
    memory = settings.memory
    if settings.workers > 1:
        memory = str(settings.budget() + settings.resident())
    own = {"executor": "local", "workers": 1, "scheduler": None, "memory": memory}
    return replace(request, settings=settings.model_copy(update=own))


@dataclass(frozen=True)
class _Crew:
    """Who predicts the files: this process, or the workers of an executor."""

    settings: PredictSettings
    bundle: Bundle

    def outcomes(self, work: FileWork, todo: Sequence[File]) -> Iterator[Outcome]:
        """Yield what becomes of each file."""
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
                work, todo, workers=workers, scheduler=scheduler, retries=RETRIES, name=_words, lost=_lost
            )
        return executors.local(work, todo, workers=workers, retries=RETRIES, name=_words, lost=_lost)


@dataclass(frozen=True)
class FileWork:
    """Predict a file in any process that sees it: load the model once."""

    request: Request
    """Of every file, but for its input."""
    aside: str | None
    overwrite: bool
    threads: int | None
    """Threads of this process; None leaves them as they are."""

    def __call__(self, file: File, place: int) -> Iterator[Outcome]:
        """Yield what becomes of a file."""
        with ALONE:
            settings = self.request.settings
            device = device_of(settings.device, place)
            yield self.outcome(file, _loaded(self.request.model, settings, device, self.threads))

    def outcome(self, file: File, model: LoadedModel) -> Outcome:
        """Predict a file and return what became of it; raise only what concerns all files."""
        with gathered() as warnings:
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
            made = carry_out(request, file.output, model=model, aside=self.aside)
        except CannotWrite:
            raise
        except UserError:
            if not self.overwrite:
                raise
            made = carry_out(request, file.output, model=model, aside=self.aside, overwrite=True)
        return made.voxels, made.blocks == made.blocks_before


@functools.lru_cache(maxsize=1)
def _loaded(model: str, settings: PredictSettings, device: str, threads: int | None) -> LoadedModel:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    return LoadedModel(model, settings, device)


def _words(file: File) -> str:
    return file.input


def _lost(file: File, error: WorkerLost) -> Outcome:
    return Outcome(file=file, failure=str(error))
