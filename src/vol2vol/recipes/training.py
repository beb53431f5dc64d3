"""From a recipe and volumes to a trained run: the place where data, task and training meet."""

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
    """Train what a recipe says on volumes, and return the run.

    `source` and `target` name one or more volumes each, `data` those of other domains by name. What the task draws at
    one place (an image and its mask) must be as many volumes of the same shapes, paired by their names or, where these
    say nothing, by their order; what it draws apart may differ in size and number. A `sheet` (CSV, see
    `recipes.sheet.read_sheet`) names them all instead, and which of them to judge by. `overrides` are `key.sub=value`
    changes to the recipe. `stated` (`Stated`) describes volumes whose files do not; `target_voxel_size` and
    `target_channels` those of the target, where they differ. `start` is a model or a run whose weights are taken where
    they fit (see `training.transfer`), short for the recipe's key. The same call continues a run that was killed.
    Memory: weights, one batch of patches and the chunks they touch; it does not grow with the volumes. Raises
    `UserError`s that name what does not fit. Long because it names and explains every option.
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
    paths = {name: given for name, given in {"source": source, "target": target, **(data or {})}.items() if given}
    about: Stated = {"voxel_size": target_voxel_size, "channels": target_channels}
    given = open_training_data((*settings.task.needs(), *settings.guides()), paths, sheet, stated, about)
    begun = Run(out).state.is_file() and not overwrite
    prepared = prepare(settings, given.train, given.validate, start=None if begun else _start(settings.start, out))
    if given.validate and prepared.held_out is None:
        log.info("the task %s is not judged on held-out volumes: those to validate are left aside", settings.task.name)
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
            **given.facts(),
            **({"sampled": prepared.sampled} if prepared.sampled else {}),
            **({} if prepared.started is None else {"started": prepared.started}),
        },
        overwrite=overwrite,
        progress=progress,
    )


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a recipe and volumes amount to: all that `training.fit` asks for."""

    task: Task
    data: Any
    intensity: dict[str, Intensity]
    calibration: dict[str, Callable[[], Iterable[Tensor]]]
    held_out: Callable[[], Iterable[Batch]] | None = None
    started: dict[str, Any] | None = None
    """Which weights of another model the task starts from, see `training.transfer`."""
    sampled: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By domain, how many volumes its intensities were measured on, and of how many; only where that is not all."""


def prepare(
    settings: Recipe,
    volumes: Mapping[str, list[Volume]],
    unseen: Mapping[str, list[Volume]] | None = None,
    *,
    start: Path | None = None,
) -> Prepared:
    """Build a recipe's task, measure the domains' intensities and lay out the patches.

    `unseen` are volumes to judge by; where there are none, a task that judges holds back a part of each volume. `start`
    is a bundle whose weights the task takes where they fit.
    """
    needs, unseen = [need for need in settings.task.needs() if need.name in volumes], unseen or {}
    channels = {need.name: channels_of(need.name, [*volumes[need.name], *unseen.get(need.name, ())]) for need in needs}
    models = _models(settings, channels)
    networks = {domain: nets.frozen(bundle.network("forward")) for domain, bundle in models.items()}
    task = build(settings.task, dims=settings.dims, channels=channels, models=networks, seed=settings.train.seed)
    started = None if start is None else _transferred(task, start)
    about = _check(task, settings, needs, volumes)
    looked_at = {name: even_sample(opened, settings.train.seed) for name, opened in volumes.items()}
    sampled = _sampled(needs, volumes, looked_at)
    for name in [need.name for need in needs if need.kind == "mask"]:
        check_masks([*looked_at[name], *even_sample(unseen.get(name, ()), settings.train.seed)])
    intensity = _intensities(needs, settings, looked_at, models)
    _warn_of_volumes(needs, volumes, looked_at, {name: intensity[name] for name in models})
    patches, held_out = dataset(needs, volumes, intensity, settings.data, unseen=unseen, **about)
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
    looked_at: Mapping[str, Sequence[Volume]],
    known: Mapping[str, Intensity],
) -> None:
    """Warn where volumes of a domain differ, or do not fit a map that is known from elsewhere."""
    for need in needs:
        seen = looked_at[need.name]
        warn_of_differences(need.name, volumes[need.name], image=need.kind == "image", looked_at=seen)
        if need.name in known:
            warn_of_range(seen, known[need.name])


def _sampled(
    needs: Sequence[Need], volumes: Mapping[str, Sequence[Volume]], looked_at: Mapping[str, Sequence[Volume]]
) -> dict[str, dict[str, int]]:
    """Say, and return, on how many volumes intensities are measured where that is not all."""
    sampled = {}
    measured = [need.name for need in needs if need.kind == "image" and need.like is None]
    for name in [name for name in measured if len(looked_at[name]) < len(volumes[name])]:
        sampled[name] = {"volumes": len(looked_at[name]), "of": len(volumes[name])}
        log.info("%s: intensities are measured on %d of %d volumes, spread evenly", name, *sampled[name].values())
    return sampled


def _check(
    task: Task, settings: Recipe, needs: Sequence[Need], volumes: Mapping[str, Sequence[Volume]]
) -> dict[str, Any]:
    """Return what `dataset` has to know of the task; raise `BadInput` where settings of data do not suit it.

    The patch has to suit the task and to lie in all volumes that are drawn alone.
    """
    alone = [group[0].name for group in aligned(needs) if len(group) == 1 and not isinstance(task, Judge)]
    if alone:
        check_patch(task, settings, [volume for domain in alone for volume in volumes[domain]])
    else:
        task.check(settings.patch)
    about: dict[str, Any] = {"inputs": only_read(task.translations()), "guides": settings.guides()}
    check_settings(settings.data, needs, volumes, dims=settings.dims, **about)
    about |= {"patch": settings.patch, "context": task.context(), "judged": isinstance(task, Judge)}
    return {**about, "seed": settings.train.seed}


def _start(model: str | None, out: Path) -> Path | None:
    """Return the bundle that a training starts from; raise `BadInput` where that lies in the run to be written."""
    if model is None:
        return None
    bundle = find_bundle(model)
    if real_path(str(out)) in real_path(str(bundle)).parents:
        raise BadInput(
            f"{bundle} lies in the run {out} that would start from it: choose another folder for the new run"
        )
    return bundle


def _transferred(task: Task, start: Path) -> dict[str, Any]:
    """Let a task start from a model's weights; say what was taken and what was not, and return it."""
    from vol2vol.training.transfer import transfer, words

    record = transfer(task, load_bundle(start), str(start))
    for sentence in words(record):
        log.info("%s", sentence)
    return record


def _intensities(
    needs: Sequence[Need], settings: Recipe, volumes: Mapping[str, list[Volume]], models: Mapping[str, Bundle]
) -> dict[str, Intensity]:
    """Return how the stored values of every domain enter the network: as in a model that the task asks, or measured."""
    intensity = {
        need.name: models[need.name].intensity["source"]
        if need.name in models
        else intensity_for(need, settings.data, volumes[need.name])
        for need in needs
        if need.like is None
    }
    return intensity | {need.name: intensity[need.like] for need in needs if need.like is not None}


def _calibration(task: Task, patches: PatchSets, count: int) -> dict[str, Callable[[], Iterable[Tensor]]]:
    """Return what streams the inputs of each translation's network, one per batch, spread over the volumes."""
    return {name: partial(patches.inputs, made.reads, count) for name, made in task.translations().items()}


def _models(settings: Recipe, channels: Mapping[str, int]) -> dict[str, Bundle]:
    """Open the segmenters that a task is told to heed; they bring their domain's intensities."""
    named = settings.task.models()
    found = {domain: load_bundle(find_bundle(path)) for domain, path in named.items()}
    for domain, bundle in found.items():
        net: Any = bundle.network("forward")
        if net.describe()["name"] != "segmenter" or (net.dims, net.in_channels) != (settings.dims, channels[domain]):
            raise BadInput(
                f"task.segmenters.{domain} {named[domain]} is not a {settings.dims}D segmenter "
                f"of {channels[domain]} channels: train one with the task segment on the {domain}'s volumes"
            )
    return found
