"""Arrays in memory behind the face of a volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape
from vol2vol.intensity import Readable


@dataclass(frozen=True)
class InMemory:
    """An array `(C, Z, Y, X)` that is read like a volume."""

    array: np.ndarray
    path: str = "the array"

    @property
    def shape(self) -> Shape:
        """Channels and voxels along Z, Y, X."""
        return self.array.shape

    @property
    def spatial(self) -> Shape:
        """Voxels along Z, Y, X."""
        return self.array.shape[1:]

    @property
    def chunks(self) -> Shape:
        """A few planes at once."""
        return (min(64, self.array.shape[1]), *self.array.shape[2:])

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored values."""
        return self.array.dtype

    def read(self, box: Box) -> np.ndarray:
        """Return a view of a box, `(C, *box.shape)`."""
        return self.array[(slice(None), *box.slices)]


def as_readable(volume: Readable | np.ndarray) -> Readable:
    """Return an open volume as it is and an array of 2 to 4 axes, `([C,] [Z,] Y, X)`, as `InMemory`.

    Raises `BadInput` on other arrays and on empty ones.
    """
    if not isinstance(volume, np.ndarray):
        return volume
    if not 2 <= volume.ndim <= 4 or volume.size == 0 or volume.dtype.kind not in "biuf":
        raise BadInput(f"array of shape {volume.shape} and {volume.dtype}: give numbers as ([C,] [Z,] Y, X)")
    array = volume.astype(np.uint8) if volume.dtype.kind == "b" else volume
    return InMemory(array.reshape((1,) * (4 - volume.ndim) + volume.shape))
