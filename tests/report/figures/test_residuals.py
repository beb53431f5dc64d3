import numpy as np
import pytest

from vol2vol.report.figures import residuals


def noise(shape=(120, 160), seed=0):
    return np.random.default_rng(seed).normal(100, 10, shape)


def test_residual_is_that_of_the_paper():
    a, b = noise(seed=1), noise(seed=2)
    unit = [(x.astype(np.float32) - x.astype(np.float32).min()) / np.ptp(x.astype(np.float32)) for x in (a, b)]
    np.testing.assert_allclose(residuals.residual(a, b), np.abs(unit[0] - unit[1]), atol=1e-6)
    assert residuals.residual(a, b).dtype == np.float32
    assert residuals.residual(a, 3 * a + 5).max() < 1e-5, "a change of contrast alone is no difference"
    assert np.array_equal(residuals.residual(np.full((3, 3), 7), np.full((3, 3), 9)), np.zeros((3, 3)))


def test_profile_is_flat_without_and_a_hill_at_the_borders_with_seams():
    clean = noise()
    rows, columns = [40, 80], [50, 100]
    flat = residuals.border_profile(clean + noise(seed=5), clean, rows, columns)
    assert flat.shape == (33,)
    assert np.all(np.abs(flat - 100) < 4)
    seamed = clean.copy()
    seamed[78:82] += 60
    seamed[38:42] += 60
    hill = residuals.border_profile(seamed, clean, rows, [])
    np.testing.assert_allclose(hill[16 - 2 : 16 + 2], 60)
    assert hill[:14].max() == 0
    assert hill[18:].max() == 0
    np.testing.assert_allclose(residuals.border_profile(seamed.T, clean.T, [], rows), hill)


@pytest.mark.parametrize(("columns", "unknown"), [([], 33), ([1], 15), ([159], 16)])
def test_profile_at_the_edge_or_without_borders(columns, unknown):
    profile = residuals.border_profile(noise(), noise(), [], columns)
    assert np.isnan(profile).sum() == unknown


def test_worst_border_is_where_the_seam_is():
    clean = noise()
    seamed = clean.copy()
    seamed[70:110, 97:103] += 50
    assert residuals.worst_border(seamed, clean, [], []) is None
    row, column = residuals.worst_border(seamed, clean, [40, 80], [50, 100])
    assert column == 100
    assert 70 <= row < 110
    row, column = residuals.worst_border(seamed.T, clean.T, [50, 100], [40, 80])
    assert row == 100
    assert 70 <= column < 110
