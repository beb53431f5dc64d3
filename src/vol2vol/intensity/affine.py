"""Map stored values to the network's range and back by one affine map per channel, the same for every tile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal, get_args

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.shapes import shaped

Method = Literal["percentile", "meanstd", "minmax", "fixed"]
METHODS: tuple[str, ...] = get_args(Method)
Channels = Annotated[np.ndarray, "channels *space"]
EXACT = 1 << 24
"""Up to here float32 represents every integer."""


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
    """Clip inputs to the network's range: a tanh cannot return values beyond it, and no critic should see any."""
    method: Method = "fixed"
    """How `low` and `high` were found."""
    setting: tuple[float, ...] = ()
    """The two percentiles, or the number of standard deviations."""
    voxels: int = 0
    """Voxels per channel that were measured for the statistics below, each with one entry per channel."""
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

    @shaped
    def to_network(self, array: Channels) -> Channels:
        """Return stored values `(C, ...)` of any dtype as float32 in the network's range."""
        low, high = self._columns(array)
        bottom, top = self.network
        scale = ((top - bottom) / (high - low)).astype(np.float32)
        values = array.astype(np.float32)
        values -= low.astype(np.float32)
        values *= scale
        values += np.float32(bottom)
        return np.clip(values, bottom, top, out=values) if self.clip else values

    @shaped
    def from_network(self, array: Channels, dtype: np.typing.DTypeLike) -> Channels:
        """Return the network's output `(C, ...)` as stored values of a dtype.

        Integers are rounded and clipped, never wrapped; floats are neither. Raises `BadInput` on NaN and on dtypes
        other than floats and integers of up to 32 bits.
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
        values -= wide.type(bottom)
        values *= ((high - low) / (top - bottom)).astype(wide)
        values += low.astype(wide)
        if dtype.kind == "f":
            return values.astype(dtype, copy=False)
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values, out=values), limits.min, limits.max, out=values).astype(dtype)

    def to_dict(self) -> dict[str, Any]:
        """Return the map as plain data, exact through JSON and YAML."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Intensity:
        """Return the map that `to_dict` wrote; raise `BadInput` on unknown or missing keys."""
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


@dataclass(frozen=True)
class SideBySide:
    """The maps of several domains whose channels are concatenated, with the interface of `Intensity`."""

    parts: tuple[tuple[int, Intensity], ...]
    """Number of channels and map of each domain, in channel order."""

    @shaped
    def to_network(self, array: Channels) -> Channels:
        """Return stored values `(C, ...)` as float32 in the network's range, mapped domain by domain."""
        return np.concatenate([part.to_network(values) for part, values in self._split(array)])

    @shaped
    def from_network(self, array: Channels, dtype: np.typing.DTypeLike) -> Channels:
        """Return the network's output `(C, ...)` as stored values, mapped domain by domain."""
        return np.concatenate([part.from_network(values, dtype) for part, values in self._split(array)])

    @property
    def network(self) -> tuple[float, float]:
        """The smallest range that contains those of all domains."""
        ranges = [part.network for _, part in self.parts]
        return min(low for low, _ in ranges), max(high for _, high in ranges)

    def _split(self, array: np.ndarray) -> list[tuple[Intensity, np.ndarray]]:
        ends = np.cumsum([count for count, _ in self.parts])[:-1]
        return [(part, values) for (_, part), values in zip(self.parts, np.split(array, ends), strict=True)]


def beyond_float32(stored: np.ndarray) -> bool:
    """Return whether stored values exceed 2^24, beyond which float32 does not represent every integer."""
    wide = stored.dtype.itemsize > 2 and stored.dtype != np.float32
    return bool(wide and stored.size and (stored.max() > EXACT or stored.min() < -EXACT))


def fixed(
    low: float | Sequence[float], high: float | Sequence[float], network: tuple[float, float] = (-1.0, 1.0)
) -> Intensity:
    """Return the map of the stored values `low..high` (numbers, or one per channel) to the network's range."""
    lows, highs = (tuple(map(float, np.atleast_1d(v))) for v in (low, high))
    return Intensity(low=lows, high=highs, network=network)


PROBABILITY = fixed(0, 255, network=(0.0, 1.0))
"""The map of a mask that a network makes: probabilities, stored as 0 to 255."""
