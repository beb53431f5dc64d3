"""Boxes, covers and size arithmetic, against enumeration."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vol2vol.errors import BadInput
from vol2vol.geometry import Box, Footprint, cover, grid, largest_that, reflect, round_up

small = st.integers(-30, 30)


@given(start=small, length=st.integers(0, 40), step=st.integers(1, 12), origin=small, reach=st.integers(1, 20))
def test_cover_is_every_interval_that_touches_and_no_other(start, length, step, origin, reach):
    stop = start + length
    touching = [
        k for k in range(-100, 101) if origin + k * step < stop and origin + k * step + reach > start and stop > start
    ]
    assert list(cover(start, stop, step, origin, reach)) == touching


@given(size=st.integers(1, 9), pad=st.integers(0, 40))
def test_reflect_is_numpy_reflect(size, pad):
    expected = np.pad(np.arange(size), pad, mode="reflect") if size > 1 else np.zeros(2 * pad + 1, int)
    assert [reflect(i, size) for i in range(-pad, size + pad)] == list(expected)


@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    block=st.tuples(*[st.integers(1, 15)] * 3),
    start=st.tuples(*[small] * 3),
)
def test_grid_partitions(shape, block, start):
    whole = Box.of(shape).shift(start)
    count = np.zeros(shape, int)
    for box in grid(whole, block):
        assert whole.contains(box)
        assert all(n <= b for n, b in zip(box.shape, block, strict=True))
        count[box.relative_to(start).slices] += 1
    assert (count == 1).all()


def test_box_algebra():
    a, b = Box((0, 0), (4, 6)), Box((2, 5), (9, 9))
    assert (a & b) == Box((2, 5), (4, 6))
    assert (a | b) == Box((0, 0), (9, 9))
    assert (a & Box((8, 8), (9, 9))).size == 0
    assert a.grow((1, 2), (3, 4)).shape == (8, 12)
    assert not a.contains(b)
    assert a.contains(a & b)


paper = Footprint(reach=((62,), (62,)), period=(32,), residue=(30,), minimum=(126,), trim=((0,), (0,)))


def test_a_wrong_tile_names_the_nearest_that_fit():
    with pytest.raises(BadInput, match=r"tile 191 .* try 190 or 222 .*30 mod 32"):
        paper.check((191,))
    with pytest.raises(BadInput, match="smallest that fits is 126"):
        paper.check((64,))
    paper.check((190,))


@given(size=st.integers(1, 600))
def test_admissible_sizes_are_the_nearest(size):
    sizes = [n for n in range(126, 700) if paper.admits((n,))]
    assert paper.admissible(size, 0, at_least=True) == min(n for n in sizes if n >= size)
    assert paper.admissible(size, 0, at_least=False) == max([n for n in sizes if n <= size], default=126)


@given(limit=st.integers(0, 20), count=st.integers(0, 20))
def test_largest_that(limit, count):
    expected = max((n for n in range(1, count + 1) if n <= limit), default=None)
    assert largest_that(lambda n: n <= limit, range(1, count + 1)) == expected


def test_round_up():
    assert [round_up(n, 4) for n in (0, 1, 4, 5)] == [0, 4, 4, 8]
