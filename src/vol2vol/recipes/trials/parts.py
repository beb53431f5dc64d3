"""The parts of a study's domains as volumes of its own folder, so that it can be moved and looked at elsewhere.

    domains/DOMAIN/train.zarr  train-mask.zarr  validate...  test...  test-as-OTHER.zarr  more-0.zarr

Crops of files are read and written block by block; phantoms are made; truths are the same tissue in another look.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from scipy import ndimage

from vol2vol.errors import BadInput, CannotWrite, NotFound
from vol2vol.geometry import Box, Shape, ceil_div, grid
from vol2vol.metrics.patches import Cutting
from vol2vol.phantoms import DOMAINS, Scene, mask, render, scene_of
from vol2vol.phantoms.noise import key, white
from vol2vol.phantoms.writing import VOXEL_SIZE
from vol2vol.prediction.settings import PredictSettings
from vol2vol.preparation import Binarise, Chain, Crop, Resample, Step
from vol2vol.preparation.chain import answered
from vol2vol.recipes.trials.settings import Degraded, Domain, PartName, Study
from vol2vol.volumes import Stated, Volume, create_volume, open_together
from vol2vol.volumes.addresses import address, is_remote
from vol2vol.volumes.opening import open_member

FOLDER = "domains"
JUDGED: tuple[PartName, ...] = ("train", "validate", "test")
"""Parts that segmenters look at; translators, which learn from the part `look`, need no mask."""
BLOCK = (64, 256, 256)
"""Voxels that are read and written in one go."""
Read = Callable[[Box], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Something that can be read by boxes of a whole domain."""

    read: Read
    spatial: Shape
    channels: int
    dtype: np.dtype
    voxel_size: Sequence[float]
    unit: str


@dataclass(frozen=True)
class Parts:
    """Where the parts of a study's domains lie, below the folder of the study; they are written when asked for."""

    study: Study
    folder: Path

    def image(self, domain: str, part: PartName) -> Path:
        """Return the image of a part."""
        return self._written(domain, part, f"{part}.zarr", partial(_image, self.study, domain, part))

    def mask(self, domain: str, part: PartName) -> Path:
        """Return the mask of a part; there must be one."""
        return self._written(domain, part, f"{part}-mask.zarr", partial(_mask, self.study, domain, part))

    def truth(self, domain: str, target: str) -> Path | None:
        """Return the test part's tissue in the look of another domain; None where it is not known."""
        make = _truth(self.study, domain, target)
        return None if make is None else self._written(domain, "test", f"test-as-{target}.zarr", make)

    def more(self, domain: str) -> list[Path]:
        """Return what else translators learn from."""
        about = self.study.domains[domain]
        return [
            self._written(domain, None, f"more-{n}.zarr", partial(_file, self.study, about, path))
            for n, path in enumerate(about.more)
        ]

    def looks(self, domain: str) -> list[Path]:
        """Return all that translators learn from."""
        return [self.image(domain, learnt("translators", self.study.domains[domain])), *self.more(domain)]

    def shape(self, domain: str, part: PartName) -> Shape:
        """Return the voxels of a part, which need not be written."""
        spatial = _image(self.study, domain, part).spatial
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


def learnt(kind: str, about: Domain) -> PartName:
    """Return the part that networks of a kind, translators or segmenters, learn from."""
    return "look" if kind == "translators" and "look" in about.parts else "train"


def _box(text: str, spatial: Shape, where: str) -> Box:
    ranges = [*text.split(","), ":", ":", ":"][: max(3, text.count(",") + 1)] if text else [":"] * 3
    try:
        return PredictSettings(roi=",".join(ranges)).region(spatial)
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def _image(study: Study, domain: str, part: PartName) -> Origin:
    about = study.domains[domain]
    if about.phantom is not None:
        origin = _phantom(about, about.phantom.look)
    else:
        origin = _file(study, about, about.part(part).image)
    return origin if about.degraded is None else _degraded(origin, about.degraded)


def _mask(study: Study, domain: str, part: PartName) -> Origin:
    about = study.domains[domain]
    if about.phantom is not None:
        return _phantom(about, None)
    return _file(study, about, about.part(part).mask, labels=True)


def _truth(study: Study, domain: str, target: str) -> Callable[[], Origin] | None:
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
        if any(step.open_question for step in steps):
            raise BadInput(f"{path}: a mask cannot be cropped to its image's content: give the box that prepare found")
    chain = answered(Chain.of(volume, steps, labels=labels))
    return replace(
        origin_of(volume),
        read=chain.read,
        spatial=chain.spatial,
        channels=chain.shape[0],
        dtype=chain.dtype,
        voxel_size=chain.look.voxel_size,
    )


def _stated(about: Domain) -> Stated:
    return {"axes": about.axes, "voxel_size": about.voxel_size, "unit": about.unit, "time": about.time}


def origin_of(volume: Volume) -> Origin:
    """Return an open volume as something to write parts of."""
    return Origin(
        read=volume.read,
        spatial=volume.spatial,
        channels=volume.channels,
        dtype=volume.dtype,
        voxel_size=volume.voxel_size,
        unit=volume.unit,
    )


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
    if "distance" not in study.asked:
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
    image, own = _image(study, domain, part), about.part(part)
    others = [(own.mask, _mask(study, domain, part))] if own.mask else []
    if part == "test":
        others += [(path, _file(study, about, path)) for path in about.truths.values()]
    for path, other in others:
        if other.spatial != image.spatial:
            raise BadInput(f"{path} has {other.spatial} voxels, its image {own.image} {image.spatial}: crop one")


def _degraded(origin: Origin, how: Degraded) -> Origin:
    """Return an origin blurred, scaled and noisy; a voxel's noise depends on its place alone."""
    reach = tuple(0 if n == 1 else int(4 * how.blur + 0.5) for n in origin.spatial)
    sigma = tuple(how.blur * (n > 1) for n in origin.spatial)

    def read(box: Box) -> np.ndarray:
        around = box.grow(reach, reach) & Box.of(origin.spatial)
        wide = origin.read(around).astype(np.float32)
        channels = [ndimage.gaussian_filter(one, sigma, mode="mirror") for one in wide]
        grey = np.stack(channels)[(slice(None), *box.relative_to(around.start).slices)] * how.gain + how.offset
        grey += how.noise * white(key("degraded"), box)
        if origin.dtype.kind == "f":
            return grey.astype(origin.dtype)
        limits = np.iinfo(origin.dtype)
        return np.clip(np.rint(grey), limits.min, limits.max).astype(origin.dtype)

    return replace(origin, read=read)


def write_part(path: Path, origin: Origin, box: Box) -> None:
    """Write a box of something as a volume, whole or not at all."""
    part = path.with_name(f".{path.stem}.part.zarr")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise CannotWrite(f"{path.parent} cannot be written: {error.strerror or error}") from error
    with create_volume(
        str(part),
        shape=(origin.channels, *box.shape),
        dtype=origin.dtype,
        voxel_size=origin.voxel_size,
        unit=origin.unit,
    ) as volume:
        block = tuple(s * ceil_div(min(b, n), s) for s, b, n in zip(volume.shards, BLOCK, box.shape, strict=True))
        for one in grid(Box.of(box.shape), block):
            volume.write(one, np.ascontiguousarray(origin.read(one.shift(box.start)), origin.dtype))
    os.replace(part, path)
