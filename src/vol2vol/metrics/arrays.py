"""Let metrics read NumPy arrays like volumes."""

from __future__ import annotations

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.intensity import Readable
from vol2vol.volumes import open_volume


def as_readable(volume: Readable | np.ndarray) -> Readable:
    """Return an open volume unchanged, and an array of 2 to 4 axes, `([C,] [Z,] Y, X)`, as a volume.

    Raises `BadInput` for other arrays and for empty ones.
    """
    if not isinstance(volume, np.ndarray):
        return volume
    if not 2 <= volume.ndim <= 4 or volume.size == 0 or volume.dtype.kind not in "biuf":
        raise BadInput(f"array of shape {volume.shape} and {volume.dtype}: give numbers as ([C,] [Z,] Y, X)")
    return open_volume(volume, axes="czyx"[-volume.ndim :])
