"""Stored values to the network's range and back: one affine map per channel, from whole-volume statistics.

Never measured per tile, which would be a seam. Statistics stream over the volume in blocks of whole chunks,
each read once per pass, and are exact: 8- and 16-bit integers through a histogram of every value (one pass),
all others as float32 by radix selection (one pass, and a second one for percentiles). Memory: one block of about
`BLOCK_VOXELS` (or one chunk, if that is larger) and a few temporaries of the same size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Protocol, get_args

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Shape, ceil_div, grid

Method = Literal["percentile", "meanstd", "minmax", "fixed"]
METHODS: tuple[str, ...] = get_args(Method)
BLOCK_VOXELS = 1 << 22
_INTEGERS = set(map(np.dtype, ("uint8", "int8", "uint16", "int16")))
_FIXED = "give the range yourself: --intensity fixed --low LOW --high HIGH"


class Readable(Protocol):
    """The part of a `Volume` that measuring needs."""

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


@dataclass(frozen=True, kw_only=True)
class Intensity:
    """An affine map between stored values and the network's range, one pair of numbers per channel.

    `low` and `high` may hold one number for all channels. The public reference code of the stitching paper is
    `fixed(0, 255, network=(0.0, 1.0))`: inputs are value/255, outputs 255 times the raw tanh.
    """

    low: tuple[float, ...]
    """Stored values that become the lower end of the network's range."""
    high: tuple[float, ...]
    """Stored values that become its upper end."""
    network: tuple[float, float] = (-1.0, 1.0)
    """The network's range; tanh generators use (-1, 1)."""
    clip: bool = True
    """Clip inputs to the network's range: a tanh cannot answer beyond it, no critic should see beyond it."""
    method: Method = "fixed"
    """How `low` and `high` were found."""
    setting: tuple[float, ...] = ()
    """The two percentiles, or the number of standard deviations."""
    voxels: int = 0
    """Voxels per channel that were measured; the statistics below are of all of them."""
    minimum: tuple[float, ...] = ()
    maximum: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BadInput(f"intensity method {self.method!r} is unknown: use one of {', '.join(METHODS)}")
        if not self.low or len(self.low) != len(self.high):
            raise BadInput(f"intensity needs as many low as high values, not {self.low} and {self.high}")
        for low, high in [*zip(self.low, self.high, strict=True), self.network]:
            if not (np.isfinite([low, high]).all() and low < high):
                raise BadInput(f"intensity low {low:g} must be a finite number below high {high:g}")

    def to_network(self, array: np.ndarray) -> np.ndarray:
        """Return stored values `(C, ...)` of any dtype as float32 in the network's range."""
        low, high = self._columns(array)
        bottom, top = self.network
        scale = ((top - bottom) / (high - low)).astype(np.float32)
        values = (array.astype(np.float32) - low.astype(np.float32)) * scale + np.float32(bottom)
        return np.clip(values, bottom, top, out=values) if self.clip else values

    def from_network(self, array: np.ndarray, dtype: np.typing.DTypeLike) -> np.ndarray:
        """Return the network's output `(C, ...)` as stored values, converted once.

        Integers are rounded and clipped, never wrapped; floats get the bare affine map. Raises `BadInput` on
        NaN and on dtypes other than floats and integers of up to 32 bits.
        """
        dtype = np.dtype(dtype)
        if dtype.kind not in "iuf" or (dtype.kind in "iu" and dtype.itemsize > 4):
            raise BadInput(f"output dtype {dtype} is not supported: use uint8, uint16, int16 or float32")
        low, high = self._columns(array)
        bottom, top = self.network
        wide = np.dtype(np.float64 if dtype.itemsize > 2 and dtype != np.float32 else np.float32)
        values = array.astype(wide)
        if np.isnan(values).any():
            raise BadInput("the network's output holds NaN: predict in fp32, or train again at a lower rate")
        values = (values - wide.type(bottom)) * ((high - low) / (top - bottom)).astype(wide) + low.astype(wide)
        if dtype.kind == "f":
            return values.astype(dtype, copy=False)
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)

    def to_dict(self) -> dict[str, Any]:
        """Return the map as plain data, exact through JSON and YAML."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Intensity:
        """Read what `to_dict` wrote; raises `BadInput` on unknown or missing keys."""
        unknown = data.keys() - {f.name for f in fields(cls)}
        if unknown or not {"low", "high"} <= data.keys():
            raise BadInput(f"intensity needs low and high and does not know {sorted(unknown)}: was the file edited?")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in data.items()}
        return cls(**values)

    def _columns(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `low` and `high` as float64 that broadcast over `(C, ...)`."""
        if len(self.low) not in (1, array.shape[0]):
            raise BadInput(
                f"{array.shape[0]} channels do not fit an intensity measured on {len(self.low)}: "
                "use data with as many channels as in training"
            )
        shape = (-1,) + (1,) * (array.ndim - 1)
        return np.array(self.low).reshape(shape), np.array(self.high).reshape(shape)


def fixed(
    low: float | Sequence[float], high: float | Sequence[float], network: tuple[float, float] = (-1.0, 1.0)
) -> Intensity:
    """Return the map that sends the stored values `low..high` to the network's range; reads no voxel."""
    lows, highs = (tuple(map(float, np.atleast_1d(v))) for v in (low, high))
    return Intensity(low=lows, high=highs, network=network)


def measure(
    volumes: Sequence[Readable],
    method: Method = "percentile",
    *,
    percentiles: tuple[float, float] = (0.1, 99.9),
    deviations: float = 3.0,
    network: tuple[float, float] = (-1.0, 1.0),
) -> Intensity:
    """Measure every voxel of a domain's volumes and return its map, each channel on its own.

    `percentile` (default; 0.1 and 99.9: hot pixels and dead borders do not stretch the range), `meanstd`
    (mean +- 3 standard deviations) or `minmax`; for a fixed range call `fixed`. Percentiles are numpy's linear
    ones, exact (of float32 values where the dtype is not an 8- or 16-bit integer). Raises `BadInput` on
    non-finite voxels and on constant channels, with the cure.
    """
    if method not in METHODS or method == "fixed":
        raise BadInput(f"intensity cannot be measured by {method!r}: {_FIXED}")
    if not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise BadInput(f"percentiles {percentiles} must ascend within 0 and 100: the default is 0.1 and 99.9")
    tallies = _tally(volumes)
    setting = {"percentile": percentiles, "meanstd": (deviations,), "minmax": ()}[method]
    if method == "percentile":
        low, high = _percentiles(volumes, tallies, percentiles)
    elif method == "meanstd":
        low, high = ([t.mean + sign * deviations * t.std for t in tallies] for sign in (-1, 1))
    else:
        low, high = [t.minimum for t in tallies], [t.maximum for t in tallies]
    for channel, (a, b) in enumerate(zip(low, high, strict=True)):
        if not a < b:
            flat = tallies[channel].minimum == tallies[channel].maximum
            how = "everywhere" if flat else f"at both ends of {method} {setting}: use --intensity minmax, or"
            raise BadInput(f"{volumes[0].path}: channel {channel} is {a:g} {how}, {_FIXED}")
    statistics = ("minimum", "maximum", "mean", "std")
    measured: dict[str, Any] = {name: tuple(getattr(t, name) for t in tallies) for name in statistics}
    measured |= {"method": method, "setting": tuple(map(float, setting)), "voxels": tallies[0].voxels}
    return Intensity(low=tuple(map(float, low)), high=tuple(map(float, high)), network=network, **measured)


@dataclass
class _Tally:
    """Running statistics of one channel."""

    lowest: int | None
    """Value of the first key where keys count every value of an integer type; None for float keys."""
    counts: np.ndarray
    """Voxels per 16-bit key: the value itself, or the upper half of the ordered bits of a float32."""
    voxels: int = 0
    minimum: float = np.inf
    maximum: float = -np.inf
    mean: float = 0.0
    squares: float = 0.0

    @property
    def std(self) -> float:
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


def _tally(volumes: Sequence[Readable]) -> list[_Tally]:
    """Read everything once; raise `BadInput` on unlike channels and on non-finite voxels."""
    if not volumes:
        raise BadInput("intensity needs at least one volume: name the files of this domain")
    first, dtypes = volumes[0], {np.dtype(v.dtype) for v in volumes}
    if odd := [v for v in volumes if v.shape[0] != first.shape[0]]:
        counts = f"{odd[0].shape[0]} channels, {first.path} has {first.shape[0]}"
        raise BadInput(f"{odd[0].path} has {counts}: use files with the same channels in one domain")
    integer = len(dtypes) == 1 and dtypes <= _INTEGERS
    lowest = int(np.iinfo(dtypes.pop()).min) if integer else None
    tallies = [_Tally(lowest, np.zeros(1 << 16, np.int64)) for _ in range(first.shape[0])]
    for volume, box, block in _stream(volumes):
        if block.dtype.kind == "f" and not np.isfinite(block).all():
            at = np.argwhere(~np.isfinite(block))[0]
            where = tuple(int(a + b) for a, b in zip(at, (0, *box.start), strict=True))
            raise BadInput(
                f"{volume.path}: voxel {where} (channel, z, y, x) is {block[tuple(at)]}: "
                "replace NaN and infinite voxels by a number in the file"
            )
        for tally, values in zip(tallies, block, strict=True):
            tally.add(values if integer else values.astype(np.float32))
    return tallies


def _stream(volumes: Sequence[Readable]) -> Iterator[tuple[Readable, Box, np.ndarray]]:
    """Yield all volumes in blocks of whole chunks, grown along x, then y, then z to about `BLOCK_VOXELS`."""
    for volume in volumes:
        block = list(volume.chunks)
        for axis in (2, 1, 0):
            room = max(1, BLOCK_VOXELS // max(1, int(np.prod(block))))
            block[axis] *= min(room, ceil_div(volume.spatial[axis], block[axis]))
        for box in grid(Box.of(volume.spatial), block):
            yield volume, box, volume.read(box)


def _ordered_bits(values: np.ndarray) -> np.ndarray:
    """Return float32 values as flat uint32 that sort alike."""
    bits = np.ascontiguousarray(values).ravel().view(np.uint32)
    return bits ^ np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))


def _value(key: int) -> float:
    """Undo `_ordered_bits` for one number."""
    bits = key ^ (0x80000000 if key >> 31 else 0xFFFFFFFF)
    return float(np.array(bits, np.uint32).view(np.float32))


def _percentiles(
    volumes: Sequence[Readable], tallies: Sequence[_Tally], percentiles: tuple[float, float]
) -> tuple[list[float], list[float]]:
    """Return each channel's two percentiles, interpolated linearly between neighbouring ranks."""
    ranks = [q / 100 * (tallies[0].voxels - 1) for q in percentiles]
    wanted = sorted({int(r) for rank in ranks for r in (np.floor(rank), np.ceil(rank))})
    ends: tuple[list[float], list[float]] = ([], [])
    for values in _order_statistics(volumes, tallies, wanted):
        for end, rank in zip(ends, ranks, strict=True):
            end.append(float(np.interp(rank, wanted, values)))
    return ends


def _order_statistics(
    volumes: Sequence[Readable], tallies: Sequence[_Tally], ranks: Sequence[int]
) -> list[list[float]]:
    """Return, per channel, the values that would stand at these positions if all voxels were sorted."""
    below = [np.cumsum(t.counts) for t in tallies]
    found = [np.searchsorted(b, ranks, side="right").tolist() for b in below]
    if (lowest := tallies[0].lowest) is not None:
        return [[float(key + lowest) for key in keys] for keys in found]
    finer = [{key: np.zeros(1 << 16, np.int64) for key in keys} for keys in found]
    for _, _, block in _stream(volumes):
        for tables, values in zip(finer, block, strict=True):
            bits = _ordered_bits(values.astype(np.float32))
            for key, counts in tables.items():
                counts += np.bincount(bits[bits >> 16 == key] & 0xFFFF, minlength=1 << 16)

    def exact(rank: int, key: int, channel: int) -> float:
        within = rank - (int(below[channel][key - 1]) if key else 0)
        return _value(key << 16 | int(np.searchsorted(np.cumsum(finer[channel][key]), within, side="right")))

    return [[exact(r, k, c) for r, k in zip(ranks, keys, strict=True)] for c, keys in enumerate(found)]
