"""What two overlapping tiles make of the same voxels, and what training-mode statistics make of the same tiles.

The indicators are named after the normalisation paper (Buglakova et al. 2025), which states them in words; the formulae
here are ours. With G(t) the network's answer to tile t and sd the standard deviation of the answers, on the smallest
tiles that have certain voxels, along every axis, the largest counts:

    invariance   max |G(t1) - G(t2)| / sd over voxels whose context lies in both, t2 shifted by one period
    aliasing     the same, t2 shifted by one voxel: what a grid out of phase costs
    far          max change / sd of voxels beyond reach when the start of the tile gets 3 brighter

and on tiles of typical size, means over several places, the axis changing from place to place:

    TM(d)        mean |G(t1) - G(t2)| / sd over voxels in both tiles that lie d voxels from the nearest end of one
    disparity    mean |G_train(t) - G(t)| / sd, G_train with the statistics of training mode
    dice         for segmenters, 2 |A and B| / (|A| + |B|) of the voxels above 1/2, over overlap and over modes

Statistics of a tile depend on its size: of networks that use them, the latter mean nothing without the tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.geometry import Footprint, Shape
from vol2vol.progress import counted
from vol2vol.protocol import Network

View = Callable[[Shape, int], Tensor]
"""Returns `(1, C, *shape)` from a place, 0 being the middle."""
SIDES = {2: 128, 3: 64}
"""Side of a typical tile where no training patch is known, per number of axes."""
PLACES = 6
MOST = 1 << 20
"""Voxels of a training patch up to which it is the typical tile; larger ones take too long on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Smallest:
    """How far the smallest tiles agree, in standard deviations of the output."""

    tile: Shape
    """Two periods more along the axis that is asked."""
    invariance: float
    aliasing: float
    far: float


@dataclass(frozen=True, kw_only=True)
class Typical:
    """How far tiles of typical size agree at their borders and over modes, in standard deviations of the output."""

    typical: Shape
    """The tile: the training patch where one is known."""
    places: int
    by_distance: tuple[float, ...]
    """TM at 0, 1, 2 ... voxels from the nearest end of a tile."""
    disparity: float | None
    """None where a network has no training mode that could be asked."""
    overlap_dice: float | None
    """Of the two tiles on the same voxels; None unless the network segments."""
    disparity_dice: float | None


@dataclass(frozen=True, kw_only=True)
class Mismatch(Smallest, Typical):
    """Both; see the formulae of this module."""


def tile_of(footprint: Footprint, axis: int) -> tuple[Shape, Shape]:
    """Return the smallest tile asked along an axis, and the region of it and its neighbours a period and a voxel on."""
    tile = _longer(footprint.minimum, axis, 2 * footprint.period[axis])
    return tile, _longer(tile, axis, footprint.period[axis])


def _longer(shape: Shape, axis: int, by: int) -> Shape:
    return tuple(n + by * (a == axis) for a, n in enumerate(shape))


def typical_tile(footprint: Footprint, patch: int | None = None) -> Shape:
    """Return the admissible tile nearest to a training patch of so many voxels a side, or to 128 in 2D, 64 in 3D.

    Patches of more than 2^20 voxels are not asked for; two tiles one period apart share all that the smallest has.
    """
    side = patch if patch is not None and patch**footprint.dims <= MOST else SIDES[footprint.dims]

    def nearest(axis: int) -> int:
        sizes = [footprint.admissible(side, axis, at_least=at_least) for at_least in (False, True)]
        return max(min(sizes, key=lambda n: abs(n - side)), footprint.minimum[axis] + footprint.period[axis])

    return tuple(map(nearest, range(footprint.dims)))


@torch.no_grad()
def measure_smallest(network: Network, footprint: Footprint, view: View, *, brighter: float = 3.0) -> Smallest:
    """Ask a network for overlapping tiles along every axis, as `tile_of` says, in the middle of what there is.

    Raises `BadInput` where an answer is not finite.
    """
    found = [
        _along(network, footprint, view, axis, brighter)
        for axis in counted(range(footprint.dims), "comparing tiles", footprint.dims)
    ]
    invariance, aliasing, far = map(max, zip(*found, strict=True))
    return Smallest(tile=tuple(footprint.minimum), invariance=invariance, aliasing=aliasing, far=far)


def _along(
    network: Network, footprint: Footprint, view: View, axis: int, brighter: float
) -> tuple[float, float, float]:
    """Return invariance, aliasing and far along one axis."""
    tile, region = tile_of(footprint, axis)
    n, period, trim = tile[axis], footprint.period[axis], footprint.trim[0][axis]
    start, stop = footprint.reach[0][axis] - trim, n - footprint.reach[1][axis] - trim
    shown = view(region, 0)
    inputs = [shown.narrow(2 + axis, at, n) for at in (0, period, 1)]
    bright = inputs[0].clone()
    bright.narrow(2 + axis, 0, period).add_(brighter)
    here, moved, off, changed = (_answer(network, x, axis) for x in (*inputs, bright))
    scale = _scale([here])

    def certain(other: Tensor, shift: int) -> float:
        """Return the largest difference to a tile that starts `shift` voxels on, where both have their context."""
        return float(_apart(*_shared(here, other, shift))[..., start : stop - shift].max()) / scale

    far = float(_apart(changed, here)[..., period + start : stop].max()) / scale
    return certain(moved, period), certain(off, 1), far


@torch.no_grad()
def measure_typical(network: Network, footprint: Footprint, view: View, tile: Shape, *, segments: bool) -> Typical:
    """Ask a network for overlapping tiles of one size at several places, and for the same in training mode.

    Raises `BadInput` where an answer is not finite.
    """
    trainee = _trainee(network)
    here, trained, shared, borders = [], [], [], []
    for place in counted(range(1, PLACES + 1), "comparing places", PLACES):
        axis = place % footprint.dims
        n, period, trim = tile[axis], footprint.period[axis], footprint.trim[0][axis]
        shown = view(_longer(tile, axis, period), place)
        inputs = [shown.narrow(2 + axis, at, n) for at in (0, period)]
        one, other = (_answer(network, x, axis) for x in inputs)
        here.append(one)
        shared.append(_shared(one, other, period))
        borders.append(_by_distance(_apart(*shared[-1]), period + trim, period, n))
        if trainee is not None and (learning := _learning(trainee, inputs[0], axis)) is not None:
            trained.append(learning)
    scale = _scale(here)
    apart = [_apart(a, b).mean() for a, b in zip(here, trained, strict=False)]
    return Typical(
        typical=tile,
        places=PLACES,
        by_distance=tuple(float(mean) / scale for mean in _means(borders)),
        disparity=float(torch.stack(apart).mean()) / scale if apart else None,
        overlap_dice=dice(*map(_joined, zip(*shared, strict=True))) if segments else None,
        disparity_dice=dice(_joined(trained), _joined(here)) if segments and trained else None,
    )


def _answer(network: Network, x: Tensor, axis: int) -> Tensor:
    """Return a network's answer, the asked axis last."""
    y = network(x).movedim(2 + axis, -1)
    if not bool(torch.isfinite(y).all()):
        raise BadInput("the network's output holds NaN or infinite values: use an earlier checkpoint")
    return y


def _shared(one: Tensor, other: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """Return what two answers say of the voxels in both, the second `shift` voxels on."""
    return one[..., shift:], other[..., : other.shape[-1] - shift]


def _apart(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs().double()


def _scale(answers: Sequence[Tensor]) -> float:
    """Return the standard deviation of answers together."""
    return max(float(_joined(answers).double().std()), 1e-30)


def _joined(answers: Sequence[Tensor]) -> Tensor:
    return torch.cat([answer.flatten() for answer in answers])


def _by_distance(difference: Tensor, first: int, start: int, stop: int) -> list[float]:
    """Return means by distance from the nearest of `start` and `stop`; the first voxel is at position `first`."""
    along = difference.flatten(0, -2).mean(0)
    at = torch.arange(first, first + len(along))
    distance = torch.minimum(at - start, stop - 1 - at)
    return [float(along[distance == d].mean()) for d in range(int(distance.max()) + 1) if bool((distance == d).any())]


def _means(borders: Sequence[Sequence[float]]) -> list[float]:
    """Return the means of lists entry by entry, over those that are long enough."""
    longest = max(map(len, borders))
    return [float(np.mean([one[d] for one in borders if d < len(one)])) for d in range(longest)]


def _learning(trainee: nn.Module, x: Tensor, axis: int) -> Tensor | None:
    """Return the answer in training mode, None where the tile is too small for it."""
    try:
        result: Tensor | None = trainee(x).movedim(2 + axis, -1)
        return result
    except ValueError:  # torch: statistics of a single value
        return None


def _trainee(network: Network) -> nn.Module | None:
    """Return a copy in training mode; None where there is none."""
    if not isinstance(network, nn.Module) or isinstance(network, torch.fx.GraphModule):
        return None
    return deepcopy(network).train()


def dice(one: Tensor, other: Tensor) -> float:
    """Return the overlap of the voxels above 1/2 in two answers; 1 where neither has any."""
    a, b = one > 0.5, other > 0.5
    total = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0
