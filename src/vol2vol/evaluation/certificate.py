"""The certificate: whether a network's tiles can be stitched without seams, measured on the network, and why not.

A seam has three causes, and each is measured alone: context (reach), phase (period), statistics (far away voxels that
matter). What is measured is compared with what was derived from the layers; overlapping tiles then have the last word.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vol2vol import nets
from vol2vol.errors import BadInput, one_line
from vol2vol.evaluation.compare import plain
from vol2vol.evaluation.mismatch import SIDES, Mismatch, measure_smallest, measure_typical, tile_of, typical_tile
from vol2vol.evaluation.probe import Probe, Spread, Unmoved, accepted, measure_footprint
from vol2vol.evaluation.sample_tiles import Scene
from vol2vol.evaluation.thin_copy import measure_twin
from vol2vol.geometry import Footprint, Shape
from vol2vol.models.bundle import Bundle, load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.models.external import is_external, open_external
from vol2vol.protocol import Network
from vol2vol.volumes import Volume
from vol2vol.volumes.addresses import local_path

LARGEST = 1 << 17
"""Voxels of a region up to which tiles are compared in double precision."""
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Disagreement of tiles, in standard deviations of the output, that counts as rounding."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What was measured, and whether tiles of this network can be stitched without seams."""

    network: str
    stitchable: bool
    reasons: tuple[str, ...]
    """Why not; empty where it is."""
    measured: dict[str, Spread]
    """Per axis."""
    footprint: Footprint
    """What plans rely on: derived from the layers, claimed by the caller, or measured where neither was possible."""
    footprint_from: Literal["layers", "claim", "measurement"]
    tile_dependent: tuple[str, ...]
    """Layers that normalise by the tile's own statistics."""
    mismatch: Mismatch
    rounding: float
    """Disagreement up to which tiles count as equal."""
    data: str
    """What the tiles showed."""

    @property
    def sentence(self) -> str:
        """The verdict in a line."""
        if self.stitchable:
            reach = max(map(max, self.footprint.reach))
            return f"Stitchable: reach {reach}, period {max(self.footprint.period)}; tiles agree to rounding."
        return f"Not stitchable: {'; '.join(self.reasons)}."

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"sentence": self.sentence, **plain(self)}


def certify(
    network: Bundle | Network | str | Path,
    volume: Volume | None = None,
    *,
    direction: str = "forward",
    which: str = "auto",
    footprint: Footprint | None = None,
    dims: int | None = None,
    channels: int | None = None,
    size: Shape | None = None,
    trust: bool = False,
) -> Certificate:
    """Measure whether a network's tiles can be stitched, on tiles of a volume, or of noise where none is given.

    `network` is a bundle, its path, a network of `vol2vol.nets`, or any callable from tensors (1, channels, [Z,] Y, X);
    for the last give `dims`, `channels` where there are several and, where it accepts few sizes, `size`; `footprint` is
    then a claim to be checked. Files of torch.export (.pt2) and models of bioimage.io are read with `trust` only, since
    reading them may execute what is in them. Raises `BadInput`, `NotFound`, `Unreadable`.
    """
    if isinstance(network, str | Path) and is_external(local_path(network, "a model")):
        opened = open_external(local_path(network, "a model"), trust=trust)
        dims, channels, size = dims or opened.dims, channels or opened.channels, size or opened.size
        network = opened.network
    elif isinstance(network, str | Path):
        network = load_bundle(find_bundle(network, which))
    intensity, patch = None, None
    if isinstance(network, Bundle):
        intensity = network.maps(network.translation(direction).reads)
        patch = network.meta["provenance"].get("patch")
        network = network.network(direction)
    if isinstance(network, nn.Module) and hasattr(network, "describe"):
        seen: Any = network
        shown = Scene(dims=seen.dims, channels=seen.in_channels, volume=volume, intensity=intensity)
        return _certify_own(network, shown, footprint, patch)
    probe = _probe(network, dims or getattr(network, "dims", None), channels or 1)
    shown = Scene(dims=probe.dims, channels=probe.channels, volume=volume)
    return _certify_other(probe, shown, footprint, size)


def _probe(network: Network, dims: int | None, channels: int) -> Probe:
    if dims not in (2, 3):
        raise BadInput("a network of other making needs dims=2 for images or dims=3 for volumes")
    if isinstance(network, nn.Module) and not isinstance(network, torch.fx.GraphModule):
        network = deepcopy(network).eval()
    return Probe(network=network, dims=dims, channels=channels, dtype=_dtype(network))


def _dtype(network: Network) -> torch.dtype:
    tensors = [*network.parameters(), *network.buffers()] if isinstance(network, nn.Module) else []
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)


def _certify_own(network: nn.Module, shown: Scene, claim: Footprint | None, patch: int | None) -> Certificate:
    derived = claim or nets.footprint(network)
    measured, geometry = measure_twin(network, derived)
    copy = deepcopy(network).eval()
    described: dict[str, Any] = network.describe()  # type: ignore[operator]
    segments = described["name"] == "segmenter" and described["arguments"].get("final") != "none"
    tile = typical_tile(geometry, patch)
    precise, usual = (
        torch.float64 if prod(size) <= LARGEST else torch.float32
        for size in (max((tile_of(derived, axis)[1] for axis in range(derived.dims)), key=prod), tile)
    )
    smallest = measure_smallest(copy.to(precise), derived, lambda *where: shown.at(*where).to(precise))
    typical = measure_typical(
        copy.to(usual), derived, lambda *where: shown.at(*where).to(usual), tile, segments=segments
    )
    return _judged(
        described["name"], measured, derived, "claim" if claim else "layers",
        layers=nets.tile_dependent(copy), found=Mismatch(**vars(smallest), **vars(typical)), rounding=ROUNDING[precise],
        data=shown.name,
    )  # fmt: skip


def _certify_other(probe: Probe, shown: Scene, claim: Footprint | None, size: Shape | None) -> Certificate:
    probe, foot, bounded = _heard(probe, shown, size)
    measured = {
        "zyx"[axis - probe.dims]: Spread(
            before=foot.reach[0][axis], after=foot.reach[1][axis], period=foot.period[axis]
        )
        if bounded
        else Spread(before=None, after=None, period=None)
        for axis in range(probe.dims)
    }
    used = claim or foot

    def view(shape: Shape, place: int) -> Tensor:
        return shown.at(shape, place).to(probe.dtype)

    try:
        smallest = measure_smallest(probe.network, used, view, brighter=3 * max(probe.spread))
        least = tuple(n + p for n, p in zip(used.minimum, used.period, strict=True))
        tile = accepted(probe, (typical_tile(used), least)) or least
        typical = measure_typical(probe.network, used, view, tile, segments=False)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(
            f"the network refuses tiles of {tile_of(used, probe.dims - 1)[0]} voxels ({one_line(error, 80)}): "
            "export it with dynamic sizes"
        ) from None
    layers = nets.tile_dependent(probe.network) if isinstance(probe.network, nn.Module) else []
    return _judged(
        type(probe.network).__name__, measured, used, "claim" if claim else "measurement",
        layers=layers, found=Mismatch(**vars(smallest), **vars(typical)), rounding=ROUNDING.get(probe.dtype, 1e-2),
        data=shown.name,
    )  # fmt: skip


def _heard(probe: Probe, shown: Scene, size: Shape | None) -> tuple[Probe, Footprint, bool]:
    """Return what was measured and the probe that the network reacted to: around zero, or around the volume's tones.

    Raises `BadInput` where it reacts to neither.
    """
    try:
        return probe, *measure_footprint(probe, size=size)
    except Unmoved:
        if shown.volume is None:
            raise BadInput(
                "the network does not react to the probe, values around 0 that change by 3: give a volume of the kind "
                "it was made for, whose own tones are then changed"
            ) from None
    level, spread = shown.tones((SIDES[probe.dims],) * probe.dims)
    probe = replace(probe, level=level, spread=spread)
    try:
        return probe, *measure_footprint(probe, size=size)
    except Unmoved:
        raise BadInput(
            f"the network reacts neither to values around 0 nor to the tones of {shown.name} ({level[0]:.3g} and, at a "
            f"standard deviation of {spread[0]:.3g}, around it): give a volume of the kind it was made for"
        ) from None


def _judged(
    name: str,
    measured: dict[str, Spread],
    foot: Footprint,
    source: Literal["layers", "claim", "measurement"],
    *,
    layers: list[str],
    found: Mismatch,
    rounding: float,
    data: str,
) -> Certificate:
    reasons = [f"layer {layer} normalises by the statistics of the tile" for layer in layers[:3]]
    if len(layers) > 3:
        reasons.append(f"{len(layers) - 3} more such layers")
    for axis, spread in enumerate(measured.values()):
        reasons += _disagreements("zyx"[axis - foot.dims], spread, foot, axis, known=bool(layers))
    if not layers and found.far > rounding:
        reasons.append(f"voxels beyond the reach change an output by {found.far:.2g} standard deviations")
    if found.invariance > rounding and not layers:
        reasons.append(f"tiles on the period grid disagree by {found.invariance:.2g} standard deviations")
    beyond = max(found.by_distance[max(map(max, foot.reach)) :], default=0.0)
    if not layers and beyond > max(rounding, ROUNDING[torch.float32]):
        tile = " x ".join(map(str, found.typical))
        reasons.append(f"tiles of {tile} disagree by {beyond:.2g} standard deviations beyond the reach of their ends")
    return Certificate(
        network=name,
        stitchable=not reasons,
        reasons=tuple(reasons),
        measured=measured,
        footprint=foot,
        footprint_from=source,
        tile_dependent=tuple(layers),
        mismatch=found,
        rounding=rounding,
        data=data,
    )


def _disagreements(name: str, spread: Spread, foot: Footprint, axis: int, *, known: bool) -> list[str]:
    """Say where a measured spread needs more than the footprint grants along an axis."""
    sides = (("before", spread.before, foot.reach[0][axis]), ("after", spread.after, foot.reach[1][axis]))
    found = [
        f"an output needs {seen} voxels {side} it along {name}, the footprint says {said}"
        for side, seen, said in sides
        if seen is not None and seen > said
    ]
    if None in (spread.before, spread.after) and not known:
        found.append(
            f"outputs depend on the whole tile along {name}: its statistics, or a reach beyond the sizes tried"
        )
    elif spread.period is None and not known:
        found.append(f"no shift along {name} leaves the answer the same")
    elif spread.period is not None and foot.period[axis] % spread.period:
        found.append(
            f"the network repeats every {spread.period} voxels along {name}, the footprint says {foot.period[axis]}"
        )
    return found
