"""Arrays in memory as volumes."""

from __future__ import annotations

import numpy as np

from vol2vol.volumes.stored import Slices, Stored

NAME = "array"
"""What messages call an array, which has no path."""
CHUNK = 64
"""Voxels per axis that count as one chunk: an array has none, and small parts of it cost little."""


def hold(array: np.ndarray) -> Stored:
    """Return an array of numbers with its axes unnamed; reads are views of it that cannot be written to."""
    held = array.view()
    held.flags.writeable = False

    def read(where: Slices) -> np.ndarray:
        return held[where]

    return Stored(
        path=NAME,
        format=NAME,
        shape=array.shape,
        dtype=array.dtype,
        axes="?" * array.ndim,
        chunks=tuple(min(n, CHUNK) for n in array.shape),
        read=read,
        stamp=lambda: None,
    )
