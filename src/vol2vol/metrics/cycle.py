"""Cycle error after 8-bit quantisation: what comes back once a translation can hide nothing in invisible detail.

A generator under a cycle loss learns to write the source into details below a grey level (Chu et al. 2017); a cycle
that is only good before quantisation and noise was good for the wrong reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.metrics.bootstrap import Blockwise

Translate = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class CycleError:
    """How far the way there and back leads from where it began, in the units of the source."""

    mean_absolute: float
    """After quantisation and noise."""
    psnr: float
    """Decibels, with the range of the source as peak."""
    hidden: float
    """Mean absolute error after quantisation minus without: above 0 is detail that was hidden below a grey level."""
    sums: np.ndarray
    """Squared error, absolute error, absolute error without quantisation and voxels of each block: `(blocks, 4)`."""

    @property
    def absolute(self) -> Blockwise:
        """The mean absolute error with its blocks, for intervals and comparisons."""
        return Blockwise(name="cycle_error", sums=self.sums[:, [1, 3]], combine=lambda s: s[..., 0] / s[..., 1])


def cycle_error(
    blocks: list[np.ndarray],
    forward: Translate,
    backward: Translate,
    *,
    target_range: tuple[float, float],
    source_range: float,
    noise: float = 0.0,
    seed: int = 0,
) -> CycleError:
    """Return the error of `backward(quantised(forward(block)))` over blocks of a source, arrays of any shape.

    The translation is rounded to 256 levels of `target_range` and given Gaussian noise of `noise` levels (before
    rounding). `source_range` is the span of grey values of the source. Blocks should carry their context: the
    translators see nothing beyond them. Raises `BadInput` where shapes change or there is no block.
    """
    low, high = target_range
    if not blocks or not (low < high and source_range > 0):
        raise BadInput("a cycle error needs blocks and ranges of positive length")
    rng = np.random.default_rng(seed)
    rows = []
    for block in blocks:
        there = np.asarray(forward(block), np.float64)
        levels = (there - low) * (255 / (high - low))
        if noise:
            levels = levels + rng.normal(0, noise, levels.shape)
        coarse = np.clip(np.rint(levels), 0, 255) * ((high - low) / 255) + low
        back, plain = (np.asarray(backward(one), np.float64) for one in (coarse, there))
        if back.shape != block.shape:
            raise BadInput(f"a block of shape {block.shape} came back with {back.shape}: translators must keep shapes")
        apart = np.abs(back - block)
        rows.append([(apart**2).sum(), apart.sum(), np.abs(plain - block).sum(), apart.size])
    sums = np.array(rows)
    square, absolute, without, count = sums.sum(0)
    with np.errstate(divide="ignore"):
        ratio = 10 * np.log10(source_range**2 * count / square)
    return CycleError(
        mean_absolute=float(absolute / count), psnr=float(ratio), hidden=float((absolute - without) / count), sums=sums
    )
