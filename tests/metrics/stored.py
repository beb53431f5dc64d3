"""Arrays as volumes on disk."""

import numpy as np

from vol2vol.geometry import Box
from vol2vol.volumes import create_volume


def store(path, array, *, voxel_size=(1, 1, 1), unit="", chunks=None):
    """Write (Z, Y, X) or (C, Z, Y, X) to an OME-Zarr and return the volume."""
    array = np.asarray(array)
    array = array[None] if array.ndim == 3 else array
    volume = create_volume(path, shape=array.shape, dtype=array.dtype, voxel_size=voxel_size, unit=unit, chunks=chunks)
    volume.write(Box.of(array.shape[1:]), array)
    volume.flush()
    return volume
