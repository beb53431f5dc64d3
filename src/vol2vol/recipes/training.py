"""From a recipe and volumes to a trained run: the place where data, task and training meet."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vol2vol.errors import BadInput
from vol2vol.intensity import Intensity, fixed, measure
from vol2vol.recipes.recipe import Recipe, load_recipe
from vol2vol.sampling import Patches, UnpairedPatches
from vol2vol.tasks.cyclegan import CycleGAN
from vol2vol.volumes import Volume, open_volume

if TYPE_CHECKING:
    from vol2vol.training import FitResult

log = logging.getLogger(__name__)
Paths = str | Path | Sequence[str | Path]


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
    volumes = {"source": _open(source, about), "target": _open(target, target_about)}
    channels = {domain: _channels(domain, found) for domain, found in volumes.items()}
    intensity = {domain: _intensity(settings, found) for domain, found in volumes.items()}
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
            "volumes": {domain: [_facts(volume) for volume in found] for domain, found in volumes.items()},
        },
        overwrite=overwrite,
        progress=progress,
    )


def _open(paths: Paths, about: dict[str, Any]) -> list[Volume]:
    names = [paths] if isinstance(paths, str | Path) else list(paths)
    return [open_volume(name, **about) for name in names]


def _channels(domain: str, volumes: list[Volume]) -> int:
    """Return how many channels a domain has; raise `BadInput` where its volumes differ."""
    first = volumes[0]
    for volume in volumes[1:]:
        if volume.channels != first.channels:
            raise BadInput(
                f"{domain} volumes differ in channels: {first.path} has {first.channels}, {volume.path} "
                f"{volume.channels}; convert one of them"
            )
    return first.channels


def _intensity(recipe: Recipe, volumes: list[Volume]) -> Intensity:
    data = recipe.data
    if data.intensity == "fixed":
        if data.low is None or data.high is None:
            raise BadInput("data.intensity fixed needs data.low and data.high: give both")
        return fixed(data.low, data.high)
    log.info("measuring the intensities of %d voxels", sum(_voxels(volume) for volume in volumes))
    return measure(volumes, data.intensity)


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


def _voxels(volume: Volume) -> int:
    z, y, x = volume.spatial
    return z * y * x


def _facts(volume: Volume) -> dict[str, Any]:
    """Return what a model should remember of a volume it was trained on; no folders, they are nobody's business."""
    name = re.split(r"[/\\]", str(volume.path))[-1]
    size = [float(n) for n in volume.voxel_size]
    return {"name": name, "shape": list(volume.shape), "voxel_size": size, "unit": volume.unit}
