"""Estimate the cost of predicting many files without computing it."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from vol2vol.errors import UserError, one_line
from vol2vol.models.checkpoints import checkpoint_name
from vol2vol.plans.layout import Layout
from vol2vol.prediction.estimate import expected_seconds, time_tile
from vol2vol.prediction.intensities import check_fit
from vol2vol.prediction.job import Job
from vol2vol.prediction.layout_cost import Cost, cost_of
from vol2vol.prediction.loaded import LoadedModel
from vol2vol.prediction.many.done_files import DoneFiles
from vol2vol.prediction.many.file_warnings import OncePerKind, collect_warnings
from vol2vol.prediction.many.pairs import File, Inputs, Suffix
from vol2vol.prediction.many.predict_files import prepare_files
from vol2vol.prediction.parts import bytes_per_voxel
from vol2vol.prediction.request import Request
from vol2vol.prediction.settings import PredictSettings
from vol2vol.progress import counted
from vol2vol.volumes import Stated
from vol2vol.volumes.addresses import absolute, is_remote


def dry_run_files(
    model: str | Path,
    inputs: Inputs,
    output: str | Path,
    settings: PredictSettings | None = None,
    *,
    suffix: Suffix = "auto",
    which: str = "auto",
    **stated: Unpack[Stated],
) -> dict[str, Any]:
    """Return what `predict_files` would do: files, voxels, operations, memory and expected time; writes nothing.

    Every file is opened, and a sample of its intensities is compared with the model's; files that cannot be predicted
    are named in `failed`. The time is the network's only, in one process; see `dry_run`.
    """
    settings = settings or PredictSettings()
    options = {"suffix": suffix, "which": which, **stated}
    files, request, bundle = prepare_files(model, inputs, output, settings, options)
    folder = absolute(output)
    done = None if is_remote(folder) else DoneFiles(folder, request, bundle.hash)
    todo = [file for file in files if done is None or not done.has(file)]
    totals = _Totals(LoadedModel(request.model, settings, bundle=bundle))
    for file in counted(todo, "opening files", len(todo)):
        totals.add(request, file)
    totals.warnings.sum_up()
    return {
        "output": folder,
        "checkpoint": checkpoint_name(request.model),
        "files": len(files),
        "files done before": len(files) - len(todo),
        "files to predict": totals.count,
        "files that would fail": len(totals.failed),
        **totals.facts(),
        **({"failed": totals.failed} if totals.failed else {}),
    }


class _Totals:
    """The total cost of the examined files."""

    def __init__(self, model: LoadedModel) -> None:
        self.count = self.voxels = self.operations = self.memory = self.bytes = 0
        self.seconds = 0.0
        self.failed: dict[str, str] = {}
        self.warnings = OncePerKind()
        self._model = model
        self._cost = functools.lru_cache(maxsize=256)(_cost)
        self._timed: Any = None

    def add(self, request: Request, file: File) -> None:
        """Examine one more file."""
        with collect_warnings() as warnings:
            try:
                job = Job.open(replace(request, input=file.input), model=self._model)
                check_fit(job)
            except (UserError, OSError, MemoryError) as error:
                self.failed[file.input] = one_line(error)
                return
        self.warnings.show(warnings)
        cost = self._cost(job.layout, job.engine.network)
        self._timed = self._timed or time_tile(job)
        self.count += 1
        self.voxels += cost.voxels
        self.operations += cost.flops
        self.memory = max(self.memory, cost.memory)
        self.bytes += cost.voxels * bytes_per_voxel(job)
        self.seconds += expected_seconds(job, cost, self._timed)
        job.source.close()

    def facts(self) -> dict[str, Any]:
        """Return the totals as a dry run names them."""
        return {
            "voxels": self.voxels,
            "bytes written, before compression": self.bytes,
            "operations": self.operations,
            "bytes of memory of one process": self.memory,
            "expected seconds of one process": round(self.seconds, 1),
        }


def _cost(layout: Layout, network: Any) -> Cost:
    return cost_of(layout, network)
