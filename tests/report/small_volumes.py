"""Small volumes whose seams are known."""

import numpy as np
from scipy.ndimage import gaussian_filter
from tests.plans.made_records import layout, record

from vol2vol.geometry import Box
from vol2vol.plans import Plan, planar
from vol2vol.volumes import create_volume

SHAPE = (24, 96, 96)


def texture(seed, shape=SHAPE):
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = gaussian_filter(noise, 1.5)
    return 128 + 40 * smooth / smooth.std()


def plan(step, margin):
    tile = step + 2 * margin
    return planar(Plan(tile=(tile,) * 2, margin=((margin,) * 2,) * 2, step=(step,) * 2, origin=(0, 0)), 0)


def attributes(plan, *, period=(1, 1), **facts):
    """What an output of slices of this plan states of itself."""
    return record(layout([plan], SHAPE, planar=0), period=period, **facts).attributes()


def save(path, values, attrs=None):
    array = np.clip(np.rint(values), 0, 255).astype(np.uint8)[None]
    with create_volume(
        path, shape=array.shape, dtype=np.uint8, voxel_size=(16, 8, 8), unit="nanometer", chunks=(8, 32, 32)
    ) as volume:
        volume.write(Box.of(volume.spatial), array)
        volume.set_attrs(attrs or {})


def tiles(step, size):
    """One random offset per tile: what a seam is made of."""
    index = np.arange(size) // step
    offsets = np.random.default_rng(9).normal(0, 25, (index.max() + 1,) * 2)
    return offsets[index[:, None], index]
