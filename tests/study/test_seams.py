import numpy as np
import pytest

from vol2vol.study import seams


def noise(shape=(120, 160), seed=0):
    return np.random.default_rng(seed).normal(100, 10, shape)


def test_residual_is_that_of_the_paper():
    a, b = noise(seed=1), noise(seed=2)
    unit = [(x.astype(np.float32) - x.astype(np.float32).min()) / np.ptp(x.astype(np.float32)) for x in (a, b)]
    np.testing.assert_allclose(seams.residual(a, b), np.abs(unit[0] - unit[1]), atol=1e-6)
    assert seams.residual(a, b).dtype == np.float32
    assert seams.residual(a, 3 * a + 5).max() < 1e-5, "a change of contrast alone is no difference"
    assert np.array_equal(seams.residual(np.full((3, 3), 7), np.full((3, 3), 9)), np.zeros((3, 3)))


def test_profile_is_flat_without_and_peaks_at_zero_with_a_seam():
    image = noise()
    rows, columns = [40, 80], [50, 100]
    flat = seams.step_profile(image, rows, columns)
    assert flat.shape == (25,)
    assert np.all(np.abs(flat - 1) < 0.25)
    image[40:80] += 60
    image[:, 50:100] += 60
    peaked = seams.step_profile(image, rows, columns)
    assert int(peaked.argmax()) == 12
    assert peaked[12] > 3
    assert np.all(np.abs(np.delete(peaked, 12) - 1) < 0.25)


@pytest.mark.parametrize("columns", [[], [1], [159]])
def test_profile_at_the_edge_or_without_borders(columns):
    profile = seams.step_profile(noise(), [], columns)
    assert np.isnan(profile).sum() == (12 if columns else 25)


def test_profile_of_a_constant_image_is_unknown():
    assert np.isnan(seams.step_profile(np.zeros((30, 30)), [10], [])).all()


def test_spacing():
    assert seams.spacing([30, 50], 100) == 20
    assert seams.spacing([95], 100) == 5
    assert seams.spacing([], 100) == 100


def test_worst_border_is_where_the_seam_is():
    clean = noise()
    seamed = clean.copy()
    seamed[70:110, 100:] += 50
    assert seams.worst_border(seamed, clean, [], []) is None
    row, column = seams.worst_border(seamed, clean, [40, 80], [50, 100])
    assert column == 100
    assert 70 <= row < 110
    row, column = seams.worst_border(seamed.T, clean.T, [50, 100], [40, 80])
    assert row == 100
    assert 70 <= column < 110
