"""Open the volumes of a domain, compare them, measure their intensities, and describe them for a model."""

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
from vol2vol.intensity import PROBABILITY, Intensity, Sample, fixed, likeness, measure, sample
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
"""Number of boxes, in all volumes of a domain together, that are sampled to compare the intensities of the volumes."""
LISTED = 5
"""Maximum number of warnings about single volumes; further ones are summed up in one line."""
MANY = 1000
"""Maximum number of small volumes of a domain that are read before training; of more, a sample of this number."""
COMPARED = 200
"""Number of volumes of such a sample whose intensities are compared with the first volume."""
_EVEN = 11
"""Key of the random numbers of this sample."""
RECORDED = 100
"""Maximum number of volumes of a domain that a model lists one by one."""
SMALL = 1 << 22
"""Maximum number of voxels of a small volume."""
MOST_OPEN = 64
"""Maximum number of volumes of a domain whose files all stay open; of more, small files are open only during reads."""


def open_domain(paths: Paths, **stated: Unpack[Stated]) -> list[Volume]:
    """Open one or more volumes; `stated` holds metadata that is missing from their files.

    A path may stand for many images: see `volumes.imagesets.images_under`.
    """
    return open_domains({"source": paths}, stated, {})["source"]


def _files(paths: Paths, stated: Stated, *, literal: bool) -> list[str]:
    """Return the path of every volume that `paths` stand for."""
    names = [paths] if isinstance(paths, str | Path) else list(paths)
    if not names:
        raise BadInput("a domain needs at least one volume: name its files")
    if literal:
        return [str(name) for name in names]
    return [file for name in names for file in images_under(address(name), stated.get("pattern"))]


def open_domains(
    paths: Mapping[str, Paths], stated: Stated, target: Stated, *, literal: bool = False
) -> dict[str, list[Volume]]:
    """Open the volumes of every domain; `target` holds the metadata of the target's volumes that differ from `stated`.

    A path may stand for many images (`volumes.imagesets.images_under`); with `literal`, it is always one volume.
    """
    of_target: Stated = {**stated, **{key: value for key, value in target.items() if value is not None}}  # type: ignore[typeddict-item]
    volumes = {}
    for name, own_paths in paths.items():
        metadata = of_target if name == "target" else stated
        volumes[name] = _opened(_files(own_paths, metadata, literal=literal), metadata, name)
    refuse_idle_time([volume for opened in volumes.values() for volume in opened], stated)
    return volumes


def _opened(files: Sequence[str], stated: Stated, domain: str) -> list[Volume]:
    """Open the volumes of a domain; if there are many, the files of small ones are closed again until they are read."""
    if len(files) <= MOST_OPEN:
        return [open_member(file, **stated) for file in files]
    volumes = []
    for file in counted(files, f"opening {domain} volumes", len(files)):
        volume = open_member(file, **stated)
        volumes.append(RestingVolume(volume) if _voxels(volume) <= SMALL else volume)
    return volumes


def channels_of(domain: str, volumes: list[Volume]) -> int:
    """Return the number of channels of a domain; raise `BadInput` if its volumes differ."""
    first = volumes[0]
    if others := [f"{v.path} {v.channels}" for v in volumes if v.channels != first.channels]:
        counts = f"{first.path} has {first.channels}, {some_of(others)}"
        raise BadInput(f"{domain} volumes differ in channels: {counts}: convert some, or choose channels")
    return first.channels


def intensity_for(need: Need, data: DataSettings, volumes: Sequence[Volume]) -> Intensity:
    """Return the map between the stored values of a domain and the network's range.

    The map of images is measured; a mask is a probability, stored as 0 to 255; labels are not changed.
    """
    if need.kind == "mask":
        return PROBABILITY
    return intensity_of(data, volumes, need.name) if need.kind == "image" else AS_IT_IS


def even_sample(volumes: Sequence[Volume], seed: int) -> list[Volume]:
    """Return the volumes that are read before training: all, or a random sample of `MANY` if there are more small ones.

    The sample is spread evenly over the list of volumes and depends on `seed`.
    """
    if len(volumes) <= MANY or any(_voxels(volume) > SMALL for volume in volumes):
        return list(volumes)
    ends = np.arange(MANY + 1) * len(volumes) // MANY
    return [volumes[i] for i in np.random.default_rng([seed, _EVEN]).integers(ends[:-1], ends[1:])]


def warn_of_differences(
    domain: str, volumes: Sequence[Volume], *, image: bool = True, sampled: Sequence[Volume] | None = None
) -> None:
    """Warn if volumes of a domain differ from the first in voxel size or, for images, in intensity.

    All volumes of a domain share an intensity map and a network. Intensities are compared by some voxels of each
    volume; if `sampled` has fewer volumes than the domain, of about `COMPARED` of these.
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
        if sampled is not None and len(sampled) < len(volumes):
            others = list(sampled[:: max(1, len(sampled) // COMPARED)])
        boxes = max(1, BOXES // (1 + len(others)))
        known = Sample.of(first, boxes=boxes)
        compared = counted(others, "comparing intensities", len(others))
        differences = [known.apart(Sample.of(volume, boxes=boxes)) for volume in compared]
        warn_each(f"{domain} volumes differ in intensity, but share one map: ", [text for text in differences if text])


def _size(volume: Volume, other: Volume) -> str:
    """Return the voxel size of a volume in the unit of another one."""
    return f"({', '.join(f'{convert(n, volume.unit, other.unit):g}' for n in volume.voxel_size)})"


def warn_each(what: str, items: Sequence[str], cure: str = "") -> None:
    """Warn of each item in a line of its own; of more than `LISTED` items in one line, with the first and a count."""
    for item in items if len(items) <= LISTED else [some_of(items, LISTED, between="; ")]:
        log.warning("%s%s%s", what, item, cure)


def warn_of_range(volumes: Sequence[Volume], intensity: Intensity) -> None:
    """Warn of volumes whose intensities do not fit an intensity map that was not measured on them."""
    boxes = max(1, BOXES // len(volumes))
    compared = [(v.path, likeness(sample(v, boxes=boxes), intensity)) for v in volumes]
    unfit = [f"{path} does not fit its intensity map: {fit.words}" for path, fit in compared if fit and not fit.fits]
    warn_each("", unfit)


def check_masks(volumes: Sequence[Volume]) -> None:
    """Raise `BadInput` if a mask holds fractions, negative numbers or NaN; masks of unsigned types are not read."""
    for volume, _, values in stream([v for v in volumes if v.dtype.kind in "if"], "checking masks"):
        foreground(values, str(volume.path))


def intensity_of(data: DataSettings, volumes: Sequence[Volume], domain: str) -> Intensity:
    """Return the map from the stored values of an image domain to the network's range."""
    if data.intensity == "fixed":
        if data.low is None or data.high is None:
            raise BadInput("data.intensity fixed needs data.low and data.high: give both")
        chosen = fixed(data.low, data.high)
        warn_of_range(volumes, chosen)
        return chosen
    log.info("measuring the intensities of the %s domain: %d voxels", domain, sum(map(_voxels, volumes)))
    cure = "give the range yourself, data.intensity=fixed data.low=LOW data.high=HIGH"
    return measure(volumes, data.intensity, cure=cure)


def _voxels(volume: Volume) -> int:
    z, y, x = volume.spatial
    return z * y * x


def facts_of(volumes: Sequence[Volume]) -> list[dict[str, Any]]:
    """Return the description of volumes that a model stores, with their names but not their folders, which are private.

    If there are more than `RECORDED`, volumes that differ in their names alone share an entry: the first name, their
    number and a SHA-256 of the names. If that still gives too many entries, shapes and voxel sizes are left out, too.
    """
    facts = [_facts(volume) for volume in volumes]
    if len(facts) <= RECORDED:
        return facts
    groups: dict[str, list[dict[str, Any]]] = {}
    for hidden in (("name",), ("name", "shape", "voxel_size")):
        groups = {}
        for fact in facts:
            key = json.dumps({name: value for name, value in fact.items() if name not in hidden})
            groups.setdefault(key, []).append({name: fact[name] for name in hidden})
        if len(groups) <= RECORDED:
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
