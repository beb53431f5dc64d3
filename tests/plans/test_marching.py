"""What a tile is shown of its neighbours: every case, voxel by voxel, and as what earlier tiles cover."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vol2vol.geometry import Box
from vol2vol.plans.marching import cases, shown


def test_there_are_three_cases_in_2d_and_seven_in_3d():
    assert cases(2) == ((True, False), (False, True), (True, True))
    assert len(cases(3)) == len(set(cases(3))) == 7
    subsets = {axes for count in (1, 2, 3) for axes in combinations(range(3), count)}
    assert {tuple(np.flatnonzero(case)) for case in cases(3)} == subsets
    assert [sum(case) for case in cases(3)] == [1, 1, 1, 2, 2, 2, 3]


@st.composite
def tiles(draw):
    """Return the shape of a tile of one to three axes, an overlap per axis and a case."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    overlap = tuple(draw(st.integers(0, n)) for n in shape)
    return shape, overlap, draw(st.sampled_from(cases(len(shape))))


@given(tiles())
def test_a_voxel_is_shown_where_it_is_near_a_side_with_a_neighbour(tile):
    shape, overlap, before = tile
    mask = shown(shape, overlap, before)
    assert mask.dtype == bool
    assert mask.shape == shape
    for voxel in product(*map(range, shape)):
        near = [at < width and side for at, width, side in zip(voxel, overlap, before, strict=True)]
        assert mask[voxel] == any(near), voxel


@given(tiles())
def test_it_is_what_earlier_tiles_cover(tile):
    """Oracle: two tiles along every axis that has a neighbour; the last of them in raster order, and all before it."""
    shape, overlap, before = tile
    *earlier, last = product(*(range(1 + side) for side in before))
    covered = np.zeros(shape, bool)
    for index in earlier:
        steps = [(k - end) * (n - width) for k, end, n, width in zip(index, last, shape, overlap, strict=True)]
        covered[(Box.of(shape) & Box.of(shape).shift(steps)).slices] = True
    np.testing.assert_array_equal(shown(shape, overlap, before), covered)


@pytest.mark.parametrize("dims", [2, 3])
def test_cases_differ_and_grow_with_their_neighbours(dims):
    shape, overlap = (8, 9, 7)[:dims], (2, 3, 1)[:dims]
    masks = {case: shown(shape, overlap, case) for case in cases(dims)}
    assert len({mask.tobytes() for mask in masks.values()}) == len(masks)
    for one, two in product(masks, repeat=2):
        union = tuple(a or b for a, b in zip(one, two, strict=True))
        np.testing.assert_array_equal(masks[one] | masks[two], masks[union])
