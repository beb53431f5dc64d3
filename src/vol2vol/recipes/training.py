"""From a recipe and volumes to a trained run: the place where data, task and training meet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from torch import Tensor

from vol2vol import nets
from vol2vol.bundles import Bundle, load_bundle
from vol2vol.checkpoints import find_bundle
from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.intensity import Intensity, fixed
from vol2vol.recipes.domains import Paths, channels_of, intensity_of, open_domains, volume_facts
from vol2vol.recipes.recipe import Recipe, load_recipe
from vol2vol.recipes.room import check_patch
from vol2vol.sampling import Jitter, Labelled, LabelledPatches, Patches, UnpairedPatches
from vol2vol.tasks import Batch, CycleGAN, Segment, Task
from vol2vol.volumes import Stated, Volume
from vol2vol.volumes.addresses import local_path

if TYPE_CHECKING:
    from vol2vol.training import FitResult


def train(
    recipe: str | Path | Recipe,
    source: Paths,
    target: Paths,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    target_voxel_size: Sequence[float] | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
    **stated: Unpack[Stated],
) -> FitResult:
    """Train a translation between two unpaired sets of volumes, or a segmenter, and return the run.

    `source` and `target` name one or more volumes each; sizes and numbers may differ. Where the recipe's task is
    `segment`, each target is the mask of its source: as many, in the same order and of the same shapes. `overrides` are
    `key.sub=value` changes to the recipe. `stated` (`Stated`) describes volumes whose files do not;
    `target_voxel_size` that of the target, where it differs. The same call continues a run that was killed. Memory:
    weights, one batch of patches and the chunks they touch; it does not grow with the volumes. Raises `UserError`s that
    name what does not fit. Long because it names and explains every option.
    """
    from vol2vol.training import fit

    settings, out = load_recipe(recipe, tuple(overrides)), local_path(out, "a run")
    volumes = open_domains(source, target, stated, target_voxel_size)
    prepared = (segmentation if settings.task == "segment" else translation)(settings, volumes)
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
            "volumes": {domain: [volume_facts(volume) for volume in found] for domain, found in volumes.items()},
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


def translation(settings: Recipe, volumes: dict[str, list[Volume]]) -> Prepared:
    """Prepare a cycleGAN between two unpaired domains."""
    channels = {domain: channels_of(domain, found) for domain, found in volumes.items()}
    segmenters = _segmenters(settings, channels)
    task = CycleGAN(
        settings.cyclegan,
        dims=settings.dims,
        channels=channels,
        segmenters={domain: nets.frozen(bundle.network("forward")) for domain, bundle in segmenters.items()},
        seed=settings.train.seed,
    )
    check_patch(task, settings, [volume for found in volumes.values() for volume in found])
    intensity = {
        domain: segmenters[domain].intensity["source"] if domain in segmenters else intensity_of(settings.data, found)
        for domain, found in volumes.items()
    }
    patches = {domain: _patches(settings, found, intensity[domain]) for domain, found in volumes.items()}
    return Prepared(
        task=task,
        data=UnpairedPatches(patches["source"], patches["target"]),
        intensity=intensity,
        calibration={
            "forward": _calibration(patches["source"], settings.data.calibration),
            "backward": _calibration(patches["target"], settings.data.calibration),
        },
    )


def _segmenters(settings: Recipe, channels: dict[str, int]) -> dict[str, Bundle]:
    """Open the segmenters that a cycleGAN is told to heed; they bring their domain's intensities."""
    named: dict[str, str] = {str(domain): path for domain, path in settings.cyclegan.segmenters.items()}
    found = {domain: load_bundle(find_bundle(path)) for domain, path in named.items()}
    for domain, bundle in found.items():
        net: Any = bundle.network("forward")
        if net.describe()["name"] != "segmenter" or (net.dims, net.in_channels) != (settings.dims, channels[domain]):
            raise BadInput(
                f"cyclegan.segmenters.{domain} {named[domain]} is no {settings.dims}D segmenter "
                f"of {channels[domain]} channels: train one with the task segment on the {domain}'s volumes"
            )
    return found


def segmentation(settings: Recipe, volumes: dict[str, list[Volume]]) -> Prepared:
    """Prepare a segmenter of the source's volumes, whose masks are the target's, in the same order."""
    images, masks = volumes["source"], volumes["target"]
    if len(images) != len(masks):
        raise BadInput(f"{len(images)} source volumes and {len(masks)} masks: give one mask for each, in order")
    channels = {domain: channels_of(domain, found) for domain, found in volumes.items()}
    seen = intensity_of(settings.data, images)
    labels = settings.data.labels
    task = Segment(settings.segment, dims=settings.dims, channels=channels, seed=settings.train.seed)
    task.check(settings.patch)
    margin = _spread(settings, tuple(map(max, *nets.footprint(task.segmenter).reach)), whole=0)
    pairs = [Labelled(image, mask, seen).mirrored(margin) for image, mask in zip(images, masks, strict=True)]
    shared = _spread(settings, _unlearnt(task, labels.jitter), whole=0)
    parts = [pair.split(labels.held_out, _least(settings), shared) for pair in pairs]
    unseen = LabelledPatches([held for _, held in parts], settings.patch, planes=settings.data.planes)
    data = LabelledPatches(
        [kept for kept, _ in parts],
        settings.patch,
        planes=settings.data.planes,
        foreground=labels.foreground,
        augment=settings.data.augment,
        jitter=labels.jitter,
        seed=settings.train.seed,
    )
    return Prepared(
        task=task,
        data=data,
        intensity={"source": seen, "target": fixed(0, 255, network=(0.0, 1.0))},
        calibration={
            "forward": lambda: (item["source"][None] for item in data.covering(settings.data.calibration)),
        },
        held_out=lambda: (
            {name: part[None] for name, part in item.items()} for item in unseen.covering(labels.held_out_patches)
        ),
    )


def _unlearnt(task: Segment, jitter: Jitter) -> Shape:
    """Return how many voxels of image a patch to learn from and one to judge by may share, along the network's axes.

    Losses look where the whole context was seen, so that both leave out the masks within the reach of their ends; less
    in a patch to learn from that shows things larger.
    """
    reach = nets.footprint(task.segmenter).reach
    return tuple(min(ends) + int(min(ends) * exp(-jitter.zoom)) for ends in zip(*reach, strict=True))


def _least(settings: Recipe) -> Shape:
    """Return the smallest volume, Z, Y, X, that holds a patch in each direction it may lie in."""
    return _spread(settings, settings.patch, whole=1)


def _spread(settings: Recipe, sizes: Shape, *, whole: int) -> Shape:
    """Return sizes along the network's axes as Z, Y, X; `whole` across planes, the extreme where planes differ."""
    if settings.dims == 3:
        return sizes
    shapes = []
    for name in settings.data.planes:
        shape = list(sizes)
        shape.insert("zyx".index(name), whole)
        shapes.append(shape)
    extreme = max if whole else min
    return tuple(extreme(column) for column in zip(*shapes, strict=True))


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
