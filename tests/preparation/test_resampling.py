"""Resampling equals scipy, scikit-image, torch and brute force on whole arrays, and keeps general properties."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.ndimage
import skimage.transform
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.preparation.array_volumes import chain, whole

from vol2vol.geometry import Box, grid
from vol2vol.preparation import Resample
from vol2vol.preparation.resampling import METHODS, Grid

DTYPES = ("uint8", "uint16", "int16", "float32")
SIZES = st.sampled_from([1, 2, 3, 5, 7, 8, 11, 13])
LENGTHS = st.sampled_from([4.0, 3.24, 5.24, 8.0, 10.0, 30.0, 0.7])


def noise(shape, dtype="uint8", seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 100, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def dense(size, ratio, method):
    """The weights of one axis from their definition, one number at a time, as a full matrix."""
    new = max(1, int(Fraction(size) / ratio + Fraction(1, 2)))
    result = np.zeros((new, size))
    scale = max(Fraction(1), ratio)
    for i in range(new):
        centre = (i + Fraction(1, 2)) * ratio
        for j in range(size):
            x = abs(float((j + Fraction(1, 2) - centre) / scale))
            if method == "linear":
                result[i, j] = max(0.0, 1 - x)
            elif method == "cubic" and x < 1:
                result[i, j] = 1.5 * x**3 - 2.5 * x**2 + 1
            elif method == "cubic" and x < 2:
                result[i, j] = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            elif method == "area":
                result[i, j] = max(0.0, float(min((i + 1) * ratio, j + 1) - max(i * ratio, j)))
        if method == "nearest":
            result[i, min(size - 1, int(centre))] = 1
    return result / result.sum(1, keepdims=True)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(SIZES, SIZES, SIZES),
    st.tuples(LENGTHS, LENGTHS, LENGTHS),
    st.tuples(LENGTHS, LENGTHS, LENGTHS),
    st.sampled_from(["cubic", "linear", "area", "nearest"]),
    st.sampled_from(DTYPES),
)
def test_equals_the_definition_on_the_whole_array(shape, old, new, method, dtype):
    array = noise((2, *shape), dtype)
    result = whole(chain(array, Resample(voxel_size=new, method=method), voxel_size=old))
    expected = array.astype(np.float64)
    for axis, (size, a, b) in enumerate(zip(shape, old, new, strict=True)):
        if axis > 0 or size > 1:  # one plane stays one plane
            matrix = dense(size, Fraction(str(b)) / Fraction(str(a)), method)
            expected = np.moveaxis(np.tensordot(matrix, expected, (1, axis + 1)), 0, axis + 1)
    assert result.shape == expected.shape
    assert result.dtype == dtype
    if result.dtype.kind == "f":
        np.testing.assert_allclose(result, expected, atol=1e-3)
    else:
        limits = np.iinfo(dtype)
        assert np.abs(result - np.clip(expected, limits.min, limits.max)).max() <= 0.5 + 0.02


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(SIZES, SIZES, SIZES),
    st.tuples(LENGTHS, LENGTHS, LENGTHS),
    st.tuples(LENGTHS, LENGTHS, LENGTHS),
    st.sampled_from(METHODS),
    st.sampled_from(DTYPES),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
)
def test_blocks_of_any_size_give_the_same_bytes(shape, old, new, method, dtype, block):
    resampled = chain(noise((1, *shape), dtype) // 32 * 32, Resample(voxel_size=new, method=method), voxel_size=old)
    block = tuple(max(b, -(-n // 8)) for b, n in zip(block, resampled.spatial, strict=True))
    result = np.empty(resampled.shape, resampled.dtype)
    for box in grid(Box.of(resampled.spatial), block):
        result[(slice(None), *box.slices)] = resampled.read(box)
    assert result.tobytes() == whole(resampled).tobytes()


def test_cubic_equals_the_antialiased_bicubic_of_torch():
    array = noise((1, 3, 61, 75), "float32")
    result = whole(chain(array, Resample(voxel_size=(8, 20, 30), method="cubic"), voxel_size=(8, 8, 6)))
    scale = (8 / 20, 6 / 30)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(array[0][None]), scale_factor=scale, mode="bicubic", antialias=True
    )
    np.testing.assert_allclose(result[0], expected[0].numpy(), atol=1e-3)


def test_linear_equals_scipy_where_voxels_get_smaller():
    array = noise((1, 5, 7, 6), "float32")
    result = whole(chain(array, Resample(voxel_size=(4, 8 / 3, 2), method="linear")))
    expected = scipy.ndimage.zoom(array[0], (2, 3, 4), order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(result[0], expected, atol=1e-3)


def test_area_equals_scikit_image_where_voxels_are_joined():
    array = noise((1, 6, 20, 24), "float32")
    result = whole(chain(array, Resample(voxel_size=(16, 40, 24), method="area")))
    np.testing.assert_allclose(result[0], skimage.transform.downscale_local_mean(array[0], (2, 5, 3)), atol=1e-3)


@pytest.mark.parametrize("factor", [3, 5])
def test_nearest_takes_the_voxel_in_the_middle(factor):
    array = noise((1, 3 * factor, 4 * factor, 5 * factor))
    result = whole(chain(array, Resample(voxel_size=(8 * factor,) * 3, method="nearest")))
    at = slice(factor // 2, None, factor)
    np.testing.assert_array_equal(result, array[:, at, at, at])


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(2, 6), st.integers(1, 7), st.integers(1, 7)),
    st.tuples(*[st.sampled_from([Fraction(1, 2), Fraction(2, 3), Fraction(3, 2), Fraction(2), Fraction(15, 4)])] * 3),
    st.integers(2, 5),
    st.integers(0, 99),
)
def test_majority_equals_counting_in_a_finer_grid(shape, ratios, labels, seed):
    array = np.random.default_rng(seed).integers(0, labels, (1, *shape)).astype(np.uint16)
    new = tuple(8.0 * float(r) for r in ratios)
    # Thirds have no exact decimal; lengths of 12 and 24 do.
    old = tuple(12.0 for _ in ratios)
    new = tuple(12.0 * r.numerator / r.denominator for r in ratios)
    result = whole(chain(array, Resample(voxel_size=new), voxel_size=old, labels=True))[0]
    fine = array[0]
    for axis, ratio in enumerate(ratios):
        fine = np.repeat(fine, ratio.denominator, axis)
    for index in np.ndindex(result.shape):
        part = fine[tuple(slice(i * r.numerator, (i + 1) * r.numerator) for i, r in zip(index, ratios, strict=True))]
        assert result[index] == np.bincount(part.ravel()).argmax()  # the smaller of two as frequent


def test_lengths_are_taken_as_they_are_written():
    assert Grid.between(10, 5.24, 10).ratio == Fraction(1000, 524)
    assert Grid.between(10, 3.44, 10).ratio == Fraction(1000, 344)
    rough = Grid.between(10_000, 3.14159265, 10)
    assert abs(float(rough.ratio) - 10 / 3.14159265) * rough.new_size < 0.01


@pytest.mark.parametrize("method", ["auto", "majority", "nearest"])
@pytest.mark.parametrize("new", [(30, 30, 30), (3, 5, 4), (7.3, 11.1, 19)])
def test_masks_stay_masks(method, new):
    mask = (noise((1, 9, 23, 31)) > 100).astype(np.uint8) * 7
    result = whole(chain(mask, Resample(voxel_size=new, method=method), labels=True))
    assert set(np.unique(result)) <= {0, 7}
    assert abs((result > 0).mean() - (mask > 0).mean()) < 0.35


@settings(max_examples=60, deadline=None)
@given(SIZES, LENGTHS, LENGTHS)
def test_the_same_space_is_filled(size, old, new):
    axis = Grid.between(size, old, new)
    assert axis.new_size >= 1
    assert abs(axis.new_size * new - size * old) <= max(new / 2, new - size * old) + 1e-9


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", METHODS)
def test_constant_volumes_stay_constant(dtype, method):
    array = np.full((1, 5, 11, 13), 77, dtype)
    result = whole(chain(array, Resample(voxel_size=(3.3, 30, 12.7), method=method)))
    if np.dtype(dtype).kind == "f" and method not in ("nearest", "majority"):
        np.testing.assert_allclose(result, 77, rtol=1e-6)
    else:
        assert (result == 77).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("old", "new"), [((30, 8, 8), (30, 32, 32)), ((8, 8, 8), (4, 12, 6)), ((10, 8, 6), (5, 4, 3))])
def test_area_keeps_the_mean(dtype, old, new):
    array = noise((1, 6, 24, 36), dtype)
    result = whole(chain(array, Resample(voxel_size=new, method="area"), voxel_size=old))
    assert result.size * np.prod(new) == array.size * np.prod(old)
    spread = 0.5 if result.dtype.kind != "f" else 1e-3
    assert abs(result.mean(dtype=np.float64) - array.mean(dtype=np.float64)) < spread / np.sqrt(result.size) * 6


@pytest.mark.parametrize("dtype", DTYPES)
def test_cubic_keeps_the_mean_of_a_large_volume(dtype):
    array = noise((1, 10, 120, 120), dtype) // 2
    result = whole(chain(array, Resample(voxel_size=(30, 30, 30)), voxel_size=(30, 8, 8)))
    assert abs(result.mean(dtype=np.float64) - array.mean(dtype=np.float64)) < 0.02 * array.std()


def test_integers_are_clipped_and_never_wrapped():
    edge = np.zeros((1, 4, 16, 16), np.uint8)
    edge[..., 8:] = 255  # a cubic kernel overshoots here
    result = whole(chain(edge, Resample(voxel_size=(8, 8, 3))))
    assert result[..., :18].max() < 30
    assert result[..., -18:].min() > 225


def test_what_is_too_fine_is_averaged_away():
    stripes = np.zeros((1, 2, 8, 64), np.float32)
    stripes[..., ::2] = 200
    for method in ("cubic", "linear", "area"):
        result = whole(chain(stripes, Resample(voxel_size=(8, 8, 48), method=method)))
        assert np.abs(result[..., 1:-1] - 100).max() < 8


def test_the_same_voxel_size_changes_no_bit():
    array = noise((2, 5, 7, 9), "float32")
    for method in METHODS:
        assert whole(chain(array, Resample(voxel_size=(8, 8, 8), method=method))).tobytes() == array.tobytes()


def test_images_keep_their_plane():
    resampled = chain(noise((1, 1, 30, 40)), Resample(voxel_size=(4, 16, 16)))
    assert resampled.spatial == (1, 15, 20)
    assert resampled.header.voxel_size == (8, 16, 16)
    assert chain(noise((1, 6, 30, 40)), Resample(voxel_size=(16, 16))).header.voxel_size == (8, 16, 16)
