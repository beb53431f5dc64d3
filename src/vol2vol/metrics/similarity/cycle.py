"""Measure the cycle error after 8-bit quantisation, which removes information hidden in invisible detail.

Under a cycle loss, a generator can learn to encode the source in details below a grey level (Chu et al. 2017). The
cycle error is therefore measured after quantisation and noise: translate a source, translate the result back unchanged
and `quantised`, and call `cycle_error`.
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
    """Return a translation of any shape as float64, rounded to 256 levels of `target_range` after adding noise.

    The noise is Gaussian with a standard deviation of `noise` levels. Values outside the range are clipped. Raises
    `BadInput` if the range is empty.
    """
    low, high = target_range
    if not low < high:
        raise BadInput(
            f"the target range {low:g} to {high:g} cannot be divided into 256 levels: give more than one grey value"
        )
    levels = (np.asarray(translation, np.float64) - low) * (255 / (high - low))
    if noise:
        levels += np.random.default_rng(seed).normal(0, noise, levels.shape)
    return np.clip(np.rint(levels), 0, 255) * ((high - low) / 255) + low


def cycle_error(source: Volume, returned: Volume, plain: Volume, *, block: Shape | None = None) -> dict[str, Blockwise]:
    """Return the difference between a source and its translation there and back, per block.

    `returned` was translated back from the quantised translation, `plain` from the unchanged one. `psnr`, in decibels,
    has the span of the source as its peak; `mean_absolute` is in grey values of the source; `hidden` is the mean
    absolute difference of `returned` minus that of `plain`, and above 0 if detail was hidden below a grey level. Raises
    `BadInput` if shapes or voxel sizes differ or the source is constant.
    """
    low, high = extremes(source)
    if low == high:
        raise BadInput(
            f"{source.path} is {low:g} everywhere, so that a cycle error is not defined: choose a source with structure"
        )
    errors = compare(source, returned, [psnr(high - low), mean_absolute()], block=block)
    coarse, without = errors["mean_absolute"], compare(source, plain, [mean_absolute()], block=block)["mean_absolute"]
    sums = np.concatenate([coarse.sums, without.sums[:, :1]], axis=1)
    return {**errors, "hidden": Blockwise(name="hidden", sums=sums, combine=_more)}


def _more(s: np.ndarray) -> np.ndarray:
    """Return the mean of the first sum minus that of the third; the second is the number of voxels."""
    with np.errstate(invalid="ignore", divide="ignore"):
        result: np.ndarray = (s[..., 0] - s[..., 2]) / s[..., 1]
        return result
