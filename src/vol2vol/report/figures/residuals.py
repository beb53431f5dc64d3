"""Where tiles meet: residuals between stitching strategies, and how they gather at the borders of tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def residual(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the absolute difference of two crops, each first brought to 0..1 (stitching paper, section 4.1, Fig. 2).

    float32; a constant crop counts as 0.
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
    """Return the mean absolute difference of two planes by distance from the nearest tile border.

    In the planes' own grey values. Entry `reach + d` is the mean over all borders p of the lines of pixels `p + d` (the
    first pixel of the new tile is at 0): flat without seams, a hill around 0 with them. NaN where no border is that
    far inside.
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
    """Return the pixel on a border around which two planes differ most: over 8 pixels across, `length` along it.

    None where no border crosses the planes.
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
