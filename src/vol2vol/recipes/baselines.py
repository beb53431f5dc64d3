"""Fit translations that need no training, as baselines for trained models.

identity    y = x
meanstd     y = (x - mean) * sd ratio + mean of the target           (Reinhard et al. 2001, on grey values)
histogram   y = Q(P(x)), where P is the fraction of source voxels up to x, and Q the quantile function of the target
spectrum    histogram, then a filter with the gain sqrt(target power / source power)

Statistics are measured on whole volumes. The result is a bundle with both directions, whose networks work on stored
values; `vol2vol predict` applies it, and the output does not depend on tiles.
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
"""Number and size of the patches, spread over the volumes, whose power spectra are averaged."""
RADIUS = {2: 12, 3: 8}
"""Default radius of the filter in voxels."""


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
    """Fit a baseline translation to two sets of volumes and return its bundle, with both directions.

    `dims` and `radius` concern `spectrum`: its filter works in planes (2) or volumes (3), and extends over `radius`
    voxels, at most half the side of the patches whose spectra it is computed from. Spectra are compared in cycles per
    finest voxel edge, with the voxel size of the first volume of each domain. `stated` (`Stated`) holds metadata that
    is missing from the volume files; `target_voxel_size` and `target_channels` are those of the target, if they differ.
    Every voxel is read once (`spectrum` also reads 128 patches per domain). Raises `BadInput` for domains with
    different numbers of channels, for constant volumes that would have to be scaled, and for too large a radius.
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
        if (existing := already_made(out, request, overwrite=overwrite)) is not None:
            return existing
        provenance = {"baseline": kind, "volumes": facts, "request": request}
        return save_bundle(out, **_fitted(kind, volumes, dims, reach), provenance=provenance, overwrite=overwrite)


def _fitted(kind: str, volumes: dict[str, list[Volume]], dims: int, reach: int) -> dict[str, Any]:
    """Measure the volumes and return the content of a bundle: networks of both directions, intensities, channels."""
    measured = {domain: histograms(opened) for domain, opened in volumes.items()}
    _check(kind, dims, volumes, measured)
    networks = {
        name: _network(kind, dims, [measured[a], measured[b]], (volumes[a], volumes[b]), reach)
        for name, (a, b) in PAIR.items()
    }
    return {
        "translations": between(networks),
        "intensity": {domain: stored_values(tables) for domain, tables in measured.items()},
        "channels": {domain: len(tables) for domain, tables in measured.items()},
        "statistics": dict.fromkeys(networks, "none: the network has no normalisation"),
    }


def stored_values(tables: Sequence[Histogram]) -> Intensity:
    """Return an intensity map that neither scales nor clips: the network's range is that of the stored values."""
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
    """Return the knots of the line that maps mean and standard deviation of the source to those of the target."""
    return np.array([source.mean, source.mean + source.std]), np.array([target.mean, target.mean + target.std])


def histogram_knots(source: Histogram, target: Histogram) -> Knots:
    """Return the knots that map each value to the same quantile of the target; beyond both ends they are constant."""
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
    """Return the network that translates the first of two domains to the second."""
    knots = [_float32(_KNOTS[kind](a, b)) for a, b in zip(*tables, strict=True)]
    count = max(at.size for at, _ in knots)
    arguments: dict[str, Any] = {"dims": dims, "channels": len(knots), "knots": count}
    network: Any = nets.build("lookup", **arguments)
    for channel, curve in enumerate(knots):
        network.table.at[channel], network.table.height[channel] = map(torch.from_numpy, _lengthened(curve, count))
    if kind == "spectrum":
        network = _filtered(network, volumes, radius, list(zip(*tables, strict=True)))
    result: nn.Module = network.eval()
    return result


def _float32(knots: Knots) -> Knots:
    """Return knots in single precision; knots that become equal are merged."""
    at, first = np.unique(knots[0].astype(np.float32), return_index=True)
    return at, knots[1][first].astype(np.float32)


def _lengthened(knots: Knots, count: int) -> Knots:
    """Return `count` knots: further ones extend the last segment."""
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
    """Return the look-up table and a filter that gives its output the power spectrum and mean of the second domain."""
    network: Any = nets.build("spectral", **lookup.arguments, radius=radius)
    network.table.load_state_dict(lookup.table.state_dict())
    side = _side(lookup.dims, [volume for opened in volumes for volume in opened])
    voxel, other = (tuple(opened[0].voxel_size[-lookup.dims :]) for opened in volumes)
    before = [lookup(patch[None])[0].numpy() for patch in _patches(volumes[0], lookup.dims, side)]
    after = [patch.numpy() for patch in _patches(volumes[1], lookup.dims, side)]
    for channel in range(lookup.in_channels):
        frequency, power = radial_power((patch[channel] for patch in before), voxel)
        target_frequency, target_power = radial_power((patch[channel] for patch in after), other)
        wanted = np.interp(frequency, target_frequency, target_power)
        gain = np.sqrt(wanted / np.maximum(power, 1e-12 * power.max()))
        kernel = matching_filter(frequency, gain, radius, voxel)
        network.filter.weight[channel, 0] = torch.from_numpy(kernel)
        source, target = tables[channel]
        translated = np.interp(source.values, lookup.table.at[channel].numpy(), lookup.table.height[channel].numpy())
        network.filter.bias[channel] = target.mean - np.average(translated, weights=source.counts) * kernel.sum()
    fitted: nn.Module = network
    return fitted


def _side(dims: int, volumes: list[Volume]) -> int:
    """Return the side in voxels of the patches for spectra, the same in all volumes."""
    return min(SIDE[dims], *(n for volume in volumes for n in volume.spatial[-dims:]))


def _reach(radius: int | None, dims: int, volumes: list[Volume]) -> int:
    """Return the radius of the filter; raise `BadInput` if it exceeds what spectra of these volumes resolve."""
    largest = max(1, _side(dims, volumes) // 2)
    if radius is None:
        return min(RADIUS[dims], largest)
    if not 1 <= radius <= largest:
        raise BadInput(
            f"radius {radius} does not suit spectra of patches of {_side(dims, volumes)} voxels: set `radius` to 1 to "
            f"{largest}"
        )
    return radius


def _patches(volumes: list[Volume], dims: int, side: int) -> list[torch.Tensor]:
    """Return patches (C, *side) of stored values, spread over the volumes."""
    as_they_are = Intensity(low=(0.0,), high=(1.0,), network=(0.0, 1.0), clip=False)
    return list(Patches(volumes, as_they_are, (side,) * dims, background=None, augment=STILL).covering(PATCHES))


def _check(kind: str, dims: int, volumes: dict[str, list[Volume]], measured: dict[str, list[Histogram]]) -> None:
    source, target = (channels_of(domain, volumes[domain]) for domain in ("source", "target"))
    if source != target:
        raise BadInput(f"source has {source} channels, target {target}: choose as many channels of each")
    for domain, tables in measured.items():
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
        log.warning(
            "voxel sizes differ (%s, %s): spectra are compared in units of the finest voxel edge", *sizes.values()
        )
