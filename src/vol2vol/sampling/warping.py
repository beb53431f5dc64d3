"""Zoom and deform a patch by one interpolation of a region that is larger than the patch."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, floor

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from vol2vol.geometry import Shape
from vol2vol.sampling.augment import Augment

Span = tuple[float, float]
"""Start of the part of a region that a patch shows along an axis, and the length of this part in voxels."""


def warped(
    region: np.ndarray,
    patch: Shape,
    augment: Augment,
    random: np.random.Generator,
    *,
    sizes: Sequence[float],
    nearest: Sequence[slice] = (),
) -> np.ndarray:
    """Return the middle of a region (C, *space) as a patch (C, *patch), zoomed and deformed.

    `space` is `augment.room(patch)` with `augment.elastic.margin(sizes)` on both sides; `sizes` are the voxel sizes
    along the patch's axes. Channels are interpolated linearly, channels in `nearest` by the nearest voxel.
    """
    if not augment.zoom and not augment.elastic.amplitude:
        return region
    margin = augment.elastic.margin(sizes)
    room = [n - 2 * m for n, m in zip(region.shape[1:], margin, strict=True)]
    factor = exp(random.uniform(-augment.zoom, augment.zoom)) if augment.zoom else 1.0
    shown = [min(round(n * factor), most) for n, most in zip(patch, room, strict=True)]
    spans = [(m + (most - n) // 2, n) for m, most, n in zip(margin, room, shown, strict=True)]
    if augment.elastic.amplitude:
        amplitude, length = augment.elastic.voxels(sizes)
        points = [first + (np.arange(n) + 0.5) * of / n - 0.5 for (first, of), n in zip(spans, patch, strict=True)]
        places = displaced(points, amplitude, length, random)
        values = sampled(region, places)
        for channels in nearest:
            values[channels] = sampled(region[channels], places, nearest=True)
        return values
    window = region[:, *(slice(first, first + n) for first, n in spans)]
    values = resized(window, patch, "bilinear" if len(patch) == 2 else "trilinear")
    for channels in nearest:
        values[channels] = resized(window[channels], patch, "nearest-exact")
    return values


def displaced(
    points: Sequence[np.ndarray], amplitude: Sequence[float], length: Sequence[float], random: np.random.Generator
) -> np.ndarray:
    """Return the coordinates in a region of the voxels of a smoothly deformed patch, float32 (axes, *patch).

    `points` are the coordinates along every axis without deformation. Control points, `length` voxels apart and with a
    random phase, are displaced by up to `amplitude` voxels along every axis. Cubic B-splines interpolate between them;
    their weights are positive and add up to 1, so that no displacement exceeds the amplitude.
    """
    knots = [axis / step + random.random() for axis, step in zip(points, length, strict=True)]
    counts = [floor(at[-1]) - floor(at[0]) + 4 for at in knots]
    field = random.uniform(-1, 1, (len(points), *counts)).astype(np.float32)
    for axis, at in enumerate(knots):  # sums of four terms give the same bits on any number of threads
        whole = np.floor(at).astype(int)
        first = whole - whole[0]
        shape = [-1 if a == axis + 1 else 1 for a in range(field.ndim)]
        field = sum(
            weight.astype(np.float32).reshape(shape) * field.take(first + k, axis + 1)
            for k, weight in enumerate(_splines(at - whole))
        )
    for axis, (start, reach) in enumerate(zip(points, amplitude, strict=True)):
        shape = [-1 if a == axis else 1 for a in range(len(points))]
        field[axis] = field[axis] * np.float32(reach) + start.astype(np.float32).reshape(shape)
    return field


def _splines(t: np.ndarray) -> list[np.ndarray]:
    """Return the weights of the four nearest control points, for points at a fraction `t` between the middle two."""
    return [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6]


def sampled(region: np.ndarray, places: np.ndarray, *, nearest: bool = False) -> np.ndarray:
    """Return a region (C, *space) interpolated at coordinates (axes, *patch), linearly or by the nearest voxel.

    The result is float32 (C, *patch).
    """
    ends = [max(1, n - 1) for n in region.shape[1:]]
    grid = np.stack([places[axis] * np.float32(2 / end) - 1 for axis, end in reversed(list(enumerate(ends)))], -1)
    values = grid_sample(
        _tensor(region),
        _tensor(grid),
        mode="nearest" if nearest else "bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return values[0].numpy()


def resized(values: np.ndarray, size: Shape | list[int], mode: str) -> np.ndarray:
    """Return values (C, *space) interpolated to another size."""
    return interpolate(_tensor(values), tuple(size), mode=mode)[0].numpy()


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, order="C"))[None]
