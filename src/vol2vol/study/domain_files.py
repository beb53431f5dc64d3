"""Write the parts of a study's domains as volumes in its folder, so that the folder is complete and can be moved.

    domains/DOMAIN/train.zarr  train-mask.zarr  validate...  test...  test-as-OTHER.zarr  more-0.zarr

Files are cropped block by block; phantoms are generated; a truth is the same tissue with another domain's appearance.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from vol2vol.errors import BadInput, NotFound
from vol2vol.geometry import Box, Shape
from vol2vol.metrics.distances.cut_patches import Cutting
from vol2vol.phantoms import DOMAINS, Scene, mask, render, scene_of
from vol2vol.phantoms.writing import VOXEL_SIZE
from vol2vol.prediction.settings import PredictSettings
from vol2vol.preparation import Binarise, Chain, Crop, Resample, Step
from vol2vol.preparation.chain import resolved
from vol2vol.study.circle_images import circles_origin
from vol2vol.study.domain_settings import CirclesPhantom, Domain, PartName, Phantom
from vol2vol.study.origins import Origin, degraded, origin_of, write_part
from vol2vol.study.settings import Study
from vol2vol.volumes import Stated, open_together
from vol2vol.volumes.addresses import address, is_remote
from vol2vol.volumes.opening import open_member

FOLDER = "domains"
JUDGED: tuple[PartName, ...] = ("train", "validate", "test")
"""Parts that segmenters use, which need masks; the part `translator_train` needs none."""


@dataclass(frozen=True)
class Parts:
    """Paths of the parts of a study's domains, in the folder of the study; each part is written on first use."""

    study: Study
    folder: Path

    def image(self, domain: str, part: PartName) -> Path:
        """Return the path of a part's image."""
        return self._written(domain, part, f"{part}.zarr", partial(image_of, self.study, domain, part))

    def mask(self, domain: str, part: PartName) -> Path:
        """Return the path of a part's mask, which must exist."""
        return self._written(domain, part, f"{part}-mask.zarr", partial(_mask, self.study, domain, part))

    def truth(self, domain: str, target: str, part: PartName = "test") -> Path | None:
        """Return the path of a part's truth, its tissue with the target's appearance; None if it is not known."""
        make = truth_of(self.study, domain, target)
        return None if make is None else self._written(domain, part, f"{part}-as-{target}.zarr", make)

    def more(self, domain: str) -> list[Path]:
        """Return the paths of a domain's further images, on which translators are trained too."""
        settings = self.study.domains[domain]
        return [
            self._written(domain, None, f"more-{n}.zarr", partial(_file, self.study, settings, path))
            for n, path in enumerate(settings.more)
        ]

    def translator_images(self, domain: str) -> list[Path]:
        """Return the paths of all images on which translators are trained without pairs."""
        return [self.image(domain, training_part("translators", self.study.domains[domain])), *self.more(domain)]

    def translator_pairs(self, source: str, target: str) -> list[list[Path]]:
        """Return the paths of training pairs: the source's image and its truth, as `[[image], [truth]]`."""
        part = training_part("translators", self.study.domains[source])
        truth = self.truth(source, target, part)
        assert truth is not None, f"the truth of {source} as {target} is not known"
        return [[self.image(source, part)], [truth]]

    def shape(self, domain: str, part: PartName) -> Shape:
        """Return the shape `(Z, Y, X)` of a part in voxels; the part need not be written."""
        spatial = image_of(self.study, domain, part).spatial
        return _box(self.study.domains[domain].part(part).box, spatial, f"domains.{domain}.parts.{part}").shape

    def has_mask(self, domain: str) -> bool:
        """Return whether all parts that segmenters use have masks."""
        settings = self.study.domains[domain]
        return settings.phantom is not None or all(settings.part(part).mask for part in JUDGED)

    def _written(self, domain: str, part: PartName | None, name: str, make: Callable[[], Origin]) -> Path:
        path = self.folder / FOLDER / domain / name
        if not path.exists():
            origin = make()
            text = self.study.domains[domain].part(part).box
            write_part(path, origin, _box(text, origin.spatial, f"domains.{domain}.parts.{part}"))
        return path


def training_part(kind: str, settings: Domain) -> PartName:
    """Return the part on which networks of a kind, translators or segmenters, are trained."""
    return "translator_train" if kind == "translators" and "translator_train" in settings.parts else "train"


def _box(text: str, spatial: Shape, where: str) -> Box:
    ranges = [*text.split(","), ":", ":", ":"][: max(3, text.count(",") + 1)] if text else [":"] * 3
    try:
        return PredictSettings(roi=",".join(ranges)).region(spatial)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def image_of(study: Study, domain: str, part: PartName) -> Origin:
    """Return the origin that the image of a part is cut from."""
    settings = study.domains[domain]
    if isinstance(settings.phantom, CirclesPhantom):
        origin = circles_origin(settings.phantom, part)
    elif settings.phantom is not None:
        origin = _phantom(settings, settings.phantom, settings.phantom.look)
    else:
        origin = _file(study, settings, settings.part(part).image)
    return origin if settings.degraded is None else degraded(origin, settings.degraded)


def _mask(study: Study, domain: str, part: PartName) -> Origin:
    settings = study.domains[domain]
    if isinstance(settings.phantom, CirclesPhantom):
        return circles_origin(settings.phantom, part, labels=True)
    if settings.phantom is not None:
        return _phantom(settings, settings.phantom, None)
    return _file(study, settings, settings.part(part).mask, labels=True)


def truth_of(study: Study, domain: str, target: str) -> Callable[[], Origin] | None:
    """Return a function that opens the truth of a domain as the target; None if it is not known."""
    settings, other = study.domains[domain], study.domains[target]
    if target in settings.truths:
        return partial(_file, study, settings, settings.truths[target])
    phantom, look = settings.phantom, other.phantom
    if isinstance(phantom, Phantom) and isinstance(look, Phantom) and other.degraded is None:
        return partial(_phantom, settings, phantom, look.look)
    return None


def _phantom(settings: Domain, phantom: Phantom, look: str | None) -> Origin:
    """Return a phantom's tissue with an appearance, or the mask of its mitochondria if `look` is None."""
    scene: Scene = scene_of(DOMAINS[phantom.look], phantom.seed)
    read: Any = partial(mask, scene) if look is None else partial(render, scene, DOMAINS[look])
    return Origin(
        read=read,
        spatial=phantom.shape,
        channels=1,
        dtype=np.dtype(np.uint8),
        voxel_size=settings.voxel_size or VOXEL_SIZE,
        unit=settings.unit or "nanometer",
    )


def _file(study: Study, settings: Domain, path: str, *, labels: bool = False) -> Origin:
    """Return a file after the domain's steps; masks are binarised and take only the steps that move voxels."""
    volume = open_member(located(study, path), **_stated(settings))
    steps: tuple[Step, ...] = settings.steps
    if labels:
        steps = (Binarise(), *(_for_masks(step) for step in steps if isinstance(step, Crop | Resample)))
        if any(step.data_dependent for step in steps):
            raise BadInput(
                f"{path}: a mask cannot be cropped to its image's content: give the box that prepare reported"
            )
    chain = resolved(Chain.of(volume, steps, labels=labels))
    return replace(
        origin_of(volume),
        read=chain.read,
        spatial=chain.spatial,
        channels=chain.shape[0],
        dtype=chain.dtype,
        voxel_size=chain.header.voxel_size,
        offset=chain.place,
    )


def _stated(settings: Domain) -> Stated:
    return {"axes": settings.axes, "voxel_size": settings.voxel_size, "unit": settings.unit, "time": settings.time}


def _for_masks(step: Crop | Resample) -> Crop | Resample:
    return step.model_copy(update={"method": "majority"}) if isinstance(step, Resample) else step


def located(study: Study, path: str) -> str:
    """Return the path or address of a domain's file; raise `NotFound` if a local file does not exist."""
    path = address(path)
    if is_remote(path):
        return path
    file = Path(study.data) / path
    if not Path(re.sub(r"(\.h(?:df)?5):.*", r"\1", str(file))).exists():
        raise NotFound(f"{file} does not exist: give `data`, the folder with the volumes of study {study.name}")
    return str(file)


def check_data(study: Study) -> None:
    """Check the files of the domains that are used; files are opened, but no voxels are read.

    Raises `NotFound` if a local file is missing, and `BadInput` if a part is empty, outside its file, or has a mask or
    truth of another shape.
    """
    for name in dict.fromkeys(name for pair in study.pairs for name in pair):
        settings = study.domains[name]
        files = [*settings.more, *settings.truths.values()]
        for part in get_args(PartName):
            own = settings.part(part)
            files += [path for path in (own.image, own.mask) if path]
        paths = [located(study, path) for path in dict.fromkeys(files)]
        if paths and settings.time:
            for volume in open_together(paths, **_stated(settings)):
                volume.close()
        for part in get_args(PartName):
            Parts(study, Path()).shape(name, part)
            _check_shapes(study, name, part)


def check_patches(study: Study) -> None:
    """Raise `BadInput` if a part that distances are measured on is smaller than their patches."""
    if "features" not in study.needs:
        return
    distance, parts = study.distance, Parts(study, Path())
    measured: list[tuple[str, PartName]] = [(target, "train") for _, target in study.pairs]
    for domain, part in [*measured, *((source, "test") for source, _ in study.pairs)]:
        shape = parts.shape(domain, part)
        for plane in distance.planes:
            if any(n < s for n, s in zip(shape, Cutting(axis=plane, size=distance.size).shape, strict=True)):
                raise BadInput(
                    f"domains.{domain}.parts.{part} of {shape} voxels holds no {plane} patch of {distance.size}: "
                    "lower distance.size, or leave that plane out of distance.planes"
                )


def _check_shapes(study: Study, domain: str, part: PartName) -> None:
    """Raise `BadInput` if a part's mask, or a truth of the test part, differs in shape from its image."""
    settings = study.domains[domain]
    if settings.phantom is not None:
        return
    image, own = image_of(study, domain, part), settings.part(part)
    others = [(own.mask, _mask(study, domain, part))] if own.mask else []
    if part == "test":
        others += [(path, _file(study, settings, path)) for path in settings.truths.values()]
    for path, other in others:
        if other.spatial != image.spatial:
            raise BadInput(f"{path} has {other.spatial} voxels, its image {own.image} has {image.spatial}: crop one")
