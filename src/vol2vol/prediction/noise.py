"""Give a network that reads noise its channels: a field keyed by voxel position and seed, so that all tiles read alike.

One field: the noise of a voxel does not depend on the tile, the block or the worker that asks for it (law L15). Noise
drawn for each tile is there to be compared with: two tiles then decide what the input leaves open independently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box
from vol2vol.phantoms.noise import key, white
from vol2vol.prediction.gather import Read
from vol2vol.prediction.reading import reader
from vol2vol.prediction.settings import SHIFTED, PredictSettings

if TYPE_CHECKING:
    from vol2vol.prediction.job import Job


@dataclass(frozen=True)
class NoiseField:
    """White noise of mean 0 and variance 1, nearly normal, on all integer positions, the same on every machine."""

    channels: int
    seed: int = 0

    def __call__(self, box: Box, tile: Sequence[int] = ()) -> np.ndarray:
        """Return the noise of a box (C, *box.shape), float32; `tile` is the start of a tile with noise of its own."""
        return np.stack([white(key("noise", self.seed, channel, *tile), box) for channel in range(self.channels)])

    def of_tile(self, tile: Box) -> np.ndarray:
        """Return the noise (C, *tile.shape) that only this tile reads."""
        return self(tile, tile.start)


def read_with_noise(job: Job) -> Read:
    """Return a function that reads a box of what a job's network is shown: its input, then its noise.

    A grey image is repeated to the other channels. Noise that each tile has for itself is not among what is read.
    """
    read, settings = reader(job.source, job.bundle.maps(job.translation.reads)), job.settings
    channels, noise = job.engine.channels, job.translation.noise
    if not noise:
        return read

    def image(box: Box) -> np.ndarray:
        values = read(box)
        return np.repeat(values, channels - noise, 0) if len(values) == 1 else values

    field = NoiseField(noise, settings.seed)
    return image if settings.noise == "tiles" else lambda box: np.concatenate([image(box), field(box)])


def noise_of_tiles(noise: int, settings: PredictSettings) -> Read | None:
    """Return a function that makes the noise that a tile has for itself; None where there is none."""
    return NoiseField(noise, settings.seed).of_tile if noise and settings.noise == "tiles" else None


def check_noise(settings: PredictSettings, channels: int) -> None:
    """Raise `BadInput` where the settings of noise have no effect, or where a field cannot be read."""
    changed = [
        name for name in ("seed", "noise") if getattr(settings, name) != type(settings).model_fields[name].default
    ]
    if changed and not channels:
        raise BadInput(f"{changed[0]} has no effect: the {settings.direction} network reads no noise, leave it out")
    if channels and settings.assembly == "ortho":
        raise BadInput("assembly ortho would interpolate the noise that this model reads: use assembly slices")
    if settings.noise == "tiles" and settings.statistics == "global":
        raise BadInput("statistics global are those of one input, noise of each tile makes many: use noise field")
    if settings.noise == "tiles" and settings.strategy not in SHIFTED:
        raise BadInput(
            f"noise drawn for each tile makes tiles disagree, strategy {settings.strategy} needs one field: "
            "use noise field, or strategy disjoint, average or blend"
        )
