"""Adapt a model to another domain without training: re-measure its normalisation statistics (AdaBN, Li et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor, nn

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.geometry import Footprint, Shape
from vol2vol.intensity import Intensity, measure_like
from vol2vol.locks import writing
from vol2vol.models.bundle import Bundle, already_made, load_bundle, request_of, save_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.prediction.reading import check_channels
from vol2vol.progress import counted
from vol2vol.recipes.domains import Paths, channels_of, facts_of, open_domain
from vol2vol.sampling import STILL, Patches
from vol2vol.volumes import Stated, Volume

PATCH = {2: 256, 3: 96}
"""Voxels per axis of the measured patches, if the model does not state the size of its training patches."""


def adapt_statistics(
    model: str | Path,
    volumes: Paths,
    out: str | Path,
    *,
    direction: str = "forward",
    which: str = "auto",
    patches: int = 64,
    intensity: bool = False,
    overwrite: bool = False,
    **stated: Unpack[Stated],
) -> Path:
    """Measure a model's normalisation statistics again on volumes of another domain and return the new bundle.

    Weights do not change, and neither does the other direction. Statistics are exact over `patches` patches that are
    spread over all volumes. `intensity` also measures the intensity map of the domain, by the method of training, or by
    percentiles if the range was fixed in training; a network without stored statistics then only gets the new map.
    Raises `BadInput` for networks without stored statistics and for volumes that do not fit the model.
    Long because it explains every option.
    """
    if patches < 1:
        raise BadInput(f"{patches} patches give no statistics: set `patches` to 1 or more")
    bundle = load_bundle(find_bundle(model, which))
    opened = open_domain(volumes, **stated)
    translation = bundle.translation(direction)
    if len(translation.reads) > 1:
        raise BadInput(
            f"{direction} reads {' and '.join(translation.reads)}: only models with one input can be adapted"
        )
    [domain] = translation.reads
    channels_of("the", opened)
    check_channels(opened[0], bundle.channels[domain])
    facts = facts_of(opened)
    options = {"patches": patches, "intensity": intensity, "volumes": [volume.fingerprint() for volume in opened]}
    request = request_of(model=bundle.hash, direction=direction, **options)
    with writing(out):
        if (existing := already_made(out, request, overwrite=overwrite)) is not None:
            return existing
        values = bundle.intensity[domain]
        if intensity:
            values = measure_like(values, opened, cure="leave out `intensity`")
        network = _remeasurable(translation.network, needed=not intensity)
        statistics = {name: part.get("statistics", "") for name, part in bundle.meta["translations"].items()}
        if network is not None:
            drawn, read = torch.Generator().manual_seed(0), int(network.in_channels)  # type: ignore[arg-type]
            spread = _spread(bundle, nets.footprint(network), opened, values, patches)
            nets.calibrate(network, [nets.with_noise(patch, read, translation.noise, drawn) for patch in spread])
            names = ", ".join(fact["name"] for fact in facts)
            statistics[direction] = f"exact, over up to {patches} patches of {names}"
        provenance = {
            **bundle.meta["provenance"],
            "adapted": {"model": bundle.hash, "direction": direction, "volumes": facts},
            "request": request,
        }
        if intensity:  # the type of what is made in this domain follows its intensities
            provenance["adapted_volumes"] = {**provenance.get("adapted_volumes", {}), domain: facts}
        return save_bundle(
            out,
            {**bundle.translations, direction: replace(translation, network=(network or translation.network).eval())},
            {**bundle.intensity, domain: values},
            channels=bundle.channels,
            statistics=statistics,
            provenance=provenance,
            overwrite=overwrite,
        )


def _remeasurable(network: nn.Module, *, needed: bool) -> nn.Module | None:
    """Return a network whose statistics can be measured, None if it stores none; raise `BadInput` if it is `needed`."""
    try:
        return nets.remeasurable(network)
    except BadInput:
        if needed:
            raise
        return None


def _spread(
    bundle: Bundle, footprint: Footprint, volumes: list[Volume], intensity: Intensity, count: int
) -> list[Tensor]:
    """Return patches in the network's range, spread over the volumes, one per batch."""
    provenance = bundle.meta["provenance"]
    side = provenance.get("patch") or PATCH[footprint.dims]
    recipe = provenance.get("recipe", {})
    planes = recipe.get("data", {}).get("planes", ["z"]) if footprint.dims == 2 else ["z"]
    patches = Patches(
        volumes, intensity, _fitting(footprint, volumes, side, planes), planes=planes, background=None, augment=STILL
    )
    return [patch[None] for patch in counted(patches.covering(count), "reading patches", count)]


def _fitting(footprint: Footprint, volumes: list[Volume], side: int, planes: Sequence[str]) -> Shape:
    """Return the largest patch, at most `side` voxels per axis, that suits the network and fits into all volumes."""
    across = ["zyx".index(name) for name in planes] if footprint.dims == 2 else [None]
    shapes = [[n for a, n in enumerate(v.spatial) if a != axis] for v in volumes for axis in across]
    room = [min([side, *lengths]) for lengths in zip(*shapes, strict=True)]
    fitted = tuple(footprint.admissible(n, axis, at_least=False) for axis, n in enumerate(room))
    if any(f > n for f, n in zip(fitted, room, strict=True)):
        raise BadInput(f"{volumes[0].path} is too small: the network needs at least {footprint.minimum} voxels")
    return fitted
