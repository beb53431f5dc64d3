"""Cycle error after 8-bit quantisation: what comes back once a translation can hide nothing in invisible detail.

A generator under a cycle loss learns to write the source into details below a grey level (Chu et al. 2017); a cycle
that is only good before quantisation and noise was good for the wrong reason. Whoever has the two networks translates a
source, sends the translation back as it is and `quantised`, and asks `cycle_error`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Shape
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.similarity.fidelity import mean_absolute, psnr
from vol2vol.metrics.similarity.volume_pairs import compare, extremes
from vol2vol.volumes import Volume

NOISE = 1.0
"""Standard deviation of the noise, in levels."""


def quantised(
    translation: np.ndarray, target_range: tuple[float, float], *, noise: float = NOISE, seed: int | Sequence[int] = 0
) -> np.ndarray:
    """Return a translation of any shape, given Gaussian noise and rounded to 256 levels of `target_range`, as float64.

    The noise is of `noise` levels and added before rounding; what lies beyond the range is clipped to it. Raises
    `BadInput` where the range is empty.
    """
    low, high = target_range
    if not low < high:
        raise BadInput(f"256 levels from {low:g} to {high:g}: a target needs more than one grey value")
    levels = (np.asarray(translation, np.float64) - low) * (255 / (high - low))
    if noise:
        levels += np.random.default_rng(seed).normal(0, noise, levels.shape)
    return np.clip(np.rint(levels), 0, 255) * ((high - low) / 255) + low


def cycle_error(source: Volume, returned: Volume, plain: Volume, *, block: Shape | None = None) -> dict[str, Blockwise]:
    """Return how far the way there and back leads from the source, per block.

    `returned` came back from the quantised translation, `plain` from the translation as it is. `psnr` in decibels has
    the span of the source as its peak; `mean_absolute` is in grey values of the source; `hidden` is that of `returned`
    minus that of `plain`: above 0 is detail that was hidden below a grey level. Raises `BadInput` where shapes or voxel
    sizes differ or the source is constant.
    """
    low, high = extremes(source)
    if low == high:
        raise BadInput(f"{source.path} is {low:g} everywhere: there is nothing that could come back")
    found = compare(source, returned, [psnr(high - low), mean_absolute()], block=block)
    coarse, without = found["mean_absolute"], compare(source, plain, [mean_absolute()], block=block)["mean_absolute"]
    sums = np.concatenate([coarse.sums, without.sums[:, :1]], axis=1)
    return {**found, "hidden": Blockwise(name="hidden", sums=sums, combine=_more)}


def _more(s: np.ndarray) -> np.ndarray:
    """Return the mean of the first sum minus that of the third; the second is the number of voxels."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: np.ndarray = (s[..., 0] - s[..., 2]) / s[..., 1]
        return result
