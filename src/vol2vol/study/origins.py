"""What a part of a domain is cut from: anything that can be read by boxes, as it is or degraded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from vol2vol.files import written_whole
from vol2vol.geometry import Box, Shape, ceil_div, grid
from vol2vol.phantoms.noise import key, white
from vol2vol.study.settings import Degraded
from vol2vol.volumes import Volume, create_volume
from vol2vol.volumes.axes import tidy

BLOCK = (64, 256, 256)
"""Voxels that are read and written in one go."""
Read = Callable[[Box], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Something that can be read by boxes of a whole domain."""

    read: Read
    spatial: Shape
    channels: int
    dtype: np.dtype
    voxel_size: Sequence[float]
    unit: str
    offset: Sequence[float] | None = None
    """Place of the centre of the first voxel; None where it is not known."""

    def place_of(self, box: Box) -> tuple[float, ...] | None:
        """Return the place of a part's first voxel; None where nothing says where the whole lies."""
        if self.offset is None and not any(box.start):
            return None
        whole = zip(self.offset or (0.0,) * 3, box.start, self.voxel_size, strict=True)
        return tuple(tidy(o + a * v) for o, a, v in whole)


def origin_of(volume: Volume) -> Origin:
    """Return an open volume as something to write parts of."""
    return Origin(
        read=volume.read,
        spatial=volume.spatial,
        channels=volume.channels,
        dtype=volume.dtype,
        voxel_size=volume.voxel_size,
        unit=volume.unit,
        offset=volume.offset if volume.placed else None,
    )


def degraded(origin: Origin, how: Degraded) -> Origin:
    """Return an origin blurred, scaled and noisy; a voxel's noise depends on its place alone."""
    reach = tuple(0 if n == 1 else int(4 * how.blur + 0.5) for n in origin.spatial)
    sigma = tuple(how.blur * (n > 1) for n in origin.spatial)

    def read(box: Box) -> np.ndarray:
        around = box.grow(reach, reach) & Box.of(origin.spatial)
        wide = origin.read(around).astype(np.float32)
        channels = [ndimage.gaussian_filter(one, sigma, mode="mirror") for one in wide]
        grey = np.stack(channels)[(slice(None), *box.relative_to(around.start).slices)] * how.gain + how.offset
        grey += how.noise * white(key("degraded"), box)
        if origin.dtype.kind == "f":
            return grey.astype(origin.dtype)
        limits = np.iinfo(origin.dtype)
        return np.clip(np.rint(grey), limits.min, limits.max).astype(origin.dtype)

    return replace(origin, read=read)


def write_part(path: Path, origin: Origin, box: Box) -> None:
    """Write a box of something as a volume, whole or not at all."""
    with (
        written_whole(path) as partial,
        create_volume(
            str(partial),
            shape=(origin.channels, *box.shape),
            dtype=origin.dtype,
            voxel_size=origin.voxel_size,
            unit=origin.unit,
            offset=origin.place_of(box),
        ) as volume,
    ):
        block = tuple(s * ceil_div(min(b, n), s) for s, b, n in zip(volume.shards[1:], BLOCK, box.shape, strict=True))
        for one in grid(Box.of(box.shape), block):
            volume.write(one, np.ascontiguousarray(origin.read(one.shift(box.start)), origin.dtype))
