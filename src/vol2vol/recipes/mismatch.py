"""What two overlapping tiles make of the same voxels, and what training-mode statistics make of the same tiles.

The indicators are named after the normalisation paper (Buglakova et al. 2025), which states them in words; the formulae
here are ours. With G(t) the network's answer to tile t and sd the standard deviation of the answers:

    TM(d)        mean |G(t1) - G(t2)| / sd over voxels in both tiles that lie d voxels from the nearest end of one
    invariance   max |G(t1) - G(t2)| / sd over voxels whose context lies in both, t2 shifted by one period
    aliasing     the same, t2 shifted by one voxel: what a grid out of phase costs
    far          max change / sd of voxels beyond reach when the start of the tile gets 3 brighter
    disparity    mean |G_train(t) - G(t)| / sd on these tiles, G_train with the statistics of training mode
    dice         for segmenters, 2 |A and B| / (|A| + |B|) of the voxels above 1/2, over overlap and over modes

All tiles lie along the last axis.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.geometry import Footprint, Shape
from vol2vol.recipes.probe import Network


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """How far tiles agree, in standard deviations of the output; see the formulae of this module."""

    tile: Shape
    by_distance: tuple[float, ...]
    """TM at 0, 1, 2 ... voxels from the nearest end of a tile."""
    invariance: float
    aliasing: float
    far: float
    disparity: float | None
    """None where a network has no training mode that could be asked."""
    overlap_dice: float | None
    """Of the two tiles on the same voxels; None unless the network segments."""
    disparity_dice: float | None


def tile_of(footprint: Footprint) -> tuple[Shape, Shape]:
    """Return the tile that is asked, and the region that holds it and its neighbours one period and one voxel on."""
    tile = tuple(footprint.minimum)
    tile = (*tile[:-1], tile[-1] + 2 * footprint.period[-1])
    return tile, (*tile[:-1], tile[-1] + footprint.period[-1])


@torch.no_grad()
def measure_mismatch(network: Network, footprint: Footprint, region: Tensor, *, segments: bool) -> Mismatch:
    """Ask a network for overlapping tiles of a region `(1, C, [Z,] Y, X)`, shaped as `tile_of` says.

    Raises `BadInput` where an answer is not finite.
    """
    tile, _ = tile_of(footprint)
    n, period = tile[-1], footprint.period[-1]
    before, after = footprint.reach[0][-1], footprint.reach[1][-1]
    trim = footprint.trim[0][-1]
    inputs = [region[..., at : at + n] for at in (0, period, 1)]
    here, moved, off = (network(x) for x in inputs)
    if not all(bool(torch.isfinite(y).all()) for y in (here, moved, off)):
        raise BadInput("the network's output holds NaN or infinite values: use an earlier checkpoint")
    scale = max(float(here.double().std()), 1e-30)

    def apart(other: Tensor, shift: int) -> Tensor:
        """Return |difference| / sd of the voxels in both tiles, the first at input position trim + shift."""
        return (here[..., shift:] - other[..., : other.shape[-1] - shift]).abs().double() / scale

    def certain(difference: Tensor, shift: int) -> float:
        return float(difference[..., before - trim : n - after - trim - shift].max())

    both = apart(moved, period)
    brighter = inputs[0].clone()
    brighter[..., :period] += 3
    change = (network(brighter) - here).abs().double() / scale
    overlap = here[..., period:], moved[..., : moved.shape[-1] - period]
    trained = _training(network, inputs[:2])
    evaluated = [here, moved]
    return Mismatch(
        tile=tile,
        by_distance=_by_distance(both, period + trim, period, n),
        invariance=certain(both, period),
        aliasing=certain(apart(off, 1), 1),
        far=float(change[..., period + before - trim : n - after - trim].max()),
        disparity=None if trained is None else _mean_apart(trained, evaluated) / scale,
        overlap_dice=dice(*overlap) if segments else None,
        disparity_dice=dice(torch.cat(trained), torch.cat(evaluated)) if segments and trained is not None else None,
    )


def _by_distance(difference: Tensor, first: int, start: int, stop: int) -> tuple[float, ...]:
    """Return means by distance from the nearest of `start` and `stop`; the first voxel is at position `first`."""
    along = difference.flatten(0, -2).mean(0)
    at = torch.arange(first, first + len(along))
    distance = torch.minimum(at - start, stop - 1 - at)
    return tuple(
        float(along[distance == d].mean()) for d in range(int(distance.max()) + 1) if bool((distance == d).any())
    )


def _training(network: Network, inputs: list[Tensor]) -> list[Tensor] | None:
    """Return the answers of a copy in training mode; None where there is none or a tile is too small for it."""
    if not isinstance(network, nn.Module) or isinstance(network, torch.fx.GraphModule):
        return None
    copy = deepcopy(network).train()
    try:
        return [copy(x) for x in inputs]
    except ValueError:  # torch: statistics of a single value
        return None


def _mean_apart(ones: list[Tensor], others: list[Tensor]) -> float:
    return float(torch.stack([(a - b).abs().double().mean() for a, b in zip(ones, others, strict=True)]).mean())


def dice(one: Tensor, other: Tensor) -> float:
    """Return the overlap of the voxels above 1/2 in two answers; 1 where neither has any."""
    a, b = one > 0.5, other > 0.5
    total = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0
