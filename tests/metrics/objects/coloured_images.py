"""Images of circles with known errors, and the metric again, one object at a time."""

import numpy as np
from scipy import ndimage

from vol2vol.geometry import Box
from vol2vol.phantoms import Circles, Picture


def perfect(how, number=0):
    """Return the labels `(Z, Y, X)` and the coloured image `(C, Z, Y, X)` of a picture."""
    picture, box = Picture(how, "target", number), Box.of(how.spatial)
    return picture.labels(box)[0], picture.coloured(box)


def coloured_by_tile(labels, tile, rng):
    """Return an image whose circles take one colour per tile and circle, independent of other tiles."""
    tiles = np.zeros(labels.shape, np.int64)
    for axis, size in enumerate(labels.shape):
        along = (np.arange(size) // tile).reshape([-1 if n == axis else 1 for n in range(3)])
        tiles = tiles * -(-size // tile) + along
    colours = rng.integers(0, 3, (tiles.max() + 1, labels.max() + 1))[tiles, labels]
    return ((colours == np.arange(3)[:, None, None, None]) & (labels > 0)).astype(np.uint8) * np.uint8(255)


def slow(image, labels, *, level=60 / 255, least=30, smoothing=2, margin=2):
    """Return for each label the largest bright area per channel and the inner voxels, from whole-image operations."""
    flat = tuple(range(labels.ndim))
    reach = [0 if n == 1 else int(max(smoothing, margin)) for n in labels.shape]
    places = np.stack(np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij"), -1)
    disc, edge = ((places**2).sum(-1) <= radius**2 for radius in (smoothing, margin))
    full = 1.0 if image.dtype.kind == "f" else np.iinfo(image.dtype).max
    weights = disc / disc.sum()
    bright = [
        ndimage.correlate((channel * (labels > 0)).astype(float) / full, weights, mode="mirror") > level + 1e-9
        for channel in image
    ]
    same = ndimage.minimum_filter(labels, footprint=edge, mode="mirror", axes=flat)
    same = same == ndimage.maximum_filter(labels, footprint=edge, mode="mirror", axes=flat)
    areas, inner = [], []
    for label in np.unique(labels)[1:]:
        own = (labels == label) & same
        inner.append(own.sum())
        found = [ndimage.label(channel & own, np.ones((3,) * labels.ndim)) for channel in bright]
        areas.append([np.bincount(parts.ravel())[1:].max() if count else 0 for parts, count in found])
    return np.array(areas), np.array(inner)


DISCS = Circles(shape=(150, 170), diameter=20, noise="none")
BALLS = Circles(shape=(31, 47, 53), diameter=15, noise="none", sub_pixel=True)
