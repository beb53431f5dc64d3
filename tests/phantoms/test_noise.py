"""Noise from hashes has the documented statistics and is the same in every block."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vol2vol.geometry import Box
from vol2vol.phantoms.noise import blur, enlarge, hashes, key, nodes, reach, smooth, uniform, white

LARGE = Box((-20, 5, -31), (40, 65, 33))


def test_keys_are_the_same_everywhere_and_depend_on_every_part():
    assert key("a", 1) == 1100933767
    assert len({key("a", 1), key("a", 2), key("b", 1), key(1, "a"), key("a1")}) == 5


def test_hashed_bits_are_fair_and_unrelated():
    bits = np.unpackbits(hashes(3, LARGE).ravel().view(np.uint8)).reshape(-1, 32).astype(float)
    np.testing.assert_allclose(bits.mean(0), 0.5, atol=0.005)
    related = np.corrcoef(bits.T) - np.eye(32)
    assert np.abs(related).max() < 0.015
    other = np.unpackbits(hashes(4, LARGE).ravel().view(np.uint8)).astype(float)
    assert abs(np.corrcoef(bits.ravel(), other)[0, 1]) < 0.005


def test_uniform_and_white_noise_have_their_moments():
    flat, grain = uniform(1, LARGE), white(1, LARGE)
    assert 0 <= flat.min() < 0.001 < 0.999 < flat.max() < 1
    assert abs(flat.mean() - 0.5) < 0.003
    assert abs(grain.mean()) < 0.01
    assert abs(grain.std() - 1) < 0.01
    for axis in range(3):
        a, b = np.delete(grain, 0, axis).ravel(), np.delete(grain, -1, axis).ravel()
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.01


def test_smooth_noise_has_unit_variance_and_its_period():
    values = smooth(5, Box((0, 0, 0), (120, 120, 120)), 6.0)
    assert abs(values.mean()) < 0.05
    assert abs(values.std() - 1) < 0.05
    near = np.corrcoef(values[:, :, :-1].ravel(), values[:, :, 1:].ravel())[0, 1]
    far = np.corrcoef(values[:, :, :-24].ravel(), values[:, :, 24:].ravel())[0, 1]
    assert near > 0.9
    assert abs(far) < 0.05


@given(st.tuples(*[st.integers(-20, 20)] * 3), st.tuples(*[st.integers(1, 20)] * 3), st.sampled_from([1, 2, 4]))
def test_any_block_is_a_crop(start, shape, spacing):
    box = Box(start, tuple(a + n for a, n in zip(start, shape, strict=True)))
    whole = Box((-20, -20, -20), (40, 40, 40))
    part = box.relative_to(whole.start).slices
    np.testing.assert_array_equal(white(9, box), white(9, whole)[part])
    np.testing.assert_array_equal(smooth(9, box, 5.5, spacing), smooth(9, whole, 5.5, spacing)[part])
    coarse = smooth(9, nodes(whole, spacing), 7.0, spacing)
    local = coarse[nodes(box, spacing).relative_to(nodes(whole, spacing).start).slices]
    np.testing.assert_array_equal(enlarge(local, box, spacing), enlarge(coarse, whole, spacing)[part])


@pytest.mark.parametrize("spacing", [1, 2, 4])
def test_interpolation_is_exact_on_linear_fields(spacing):
    box = Box((-7, 3, 0), (6, 14, 9))
    points = nodes(box, spacing)
    z, y, x = np.meshgrid(
        *(np.arange(a, b) * spacing for a, b in zip(points.start, points.stop, strict=True)), indexing="ij"
    )
    field = enlarge((2 * z - 3 * y + x).astype(np.float32), box, spacing)
    z, y, x = np.meshgrid(*(np.arange(a, b) for a, b in zip(box.start, box.stop, strict=True)), indexing="ij")
    np.testing.assert_allclose(field, 2 * z - 3 * y + x, atol=1e-4)


def test_blur_keeps_the_mean_or_the_variance():
    sigmas = (0.0, 0.8, 1.3)
    ones = blur(np.ones((3, 20, 20), np.float32), sigmas)
    assert ones.shape == (3, 20 - 2 * reach(0.8), 20 - 2 * reach(1.3))
    np.testing.assert_allclose(ones, 1, rtol=1e-6)
    grain = blur(white(2, LARGE), sigmas, keep_variance=True)
    assert abs(grain.std() - 1) < 0.02
