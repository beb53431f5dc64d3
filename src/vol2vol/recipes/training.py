"""Train a recipe on volumes: build the task, measure the volumes, draw patches and run the training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from torch import Tensor

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.files import check_place, real_path
from vol2vol.intensity import Intensity
from vol2vol.locks import check_idle
from vol2vol.models.bundle import Bundle, load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.protocol import Need, aligned, only_read
from vol2vol.recipes.domains import (
    Paths,
    channels_of,
    check_masks,
    even_sample,
    intensity_for,
    warn_of_differences,
    warn_of_range,
)
from vol2vol.recipes.patch_size import check_patch
from vol2vol.recipes.recipe import Recipe, load_recipe
from vol2vol.recipes.training_data import open_training_data
from vol2vol.sampling import PatchSets, check_settings, dataset
from vol2vol.tasks import Batch, Judge, Task, build, packages
from vol2vol.volumes import Stated, Volume
from vol2vol.volumes.addresses import local_path

if TYPE_CHECKING:
    from vol2vol.training import FitResult

log = logging.getLogger(__name__)


def train(
    recipe: str | Path | Recipe,
    source: Paths | None,
    target: Paths | None,
    out: str | Path,
    *,
    data: Mapping[str, Paths] | None = None,
    sheet: str | Path | None = None,
    overrides: Sequence[str] = (),
    target_voxel_size: Sequence[float] | None = None,
    target_channels: Sequence[int | str] | None = None,
    start: str | Path | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    **stated: Unpack[Stated],
) -> FitResult:
    """Train a recipe on volumes, and return the run.

    `source` and `target` name one or more volumes each, `data` those of other domains by name. Aligned domains (an
    image and its mask) must have the same number of volumes with the same shapes; they are paired by their names or, if
    these do not match, by their order. Domains that are not aligned may differ in size and number. A `sheet` (CSV, see
    `recipes.sheet.read_sheet`) names all volumes instead, including validation volumes. `overrides` are `key.sub=value`
    changes to the recipe. `stated` (`Stated`) holds metadata that is missing from the volume files; `target_voxel_size`
    and `target_channels` are those of the target, if they differ. `start` is a model or a run from whose weights
    training starts, as far as they fit (see `training.transfer`); it replaces the recipe's key `start`. The same call
    continues a run that was killed. Memory: weights, a batch of patches and the chunks that they overlap; it does not
    grow with the volumes. Raises `UserError`s that name what does not fit. Long because it names and explains every
    option.
    """
    from vol2vol.training.fitting import fit, is_first
    from vol2vol.training.run_folder import Run, check_free

    settings, out = load_recipe(recipe, tuple(overrides)), local_path(out, "a run")
    if start is not None:
        settings = settings.model_copy(update={"start": str(start)})
    check_place(out)
    check_free(Path(out))
    if is_first():
        check_idle(out)
    paths = {name: named for name, named in {"source": source, "target": target, **(data or {})}.items() if named}
    about: Stated = {"voxel_size": target_voxel_size, "channels": target_channels}
    volumes = open_training_data((*settings.task.needs(), *settings.guides()), paths, sheet, stated, about)
    continued = Run(out).state.is_file() and not overwrite
    start_bundle = None if continued else _start(settings.start, out)
    prepared = prepare(settings, volumes.train, volumes.validate, start=start_bundle)
    if volumes.validate and prepared.held_out is None:
        log.info("the task %s has no validation: the validation volumes are not used", settings.task.name)
    return fit(
        prepared.task,
        prepared.data,
        settings=settings.train,
        run=out,
        intensity=prepared.intensity,
        calibration=prepared.calibration,
        held_out=prepared.held_out,
        provenance={
            "recipe": settings.model_dump(mode="json"),
            "patch": min(settings.patch),
            "packages": packages(settings.task),
            **volumes.facts(),
            **({"sampled": prepared.sampled} if prepared.sampled else {}),
            **({} if prepared.started is None else {"started": prepared.started}),
        },
        overwrite=overwrite,
        progress=progress,
    )


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The arguments of `training.fit` for a recipe and its volumes."""

    task: Task
    data: Any
    intensity: dict[str, Intensity]
    calibration: dict[str, Callable[[], Iterable[Tensor]]]
    held_out: Callable[[], Iterable[Batch]] | None = None
    started: dict[str, Any] | None = None
    """The record of the weights that the task starts from, see `training.transfer`."""
    sampled: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """For domains whose intensities were measured on a sample: the number of volumes in the sample and in all."""


def prepare(
    settings: Recipe,
    volumes: Mapping[str, list[Volume]],
    unseen: Mapping[str, list[Volume]] | None = None,
    *,
    start: Path | None = None,
) -> Prepared:
    """Build the task of a recipe, measure the intensities of its domains and set up the patches.

    `unseen` holds validation volumes; without them, tasks with validation hold out a part of each volume. `start` is a
    bundle from whose weights the task starts, as far as they fit.
    """
    needs, unseen = [need for need in settings.task.needs() if need.name in volumes], unseen or {}
    channels = {need.name: channels_of(need.name, [*volumes[need.name], *unseen.get(need.name, ())]) for need in needs}
    models = _models(settings, channels)
    networks = {domain: nets.frozen(bundle.network("forward")) for domain, bundle in models.items()}
    task = build(settings.task, dims=settings.dims, channels=channels, models=networks, seed=settings.train.seed)
    started = None if start is None else _transferred(task, start)
    options = _check(task, settings, needs, volumes)
    samples = {name: even_sample(opened, settings.train.seed) for name, opened in volumes.items()}
    sampled = _sampled(needs, volumes, samples)
    for name in [need.name for need in needs if need.kind == "mask"]:
        check_masks([*samples[name], *even_sample(unseen.get(name, ()), settings.train.seed)])
    intensity = _intensities(needs, settings, samples, models)
    _warn_of_volumes(needs, volumes, samples, {name: intensity[name] for name in models})
    patches, held_out = dataset(needs, volumes, intensity, settings.data, unseen=unseen, **options)
    return Prepared(
        task=task,
        data=patches,
        intensity=intensity,
        calibration=_calibration(task, patches, settings.data.calibration),
        held_out=held_out,
        started=started,
        sampled=sampled,
    )


def _warn_of_volumes(
    needs: Sequence[Need],
    volumes: Mapping[str, Sequence[Volume]],
    samples: Mapping[str, Sequence[Volume]],
    known: Mapping[str, Intensity],
) -> None:
    """Warn if volumes of a domain differ, or do not fit an intensity map that comes with a trained model."""
    for need in needs:
        sample = samples[need.name]
        warn_of_differences(need.name, volumes[need.name], image=need.kind == "image", sampled=sample)
        if need.name in known:
            warn_of_range(sample, known[need.name])


def _sampled(
    needs: Sequence[Need], volumes: Mapping[str, Sequence[Volume]], samples: Mapping[str, Sequence[Volume]]
) -> dict[str, dict[str, int]]:
    """Log and return, for domains whose intensities are measured on a sample, the size of the sample."""
    sampled = {}
    measured = [need.name for need in needs if need.kind == "image" and need.like is None]
    for name in [name for name in measured if len(samples[name]) < len(volumes[name])]:
        sampled[name] = {"volumes": len(samples[name]), "of": len(volumes[name])}
        log.info("%s: intensities are measured on %d of %d volumes, spread evenly", name, *sampled[name].values())
    return sampled


def _check(
    task: Task, settings: Recipe, needs: Sequence[Need], volumes: Mapping[str, Sequence[Volume]]
) -> dict[str, Any]:
    """Return the arguments of `dataset` that depend on the task; raise `BadInput` if the data settings do not suit it.

    The patch size must suit the task, and patches must fit into all volumes of domains that are not aligned.
    """
    alone = [group[0].name for group in aligned(needs) if len(group) == 1 and not isinstance(task, Judge)]
    if alone:
        check_patch(task, settings, [volume for domain in alone for volume in volumes[domain]])
    else:
        task.check(settings.patch)
    options: dict[str, Any] = {"inputs": only_read(task.translations()), "guides": settings.guides()}
    check_settings(settings.data, needs, volumes, dims=settings.dims, **options)
    options |= {"patch": settings.patch, "context": task.context(), "judged": isinstance(task, Judge)}
    return {**options, "seed": settings.train.seed}


def _start(model: str | None, out: Path) -> Path | None:
    """Return the bundle that a training starts from; raise `BadInput` if it lies in the run that is to be written."""
    if model is None:
        return None
    bundle = find_bundle(model)
    if real_path(str(out)) in real_path(str(bundle)).parents:
        raise BadInput(
            f"{bundle} lies in the run {out} that would start from it: choose another folder for the new run"
        )
    return bundle


def _transferred(task: Task, start: Path) -> dict[str, Any]:
    """Copy the weights of a model into a task as far as they fit; log and return the record of it."""
    from vol2vol.training.transfer import transfer, words

    record = transfer(task, load_bundle(start), str(start))
    for sentence in words(record):
        log.info("%s", sentence)
    return record


def _intensities(
    needs: Sequence[Need], settings: Recipe, volumes: Mapping[str, list[Volume]], models: Mapping[str, Bundle]
) -> dict[str, Intensity]:
    """Return the intensity map of every domain: from the model that the task uses for the domain, or measured."""
    intensity = {
        need.name: models[need.name].intensity["source"]
        if need.name in models
        else intensity_for(need, settings.data, volumes[need.name])
        for need in needs
        if need.like is None
    }
    return intensity | {need.name: intensity[need.like] for need in needs if need.like is not None}


def _calibration(task: Task, patches: PatchSets, count: int) -> dict[str, Callable[[], Iterable[Tensor]]]:
    """Return, for each translation, a function that yields input patches spread over the volumes, one per batch."""
    return {name: partial(patches.inputs, part.reads, count) for name, part in task.translations().items()}


def _models(settings: Recipe, channels: Mapping[str, int]) -> dict[str, Bundle]:
    """Open the trained segmenters of a task by domain; the intensity maps of these domains come from them."""
    named = settings.task.models()
    bundles = {domain: load_bundle(find_bundle(path)) for domain, path in named.items()}
    for domain, bundle in bundles.items():
        net: Any = bundle.network("forward")
        if net.describe()["name"] != "segmenter" or (net.dims, net.in_channels) != (settings.dims, channels[domain]):
            raise BadInput(
                f"task.segmenters.{domain} {named[domain]} is not a {settings.dims}D segmenter "
                f"of {channels[domain]} channels: train one with the task segment on the {domain}'s volumes"
            )
    return bundles
