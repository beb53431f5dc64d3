"""The parts of a study's domains as volumes of its own folder, so that it can be moved and looked at elsewhere.

    domains/DOMAIN/train.zarr  train-mask.zarr  validate...  test...  test-as-OTHER.zarr  more-0.zarr

Crops of files are read and written block by block; phantoms are made; truths are the same tissue in another look.
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
from vol2vol.study.origins import Origin, degraded, origin_of, write_part
from vol2vol.study.settings import Domain, PartName, Study
from vol2vol.volumes import Stated, open_together
from vol2vol.volumes.addresses import address, is_remote
from vol2vol.volumes.opening import open_member

FOLDER = "domains"
JUDGED: tuple[PartName, ...] = ("train", "validate", "test")
"""Parts that segmenters look at; translators, which learn from the part `translator_train`, need no mask."""


@dataclass(frozen=True)
class Parts:
    """Where the parts of a study's domains lie, below the folder of the study; they are written when asked for."""

    study: Study
    folder: Path

    def image(self, domain: str, part: PartName) -> Path:
        """Return the image of a part."""
        return self._written(domain, part, f"{part}.zarr", partial(image_of, self.study, domain, part))

    def mask(self, domain: str, part: PartName) -> Path:
        """Return the mask of a part; there must be one."""
        return self._written(domain, part, f"{part}-mask.zarr", partial(_mask, self.study, domain, part))

    def truth(self, domain: str, target: str, part: PartName = "test") -> Path | None:
        """Return a part's tissue in the look of another domain; None where it is not known."""
        make = truth_of(self.study, domain, target)
        return None if make is None else self._written(domain, part, f"{part}-as-{target}.zarr", make)

    def more(self, domain: str) -> list[Path]:
        """Return what else translators learn from."""
        about = self.study.domains[domain]
        return [
            self._written(domain, None, f"more-{n}.zarr", partial(_file, self.study, about, path))
            for n, path in enumerate(about.more)
        ]

    def translator_images(self, domain: str) -> list[Path]:
        """Return all that translators learn from."""
        return [self.image(domain, training_part("translators", self.study.domains[domain])), *self.more(domain)]

    def translator_pairs(self, source: str, target: str) -> list[list[Path]]:
        """Return what translators learn from that need pairs: an image, and the same tissue in the target's look."""
        part = training_part("translators", self.study.domains[source])
        truth = self.truth(source, target, part)
        assert truth is not None, f"the look of {source} as {target} is not known"
        return [[self.image(source, part)], [truth]]

    def shape(self, domain: str, part: PartName) -> Shape:
        """Return the voxels of a part, which need not be written."""
        spatial = image_of(self.study, domain, part).spatial
        return _box(self.study.domains[domain].part(part).box, spatial, f"domains.{domain}.parts.{part}").shape

    def has_mask(self, domain: str) -> bool:
        """Say whether a domain can be segmented and judged."""
        about = self.study.domains[domain]
        return about.phantom is not None or all(about.part(part).mask for part in JUDGED)

    def _written(self, domain: str, part: PartName | None, name: str, origin: Callable[[], Origin]) -> Path:
        path = self.folder / FOLDER / domain / name
        if not path.exists():
            made = origin()
            text = self.study.domains[domain].part(part).box
            write_part(path, made, _box(text, made.spatial, f"domains.{domain}.parts.{part}"))
        return path


def training_part(kind: str, about: Domain) -> PartName:
    """Return the part that networks of a kind, translators or segmenters, learn from."""
    return "translator_train" if kind == "translators" and "translator_train" in about.parts else "train"


def _box(text: str, spatial: Shape, where: str) -> Box:
    ranges = [*text.split(","), ":", ":", ":"][: max(3, text.count(",") + 1)] if text else [":"] * 3
    try:
        return PredictSettings(roi=",".join(ranges)).region(spatial)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def image_of(study: Study, domain: str, part: PartName) -> Origin:
    """Return what the image of a part is cut from."""
    about = study.domains[domain]
    if about.phantom is not None:
        origin = _phantom(about, about.phantom.look)
    else:
        origin = _file(study, about, about.part(part).image)
    return origin if about.degraded is None else degraded(origin, about.degraded)


def _mask(study: Study, domain: str, part: PartName) -> Origin:
    about = study.domains[domain]
    if about.phantom is not None:
        return _phantom(about, None)
    return _file(study, about, about.part(part).mask, labels=True)


def truth_of(study: Study, domain: str, target: str) -> Callable[[], Origin] | None:
    """Return what knows the truth, None where nothing does."""
    about, other = study.domains[domain], study.domains[target]
    if target in about.truths:
        return partial(_file, study, about, about.truths[target])
    if about.phantom is not None and other.phantom is not None and other.degraded is None:
        return partial(_phantom, about, other.phantom.look)
    return None


def _phantom(about: Domain, look: str | None) -> Origin:
    """Return a phantom's tissue in a look, or its mitochondria."""
    assert about.phantom is not None, about
    scene: Scene = scene_of(DOMAINS[about.phantom.look], about.phantom.seed)
    read: Any = partial(mask, scene) if look is None else partial(render, scene, DOMAINS[look])
    return Origin(
        read=read,
        spatial=about.phantom.shape,
        channels=1,
        dtype=np.dtype(np.uint8),
        voxel_size=about.voxel_size or VOXEL_SIZE,
        unit=about.unit or "nanometer",
    )


def _file(study: Study, about: Domain, path: str, *, labels: bool = False) -> Origin:
    """Return a file after the domain's steps; of a mask, those that say where voxels are."""
    volume = open_member(located(study, path), **_stated(about))
    steps: tuple[Step, ...] = about.steps
    if labels:
        steps = (Binarise(), *(_for_masks(step) for step in steps if isinstance(step, Crop | Resample)))
        if any(step.data_dependent for step in steps):
            raise BadInput(f"{path}: a mask cannot be cropped to its image's content: give the box that prepare found")
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


def _stated(about: Domain) -> Stated:
    return {"axes": about.axes, "voxel_size": about.voxel_size, "unit": about.unit, "time": about.time}


def _for_masks(step: Crop | Resample) -> Crop | Resample:
    return step.model_copy(update={"method": "majority"}) if isinstance(step, Resample) else step


def located(study: Study, path: str) -> str:
    """Return where a domain's file lies; raise `NotFound`, naming the cure, where a local one is not there."""
    path = address(path)
    if is_remote(path):
        return path
    there = Path(study.data) / path
    if not Path(re.sub(r"(\.h(?:df)?5):.*", r"\1", str(there))).exists():
        raise NotFound(f"{there} is not there: give --data, the folder with the volumes of study {study.name}")
    return str(there)


def check_data(study: Study) -> None:
    """Raise `NotFound` unless every local file of the domains that are used is there, `BadInput` on impossible parts.

    Files are opened, not read.
    """
    for name in dict.fromkeys(name for pair in study.pairs for name in pair):
        about = study.domains[name]
        files = [*about.more, *about.truths.values()]
        for part in get_args(PartName):
            own = about.part(part)
            files += [path for path in (own.image, own.mask) if path]
        there = [located(study, path) for path in dict.fromkeys(files)]
        if there and about.time:
            for volume in open_together(there, **_stated(about)):
                volume.close()
        for part in get_args(PartName):
            Parts(study, Path()).shape(name, part)
            _check_shapes(study, name, part)


def check_patches(study: Study) -> None:
    """Raise `BadInput` where a part that distances look at is smaller than their patches."""
    if "features" not in study.needs:
        return
    about, parts = study.distance, Parts(study, Path())
    looked: list[tuple[str, PartName]] = [(target, "train") for _, target in study.pairs]
    for domain, part in [*looked, *((source, "test") for source, _ in study.pairs)]:
        shape = parts.shape(domain, part)
        for plane in about.planes:
            if any(n < s for n, s in zip(shape, Cutting(axis=plane, size=about.size).shape, strict=True)):
                raise BadInput(
                    f"domains.{domain}.parts.{part} of {shape} voxels holds no {plane} patch of {about.size}: "
                    "make distance.size smaller, or leave that plane out of distance.planes"
                )


def _check_shapes(study: Study, domain: str, part: PartName) -> None:
    """Raise `BadInput` where a part's mask, or a truth of the test part, has another shape than its image."""
    about = study.domains[domain]
    if about.phantom is not None:
        return
    image, own = image_of(study, domain, part), about.part(part)
    others = [(own.mask, _mask(study, domain, part))] if own.mask else []
    if part == "test":
        others += [(path, _file(study, about, path)) for path in about.truths.values()]
    for path, other in others:
        if other.spatial != image.spatial:
            raise BadInput(f"{path} has {other.spatial} voxels, its image {own.image} {image.spatial}: crop one")
