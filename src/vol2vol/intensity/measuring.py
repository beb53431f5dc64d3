"""Measure the volumes of a domain: the intensity map that training stores, and exact histograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vol2vol.errors import BadInput
from vol2vol.intensity.affine import METHODS, Intensity, Method
from vol2vol.intensity.streaming import Readable, percentile_values, stream, tally

FINE = 1 << 16
"""Equal bins of the histogram of a volume that does not hold 8- or 16-bit integers."""


def measure(
    volumes: Sequence[Readable],
    method: Method = "percentile",
    *,
    percentiles: tuple[float, float] = (0.1, 99.9),
    deviations: float = 3.0,
    network: tuple[float, float] = (-1.0, 1.0),
    cure: str = "call fixed(low, high)",
) -> Intensity:
    """Measure every voxel of a domain's volumes and return its map, each channel on its own.

    `percentile` (default; 0.1 and 99.9: hot pixels and dead borders do not stretch the range), `meanstd`
    (mean +- 3 standard deviations) or `minmax`; for a fixed range call `fixed`. Percentiles are numpy's linear
    ones, exact (of float32 values where the dtype is not an 8- or 16-bit integer). Raises `BadInput` on
    non-finite voxels and on channels without a range, with the `cure` of whoever measures.
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
            what = "leave the file out" if flat and len(tallies) == 1 else cure
            raise BadInput(f"{volumes[0].path}: channel {channel} is {a:g} {how}: {what}")
    statistics = ("minimum", "maximum", "mean", "std")
    measured: dict[str, Any] = {name: tuple(getattr(t, name) for t in tallies) for name in statistics}
    measured |= {"method": method, "setting": tuple(map(float, setting)), "voxels": tallies[0].voxels}
    return Intensity(low=tuple(map(float, low)), high=tuple(map(float, high)), network=network, **measured)


def measure_like(trained: Intensity, volumes: Sequence[Readable], *, cure: str = "call fixed(low, high)") -> Intensity:
    """Measure the map of other volumes as a trained one was; by percentiles where that was fixed."""
    setting: dict[str, Any] = {}
    if trained.method == "percentile":
        setting["percentiles"] = trained.setting or (0.1, 99.9)
    elif trained.method == "meanstd":
        setting["deviations"] = trained.setting[0]
    method = "percentile" if trained.method == "fixed" else trained.method
    return measure(volumes, method, network=trained.network, cure=cure, **setting)


@dataclass(frozen=True)
class Histogram:
    """How often each value occurs in one channel of a domain's volumes, with exact moments."""

    values: np.ndarray
    """Ascending stored values that occur, float64; centres of `FINE` bins unless the volumes hold 8 or 16 bits."""
    counts: np.ndarray
    """Voxels of each value, at least 1."""
    mean: float
    std: float

    def quantiles(self, shares: np.ndarray) -> np.ndarray:
        """Return the values below which these shares (0 to 1) of the voxels lie, linear between occurring values."""
        result: np.ndarray = np.interp(shares, self.shares(), self.values)
        return result

    def shares(self) -> np.ndarray:
        """Return the share of voxels up to and including each value."""
        result: np.ndarray = np.cumsum(self.counts) / self.counts.sum()
        return result


def histograms(volumes: Sequence[Readable]) -> list[Histogram]:
    """Count every voxel of a domain's volumes, one histogram per channel.

    Exact in one pass where all volumes hold 8- or 16-bit integers of one type; otherwise a second pass counts `FINE`
    equal bins between minimum and maximum. Raises `BadInput` on non-finite voxels.
    """
    tallies = tally(volumes)
    if (lowest := tallies[0].lowest) is not None:
        tables = [(np.arange(one.counts.size) + float(lowest), one.counts) for one in tallies]
    else:
        edges = [np.linspace(one.minimum, one.maximum, FINE + 1) for one in tallies]
        tables = [((edge[1:] + edge[:-1]) / 2, np.zeros(FINE, np.int64)) for edge in edges]
        for _, _, block in stream(volumes):
            for values, one, (_, counts) in zip(block, tallies, tables, strict=True):
                width = max((one.maximum - one.minimum) / FINE, 1e-300)
                bins = ((values.astype(np.float64) - one.minimum) / width).astype(np.int64)
                counts += np.bincount(np.clip(bins, 0, FINE - 1).ravel(), minlength=FINE)
    there = [counts > 0 for _, counts in tables]
    return [
        Histogram(values[kept], counts[kept], one.mean, one.std)
        for (values, counts), kept, one in zip(tables, there, tallies, strict=True)
    ]
