"""Watershed against scikit-image's, in blocks of any size; necks that part and necks that do not."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.metrics import adapted_rand_error
from skimage.morphology import h_maxima
from skimage.segmentation import watershed
from tests.metrics.stored import store

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, grid
from vol2vol.metrics.objects.instances import contingency, shared_objects
from vol2vol.metrics.objects.matching import objects
from vol2vol.metrics.objects.watershed import Parting, parted


def whole(mask, block, how=None, voxel_size=()):
    boxes = grid(Box.of(mask.shape), block)
    objects = parted(lambda box: mask[box.slices], mask.shape, boxes, how, voxel_size=voxel_size)
    labels = np.zeros(mask.shape, np.int64)
    for box in boxes:
        labels[box.slices] = objects(box)
    assert set(np.unique(labels)) - {0} == set(range(1, objects.count + 1))
    assert ((labels > 0) == mask).all()
    return labels


def same_partition(first, second):
    pairs = set(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True))
    return len(pairs) == len(np.unique(first)) == len(np.unique(second))


def blobs(shape, seed, sigma=3.0, level=0.2):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return field > level * field.std()


def balls(shape, *spheres):
    at = np.indices(shape)
    inside = [sum((a - c) ** 2 for a, c in zip(at, centre, strict=True)) <= r * r for centre, r in spheres]
    return np.logical_or.reduce(inside)


def scikit_images(mask, depth, reach):
    """The same heights with the same order of ties, flooded by scikit-image from its own h-maxima.

    All are raised above the background by the depth: what touches nothing is an object, however thin.
    """
    heights = np.rint(np.minimum(ndimage.distance_transform_edt(mask), reach) * 1024).astype(np.int64)
    heights = np.where(mask, (heights + int(depth * 1024)) * mask.size + np.arange(mask.size).reshape(mask.shape), 0)
    cross = ndimage.generate_binary_structure(3, 1)
    markers, count = ndimage.label(h_maxima(heights, int(depth * 1024 * mask.size), cross), cross)
    return count, watershed(-heights, markers, connectivity=cross, mask=mask)


@given(
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    block=st.tuples(*[st.integers(1, 8)] * 3),
    sigma=st.sampled_from([0.0, 1.0, 2.0]),
    depth=st.sampled_from([0.3, 1.0, 2.0]),
    reach=st.sampled_from([2, 3, 6]),
    size=st.sampled_from([(), (1, 1, 1), (3, 1, 1.5)]),
    seed=st.integers(0, 999),
)
@settings(max_examples=80, deadline=None)
def test_blocks_of_any_size_give_the_same_objects(shape, block, sigma, depth, reach, size, seed):
    mask = blobs(shape, seed, sigma, 0.0)
    how = Parting(depth=depth, reach=reach)
    assert same_partition(whole(mask, shape, how, size), whole(mask, block, how, size))


@pytest.mark.parametrize("seed", range(4))
def test_as_many_objects_as_scikit_image_and_nearly_the_same(seed):
    mask = blobs((24, 50, 60), seed)
    objects = whole(mask, (9, 32, 31), Parting(depth=1.013, reach=8))
    count, flooded = scikit_images(mask, 1.013, 8)
    assert objects.max() == count
    assert adapted_rand_error(flooded, objects)[0] < 0.1


def test_overlapping_balls_are_parted_at_their_neck():
    mask = balls((30, 40, 70), ((15, 20, 20), 12), ((15, 20, 38), 11), ((15, 10, 62), 6))
    objects = whole(mask, (16, 16, 16))
    assert objects.max() == 3
    assert objects[15, 20, 20] != objects[15, 20, 38]
    assert objects[15, 20, 26] == objects[15, 20, 20]
    assert objects[15, 20, 32] == objects[15, 20, 38]
    count, flooded = scikit_images(mask, 2.0, 32)
    assert count == 3
    assert adapted_rand_error(flooded, objects)[0] < 0.01


def test_depth_and_reach_decide_what_is_a_neck():
    mask = balls((30, 30, 60), ((15, 15, 15), 12), ((15, 15, 32), 12))  # neck of radius 8.5
    assert whole(mask, (30, 30, 30)).max() == 2
    assert whole(mask, (30, 30, 30), Parting(depth=4.0)).max() == 1
    assert whole(mask, (30, 30, 30), Parting(reach=8)).max() == 1


def test_distances_follow_the_voxel_size():
    mask = balls((40, 40, 80), ((20, 20, 24), 16), ((20, 20, 48), 16))[::4]  # the neck is 5 voxels thinner
    assert whole(mask, (4, 16, 32), Parting(depth=4.0), (40, 10, 10)).max() == 2
    assert whole(mask, (4, 16, 32), Parting(depth=4.0)).max() == 1


def test_nothing_everything_and_one_voxel():
    for mask in (np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool), np.ones((1, 1, 1), bool)):
        assert whole(mask, (2, 2, 2)).max() == int(mask.any())


def test_volumes_are_parted_on_both_sides(tmp_path):
    mask = balls((30, 40, 60), ((15, 20, 20), 12), ((15, 20, 38), 11))
    truth = store(tmp_path / "truth.zarr", mask.astype(np.uint8))
    predicted = store(tmp_path / "predicted.zarr", np.where(mask, 200, 10).astype(np.uint8))
    joined = shared_objects(predicted, truth, block=(16, 16, 16))
    apart = shared_objects(predicted, truth, parting=Parting(), block=(16, 16, 16))
    assert (len(joined.truth), len(apart.truth), len(apart.predicted)) == (1, 2, 2)
    assert np.abs(apart.truth_centres - [[15, 20, 18], [15, 20, 40]]).max() < 2.5


@pytest.mark.parametrize(("depth", "reach"), [(0, 32), (33, 32), (2, 1000)])
def test_mistakes_are_named(depth, reach):
    with pytest.raises(BadInput, match="depth <= reach"):
        Parting(depth=depth, reach=reach)


@pytest.mark.parametrize(
    ("name", "voxel_size", "joined", "found"),
    [
        ("fluo_nuclei_2d/dsb2018", (), (78, 0.88), (89, 0.94)),
        ("confocal_ovule_nuclei/1135", (0.2837, 0.1268, 0.1268), (48, 0.95), (54, 0.999)),
    ],
)
def test_nuclei_that_touch_are_counted(name, voxel_size, joined, found):
    path = Path(__file__).parents[3] / "shared/data" / f"{name}_instances.tif"
    if not path.is_file():
        pytest.skip(f"{path} is not there: the labelled nuclei are not part of the package")
    truth = tifffile.imread(path).astype(np.int64)
    truth = truth.reshape((1,) * (3 - truth.ndim) + truth.shape)
    boxes = grid(Box.of(truth.shape), (32, 128, 128))
    together = ndimage.label(truth > 0)[0]
    for labels, (count, least) in ((together, joined), (whole(truth > 0, (32, 128, 128), None, voxel_size), found)):
        table = contingency(*((lambda box, a=a: a[box.slices]) for a in (truth, labels)), boxes)
        assert len(table.predicted) == count
        assert (objects(table).f1 > least) == (labels is not together)
