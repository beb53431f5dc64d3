"""Seamless textures, ways to put seams into them, and the rows of a report that tests look at."""

import numpy as np
from scipy.ndimage import gaussian_filter


def texture(rng, shape, sigma=1.5, *, skewed=False):
    """Stationary noise of correlation length `sigma`, mean 0 and deviation 1, periodic; log-normal where skewed."""
    values = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, mode="wrap")
    values /= values.std()
    return np.exp(values) if skewed else values


def sectioned(rng, y, share=0.1):
    """Planes that differ as a whole along every axis, as sections do: in brightness and contrast by `share`."""
    y = y.copy()
    for axis, size in enumerate(y.shape):
        across = [size if a == axis else 1 for a in range(y.ndim)]
        gain, shift = share * rng.standard_normal((2, *across)).astype(y.dtype)
        y = y * np.exp(gain) + shift
    return y


def translated(rng, x, sigma=1.5):
    """A translation with detail of its own: tanh(0.8 x) + 0.3 noise."""
    return np.tanh(0.8 * x) + np.float32(0.3) * texture(rng, x.shape, sigma)


def offsets(rng, shape, step, origin=(0, 0, 0)):
    """One random number of deviation 1 per tile, repeated over its voxels."""
    index = [(np.arange(n) - o) // step for n, o in zip(shape, origin, strict=True)]
    index = [i - i.min() for i in index]
    tiles = rng.standard_normal([i.max() + 1 for i in index]).astype(np.float32)
    return tiles[np.ix_(*index)]


def joined(rng, shape, step, overlap, window):
    """White noise of tiles joined over `overlap` voxels, averaged (`flat`) or faded (`linear`): its variance falls."""
    noise = rng.standard_normal(shape).astype(np.float32)
    new = (np.arange(overlap) + 0.5) / overlap if window == "linear" else np.full(overlap, 0.5)
    for axis, size in enumerate(shape):
        factor = np.ones(size + overlap, np.float32)
        for border in range(step, size, step):
            factor[border : border + overlap] = np.hypot(new, 1 - new)
        noise *= factor[:size].reshape([-1 if a == axis else 1 for a in range(3)])
    return noise


def decided_rows(report):
    """Return the rows of axes that could be tested."""
    return [row for row in report.rows if row.verdict != "not tested"]
