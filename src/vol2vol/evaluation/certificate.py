"""Certify whether a network's tiles can be stitched without seams, by measurements on the network.

A seam has three causes, which are measured separately: context (reach), phase (period) and statistics (an influence of
distant voxels). The measurements are compared with the geometry derived from the layers, and finally overlapping tiles
are compared with each other.
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
from vol2vol.evaluation.probe import NoReaction, Probe, Spread, accepted, measure_footprint
from vol2vol.evaluation.sample_tiles import SampleTiles
from vol2vol.evaluation.thin_copy import measure_thin_copy
from vol2vol.geometry import Footprint, Shape
from vol2vol.models.bundle import Bundle, load_bundle
from vol2vol.models.checkpoints import find_bundle
from vol2vol.models.external import is_external, open_external
from vol2vol.protocol import Network
from vol2vol.volumes import Volume
from vol2vol.volumes.addresses import local_path

LARGEST = 1 << 17
"""Maximum voxels of a region whose tiles are compared in double precision."""
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Difference between tiles, in standard deviations of the output, that counts as rounding."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The measurements, and whether tiles of this network can be stitched without seams."""

    network: str
    stitchable: bool
    reasons: tuple[str, ...]
    """Why the network is not stitchable; empty if it is."""
    measured: dict[str, Spread]
    """Per axis."""
    footprint: Footprint
    """The footprint that plans use: derived from the layers, stated by the caller, or measured."""
    footprint_from: Literal["layers", "claim", "measurement"]
    tile_dependent: tuple[str, ...]
    """Layers that normalise by the tile's own statistics."""
    mismatch: Mismatch
    rounding: float
    """Difference up to which tiles count as equal."""
    data: str
    """Name of the volume that the tiles were cut from, or noise."""

    @property
    def sentence(self) -> str:
        """The verdict in one line."""
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
    statistics: Literal["calibrated", "tile"] = "calibrated",
) -> Certificate:
    """Measure whether a network's tiles can be stitched, on tiles of a volume, or of noise if no volume is given.

    `network` is a bundle, its path, a network of `vol2vol.nets`, or any callable from tensors (1, channels, [Z,] Y, X).
    A callable needs `dims`, `channels` if there are several, and `size` if it accepts only few sizes. A `footprint` is
    checked in place of the derived or measured one. Files of torch.export (.pt2) and models of bioimage.io are read
    only with `trust`, since reading them may execute code. `statistics` is that of a prediction: those in the model, or
    those of each tile, for networks of `vol2vol.nets`. Raises `BadInput`, `NotFound`, `Unreadable`.
    """
    if isinstance(network, str | Path) and is_external(local_path(network, "a model")):
        opened = open_external(local_path(network, "a model"), trust=trust)
        dims, channels, size = dims or opened.dims, channels or opened.channels, size or opened.size
        network = opened.network
    elif isinstance(network, str | Path):
        network = load_bundle(find_bundle(network, which))
    intensity, patch, noise = None, None, 0
    if isinstance(network, Bundle):
        intensity = network.maps(network.translation(direction).reads)
        patch, noise = network.meta["provenance"].get("patch"), network.translation(direction).noise
        network = network.network(direction)
    own: Any = _as_run(network, statistics)
    if own is not None:
        tiles = SampleTiles(own.dims, own.in_channels, noise, volume=volume, intensity=intensity)
        return _certify_own(own, tiles, footprint, patch)
    probe = _probe(network, dims or getattr(network, "dims", None), channels or 1)
    tiles = SampleTiles(probe.dims, probe.channels, volume=volume)
    return _certify_other(probe, tiles, footprint, size)


def _as_run(network: Network, statistics: str) -> nn.Module | None:
    """Return a network of `vol2vol.nets` with these statistics, None for other networks."""
    if isinstance(network, nn.Module) and hasattr(network, "describe"):
        return nets.tilewise(network) if statistics == "tile" else network
    if statistics == "tile":
        raise BadInput("only normalisation in networks of vol2vol can be switched: leave out statistics tile")
    return None


def _probe(network: Network, dims: int | None, channels: int) -> Probe:
    if dims not in (2, 3):
        raise BadInput("for a network not built by vol2vol, give dims=2 for images or dims=3 for volumes")
    if isinstance(network, nn.Module) and not isinstance(network, torch.fx.GraphModule):
        network = deepcopy(network).eval()
    return Probe(network=network, dims=dims, channels=channels, dtype=_dtype(network))


def _dtype(network: Network) -> torch.dtype:
    tensors = [*network.parameters(), *network.buffers()] if isinstance(network, nn.Module) else []
    return next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)


def _certify_own(network: nn.Module, tiles: SampleTiles, stated: Footprint | None, patch: int | None) -> Certificate:
    derived = stated or nets.footprint(network)
    measured, geometry = measure_thin_copy(network, derived)
    copy = deepcopy(network).eval()
    described: dict[str, Any] = network.describe()  # type: ignore[operator]
    segments = described["name"] == "segmenter" and described["arguments"].get("final") != "none"
    tile = typical_tile(geometry, patch)
    precise, usual = (
        torch.float64 if prod(size) <= LARGEST else torch.float32
        for size in (max((tile_of(derived, axis)[1] for axis in range(derived.dims)), key=prod), tile)
    )
    smallest = measure_smallest(copy.to(precise), derived, lambda *where: tiles.at(*where).to(precise))
    typical = measure_typical(
        copy.to(usual), derived, lambda *where: tiles.at(*where).to(usual), tile, segments=segments
    )
    return _certificate(
        described["name"], measured, derived, "claim" if stated else "layers",
        layers=nets.tile_dependent(copy), mismatch=Mismatch(**vars(smallest), **vars(typical)),
        rounding=ROUNDING[precise], data=tiles.name,
    )  # fmt: skip


def _certify_other(probe: Probe, tiles: SampleTiles, stated: Footprint | None, size: Shape | None) -> Certificate:
    probe, foot, bounded = _measure_probe(probe, tiles, size)
    measured = {
        "zyx"[axis - probe.dims]: Spread(
            before=foot.reach[0][axis], after=foot.reach[1][axis], period=foot.period[axis]
        )
        if bounded
        else Spread(before=None, after=None, period=None)
        for axis in range(probe.dims)
    }
    used = stated or foot

    def view(shape: Shape, place: int) -> Tensor:
        return tiles.at(shape, place).to(probe.dtype)

    try:
        smallest = measure_smallest(probe.network, used, view, brighter=3 * max(probe.spread))
        smallest_tile = tuple(n + p for n, p in zip(used.minimum, used.period, strict=True))
        tile = accepted(probe, (typical_tile(used), smallest_tile)) or smallest_tile
        typical = measure_typical(probe.network, used, view, tile, segments=False)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(
            f"the network refuses tiles of {tile_of(used, probe.dims - 1)[0]} voxels ({one_line(error, 80)}): "
            "export it with dynamic sizes"
        ) from None
    layers = nets.tile_dependent(probe.network) if isinstance(probe.network, nn.Module) else []
    return _certificate(
        type(probe.network).__name__, measured, used, "claim" if stated else "measurement",
        layers=layers, mismatch=Mismatch(**vars(smallest), **vars(typical)), rounding=ROUNDING.get(probe.dtype, 1e-2),
        data=tiles.name,
    )  # fmt: skip


def _measure_probe(probe: Probe, tiles: SampleTiles, size: Shape | None) -> tuple[Probe, Footprint, bool]:
    """Measure the footprint with values around zero or, if the network does not react, around the volume's grey values.

    Returns the probe that caused a reaction, the footprint, and whether its reach is bounded. Raises `BadInput` if the
    network reacts to neither.
    """
    try:
        return probe, *measure_footprint(probe, size=size)
    except NoReaction:
        if tiles.volume is None:
            raise BadInput(
                "the network does not react to the probe, values around 0 that change by 3: give a volume of the kind "
                "it was made for; the probe then uses its grey values"
            ) from None
    level, spread = tiles.tones((SIDES[probe.dims],) * probe.dims)
    probe = replace(probe, level=level, spread=spread)
    try:
        return probe, *measure_footprint(probe, size=size)
    except NoReaction:
        raise BadInput(
            f"the network reacts neither to values around 0 nor to the grey values of {tiles.name} (mean "
            f"{level[0]:.3g}, standard deviation {spread[0]:.3g}): give a volume of the kind it was made for"
        ) from None


def _certificate(
    name: str,
    measured: dict[str, Spread],
    foot: Footprint,
    source: Literal["layers", "claim", "measurement"],
    *,
    layers: list[str],
    mismatch: Mismatch,
    rounding: float,
    data: str,
) -> Certificate:
    reasons = [f"layer {layer} normalises by the statistics of the tile" for layer in layers[:3]]
    if len(layers) > 3:
        reasons.append(f"{len(layers) - 3} more such layers")
    for axis, spread in enumerate(measured.values()):
        reasons += _disagreements("zyx"[axis - foot.dims], spread, foot, axis, known=bool(layers))
    if not layers and mismatch.far > rounding:
        reasons.append(f"voxels beyond the reach change an output by {mismatch.far:.2g} standard deviations")
    if mismatch.invariance > rounding and not layers:
        reasons.append(f"tiles on the period grid disagree by {mismatch.invariance:.2g} standard deviations")
    beyond_reach = max(mismatch.by_distance[max(map(max, foot.reach)) :], default=0.0)
    if not layers and beyond_reach > max(rounding, ROUNDING[torch.float32]):
        tile = " x ".join(map(str, mismatch.typical))
        reasons.append(
            f"tiles of {tile} disagree by {beyond_reach:.2g} standard deviations beyond the reach of their ends"
        )
    return Certificate(
        network=name,
        stitchable=not reasons,
        reasons=tuple(reasons),
        measured=measured,
        footprint=foot,
        footprint_from=source,
        tile_dependent=tuple(layers),
        mismatch=mismatch,
        rounding=rounding,
        data=data,
    )


def _disagreements(name: str, spread: Spread, foot: Footprint, axis: int, *, known: bool) -> list[str]:
    """Return the ways in which a measured spread exceeds the footprint along an axis."""
    sides = (("before", spread.before, foot.reach[0][axis]), ("after", spread.after, foot.reach[1][axis]))
    disagreements = [
        f"an output depends on {extent} voxels {side} it along {name}, the footprint states {promised}"
        for side, extent, promised in sides
        if extent is not None and extent > promised
    ]
    if None in (spread.before, spread.after) and not known:
        disagreements.append(
            f"outputs depend on the whole tile along {name}: its statistics, or a reach beyond the sizes tried"
        )
    elif spread.period is None and not known:
        disagreements.append(f"the output is not equivariant to any shift along {name}")
    elif spread.period is not None and foot.period[axis] % spread.period:
        disagreements.append(
            f"the network repeats every {spread.period} voxels along {name}, the footprint states {foot.period[axis]}"
        )
    return disagreements
