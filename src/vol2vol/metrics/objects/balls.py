"""What is bright, or the same, in a disc or ball around every voxel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Annotated

import numpy as np

from vol2vol.geometry import Shape
from vol2vol.shapes import shaped


@shaped
def brighter(
    image: Annotated[np.ndarray, "channels *wide"], level: float, radius: float, halo: Shape
) -> Annotated[np.ndarray, "channels *inner"]:
    """Return where the mean over a disc or ball is above a share of the full scale; the halo is trimmed.

    The full scale is the largest value of an integer type, and 1 for floats.
    """
    integer = image.dtype.kind in "iu"
    full = float(np.iinfo(image.dtype).max) if integer else 1.0
    offsets = _ball(radius, halo)
    limit = level * full * len(offsets)
    limit = float(np.floor(limit)) if integer else limit
    kind = np.uint16 if image.dtype == np.uint8 and len(offsets) < 256 else np.float64
    bright = np.empty((len(image), *image[0][inside(image.shape[1:], halo)].shape), bool)
    for channel, above in zip(image, bright, strict=True):
        np.greater(_sum(channel.astype(kind), offsets, halo), limit, out=above)
    return bright


def _sum(values: np.ndarray, offsets: Sequence[tuple[int, ...]], halo: Shape) -> np.ndarray:
    """Return the sums over a ball around every voxel but the halo's; runs along the last axis are added up once."""
    *others, last = halo
    width, length = values.shape[-1], values.shape[-1] - 2 * last
    runs = [values[..., last : width - last]]
    for reach in range(1, last + 1):
        pair = values[..., last - reach :][..., :length] + values[..., last + reach :][..., :length]
        runs.append(runs[-1] + pair)
    total = np.zeros_like(values[inside(values.shape, halo)])
    reaches: dict[tuple[int, ...], int] = {}
    for *row, along in offsets:
        reaches[tuple(row)] = max(along, reaches.get(tuple(row), 0))
    for start, reach in reaches.items():
        total += runs[reach][_moved(values.shape[:-1], tuple(others), start)]
    return total


def cores(labels: np.ndarray, radius: float, halo: Shape) -> np.ndarray:
    """Return the voxels that are further than `radius` from every voxel of another label; the halo is trimmed."""
    middle = labels[inside(labels.shape, halo)]
    core = np.ones(middle.shape, bool)
    for offset in _ball(radius, halo):
        if any(offset):
            core &= labels[_moved(labels.shape, halo, offset)] == middle
    return core


def _ball(radius: float, halo: Shape) -> list[tuple[int, ...]]:
    """Return the offsets within a radius along the axes that have a halo."""
    reach = [range(-h, h + 1) for h in halo]
    return [offset for offset in product(*reach) if sum(o * o for o in offset) <= radius * radius]


def inside(shape: Sequence[int], halo: Shape) -> tuple[slice, ...]:
    """Return the slices of an array without its halo."""
    return _moved(shape, halo, (0,) * len(halo))


def _moved(shape: Sequence[int], halo: Shape, offset: Sequence[int]) -> tuple[slice, ...]:
    """Return the slices of an array without its halo, moved by an offset."""
    return tuple(slice(h + o, n - h + o) for n, h, o in zip(shape, halo, offset, strict=True))
