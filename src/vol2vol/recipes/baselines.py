"""Translations that need no training: what every trained one has to beat.

identity    y = x
meanstd     y = (x - mean) * sd ratio + mean of the target           (Reinhard et al. 2001, on grey values)
histogram   y = Q(P(x)), P the share of voxels up to x, Q the quantiles of the target
spectrum    histogram, then one filter with the gain sqrt(target's power / source's power)

Statistics are of whole volumes. Results are bundles like any other, in both directions, whose networks work on stored
values; `vol2vol predict` applies them, and no voxel depends on a tile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack, get_args

import numpy as np
import torch
from torch import nn

from vol2vol import nets
from vol2vol.errors import BadInput
from vol2vol.intensity import Histogram, Intensity, histograms
from vol2vol.locks import writing
from vol2vol.models.bundle import already_made, request_of, save_bundle
from vol2vol.protocol import PAIR, between
from vol2vol.recipes.domains import Paths, channels_of, facts_of, open_domains
from vol2vol.recipes.spectra import matching_filter, radial_power
from vol2vol.sampling import STILL, Patches
from vol2vol.volumes import Stated, Volume
from vol2vol.volumes.space import need_voxel_size

log = logging.getLogger(__name__)
Kind = Literal["identity", "meanstd", "histogram", "spectrum"]
KINDS: tuple[str, ...] = get_args(Kind)
Knots = tuple[np.ndarray, np.ndarray]
PATCHES, SIDE = 128, {2: 128, 3: 48}
"""How many patches of which size, spread over the volumes, a power spectrum is the mean of."""
RADIUS = {2: 12, 3: 8}
"""How far the filter reaches, in voxels."""


def fit_baseline(
    kind: Kind,
    source: Paths,
    target: Paths,
    out: str | Path,
    *,
    dims: Literal[2, 3] = 2,
    radius: int | None = None,
    target_voxel_size: Sequence[float] | None = None,
    target_channels: Sequence[int | str] | None = None,
    overwrite: bool = False,
    **stated: Unpack[Stated],
) -> Path:
    """Fit a translation without training to two sets of volumes and return its bundle, both directions.

    `dims` matters to `spectrum`, whose filter sees planes (2) or volumes (3); `radius` is its reach in voxels, at most
    half the side of the patches whose spectra it is made from. Spectra are compared in cycles per finest edge of a
    voxel, each domain by the voxel size of its first volume. `stated` (`Stated`) describes volumes whose files do not,
    `target_voxel_size` and `target_channels` those of the target where they differ. Reads every voxel once
    (`spectrum`: and 128 patches per domain). Raises `BadInput` for domains of different channels, for constant ones
    where they must be scaled, and for a reach that spectra do not say.
    Long because it explains every option.
    """
    if kind not in KINDS:
        raise BadInput(f"baseline {kind!r} is unknown: use one of {', '.join(KINDS)}")
    about: Stated = {"voxel_size": target_voxel_size, "channels": target_channels}
    volumes = open_domains({"source": source, "target": target}, stated, about)
    reach = _reach(radius, dims, [volume for opened in volumes.values() for volume in opened])
    prints = {domain: [volume.fingerprint() for volume in opened] for domain, opened in volumes.items()}
    facts = {domain: facts_of(opened) for domain, opened in volumes.items()}
    request = request_of(kind=kind, dims=dims, reach=reach if kind == "spectrum" else None, volumes=prints)
    with writing(out):
        if (there := already_made(out, request, overwrite=overwrite)) is not None:
            return there
        provenance = {"baseline": kind, "volumes": facts, "request": request}
        return save_bundle(out, **_fitted(kind, volumes, dims, reach), provenance=provenance, overwrite=overwrite)


def _fitted(kind: str, volumes: dict[str, list[Volume]], dims: int, reach: int) -> dict[str, Any]:
    """Measure the volumes and return what a bundle holds: both directions' networks, intensities, channels."""
    found = {domain: histograms(opened) for domain, opened in volumes.items()}
    _check(kind, dims, volumes, found)
    networks = {
        name: _network(kind, dims, [found[a], found[b]], (volumes[a], volumes[b]), reach)
        for name, (a, b) in PAIR.items()
    }
    return {
        "translations": between(networks),
        "intensity": {domain: stored_values(tables) for domain, tables in found.items()},
        "channels": {domain: len(tables) for domain, tables in found.items()},
        "statistics": dict.fromkeys(networks, "none: nothing is normalised"),
    }


def stored_values(tables: Sequence[Histogram]) -> Intensity:
    """Return the intensity whose network range is that of the stored values: nothing is scaled or clipped."""
    top = max(1.0, *(float(table.values[-1]) for table in tables))
    return Intensity(
        low=(0.0,),
        high=(top,),
        network=(0.0, top),
        clip=False,
        voxels=int(tables[0].counts.sum()),
        minimum=tuple(float(table.values[0]) for table in tables),
        maximum=tuple(float(table.values[-1]) for table in tables),
        mean=tuple(table.mean for table in tables),
        std=tuple(table.std for table in tables),
    )


def identity_knots(source: Histogram, target: Histogram) -> Knots:
    """Return the knots of y = x."""
    return np.array([0.0, 1.0]), np.array([0.0, 1.0])


def meanstd_knots(source: Histogram, target: Histogram) -> Knots:
    """Return the knots of the rising line that maps mean to mean and standard deviation to standard deviation."""
    return np.array([source.mean, source.mean + source.std]), np.array([target.mean, target.mean + target.std])


def histogram_knots(source: Histogram, target: Histogram) -> Knots:
    """Return the knots that send each value to the target's quantile of the same share; constant beyond both ends."""
    at, shares = source.values, source.shares()
    height = target.quantiles(shares)
    step = max(1.0, abs(at[0]) * 1e-3, abs(at[-1]) * 1e-3)
    return np.array([at[0] - step, *at, at[-1] + step]), np.array([height[0], *height, height[-1]])


_KNOTS: dict[str, Callable[[Histogram, Histogram], Knots]] = {
    "identity": identity_knots,
    "meanstd": meanstd_knots,
    "histogram": histogram_knots,
    "spectrum": histogram_knots,
}


def _network(
    kind: str, dims: int, tables: list[list[Histogram]], volumes: tuple[list[Volume], list[Volume]], radius: int
) -> nn.Module:
    """Return one direction's network, from the first of two domains to the second."""
    knots = [_float32(_KNOTS[kind](a, b)) for a, b in zip(*tables, strict=True)]
    count = max(at.size for at, _ in knots)
    arguments: dict[str, Any] = {"dims": dims, "channels": len(knots), "knots": count}
    network: Any = nets.build("lookup", **arguments)
    for channel, one in enumerate(knots):
        network.table.at[channel], network.table.height[channel] = map(torch.from_numpy, _lengthened(one, count))
    if kind == "spectrum":
        network = _filtered(network, volumes, radius, list(zip(*tables, strict=True)))
    result: nn.Module = network.eval()
    return result


def _float32(knots: Knots) -> Knots:
    """Return knots in single precision, of which several may have become one."""
    at, kept = np.unique(knots[0].astype(np.float32), return_index=True)
    return at, knots[1][kept].astype(np.float32)


def _lengthened(knots: Knots, count: int) -> Knots:
    """Return as many knots as asked for: the last piece goes on beyond the end."""
    at, height = knots
    beyond = np.arange(1, count - at.size + 1)
    ends = (x[-1] + (x[-1] - x[-2]) * beyond for x in knots)
    more_at, more_height = (end.astype(np.float32) for end in ends)
    return np.concatenate([at, more_at]), np.concatenate([height, more_height])


@torch.no_grad()
def _filtered(
    lookup: Any,
    volumes: tuple[list[Volume], list[Volume]],
    radius: int,
    tables: Sequence[tuple[Histogram, Histogram]],
) -> nn.Module:
    """Return the look-up followed by the filter that gives its output the second domain's power spectrum and mean."""
    network: Any = nets.build("spectral", **lookup.arguments, radius=radius)
    network.table.load_state_dict(lookup.table.state_dict())
    side = _side(lookup.dims, [volume for opened in volumes for volume in opened])
    voxel, other = (tuple(opened[0].voxel_size[-lookup.dims :]) for opened in volumes)
    before = [lookup(patch[None])[0].numpy() for patch in _patches(volumes[0], lookup.dims, side)]
    after = [patch.numpy() for patch in _patches(volumes[1], lookup.dims, side)]
    for channel in range(lookup.in_channels):
        frequency, has = radial_power((patch[channel] for patch in before), voxel)
        there, wants = radial_power((patch[channel] for patch in after), other)
        gain = np.sqrt(np.interp(frequency, there, wants) / np.maximum(has, 1e-12 * has.max()))
        kernel = matching_filter(frequency, gain, radius, voxel)
        network.filter.weight[channel, 0] = torch.from_numpy(kernel)
        source, target = tables[channel]
        seen = np.interp(source.values, lookup.table.at[channel].numpy(), lookup.table.height[channel].numpy())
        network.filter.bias[channel] = target.mean - np.average(seen, weights=source.counts) * kernel.sum()
    fitted: nn.Module = network
    return fitted


def _side(dims: int, volumes: list[Volume]) -> int:
    """Return how large the patches are that spectra are taken from: the same in all volumes."""
    return min(SIDE[dims], *(n for volume in volumes for n in volume.spatial[-dims:]))


def _reach(radius: int | None, dims: int, volumes: list[Volume]) -> int:
    """Return how far the filter reaches; raise `BadInput` where a spectrum of these volumes cannot say it that far."""
    largest = max(1, _side(dims, volumes) // 2)
    if radius is None:
        return min(RADIUS[dims], largest)
    if not 1 <= radius <= largest:
        raise BadInput(
            f"radius {radius} does not suit spectra of patches of {_side(dims, volumes)} voxels: give `radius` 1 to "
            f"{largest}"
        )
    return radius


def _patches(volumes: list[Volume], dims: int, side: int) -> list[torch.Tensor]:
    """Return patches (C, *side) of stored values, spread over the volumes."""
    as_they_are = Intensity(low=(0.0,), high=(1.0,), network=(0.0, 1.0), clip=False)
    return list(Patches(volumes, as_they_are, (side,) * dims, background=None, augment=STILL).covering(PATCHES))


def _check(kind: str, dims: int, volumes: dict[str, list[Volume]], found: dict[str, list[Histogram]]) -> None:
    source, target = (channels_of(domain, volumes[domain]) for domain in ("source", "target"))
    if source != target:
        raise BadInput(f"source has {source} channels, target {target}: each needs its counterpart")
    for domain, tables in found.items():
        for channel, table in enumerate(tables):
            if kind != "identity" and table.std == 0:
                raise BadInput(f"{volumes[domain][0].path}: channel {channel} is constant: use the baseline identity")
    if kind != "spectrum":
        return
    first = [opened[0] for opened in volumes.values()]
    if dims == 3 or first[0].sized != first[1].sized:
        for volume in first:
            need_voxel_size(volume, "the spectra of both domains need")
    sizes = {domain: tuple(opened[0].voxel_size) for domain, opened in volumes.items()}
    if not np.allclose(sizes["source"], sizes["target"], rtol=0.02):
        log.warning("voxel sizes differ (%s, %s): a voxel's finest edge counts as the same in both", *sizes.values())
