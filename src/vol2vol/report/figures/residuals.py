"""Compute residuals between stitching strategies, and how they depend on the distance from tile borders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def residual(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the absolute difference of two crops, each scaled to 0..1 (stitching paper, section 4.1, Fig. 2).

    The result is float32; a constant crop is scaled to 0.
    """
    result: np.ndarray = np.abs(_unit(a) - _unit(b))
    return result


def _unit(crop: np.ndarray) -> np.ndarray:
    values = crop.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def border_profile(
    seamed: np.ndarray, seamless: np.ndarray, rows: Sequence[int], columns: Sequence[int], reach: int = 16
) -> np.ndarray:
    """Return the mean absolute difference of two planes, in grey values, by distance from tile borders.

    Entry `reach + d` is the mean over all borders p of the lines of pixels `p + d`; the first pixel of the new tile is
    at d = 0. The profile is flat without seams and has a peak around 0 with seams. Entries are NaN if no border is
    that far from the edge of the plane.
    """
    difference = np.abs(seamed.astype(np.float64) - seamless.astype(np.float64))
    total, count = np.zeros(2 * reach + 1), np.zeros(2 * reach + 1)
    for axis, positions in ((0, rows), (1, columns)):
        line = difference.mean(axis=1 - axis)
        for p in positions:
            for offset in range(max(-reach, -p), min(reach + 1, line.size - p)):
                total[reach + offset] += line[p + offset]
                count[reach + offset] += 1
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def worst_border(
    seamed: np.ndarray, seamless: np.ndarray, rows: Sequence[int], columns: Sequence[int], length: int = 32
) -> tuple[int, int] | None:
    """Return the pixel on a border around which two planes differ most: 8 pixels across it, `length` along it.

    Returns None if no border crosses the planes.
    """
    difference = np.abs(seamed.astype(np.float64) - seamless.astype(np.float64))
    best, where = -np.inf, None
    for axis, positions in ((0, rows), (1, columns)):
        for p in positions:
            line = np.take(difference, range(max(0, p - 4), min(p + 4, difference.shape[axis])), axis=axis).mean(
                axis=axis
            )
            run = min(length, line.size)
            means = np.convolve(line, np.ones(run) / run, mode="valid")
            at = int(means.argmax())
            if means[at] > best:
                along = at + run // 2
                best, where = float(means[at]), (p, along) if axis == 0 else (along, p)
    return where
