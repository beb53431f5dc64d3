"""Arrays in memory as volumes."""

from __future__ import annotations

import numpy as np

from vol2vol.volumes.stored import Slices, Stored

NAME = "array"
"""What messages call an array, which has no path."""
CHUNK = 64
"""Voxels per axis that count as one chunk, since an array in memory has no chunks."""


def hold(array: np.ndarray) -> Stored:
    """Return an array of numbers as a stored array with unnamed axes; reads return read-only views of it."""
    view = array.view()
    view.flags.writeable = False

    def read(where: Slices) -> np.ndarray:
        return view[where]

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
