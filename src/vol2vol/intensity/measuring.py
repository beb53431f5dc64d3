"""Measure the intensity map and exact histograms of the volumes of a domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.intensity.affine import METHODS, Intensity, Method
from vol2vol.intensity.streaming import Readable, percentile_values, stream, tally

FINE = 1 << 16
"""Number of equal bins of histograms of types other than 8- and 16-bit integers."""


def measure(
    volumes: Sequence[Readable],
    method: Method = "percentile",
    *,
    percentiles: tuple[float, float] = (0.1, 99.9),
    deviations: float = 3.0,
    network: tuple[float, float] = (-1.0, 1.0),
    cure: str = "call fixed(low, high)",
) -> Intensity:
    """Measure every voxel of a domain's volumes and return its map, with separate numbers per channel.

    `method` is `percentile` (default; 0.1 and 99.9, so that hot pixels and dead borders do not stretch the range),
    `meanstd` (mean +- 3 standard deviations) or `minmax`; for a fixed range call `fixed`. Percentiles are exact and
    interpolated linearly, as numpy's (of float32 values where the dtype is not an 8- or 16-bit integer). Raises
    `BadInput` on non-finite voxels and on channels with a single value; the message ends in the caller's `cure`.
    """
    if method not in METHODS or method == "fixed":
        raise BadInput(f"intensity cannot be measured by {method!r}: use one of percentile, meanstd, minmax")
    if not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise BadInput(f"percentiles {percentiles} must ascend within 0 and 100: the default is 0.1 and 99.9")
    tallies = tally(volumes)
    setting = {"percentile": percentiles, "meanstd": (deviations,), "minmax": ()}[method]
    if method == "percentile":
        low, high = percentile_values(volumes, tallies, percentiles)
    elif method == "meanstd":
        low, high = ([t.mean + sign * deviations * t.std for t in tallies] for sign in (-1, 1))
    else:
        low, high = [t.minimum for t in tallies], [t.maximum for t in tallies]
    for channel, (a, b) in enumerate(zip(low, high, strict=True)):
        if not a < b:
            flat = tallies[channel].minimum == tallies[channel].maximum
            how = "everywhere" if flat else f"at both ends of {method} {setting}"
            remedy = "leave the file out" if flat and len(tallies) == 1 else cure
            raise BadInput(f"{volumes[0].path}: channel {channel} is {a:g} {how}: {remedy}")
    statistics = ("minimum", "maximum", "mean", "std")
    measured: dict[str, Any] = {name: tuple(getattr(t, name) for t in tallies) for name in statistics}
    measured |= {"method": method, "setting": tuple(map(float, setting)), "voxels": tallies[0].voxels}
    return Intensity(low=tuple(map(float, low)), high=tuple(map(float, high)), network=network, **measured)


def measure_like(trained: Intensity, volumes: Sequence[Readable], *, cure: str = "call fixed(low, high)") -> Intensity:
    """Measure the map of volumes by the method of a trained map, or by percentiles where that one was fixed."""
    setting: dict[str, Any] = {}
    if trained.method == "percentile":
        setting["percentiles"] = trained.setting or (0.1, 99.9)
    elif trained.method == "meanstd":
        setting["deviations"] = trained.setting[0]
    method = "percentile" if trained.method == "fixed" else trained.method
    return measure(volumes, method, network=trained.network, cure=cure, **setting)


@dataclass(frozen=True)
class Histogram:
    """Histogram of one channel of a domain's volumes, with exact mean and standard deviation."""

    values: np.ndarray
    """Ascending stored values that occur, float64; centres of `FINE` bins except for 8- and 16-bit integers."""
    counts: np.ndarray
    """Number of voxels of each value, at least 1."""
    mean: float
    std: float

    def quantiles(self, shares: np.ndarray) -> np.ndarray:
        """Return the values below which these fractions (0 to 1) of the voxels lie, interpolated linearly."""
        result: np.ndarray = np.interp(shares, self.shares(), self.values)
        return result

    def shares(self) -> np.ndarray:
        """Return the fraction of voxels up to and including each value."""
        result: np.ndarray = np.cumsum(self.counts) / self.counts.sum()
        return result


def histograms(volumes: Sequence[Readable]) -> list[Histogram]:
    """Count every voxel of a domain's volumes, one histogram per channel.

    Where all volumes have one type, an 8- or 16-bit integer, one pass counts every value. Otherwise a second pass
    counts `FINE` equal bins between minimum and maximum. Raises `BadInput` on non-finite voxels.
    """
    tallies = tally(volumes)
    if (lowest := tallies[0].lowest) is not None:
        tables = [(np.arange(channel.counts.size) + float(lowest), channel.counts) for channel in tallies]
    else:
        edges = [np.linspace(channel.minimum, channel.maximum, FINE + 1) for channel in tallies]
        tables = [((edge[1:] + edge[:-1]) / 2, np.zeros(FINE, np.int64)) for edge in edges]
        for _, _, block in stream(volumes):
            for values, channel, (_, counts) in zip(block, tallies, tables, strict=True):
                width = max((channel.maximum - channel.minimum) / FINE, 1e-300)
                bins = ((values.astype(np.float64) - channel.minimum) / width).astype(np.int64)
                counts += np.bincount(np.clip(bins, 0, FINE - 1).ravel(), minlength=FINE)
    present = [counts > 0 for _, counts in tables]
    return [
        Histogram(values[kept], counts[kept], channel.mean, channel.std)
        for (values, counts), kept, channel in zip(tables, present, tallies, strict=True)
    ]
