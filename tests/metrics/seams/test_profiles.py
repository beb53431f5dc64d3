"""The one pass: against sums written out in full, whatever the slabs and blocks."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from vol2vol.errors import BadInput
from vol2vol.metrics.arrays import as_readable
from vol2vol.metrics.seams import profiles
from vol2vol.metrics.seams.grid import Grid
from vol2vol.metrics.seams.profiles import measure_profiles
from vol2vol.metrics.similarity.source_lookup import fit_lookup
from vol2vol.volumes import Volume
from vol2vol.volumes.memory import hold


class Chunked(Volume):
    """An array that says it is stored in small chunks and counts what is read."""

    def __init__(self, array, chunks):
        super().__init__(replace(hold(array), chunks=(1, *chunks)), axes="czyx")
        self.boxes = []

    def read(self, box):
        self.boxes.append(box)
        return super().read(box)


def by_hand(y, r, axis, edges):
    """Mean |jump|, r and (y - box3)^2 per plane and lateral cell, with no cleverness."""
    fine = (y - uniform_filter(y, [3 if n > 2 else 1 for n in y.shape])) ** 2
    for b, n in enumerate(y.shape):
        if n > 2:
            fine[(slice(None),) * b + ([0, -1],)] = np.nan
    jump = np.abs(np.diff(y, axis=axis, prepend=np.nan))
    first, second = (edges[b] for b in range(3) if b != axis)
    profiles = []
    for values in (jump, r, fine):
        planes = np.moveaxis(values, axis, 0)
        rows = [[nanmean(planes[:, a:b, c:d]) for c, d in pairwise(second)] for a, b in pairwise(first)]
        profiles.append(np.moveaxis(np.array(rows), 2, 0))
    return profiles


def nanmean(cells):
    known = np.isfinite(cells)
    count = known.sum((1, 2))
    return np.where(known, cells, 0).sum((1, 2)) / np.where(count, count, np.nan)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 23), st.integers(1, 30), st.integers(1, 40)),
    chunks=st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12)),
    step=st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20)),
    room=st.sampled_from([200, 3000, 1 << 20]),
    channels=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_slabs_columns_and_blocks_change_nothing(shape, chunks, step, room, channels, seed):
    rng = np.random.default_rng(seed)
    y, x = (rng.integers(0, 256, (channels, *shape)).astype(np.uint8) for _ in range(2))
    edges = Grid(step=step, origin=(3, 1, 0)).cells(shape, 1 << 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiles, "SLAB_BYTES", room)
        patch.setattr(profiles, "BLOCK", (5, 7, 9))
        volumes = [Chunked(y, chunks), Chunked(x, chunks)]
        measured = measure_profiles(volumes[0], edges, volumes[1])
        readings = profiles._readings(volumes)
    for number, reading in enumerate(readings):
        values = ((y, x)[reading.stack][reading.channel] - reading.shift) / reading.scale
        rest = values - (reading.lookup(x[reading.source_channel]) if reading.lookup else 0)
        for axis in range(3):
            expected = by_hand(values, rest, axis, edges)
            for name, by_formula in zip(("jump", "level", "fine"), expected, strict=True):
                got = getattr(measured[axis], name)[:, number]
                if name == "fine" and shape[axis] > 2:
                    by_formula[[0, -1]] = np.nan
                np.testing.assert_allclose(got, by_formula, rtol=1e-4, atol=1e-4)


def test_every_voxel_is_read_once_beside_the_sample():
    volume = Chunked(np.random.default_rng(0).integers(0, 9, (1, 70, 100, 90)).astype(np.uint8), (16, 32, 32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiles, "SLAB_BYTES", 40 * 100 * 90)
        measure_profiles(volume, [np.array([0, n]) for n in volume.spatial])
    slabs = [box for box in volume.boxes if box.shape[1:] == (100, 90)]
    assert [(box.start[0], box.stop[0]) for box in slabs] == [(0, 32), (32, 64), (64, 70)]


def test_large_offsets_do_not_drown_small_steps():
    rng = np.random.default_rng(1)
    small = rng.standard_normal((20, 24, 28))
    edges = Grid(step=(8, 8, 8)).cells(small.shape, 1 << 20)
    expected = measure_profiles(as_readable(small.astype(np.float32)), edges)
    for array in (1e8 + small, 1e-30 * small, (1e9 + 1e5 * small).astype(np.uint32)):
        profiles = measure_profiles(as_readable(array), edges)
        for a, b in zip(profiles, expected, strict=True):
            np.testing.assert_allclose(a.jump, b.jump, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(a.level, b.level, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["volume", "source"])
def test_voxels_that_are_not_finite_are_named(bad, where):
    array, clean = np.zeros((1, 40, 40, 40), np.float32), np.ones((1, 40, 40, 40), np.float32)
    array[0, 35, 17, 39] = bad
    first, second = (array, clean) if where == "volume" else (clean, array)
    with pytest.raises(BadInput, match="NaN or infinity at voxel"):
        measure_profiles(as_readable(first), [np.array([0, 40])] * 3, as_readable(second))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float64])
def test_lookup_finds_a_monotone_curve_in_noise(sign, dtype):
    rng = np.random.default_rng(2)
    x = rng.integers(20, 120, 50_000).astype(dtype)
    curve = sign * np.tanh((x.astype(float) - 70) / 20)
    h = fit_lookup(x.astype(float), curve + 0.3 * rng.standard_normal(x.size))
    assert np.abs(h(x) - curve).mean() < 0.02
    assert np.all(sign * np.diff(h.table) >= -1e-6)
    extremes = h(np.array([0, 127], dtype))
    assert extremes.tolist() == [h.table[0], h.table[-1]]


def test_lookup_of_a_constant_source_is_the_mean():
    h = fit_lookup(np.full(100, 7.0), np.arange(100.0))
    np.testing.assert_allclose(h(np.array([7, 0, 99], np.uint8)), 49.5)


def test_cells_cover_the_volume_and_stay_few():
    grid = Grid(step=(1, 10, 64), origin=(0, 3, -5))
    z, y, x = grid.cells((100, 95, 1000), 1 << 20)
    assert [e[0] for e in (z, y, x)] == [0, 0, 0]
    assert [e[-1] for e in (z, y, x)] == [100, 95, 1000]
    assert np.diff(z).min() >= 8
    assert np.diff(y).min() >= 8
    assert set(x[1:-1]) <= set(range(59, 1000, 64))
    few = grid.cells((100, 95, 1000), 5000)
    counts = [len(e) - 1 for e in few]
    assert max(100 * counts[1] * counts[2], 95 * counts[0] * counts[2], 1000 * counts[0] * counts[1]) <= 5000


@pytest.mark.parametrize("array", [np.zeros(5), np.zeros((2, 0, 3)), np.array([["a"]])])
def test_what_is_no_image_is_refused(array):
    with pytest.raises(BadInput, match="give numbers"):
        as_readable(array)
