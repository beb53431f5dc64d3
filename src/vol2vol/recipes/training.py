"""From a recipe and volumes to a trained run: the place where data, task and training meet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vol2vol.intensity import Intensity
from vol2vol.recipes.domains import Paths, channels_of, intensity_of, open_domain, volume_facts
from vol2vol.recipes.recipe import Recipe, load_recipe
from vol2vol.sampling import Patches, UnpairedPatches
from vol2vol.tasks.cyclegan import CycleGAN
from vol2vol.volumes import Volume

if TYPE_CHECKING:
    from vol2vol.training import FitResult


def train(
    recipe: str | Path | Recipe,
    source: Paths,
    target: Paths,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    axes: str | None = None,
    voxel_size: Sequence[float] | None = None,
    target_voxel_size: Sequence[float] | None = None,
    unit: str | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> FitResult:
    """Train a translation between two unpaired sets of volumes and return the run.

    `source` and `target` name one or more volumes each; sizes and numbers may differ. `overrides` are `key.sub=value`
    changes to the recipe. `axes`, `voxel_size` and `unit` describe volumes whose files do not; `target_voxel_size`
    that of the target, where it differs. The same call continues a run that was killed. Memory: weights, one batch of
    patches and the chunks they touch; it does not grow with the volumes. Raises `UserError`s that name what does not
    fit.
    """
    from vol2vol.training import fit

    settings = load_recipe(recipe, tuple(overrides))
    about: dict[str, Any] = {"axes": axes, "voxel_size": voxel_size, "unit": unit}
    target_about = {**about, "voxel_size": target_voxel_size or voxel_size}
    volumes = {"source": open_domain(source, **about), "target": open_domain(target, **target_about)}
    channels = {domain: channels_of(domain, found) for domain, found in volumes.items()}
    intensity = {domain: intensity_of(settings.data, found) for domain, found in volumes.items()}
    patches = {domain: _patches(settings, found, intensity[domain]) for domain, found in volumes.items()}
    task = CycleGAN(settings.cyclegan, dims=settings.dims, channels=channels, seed=settings.train.seed)
    return fit(
        task,
        UnpairedPatches(patches["source"], patches["target"]),
        settings=settings.train,
        run=out,
        intensity=intensity,
        calibration={
            "forward": _calibration(patches["source"], settings.data.calibration),
            "backward": _calibration(patches["target"], settings.data.calibration),
        },
        provenance={
            "recipe": settings.model_dump(mode="json"),
            "patch": min(settings.patch),
            "volumes": {domain: [volume_facts(volume) for volume in found] for domain, found in volumes.items()},
        },
        overwrite=overwrite,
        progress=progress,
    )


def _patches(recipe: Recipe, volumes: list[Volume], intensity: Intensity) -> Patches:
    data = recipe.data
    return Patches(
        volumes,
        intensity,
        recipe.patch,
        planes=data.planes,
        background=data.background,
        augment=data.augment,
        seed=recipe.train.seed,
    )


def _calibration(patches: Patches, count: int) -> Callable[[], Iterable[Tensor]]:
    """Return what streams a domain's patches, one per batch, spread over its volumes."""
    return lambda: (patch[None] for patch in patches.covering(count))
