"""Weights of voxels in an overlap, where a tile shows the output of earlier ones (Boehland et al. 2023, figure 6).

A prediction keeps only the first part of an overlap, so that the network may change what lies further in: weights fall
with the distance from the corner at which the tile begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from vol2vol.geometry import Box, Shape
from vol2vol.plans.marching import Case, shown
from vol2vol.shapes import shaped

Pixels = Literal["paper", "code", "none"]
"""
paper   The distance to the tile's last voxel along the axes that have an earlier neighbour, as a share of the tile's
        diagonal along these axes: 1 in the first voxel, 0 in the last. Overlaps of a quarter end at 0.75.
code    The published code measures to the voxel after the last, in 3D always along all three axes; of a tile with
        neighbours above and to the left (2D) it adds the mean of the left part and the mean of the rest.
none    1.
"""


@dataclass(frozen=True)
class Border:
    """What a tile shows of earlier ones."""

    overlap: Shape
    """Voxels along every axis."""
    before: Case
    """Per axis, whether there is an earlier tile."""


@shaped
def pixel_weights(
    shape: Shape, border: Border, kind: Pixels, seen: Box | None = None
) -> Annotated[np.ndarray, "*space"]:
    """Return the weights of squared differences in a tile's overlap, float32, 0 elsewhere, where a loss sees the tile.

    `shape` is the tile's, in voxels, `seen` the box of it that the loss looks at, by default all. The sum of weights
    times differences is their weighted mean over the overlap; of the kind `code`, see there, it can be two means.
    """
    at = (seen or Box.of(shape)).slices
    distance = _distance(shape, border.before, kind)
    total = np.zeros_like(distance[at])
    for part in _parts(shape, border, kind):
        total += (distance * part)[at] / max(1, int(part[at].sum()))
    return total.astype(np.float32)


def _distance(shape: Shape, before: Case, kind: Pixels) -> np.ndarray:
    """Return the distance of every voxel to the tile's far corner as a share of the longest."""
    if kind == "none":
        return np.ones(shape)
    along = (True,) * 3 if kind == "code" and len(shape) == 3 else before
    beyond = 1 if kind == "code" else 0
    squares = np.zeros(shape)
    for axis, size in enumerate(shape):
        if along[axis]:
            steps = np.arange(size - 1, -1, -1.0) + beyond
            squares += np.square(steps).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    distance: np.ndarray = np.sqrt(squares / squares.flat[0])
    return distance


def _parts(shape: Shape, border: Border, kind: Pixels) -> list[np.ndarray]:
    """Return the parts of an overlap over which means are taken."""
    whole = shown(shape, border.overlap, border.before)
    if kind != "code" or border.before != (True, True):
        return [whole]
    left = shown(shape, border.overlap, (False, True))
    return [left, whole & ~left]
