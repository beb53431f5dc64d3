"""Compute exact statistics of whole volumes, block by block.

8- and 16-bit integers are counted in a histogram of every value, in one pass. Other types are converted to float32;
their percentiles are found by radix selection, in a second pass. Memory: one block of about `BLOCK_VOXELS` (or one
chunk, if that is larger) and a few temporary arrays of the same size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.finite import need_finite
from vol2vol.geometry import Box, Shape, ceil_div, grid
from vol2vol.progress import counted

BLOCK_VOXELS = 1 << 22
_INTEGERS = set(map(np.dtype, ("uint8", "int8", "uint16", "int16")))


class Readable(Protocol):
    """The part of the interface of `Volume` that measuring needs."""

    @property
    def path(self) -> object: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def spatial(self) -> Shape: ...  # noqa: D102
    @property
    def chunks(self) -> Shape: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype: ...  # noqa: D102
    def read(self, box: Box) -> np.ndarray: ...  # noqa: D102


@dataclass
class Tally:
    """Running statistics of one channel."""

    lowest: int | None
    """Value of the first key where every value of an integer type has a key; None for float keys."""
    counts: np.ndarray
    """Voxels per 16-bit key: the value itself, or the upper half of the ordered bits of a float32."""
    voxels: int = 0
    minimum: float = np.inf
    maximum: float = -np.inf
    mean: float = 0.0
    squares: float = 0.0

    @property
    def std(self) -> float:
        """Standard deviation of all values added so far."""
        return float(np.sqrt(self.squares / self.voxels))

    def add(self, values: np.ndarray) -> None:
        """Add one block; means and squared deviations are merged in float64 (Chan et al. 1979)."""
        if self.lowest is None:
            new, weights = values.astype(np.float64).ravel(), None
            keys = np.bincount(_ordered_bits(values) >> 16, minlength=1 << 16)
        else:
            keys = np.bincount(values.ravel().astype(np.int32) - self.lowest, minlength=1 << 16)
            present = np.flatnonzero(keys)
            new, weights = (present + self.lowest).astype(np.float64), keys[present]
        self.counts += keys
        self.minimum, self.maximum = min(self.minimum, float(new.min())), max(self.maximum, float(new.max()))
        mean = float(np.average(new, weights=weights))
        total, shift = self.voxels + values.size, mean - self.mean
        self.squares += float(np.average((new - mean) ** 2, weights=weights)) * values.size
        self.squares += shift**2 * self.voxels * values.size / total
        self.mean += shift * values.size / total
        self.voxels = total


def tally(volumes: Sequence[Readable]) -> list[Tally]:
    """Read all volumes once and return the statistics of each channel.

    Raises `BadInput` where there is no volume, on different numbers of channels, and on non-finite voxels.
    """
    if not volumes:
        raise BadInput("intensity needs at least one volume: name the files of this domain")
    first, dtypes = volumes[0], {np.dtype(v.dtype) for v in volumes}
    if unequal := [v for v in volumes if v.shape[0] != first.shape[0]]:
        counts = f"{unequal[0].shape[0]} channels, {first.path} has {first.shape[0]}"
        raise BadInput(f"{unequal[0].path} has {counts}: use files with the same channels in one domain")
    integer = len(dtypes) == 1 and dtypes <= _INTEGERS
    lowest = int(np.iinfo(dtypes.pop()).min) if integer else None
    tallies = [Tally(lowest, np.zeros(1 << 16, np.int64)) for _ in range(first.shape[0])]
    for volume, box, block in stream(volumes):
        need_finite(block, volume.path, box.start)
        for channel, values in zip(tallies, block, strict=True):
            channel.add(values if integer else values.astype(np.float32))
    return tallies


def stream(
    volumes: Sequence[Readable], what: str = "measuring intensities"
) -> Iterator[tuple[Readable, Box, np.ndarray]]:
    """Yield volume, box and voxels (C, Z, Y, X) of all volumes block by block; progress displays show `what`."""
    blocks = [(volume, box) for volume in volumes for box in tiles(volume)]
    for volume, box in counted(blocks, what, len(blocks)):
        yield volume, box, volume.read(box)


def tiles(volume: Readable) -> list[Box]:
    """Divide a volume into blocks of whole chunks, enlarged along x, then y, then z to about `BLOCK_VOXELS`."""
    block = list(volume.chunks[1:])
    for axis in (2, 1, 0):
        factor = max(1, BLOCK_VOXELS // max(1, int(np.prod(block))))
        block[axis] *= min(factor, ceil_div(volume.spatial[axis], block[axis]))
    return grid(Box.of(volume.spatial), block)


def _ordered_bits(values: np.ndarray) -> np.ndarray:
    """Return float32 values as flat uint32 that sort in the same order."""
    bits = np.ascontiguousarray(values).ravel().view(np.uint32)
    return bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))


def _value(key: int) -> float:
    """Return the float of one number of `_ordered_bits`."""
    bits = key ^ (0x80000000 if key >> 31 else 0xFFFFFFFF)
    return float(np.array(bits, np.uint32).view(np.float32))


def percentile_values(
    volumes: Sequence[Readable], tallies: Sequence[Tally], percentiles: tuple[float, float]
) -> tuple[list[float], list[float]]:
    """Return each channel's two percentiles, interpolated linearly between neighbouring ranks."""
    ranks = [q / 100 * (tallies[0].voxels - 1) for q in percentiles]
    positions = sorted({int(r) for rank in ranks for r in (np.floor(rank), np.ceil(rank))})
    ends: tuple[list[float], list[float]] = ([], [])
    for values in _order_statistics(volumes, tallies, positions):
        for end, rank in zip(ends, ranks, strict=True):
            end.append(float(np.interp(rank, positions, values)))
    return ends


def _order_statistics(volumes: Sequence[Readable], tallies: Sequence[Tally], ranks: Sequence[int]) -> list[list[float]]:
    """Return, for each channel, the values at these positions of the sorted voxels."""
    below = [np.cumsum(t.counts) for t in tallies]
    keys_at_ranks = [np.searchsorted(b, ranks, side="right").tolist() for b in below]
    if (lowest := tallies[0].lowest) is not None:
        return [[float(key + lowest) for key in keys] for keys in keys_at_ranks]
    finer = [{key: np.zeros(1 << 16, np.int64) for key in keys} for keys in keys_at_ranks]
    for _, _, block in stream(volumes):
        for tables, values in zip(finer, block, strict=True):
            bits = _ordered_bits(values.astype(np.float32))
            for key, counts in tables.items():
                counts += np.bincount(bits[bits >> 16 == key] & 0xFFFF, minlength=1 << 16)

    def exact(rank: int, key: int, channel: int) -> float:
        within = rank - (int(below[channel][key - 1]) if key else 0)
        return _value(key << 16 | int(np.searchsorted(np.cumsum(finer[channel][key]), within, side="right")))

    return [[exact(r, k, c) for r, k in zip(ranks, keys, strict=True)] for c, keys in enumerate(keys_at_ranks)]
