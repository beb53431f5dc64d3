"""Weights of voxels in an overlap against their definition, and against what is known of the published code."""

from math import dist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from vol2vol.geometry import Box
from vol2vol.plans.marching import cases, shown
from vol2vol.tasks.overlap_weights import Border, pixel_weights


@st.composite
def tiles(draw):
    """Return a tile's shape and what it shows of earlier ones."""
    shape = tuple(draw(st.lists(st.integers(2, 9), min_size=2, max_size=3)))
    overlap = tuple(draw(st.integers(1, n - 1)) for n in shape)
    return shape, Border(overlap, draw(st.sampled_from(cases(len(shape)))))


@given(tiles())
def test_weights_of_the_paper_fall_from_the_near_corner_to_the_far_one(tile):
    """Voxel by voxel: the distance to the last voxel along the axes with a neighbour, as a share of the longest."""
    shape, border = tile
    mask = shown(shape, border.overlap, border.before)
    weights = pixel_weights(shape, border, "paper") * mask.sum()
    along = [axis for axis, counts in enumerate(border.before) if counts]
    far = [shape[axis] - 1 for axis in along]
    for index in np.ndindex(shape):
        share = dist([index[axis] for axis in along], far) / dist([0] * len(along), far)
        assert weights[index] == pytest.approx(share if mask[index] else 0, abs=1e-6)
    assert weights.flat[0] == pytest.approx(1)


@given(tiles(), st.sampled_from(["paper", "code", "none"]))
def test_weights_lie_where_the_tile_shows_earlier_output(tile, kind):
    shape, border = tile
    np.testing.assert_array_equal(pixel_weights(shape, border, kind) > 0, shown(shape, border.overlap, border.before))


@given(tiles(), st.data())
def test_without_weighting_it_is_the_mean_over_the_overlap_that_a_loss_sees(tile, data):
    shape, border = tile
    start = tuple(data.draw(st.integers(0, n - 1)) for n in shape)
    seen = Box(start, shape)
    mask = shown(shape, border.overlap, border.before)[seen.slices]
    difference = np.random.default_rng(0).random(mask.shape)
    total = (pixel_weights(shape, border, "none", seen) * difference).sum()
    assert total == pytest.approx(difference[mask].mean() if mask.any() else 0, rel=1e-5)


@pytest.mark.parametrize("case", cases(2))
def test_weights_of_the_code_in_2d(case):
    """Distances to a zero beyond the far edge or corner, by scipy; two means where there are two neighbours."""
    shape, overlap = (256, 256), (64, 64)
    zero = np.ones(np.add(shape, case))
    zero[tuple(-1 if counts else slice(None) for counts in case)] = 0
    distance = distance_transform_edt(zero)[:256, :256]
    distance /= distance.max()
    difference = np.random.default_rng(0).random(shape)
    weighted = distance * difference
    expected = {
        (True, False): weighted[:64].mean(),
        (False, True): weighted[:, :64].mean(),
        (True, True): weighted[:, :64].mean() + weighted[:64, 64:].mean(),
    }[case]
    assert (pixel_weights(shape, Border(overlap, case), "code") * difference).sum() == pytest.approx(expected, rel=1e-4)
    if sum(case) == 2:
        assert distance[0, 255] == pytest.approx(0.707, abs=1e-3)
        assert distance[63, 255] == pytest.approx(0.533, abs=1e-3)
    elif case[0]:
        assert distance[63, 0] == pytest.approx(0.754, abs=1e-3)


@pytest.mark.parametrize("case", cases(3))
def test_weights_of_the_code_in_3d_always_fall_towards_the_far_corner(case):
    shape, border = (12, 10, 8), Border((3, 4, 2), case)
    mask = shown(shape, border.overlap, case)
    weights = pixel_weights(shape, border, "code") * mask.sum()
    for index in np.argwhere(mask):
        assert weights[tuple(index)] == pytest.approx(dist(index, shape) / dist((0, 0, 0), shape), rel=1e-5)
