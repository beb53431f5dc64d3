"""Features of the patches of a volume: one row per patch, with the patch's position; does not need torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.metrics.distances.cut_patches import Cutting


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """The features of the patches of a volume."""

    values: np.ndarray
    """Float32 `(n, d)`."""
    places: np.ndarray
    """First voxels of the patches, int64 `(n, 3)`, ZYX."""
    cutting: Cutting
    volume: str
    """Path of the volume."""
    spatial: tuple[int, ...]
    """Voxels of the volume, ZYX."""
    network: str

    def __len__(self) -> int:
        return len(self.values)

    def at(self, which: np.ndarray) -> Features:
        """Return a subset of the patches, by index or mask."""
        return replace(self, values=self.values[which], places=self.places[which])

    def blocks(self, size: int) -> np.ndarray:
        """Return for each patch the number, 0..k-1, of the cube of `size` voxels that contains its middle, `(n,)`."""
        middle = self.places + np.array(self.cutting.shape) // 2
        return np.unique(middle // size, axis=0, return_inverse=True)[1].reshape(-1)

    def halves(self) -> tuple[Features, Features]:
        """Return the patches on both sides of a plane through the middle of the longest axis that allows it.

        Patches that touch the plane are dropped. If the patches are thin along this axis, so are those closer than half
        a patch (or an eighth of a short axis), since neighbouring sections show the same structures. Raises `BadInput`
        if a half would be empty.
        """
        for axis in sorted(range(3), key=lambda i: -self.spatial[i]):
            thickness, middle = self.cutting.shape[axis], self.spatial[axis] // 2
            gap = 0 if thickness > 1 else min(self.cutting.size // 2, self.spatial[axis] // 8)
            first = self.places[:, axis] + thickness <= middle - gap
            second = self.places[:, axis] >= middle + gap
            if first.any() and second.any():
                return self.at(first), self.at(second)
        raise BadInput(
            f"{self.volume} of shape {self.spatial} has no two disjoint halves for patches of "
            f"{self.cutting.size} voxels: use smaller patches or a larger volume"
        )
