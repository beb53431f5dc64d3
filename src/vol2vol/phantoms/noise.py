"""Generate noise that is a pure function of key and position, so that every block can be computed on its own.

Hashes of integer coordinates replace the state of a random generator. Sums over voxels are written out term by term,
because matrix products of libraries may round differently for arrays of different shape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from vol2vol.geometry import Box

_PRIMES = (np.uint32(0x9E3779B1), np.uint32(0x85EBCA77), np.uint32(0xC2B2AE3D))


def key(*parts: object) -> int:
    """Return a 32-bit key of a sequence of parts: a hash, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest(), "little")


def scramble(x: np.ndarray) -> np.ndarray:
    """Scramble uint32 in place; every input bit flips every output bit about half of the time."""
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def hashes(seed: int, box: Box) -> np.ndarray:
    """Return one uint32 per point of a box on the integer lattice."""
    axes = [np.arange(a, b, dtype=np.int64).astype(np.uint32) for a, b in zip(box.start, box.stop, strict=True)]
    result = np.array(seed, np.uint32)
    for axis, prime in zip(axes, _PRIMES, strict=True):
        result = scramble(result[..., None] + axis * prime)
    return result


def uniform(seed: int, box: Box) -> np.ndarray:
    """Return one float32 in [0, 1) per point of a box on the integer lattice."""
    return (hashes(seed, box) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def white(seed: int, box: Box) -> np.ndarray:
    """Return uncorrelated float32 noise of mean 0 and variance 1, nearly normal: a count of hashed bits, dithered."""
    bits = hashes(seed, box)
    result: np.ndarray = np.bitwise_count(bits & np.uint32(0xFFFFFF00)).astype(np.float32)
    result += (bits & np.uint32(0xFF)).astype(np.float32) * np.float32(1 / 256)
    result -= np.float32(12 + 127.5 / 256)
    result *= np.float32((24 / 4 + 1 / 12) ** -0.5)
    return result


def smooth(seed: int, box: Box, period: float, spacing: int = 1) -> np.ndarray:
    """Return smooth noise of mean 0 and variance about 1 at the points `spacing * index`, index in `box`.

    The noise interpolates uniform values on a lattice of `period` voxels by cubic B-splines. Returns float32.
    """
    positions = [np.arange(a, b) * (spacing / period) for a, b in zip(box.start, box.stop, strict=True)]
    first = [int(np.floor(p[0])) for p in positions]
    last = [int(np.floor(p[-1])) for p in positions]
    values = uniform(seed, Box(tuple(f - 1 for f in first), tuple(n + 3 for n in last)))
    # The splines reduce the standard deviation to 0.332 of that of the uniform values, 1 / sqrt(12).
    values = (values - np.float32(0.5)) * np.float32(12**0.5 / 0.332)
    for axis, (position, origin) in enumerate(zip(positions, first, strict=True)):
        cell = np.floor(position)
        f = position - cell
        taps = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
        index, column = cell.astype(np.int64) - origin, [-1 if a == axis else 1 for a in range(3)]
        values = sum(
            np.take(values, index + k, axis) * (tap / 6).astype(np.float32).reshape(column)
            for k, tap in enumerate(taps)
        )
    return values


def nodes(box: Box, spacing: int) -> Box:
    """Return the lattice points, at multiples of `spacing`, that linear interpolation within a box needs."""
    return Box(tuple(a // spacing for a in box.start), tuple((b - 1) // spacing + 2 for b in box.stop))


def enlarge(values: np.ndarray, box: Box, spacing: int) -> np.ndarray:
    """Interpolate linearly from `nodes(box, spacing)` to every voxel of a box."""
    for axis, (a, b) in enumerate(zip(box.start, box.stop, strict=True)):
        index, rest = np.divmod(np.arange(a, b), spacing)
        index -= a // spacing
        weight = (rest / spacing).astype(np.float32).reshape([-1 if n == axis else 1 for n in range(3)])
        below = np.take(values, index, axis)
        step = np.take(values, index + 1, axis)
        step -= below
        step *= weight
        below += step
        values = below
    return values


def reach(sigma: float) -> int:
    """Return the radius, in voxels, of a blur with this standard deviation."""
    return int(np.ceil(2.5 * sigma))


def blur(values: np.ndarray, sigmas: Sequence[float], *, keep_variance: bool = False) -> np.ndarray:
    """Blur with a Gaussian per axis; each axis loses `reach(sigma)` voxels on both sides.

    By default the mean is kept; `keep_variance` keeps the variance of white noise instead.
    """
    for axis, sigma in enumerate(sigmas):
        if not (radius := reach(sigma)):
            continue
        taps = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
        full = np.concatenate([taps[:0:-1], taps])
        taps = (taps / (np.sqrt((full**2).sum()) if keep_variance else full.sum())).astype(np.float32)
        size = values.shape[axis] - 2 * radius
        shifted = [values[(slice(None),) * axis + (slice(k, k + size),)] for k in range(2 * radius + 1)]
        total = shifted[radius] * taps[0]
        for k in range(1, radius + 1):
            total += (shifted[radius - k] + shifted[radius + k]) * taps[k]
        values = total
    return values
