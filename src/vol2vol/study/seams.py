"""Where tiles meet: residuals between stitching strategies and the step across a border."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def residual(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the absolute difference of two crops, each first brought to 0..1 (stitching paper, section 4.1, Fig. 2).

    float32; a constant crop counts as 0.
    """
    return np.abs(_unit(a) - _unit(b))


def _unit(crop: np.ndarray) -> np.ndarray:
    values = crop.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def step_profile(image: np.ndarray, rows: Sequence[int], columns: Sequence[int], reach: int = 12) -> np.ndarray:
    """Return the mean absolute step between neighbouring pixels, by distance from the nearest tile border.

    Entry `reach + d` is the step between the pixels `p + d - 1` and `p + d` over all borders p, divided by the median
    over all distances: 1 everywhere without a seam, a peak at `d = 0` with one. NaN where no border is that far inside.
    """
    total, count = np.zeros(2 * reach + 1), np.zeros(2 * reach + 1)
    for axis, positions in ((0, rows), (1, columns)):
        steps = np.abs(np.diff(image.astype(np.float64), axis=axis))
        line = steps.mean(axis=1 - axis)
        for p in positions:
            for offset in range(-reach, reach + 1):
                if 0 <= p + offset - 1 < line.size:
                    total[reach + offset] += line[p + offset - 1]
                    count[reach + offset] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        profile = total / count
    usual = np.nanmedian(profile) if count.any() else np.nan
    return profile / usual if usual > 0 else np.full_like(profile, np.nan)


def spacing(positions: Sequence[int], size: int) -> int:
    """Return the smallest distance between neighbouring borders or the image's edge."""
    return min(b - a for a, b in pairwise((0, *positions, size)))


def worst_border(
    seamed: np.ndarray, seamless: np.ndarray, rows: Sequence[int], columns: Sequence[int], length: int = 32
) -> tuple[int, int] | None:
    """Return the pixel on a border at which the step stands out most from that of the seamless image.

    Averaged along `length` pixels of the border. None where no border crosses the image.
    """
    best, where = -np.inf, None
    for axis, positions in ((0, rows), (1, columns)):
        excess = np.abs(np.diff(seamed.astype(np.float64), axis=axis))
        excess -= np.abs(np.diff(seamless.astype(np.float64), axis=axis))
        for p in positions:
            line = np.take(excess, p - 1, axis=axis)
            run = min(length, line.size)
            means = np.convolve(line, np.ones(run) / run, mode="valid")
            at = int(means.argmax())
            if means[at] > best:
                along = at + run // 2
                best, where = float(means[at]), (p, along) if axis == 0 else (along, p)
    return where
