"""The volumes of a domain: opened, checked against each other, measured, and what is remembered of them."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from vol2vol.errors import BadInput, some_of
from vol2vol.intensity import Intensity, Sample, fixed, likeness, measure, sample
from vol2vol.intensity.streaming import stream
from vol2vol.progress import counted
from vol2vol.protocol import Need
from vol2vol.sampling import DataSettings
from vol2vol.sampling.aligned import AS_IT_IS
from vol2vol.volumes import Stated, Volume
from vol2vol.volumes.addresses import address
from vol2vol.volumes.axes import convert
from vol2vol.volumes.imagesets import images_under
from vol2vol.volumes.masks import foreground
from vol2vol.volumes.opening import open_member, refuse_idle_time
from vol2vol.volumes.places import SAME_SIZE, same_voxels
from vol2vol.volumes.resting import RestingVolume

log = logging.getLogger(__name__)
Paths = str | Path | Sequence[str | Path]
BOXES = 96
"""Boxes of voxels that are sampled to compare the intensities of a domain's volumes, shared by all of them."""
LISTED = 5
"""Volumes that are warned of one by one."""
MANY = 1000
"""Small volumes of a domain beyond which as many of them are looked at before training."""
COMPARED = 200
"""Of these, how many are compared with the first volume."""
_EVEN = 11
"""A random stream of its own."""
TOLD = 100
"""Volumes of a domain up to which a model remembers each."""
SMALL = 1 << 22
"""Voxels of a volume up to which it is small."""
MOST_OPEN = 64
"""Volumes of a domain beyond which the files of small ones are open during reads alone."""


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
        volumes[name] = _opened(_files(given, mine, literal=literal), mine, name)
    refuse_idle_time([volume for opened in volumes.values() for volume in opened], stated)
    return volumes


def _opened(files: Sequence[str], stated: Stated, domain: str) -> list[Volume]:
    """Open the volumes of a domain; small ones of many are left at rest."""
    if len(files) <= MOST_OPEN:
        return [open_member(file, **stated) for file in files]
    volumes = []
    for file in counted(files, f"opening {domain} volumes", len(files)):
        volume = open_member(file, **stated)
        volumes.append(RestingVolume(volume) if _voxels(volume) <= SMALL else volume)
    return volumes


def channels_of(domain: str, volumes: list[Volume]) -> int:
    """Return how many channels a domain has; raise `BadInput` where its volumes differ."""
    first = volumes[0]
    if others := [f"{v.path} {v.channels}" for v in volumes if v.channels != first.channels]:
        counts = f"{first.path} has {first.channels}, {some_of(others)}"
        raise BadInput(f"{domain} volumes differ in channels: {counts}; convert one or the other")
    return first.channels


def intensity_for(need: Need, data: DataSettings, volumes: Sequence[Volume]) -> Intensity:
    """Return how the stored values of a domain become the network's range, and back where a network makes it.

    Images are measured; a mask is a probability, stored as 0 to 255; labels stay the numbers they are.
    """
    if need.kind == "mask":
        return fixed(0, 255, network=(0.0, 1.0))
    return intensity_of(data, volumes) if need.kind == "image" else AS_IT_IS


def even_sample(volumes: Sequence[Volume], seed: int) -> list[Volume]:
    """Return the volumes whose voxels are looked at before training: all, or of many small ones `MANY` of them.

    These are spread evenly over the order in which they were given; each has the same chance, which `seed` decides.
    """
    if len(volumes) <= MANY or any(_voxels(volume) > SMALL for volume in volumes):
        return list(volumes)
    ends = np.arange(MANY + 1) * len(volumes) // MANY
    return [volumes[i] for i in np.random.default_rng([seed, _EVEN]).integers(ends[:-1], ends[1:])]


def warn_of_differences(
    domain: str, volumes: Sequence[Volume], *, image: bool = True, looked_at: Sequence[Volume] | None = None
) -> None:
    """Warn where volumes of one domain differ from the first in voxel size or, of images, in intensity.

    One map of intensities and one network serve them all. Intensities are compared by some voxels of each volume; where
    only some are `looked_at`, of about `COMPARED` of these.
    """
    first = volumes[0]
    sizes = [
        f"{first.path} has {_size(first, first)}, {volume.path} has {_size(volume, first)} {first.unit}".rstrip()
        for volume in volumes[1:]
        if not same_voxels(first, volume, SAME_SIZE)
    ]
    warn_each(f"{domain} volumes differ in voxel size: ", sizes, "; vol2vol prepare `resample` makes them alike")
    if image:
        others = list(volumes[1:])
        if looked_at is not None and len(looked_at) < len(volumes):
            others = list(looked_at[:: max(1, len(looked_at) // COMPARED)])
        boxes = max(1, BOXES // (1 + len(others)))
        known = Sample.of(first, boxes=boxes)
        compared = counted(others, "comparing intensities", len(others))
        words = [known.apart(Sample.of(volume, boxes=boxes)) for volume in compared]
        warn_each(f"{domain} volumes differ in intensity, but share one map: ", [said for said in words if said])


def _size(volume: Volume, other: Volume) -> str:
    """Return the voxel size of a volume in the unit of another one."""
    return f"({', '.join(f'{convert(n, volume.unit, other.unit):g}' for n in volume.voxel_size)})"


def warn_each(what: str, items: Sequence[str], cure: str = "") -> None:
    """Warn of each item in a line; of more than `LISTED`, in one line with the first of them and their number."""
    for item in items if len(items) <= LISTED else [some_of(items, LISTED, between="; ")]:
        log.warning("%s%s%s", what, item, cure)


def warn_of_range(volumes: Sequence[Volume], intensity: Intensity) -> None:
    """Warn of volumes whose intensities do not fit a map that was not measured on them."""
    boxes = max(1, BOXES // len(volumes))
    compared = [(v.path, likeness(sample(v, boxes=boxes), intensity)) for v in volumes]
    unfit = [
        f"{path} does not fit its map of intensities: {found.words}"
        for path, found in compared
        if found and not found.fits
    ]
    warn_each("", unfit)


def check_masks(volumes: Sequence[Volume]) -> None:
    """Raise `BadInput` where a mask of a type that can hold them holds fractions, negative numbers or NaN."""
    for volume, _, values in stream([v for v in volumes if v.dtype.kind in "if"], "checking masks"):
        foreground(values, str(volume.path))


def intensity_of(data: DataSettings, volumes: Sequence[Volume]) -> Intensity:
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


def facts_of(volumes: Sequence[Volume]) -> list[dict[str, Any]]:
    """Return what a model should remember of the volumes it was trained on; no folders, they are nobody's business.

    Of more than `TOLD`, those that differ in nothing but their names are one entry: the first name, how many they are,
    and a SHA-256 of the names; where their sizes are all different, too, these are left out the same way.
    """
    facts = [_facts(volume) for volume in volumes]
    if len(facts) <= TOLD:
        return facts
    groups: dict[str, list[dict[str, Any]]] = {}
    for hidden in (("name",), ("name", "shape", "voxel_size")):
        groups = {}
        for fact in facts:
            key = json.dumps({name: value for name, value in fact.items() if name not in hidden})
            groups.setdefault(key, []).append({name: fact[name] for name in hidden})
        if len(groups) <= TOLD:
            break
    return [
        {"name": members[0]["name"], "volumes": len(members), "sha256": _digest(members), **json.loads(key)}
        for key, members in groups.items()
    ]


def _digest(facts: Sequence[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _facts(volume: Volume) -> dict[str, Any]:
    name = re.split(r"[/\\]", str(volume.path))[-1]
    size = [float(n) for n in volume.voxel_size]
    facts = {"name": name, "shape": list(volume.shape), "dtype": str(volume.dtype)}
    facts |= {"voxel_size": size, "unit": volume.unit}
    return {**facts, "channels": list(volume.channel_names)} if volume.channel_names else facts
