"""Sample the tiles of a certificate from places of a volume, or from noise if no volume is given."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from torch import Tensor

from vol2vol.errors import BadInput
from vol2vol.finite import need_finite
from vol2vol.geometry import Box, Shape
from vol2vol.intensity import Intensity, SideBySide
from vol2vol.nets import with_noise
from vol2vol.phantoms.noise import smooth, white
from vol2vol.volumes import Volume

FAR_APART = 1 << 16
"""Planes between two places of the noise."""


@dataclass(frozen=True)
class SampleTiles:
    """Tiles in the range of a network of `dims` axes. Raises `BadInput` if a volume has other channels."""

    dims: int
    channels: int
    """Channels that the network reads, those of noise included."""
    noise: int = 0
    """Channels of white noise, after those of an image."""
    _: KW_ONLY
    volume: Volume | None = None
    intensity: Intensity | SideBySide | None = None
    """Maps stored values to the network's range; None for networks that read stored values, with noise in -1..1."""

    def __post_init__(self) -> None:
        needed = self.channels - self.noise
        if self.volume is not None and self.volume.channels not in (1, needed):
            raise BadInput(
                f"{self.volume.path} has {self.volume.channels} channels, the network reads {needed}: convert it"
            )

    @property
    def name(self) -> str:
        """The volume's path, or noise."""
        return "noise" if self.volume is None else self.volume.path

    def at(self, shape: Shape, place: int = 0) -> Tensor:
        """Return a tile, float64 `(1, C, *shape)`: from the middle for place 0, otherwise from a random place.

        `place` seeds the random position. A volume that is too small is mirrored. Raises `BadInput` for NaN or
        infinite voxels.
        """
        spatial = shape if self.dims == 3 else (1, *shape)
        values = self._noise(spatial, place) if self.volume is None else self._stored(self.volume, spatial, place)
        values = need_finite(np.ascontiguousarray(values, np.float64), self.name)
        tensor = torch.from_numpy(values)[None]
        drawn = torch.Generator().manual_seed(place)
        return with_noise(tensor if self.dims == 3 else tensor[:, :, 0], self.channels, self.noise, drawn)

    def tones(self, shape: Shape) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of every channel in the middle, within the volume."""
        whole = self.volume.spatial[-self.dims :] if self.volume is not None else shape
        values = self.at(tuple(map(min, shape, whole))).movedim(1, 0).flatten(1)
        return tuple(values.mean(1).tolist()), tuple(values.std(1, correction=0).tolist())

    def _stored(self, volume: Volume, spatial: Shape, place: int) -> np.ndarray:
        fraction = np.random.default_rng(place).random(3) if place else np.full(3, 0.5)
        margin = [n - s for n, s in zip(volume.spatial, spatial, strict=True)]
        start = [int(f * (n + 1)) if n > 0 and place else n // 2 for f, n in zip(fraction, margin, strict=True)]
        stored = volume.read_padded(Box.of(spatial).shift(start))
        return self.intensity.to_network(stored) if self.intensity else stored

    def _noise(self, spatial: Shape, place: int) -> np.ndarray:
        low, high = self.intensity.network if self.intensity is not None else (-1.0, 1.0)
        box = Box.of(spatial).shift((FAR_APART * place, 0, 0))
        tones = [0.4 * smooth(c, box, 12.0) + 0.2 * white(c, box) for c in range(self.channels - self.noise)]
        return np.clip(np.stack(tones), -1, 1) * (high - low) / 2 + (high + low) / 2
