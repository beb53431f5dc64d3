"""The volumes of a domain: opened, checked against each other, measured, and what is remembered of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from vol2vol.errors import BadInput, some_of
from vol2vol.intensity import Intensity, apart, fixed, likeness, measure, sample
from vol2vol.protocol import Need
from vol2vol.sampling import DataSettings
from vol2vol.sampling.aligned import AS_IT_IS
from vol2vol.volumes import Stated, Volume
from vol2vol.volumes.addresses import address
from vol2vol.volumes.axes import convert
from vol2vol.volumes.imagesets import images_under
from vol2vol.volumes.opening import open_member, refuse_idle_time
from vol2vol.volumes.places import same_voxels

log = logging.getLogger(__name__)
Paths = str | Path | Sequence[str | Path]
SAMPLED = 96
"""Boxes of voxels that are sampled to compare the intensities of a domain's volumes, shared by all of them."""
SAME_SIZE = 0.02
"""Relative difference of voxel sizes up to which volumes are of one scale."""


def open_domain(paths: Paths, **stated: Unpack[Stated]) -> list[Volume]:
    """Open one or more volumes; `stated` describes those whose files do not.

    A path may stand for many images: see `volumes.imagesets.images_under`.
    """
    return open_domains({"source": paths}, stated, {})["source"]


def _files(paths: Paths, stated: Stated, *, literal: bool) -> list[str]:
    """Return the path of every volume that paths stand for."""
    names = [paths] if isinstance(paths, str | Path) else list(paths)
    if not names:
        raise BadInput("a domain needs at least one volume: name its files")
    if literal:
        return [str(name) for name in names]
    return [file for name in names for file in images_under(address(name), stated.get("pattern"))]


def open_domains(
    paths: Mapping[str, Paths], stated: Stated, target: Stated, *, literal: bool = False
) -> dict[str, list[Volume]]:
    """Open the volumes of every domain; `target` holds what of the target's volumes differs from `stated`, or None.

    A path may stand for many images (`volumes.imagesets.images_under`), but where each is meant `literal`ly as one.
    """
    about: Stated = {**stated, **{key: value for key, value in target.items() if value is not None}}  # type: ignore[typeddict-item]
    volumes = {}
    for name, given in paths.items():
        mine = about if name == "target" else stated
        volumes[name] = [open_member(file, **mine) for file in _files(given, mine, literal=literal)]
    refuse_idle_time([volume for opened in volumes.values() for volume in opened], stated)
    return volumes


def channels_of(domain: str, volumes: list[Volume]) -> int:
    """Return how many channels a domain has; raise `BadInput` where its volumes differ."""
    first = volumes[0]
    if others := [f"{v.path} {v.channels}" for v in volumes if v.channels != first.channels]:
        counts = f"{first.path} has {first.channels}, {some_of(others)}"
        raise BadInput(f"{domain} volumes differ in channels: {counts}; convert one or the other")
    return first.channels


def intensity_for(need: Need, data: DataSettings, volumes: list[Volume]) -> Intensity:
    """Return how the stored values of a domain become the network's range, and back where a network makes it.

    Images are measured; a mask is a probability, stored as 0 to 255; labels stay the numbers they are.
    """
    if need.kind == "mask":
        return fixed(0, 255, network=(0.0, 1.0))
    return intensity_of(data, volumes) if need.kind == "image" else AS_IT_IS


def warn_of_differences(domain: str, volumes: list[Volume], *, image: bool = True) -> None:
    """Warn where volumes of one domain differ from the first in voxel size or, of images, in intensity.

    One map of intensities and one network serve them all. Compares samples, some voxels of each volume.
    """
    first, boxes = volumes[0], max(1, SAMPLED // len(volumes))
    for volume in volumes[1:]:
        if not same_voxels(first, volume, SAME_SIZE):
            sizes = [[convert(n, v.unit, first.unit) for n in v.voxel_size] for v in (first, volume)]
            said = [f"({', '.join(f'{n:g}' for n in size)})" for size in sizes]
            log.warning(
                "%s volumes differ in voxel size: %s has %s, %s has %s %s; vol2vol prepare --resample makes them alike",
                *(domain, first.path, said[0], volume.path, said[1], first.unit),
            )
        if image and (words := apart(first, volume, boxes=boxes)):
            log.warning("%s volumes differ in intensity, but share one map: %s", domain, words)


def warn_of_range(volumes: list[Volume], intensity: Intensity) -> None:
    """Warn of volumes whose intensities do not fit a map that was not measured on them."""
    for volume in volumes:
        found = likeness(sample(volume, boxes=max(1, SAMPLED // len(volumes))), intensity)
        if found is not None and not found.fits:
            log.warning("%s does not fit its map of intensities: %s", volume.path, found.words)


def intensity_of(data: DataSettings, volumes: list[Volume]) -> Intensity:
    """Return how the stored values of a domain become the network's range."""
    if data.intensity == "fixed":
        if data.low is None or data.high is None:
            raise BadInput("data.intensity fixed needs data.low and data.high: give both")
        chosen = fixed(data.low, data.high)
        warn_of_range(volumes, chosen)
        return chosen
    log.info("measuring the intensities of %d voxels", sum(_voxels(volume) for volume in volumes))
    cure = "give the range yourself, data.intensity=fixed data.low=LOW data.high=HIGH"
    return measure(volumes, data.intensity, cure=cure)


def _voxels(volume: Volume) -> int:
    z, y, x = volume.spatial
    return z * y * x


def volume_facts(volume: Volume) -> dict[str, Any]:
    """Return what a model should remember of a volume it was trained on; no folders, they are nobody's business."""
    name = re.split(r"[/\\]", str(volume.path))[-1]
    size = [float(n) for n in volume.voxel_size]
    facts = {"name": name, "shape": list(volume.shape), "dtype": str(volume.dtype)}
    facts |= {"voxel_size": size, "unit": volume.unit}
    return {**facts, "channels": list(volume.channel_names)} if volume.channel_names else facts
