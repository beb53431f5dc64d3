"""Measure how far a network's output depends on where its input lies on the stride lattice.

A network of total stride p commutes with shifts by multiples of p voxels. What it does with shorter shifts is open: a
generator may then decide by the place of an object modulo p what no voxel of the object decides.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vol2vol.errors import BadInput
from vol2vol.nets.footprint import footprint
from vol2vol.nets.layer_types import Input
from vol2vol.shapes import shaped


@shaped
@torch.no_grad()
def position_dependence(net: nn.Module, x: Input) -> float:
    """Return the root mean square change of a network's output when its tile starts 1 to period - 1 voxels later.

    The change is counted in standard deviations of the output, over all such shifts along each axis of `x`
    (B, C, *space), at the voxels that both tiles are certain of. 0: the network commutes with every shift; 1.41: the
    outputs are unrelated. For an input of equal voxels, whose output should be constant, it is counted in units of the
    output itself. Raises `BadInput` where `x` is too small for a tile and its shifts.
    """
    foot = footprint(net)
    room = [n - p + 1 for n, p in zip(x.shape[2:], foot.period, strict=True)]
    tile = [foot.admissible(n, axis, at_least=False) for axis, n in enumerate(room)]
    if any(t > n for t, n in zip(tile, room, strict=True)):
        need = tuple(m + p - 1 for m, p in zip(foot.minimum, foot.period, strict=True))
        raise BadInput(f"{tuple(x.shape[2:])} voxels are too few to shift a tile: give at least {need}")

    def output(axis: int = 0, shift: int = 0) -> Tensor:
        starts = [shift if a == axis else 0 for a in range(foot.dims)]
        slices: list[Any] = [slice(a, a + n) for a, n in zip(starts, tile, strict=True)]
        y: Tensor = net(x[(..., *slices)])
        return y

    def certain(y: Tensor, axis: int, before: int, after: int) -> Tensor:
        """Cut a tile's output to its certain voxels, and to those shared with a tile shifted along one axis."""
        slices: list[Any] = []
        for a, (low, high) in enumerate(zip(*foot.reach, strict=True)):
            first, last = low - foot.trim[0][a], high - foot.trim[1][a]
            slices.append(slice(first + before * (a == axis), y.shape[a + 2] - last - after * (a == axis)))
        return y[(..., *slices)]

    base, total, count = output(), 0.0, 0
    for axis, period in enumerate(foot.period):
        for shift in range(1, period):
            moved = certain(output(axis, shift), axis, 0, shift) - certain(base, axis, shift, 0)
            total, count = total + float(moved.double().square().sum()), count + moved.numel()
    level = certain(base, 0, 0, 0).double()
    spread = level.square().mean().sqrt() if bool((x == x.flatten()[0]).all()) else level.std(correction=0)
    return float((total / max(count, 1)) ** 0.5 / spread)
