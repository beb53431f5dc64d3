"""Measure how far overlapping tiles disagree on the same voxels, and training mode disagrees on the same tiles.

The indicators are named after the normalisation paper (Buglakova et al. 2025), which states them in words; the formulae
here are ours. G(t) is the network's output for tile t, and sd the standard deviation of the outputs. On the smallest
tiles that have voxels with complete context, along every axis (the largest value counts):

    invariance   max |G(t1) - G(t2)| / sd over voxels whose context lies in both, t2 shifted by one period
    aliasing     the same, t2 shifted by one voxel: the cost of a grid out of phase
    far          max change / sd of voxels beyond the reach when the start of the tile gets 3 brighter

On tiles of typical size, as means over several places, with the axis changing from place to place:

    TM(d)        mean |G(t1) - G(t2)| / sd over voxels in both tiles that lie d voxels from the nearest end of one
    disparity    mean |G_train(t) - G(t)| / sd, G_train with the statistics of training mode
    dice         for segmenters, 2 |A and B| / (|A| + |B|) of the voxels above 1/2, over overlap and over modes

Statistics of a tile depend on its size: for networks that use them, the latter are valid for this tile only.
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
"""Returns a tile `(1, C, *shape)` from a numbered place; place 0 is the middle."""
SIDES = {2: 128, 3: 64}
"""Side of a typical tile if no training patch is known, per number of axes."""
PLACES = 6
MAX_VOXELS = 1 << 20
"""Maximum voxels of a training patch that is used as the typical tile; larger ones take too long on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Smallest:
    """Disagreement of the smallest tiles, in standard deviations of the output."""

    tile: Shape
    """The smallest tile; two periods longer along the tested axis."""
    invariance: float
    aliasing: float
    far: float


@dataclass(frozen=True, kw_only=True)
class Typical:
    """Disagreement of tiles of typical size, at borders and between modes, in standard deviations of the output."""

    typical: Shape
    """The tile: the training patch if it is known."""
    places: int
    by_distance: tuple[float, ...]
    """TM at 0, 1, 2 ... voxels from the nearest end of a tile."""
    disparity: float | None
    """None if the network has no training mode."""
    overlap_dice: float | None
    """Of the two tiles on the same voxels; None unless the network segments."""
    disparity_dice: float | None


@dataclass(frozen=True, kw_only=True)
class Mismatch(Smallest, Typical):
    """All indicators; see the formulae of this module."""


def tile_of(footprint: Footprint, axis: int) -> tuple[Shape, Shape]:
    """Return the smallest tile tested along an axis, and the region that holds it and its shifted neighbours."""
    tile = _longer(footprint.minimum, axis, 2 * footprint.period[axis])
    return tile, _longer(tile, axis, footprint.period[axis])


def _longer(shape: Shape, axis: int, by: int) -> Shape:
    return tuple(n + by * (a == axis) for a, n in enumerate(shape))


def typical_tile(footprint: Footprint, patch: int | None = None) -> Shape:
    """Return the admissible tile nearest to a training patch with sides of `patch` voxels, or to 128 in 2D, 64 in 3D.

    Patches of more than 2^20 voxels are ignored. Two such tiles one period apart share at least the smallest tile.
    """
    side = patch if patch is not None and patch**footprint.dims <= MAX_VOXELS else SIDES[footprint.dims]

    def nearest(axis: int) -> int:
        sizes = [footprint.admissible(side, axis, at_least=at_least) for at_least in (False, True)]
        return max(min(sizes, key=lambda n: abs(n - side)), footprint.minimum[axis] + footprint.period[axis])

    return tuple(map(nearest, range(footprint.dims)))


@torch.no_grad()
def measure_smallest(network: Network, footprint: Footprint, view: View, *, brighter: float = 3.0) -> Smallest:
    """Compare overlapping tiles along every axis, of the size of `tile_of`, in the middle of the volume.

    Raises `BadInput` if an output is not finite.
    """
    per_axis = [
        _along(network, footprint, view, axis, brighter)
        for axis in counted(range(footprint.dims), "comparing tiles", footprint.dims)
    ]
    invariance, aliasing, far = map(max, zip(*per_axis, strict=True))
    return Smallest(tile=tuple(footprint.minimum), invariance=invariance, aliasing=aliasing, far=far)


def _along(
    network: Network, footprint: Footprint, view: View, axis: int, brighter: float
) -> tuple[float, float, float]:
    """Return invariance, aliasing and far along one axis."""
    tile, region = tile_of(footprint, axis)
    n, period, trim = tile[axis], footprint.period[axis], footprint.trim[0][axis]
    start, stop = footprint.reach[0][axis] - trim, n - footprint.reach[1][axis] - trim
    values = view(region, 0)
    inputs = [values.narrow(2 + axis, at, n) for at in (0, period, 1)]
    bright = inputs[0].clone()
    bright.narrow(2 + axis, 0, period).add_(brighter)
    base, in_phase, out_of_phase, changed = (_run(network, x, axis) for x in (*inputs, bright))
    scale = _scale([base])

    def largest_difference(other: Tensor, shift: int) -> float:
        """Return the largest difference to a tile that starts `shift` voxels later, within complete context."""
        return float(_difference(*_shared(base, other, shift))[..., start : stop - shift].max()) / scale

    far = float(_difference(changed, base)[..., period + start : stop].max()) / scale
    return largest_difference(in_phase, period), largest_difference(out_of_phase, 1), far


@torch.no_grad()
def measure_typical(network: Network, footprint: Footprint, view: View, tile: Shape, *, segments: bool) -> Typical:
    """Compare overlapping tiles of one size at several places, and evaluation mode with training mode.

    Raises `BadInput` if an output is not finite.
    """
    training_network = _training_copy(network)
    outputs, training_outputs, shared, borders = [], [], [], []
    for place in counted(range(1, PLACES + 1), "comparing places", PLACES):
        axis = place % footprint.dims
        n, period, trim = tile[axis], footprint.period[axis], footprint.trim[0][axis]
        values = view(_longer(tile, axis, period), place)
        inputs = [values.narrow(2 + axis, at, n) for at in (0, period)]
        first, other = (_run(network, x, axis) for x in inputs)
        outputs.append(first)
        shared.append(_shared(first, other, period))
        borders.append(_by_distance(_difference(*shared[-1]), period + trim, period, n))
        if training_network is not None:
            training_outputs += _run_training(training_network, inputs[0], axis)
    scale = _scale(outputs)
    differences = [_difference(a, b).mean() for a, b in zip(outputs, training_outputs, strict=False)]
    return Typical(
        typical=tile,
        places=PLACES,
        by_distance=tuple(float(mean) / scale for mean in _means(borders)),
        disparity=float(torch.stack(differences).mean()) / scale if differences else None,
        overlap_dice=dice(*map(_joined, zip(*shared, strict=True))) if segments else None,
        disparity_dice=dice(_joined(training_outputs), _joined(outputs)) if segments and training_outputs else None,
    )


def _run(network: Network, x: Tensor, axis: int) -> Tensor:
    """Return a network's output with the tested axis last."""
    return finite_output(network(x).movedim(2 + axis, -1))


def finite_output(y: Tensor) -> Tensor:
    """Return a network's output unchanged; raise `BadInput` if it has NaN or infinite values."""
    if not bool(torch.isfinite(y).all()):
        raise BadInput("the network's output holds NaN or infinite values: use an earlier checkpoint")
    return y


def _shared(first: Tensor, other: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """Return the parts of two outputs that show the same voxels; the second tile starts `shift` voxels later."""
    return first[..., shift:], other[..., : other.shape[-1] - shift]


def _difference(first: Tensor, other: Tensor) -> Tensor:
    return (first - other).abs().double()


def _scale(outputs: Sequence[Tensor]) -> float:
    """Return the standard deviation of all outputs together."""
    return max(float(_joined(outputs).double().std()), 1e-30)


def _joined(outputs: Sequence[Tensor]) -> Tensor:
    return torch.cat([output.flatten() for output in outputs])


def _by_distance(difference: Tensor, first: int, start: int, stop: int) -> list[float]:
    """Return means by distance from the nearest of `start` and `stop`; the first voxel is at position `first`."""
    along = difference.flatten(0, -2).mean(0)
    at = torch.arange(first, first + len(along))
    distance = torch.minimum(at - start, stop - 1 - at)
    return [float(along[distance == d].mean()) for d in range(int(distance.max()) + 1) if bool((distance == d).any())]


def _means(borders: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean of each entry over the lists that are long enough to have it."""
    longest = max(map(len, borders))
    return [float(np.mean([first[d] for first in borders if d < len(first)])) for d in range(longest)]


def _run_training(training_network: nn.Module, x: Tensor, axis: int) -> list[Tensor]:
    """Return the output in training mode, or nothing if the tile is too small for it."""
    try:
        return [training_network(x).movedim(2 + axis, -1)]
    except ValueError:  # torch: statistics of a single value
        return []


def _training_copy(network: Network) -> nn.Module | None:
    """Return a copy in training mode; None if the network has no training mode."""
    if not isinstance(network, nn.Module) or isinstance(network, torch.fx.GraphModule):
        return None
    return deepcopy(network).train()


def dice(first: Tensor, other: Tensor) -> float:
    """Return the Dice overlap of the voxels above 1/2 in two outputs; 1 if neither has any."""
    a, b = first > 0.5, other > 0.5
    total = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0
