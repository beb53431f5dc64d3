"""Cut parts of a domain from anything that can be read by boxes, unchanged or degraded, and write them as volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from vol2vol.files import written_whole
from vol2vol.geometry import Box, Shape, ceil_div, grid
from vol2vol.phantoms.noise import key, white
from vol2vol.study.domain_settings import Degraded
from vol2vol.volumes import Volume, create_volume
from vol2vol.volumes.axes import tidy

BLOCK = (64, 256, 256)
"""Block `(Z, Y, X)` of voxels that is read and written at once."""
Read = Callable[[Box], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A whole domain that can be read by boxes; `read` returns `(C, Z, Y, X)`."""

    read: Read
    spatial: Shape
    channels: int
    dtype: np.dtype
    voxel_size: Sequence[float]
    unit: str
    offset: Sequence[float] | None = None
    """Position `(Z, Y, X)` of the centre of the first voxel in `unit`; None if it is not known."""

    def place_of(self, box: Box) -> tuple[float, ...] | None:
        """Return the position of a box's first voxel in `unit`; None if nothing states the domain's position."""
        if self.offset is None and not any(box.start):
            return None
        whole = zip(self.offset or (0.0,) * 3, box.start, self.voxel_size, strict=True)
        return tuple(tidy(o + a * v) for o, a, v in whole)


def origin_of(volume: Volume) -> Origin:
    """Return the origin that reads from an open volume."""
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
    """Return an origin with blur, gain, offset and noise; the noise of a voxel depends only on its position."""
    reach = tuple(0 if n == 1 else int(4 * how.blur + 0.5) for n in origin.spatial)
    sigma = tuple(how.blur * (n > 1) for n in origin.spatial)

    def read(box: Box) -> np.ndarray:
        around = box.grow(reach, reach) & Box.of(origin.spatial)
        wide = origin.read(around).astype(np.float32)
        channels = [ndimage.gaussian_filter(channel, sigma, mode="mirror") for channel in wide]
        grey = np.stack(channels)[(slice(None), *box.relative_to(around.start).slices)] * how.gain + how.offset
        grey += how.noise * white(key("degraded"), box)
        if origin.dtype.kind == "f":
            return grey.astype(origin.dtype)
        limits = np.iinfo(origin.dtype)
        return np.clip(np.rint(grey), limits.min, limits.max).astype(origin.dtype)

    return replace(origin, read=read)


def write_part(path: Path, origin: Origin, box: Box) -> None:
    """Write a box of an origin as a volume, completely or not at all; raise `CannotWrite` if that fails."""
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
        for target in grid(Box.of(box.shape), block):
            volume.write(target, np.ascontiguousarray(origin.read(target.shift(box.start)), origin.dtype))
