"""Decide which voxels of a mask are foreground, alike for training, preparation and evaluation.

A mask holds whole numbers from 0 up, of any type: 0 is background, every other number foreground. Masks of 0 and 1, of
0 and 255, of True and False, and instance labels are all read this way.
"""

from __future__ import annotations

from math import isfinite

import numpy as np

from vol2vol.errors import BadInput


def foreground(values: np.ndarray, where: str) -> np.ndarray:
    """Return which voxels of a mask are foreground, as an array of the same shape.

    `where` names the mask in messages. Raises `BadInput` on negative numbers, fractions, NaN and infinity, which
    have other meanings: an area to ignore, a distance, a probability.
    """
    if values.dtype.kind == "i" and (least := int(values.min(initial=0))) < 0:
        raise _not_a_mask(where, least)
    if values.dtype.kind == "f":
        invalid = ~np.isfinite(values) | (values < 0) | (values != np.floor(values))
        if invalid.any():
            raise _not_a_mask(where, float(values[invalid][0]))
    return np.asarray(values != 0)


def _not_a_mask(where: str, value: float) -> BadInput:
    cure = "make one with vol2vol prepare `above` VALUE or `ids` NUMBERS" if isfinite(value) else "write a number there"
    return BadInput(f"{where} holds {value:g}, but a mask holds whole numbers from 0 on, 0 for background: {cure}")
