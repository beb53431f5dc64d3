"""Measure the power spectrum of a domain, and compute the filter that turns one spectrum into another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

LARGEST_GAIN = 8.0
"""Maximum factor by which a filter amplifies or damps a frequency; a larger gain would mostly amplify noise."""
ROUNDS = 30
"""Number of corrections of a filter's response."""


def radii(shape: Sequence[int], voxel_size: Sequence[float]) -> np.ndarray:
    """Return the absolute frequency of every voxel of an FFT of this shape, in cycles per smallest voxel edge."""
    smallest = min(voxel_size)
    axes = [np.fft.fftfreq(n) * smallest / size for n, size in zip(shape, voxel_size, strict=True)]
    result: np.ndarray = np.sqrt(sum(f**2 for f in np.meshgrid(*axes, indexing="ij")))
    return result


def radial_power(patches: Iterable[np.ndarray], voxel_size: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies (cycles per smallest voxel edge) and their mean power, averaged over patches and directions.

    `patches` are arrays of the same shape. The mean of each is subtracted, and it is multiplied by a Hann window (Welch
    1967). The frequency 0 is left out.
    """
    total: np.ndarray | None = None
    count = 0
    for patch in patches:
        window = np.ones(())
        for n in patch.shape:
            window = window[..., None] * np.hanning(n + 2)[1:-1]
        mean = (patch * window).sum() / np.sum(window)
        power = np.abs(np.fft.fftn((patch - mean) * window)) ** 2 / np.sum(window**2)
        total, count = power if total is None else total + power, count + 1
    assert total is not None, "no patches"
    radius = radii(total.shape, voxel_size)
    bins = np.rint(radius * min(total.shape)).astype(int)
    members = np.bincount(bins.ravel())
    kept = np.flatnonzero(members)[1:]
    frequency = np.bincount(bins.ravel(), radius.ravel())[kept] / members[kept]
    return frequency, np.bincount(bins.ravel(), total.ravel())[kept] / members[kept] / count


def matching_filter(frequency: np.ndarray, gain: np.ndarray, radius: int, voxel_size: Sequence[float]) -> np.ndarray:
    """Return the symmetric, zero-phase kernel of `2 * radius + 1` voxels per axis whose response is a radial gain.

    The gain is interpolated onto a grid of frequencies, transformed, cropped to the size of the kernel and tapered.
    This smooths the response; `ROUNDS` corrections therefore change the spectrum before cropping until the response
    comes close to the gain.
    """
    shape = (4 * radius + 4,) * len(voxel_size)
    limited = np.log(np.clip(gain, 1 / LARGEST_GAIN, LARGEST_GAIN))
    wanted = np.exp(np.interp(radii(shape, voxel_size), frequency, limited))
    inside = _taper(shape, radius)
    spectrum, kernel = wanted, np.zeros(shape)
    for _ in range(ROUNDS):
        kernel = np.fft.ifftn(spectrum).real * inside
        response = np.fft.fftn(kernel).real
        correction = np.clip(wanted / np.maximum(response, 1e-6), 0.5, 2)
        spectrum = np.clip(spectrum * correction, 1e-3, 10 * LARGEST_GAIN)
    middle = slice(shape[0] // 2 - radius, shape[0] // 2 + radius + 1)
    return np.fft.fftshift(kernel)[(middle,) * len(shape)]


def _taper(shape: Sequence[int], radius: int) -> np.ndarray:
    """Return weights that fall from 1 at the origin of an FFT grid to 0 beyond a radius, along each axis."""
    weights = np.ones(())
    for n in shape:
        distance = np.abs(np.fft.fftfreq(n) * n)
        weights = weights[..., None] * np.where(distance <= radius, np.cos(np.pi / 2 * distance / (radius + 1)), 0)
    return weights
