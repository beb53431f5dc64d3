"""Helpers of the tests of preparations: arrays as volumes, in memory and on disk."""

import numpy as np

from vol2vol.geometry import Box
from vol2vol.preparation import Chain
from vol2vol.volumes import create_volume, open_volume


class ArrayVolume:
    """An array `(C, Z, Y, X)` with the interface of a volume; counts the voxels of the chunks that are read."""

    path, unit, sized = "held", "nanometer", True

    def __init__(self, array, voxel_size=(8.0, 8.0, 8.0), chunks=(4, 8, 8)):
        self.array, self.voxel_size = array, voxel_size
        self.shape, self.spatial, self.dtype, self.channels = array.shape, array.shape[1:], array.dtype, len(array)
        self.chunks = (self.channels, *map(min, chunks, self.spatial))
        self.read_voxels = 0

    def read(self, box):
        assert Box.of(self.spatial).contains(box), box
        self.read_voxels += chunked(box, self.chunks[1:], self.spatial)
        return self.array[(slice(None), *box.slices)].copy()


def chunked(box, chunks, spatial):
    """Return the voxels of the chunks under a box."""
    spans = zip(box.start, box.stop, chunks, spatial, strict=True)
    return int(np.prod([min(n, -(-b // c) * c) - a // c * c for a, b, c, n in spans]))


def chain(array, *steps, voxel_size=(8.0, 8.0, 8.0), labels=False):
    return Chain.of(ArrayVolume(array, voxel_size), steps, labels=labels)


def whole(steps):
    """Return the whole result of a chain."""
    return steps.read(Box.of(steps.spatial))


def put(path, array, *, voxel_size=(8, 8, 8), chunks=(4, 8, 8), unit="nanometer"):
    """Write ([C,] Z, Y, X) as OME-Zarr and return the path."""
    array = array if array.ndim == 4 else array[None]
    with create_volume(
        path, shape=array.shape, dtype=array.dtype, voxel_size=voxel_size, unit=unit, chunks=chunks
    ) as stored:
        stored.write(Box.of(stored.spatial), array)
    return path


def get(path, **metadata):
    """Return all voxels of a volume."""
    with open_volume(path, **metadata) as stored:
        return stored.read(Box.of(stored.spatial))


def tree(folder):
    """Return the content of every file below a folder, by path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
