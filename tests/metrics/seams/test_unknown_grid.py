"""The blind comb: false alarms, and the tile size of volumes that do not say it."""

import json

import numpy as np
import pytest
from scipy import stats
from tests.metrics.seams.seam_textures import joined, offsets, texture

from vol2vol.errors import BadInput
from vol2vol.metrics.seams.unknown_grid import _log_tail, comb_test


@pytest.mark.parametrize(("sigma", "skewed"), [(0.6, False), (1.5, False), (3, False), (1.5, True)])
def test_false_alarms_are_five_in_a_hundred(sigma, skewed):
    rng = np.random.default_rng(0)
    reports = [comb_test(texture(rng, (48, 64, 96), sigma, skewed=skewed)) for _ in range(30)]
    p = np.array([row.p for report in reports for row in report.rows])
    assert np.mean(p < 0.05) < 0.09
    assert np.mean([report.verdict == "seams" for report in reports]) < 0.14


@pytest.mark.parametrize("step", [13, 16, 24])
def test_tile_size_and_origin_are_found(step):
    rng = np.random.default_rng(step)
    shape, origin = (128, 144, 160), (3, 0, 7)
    report = comb_test(texture(rng, shape) + 0.4 * offsets(rng, shape, step, origin))
    assert report.verdict == "seams"
    assert [(row.step, row.origin) for row in report.rows] == [(step, o) for o in origin]
    assert all(row.verdict == "seam" and row.p_corrected < 1e-4 and row.statistic > 2 for row in report.rows)


@pytest.mark.parametrize("height", [3, 10])
@pytest.mark.parametrize("step", [13, 50])
def test_strong_seams_in_long_volumes_are_not_taken_for_a_multiple(height, step):
    """Every multiple has a p too small for a float as well."""
    rng = np.random.default_rng(step)
    shape = (1600, 24, 24)
    row = comb_test(texture(rng, shape) + height * offsets(rng, shape, step, (7, 0, 0))).rows[0]
    assert (row.step, row.origin, row.overlap) == (step, 7, 0)
    assert row.p == 0 or row.p < 1e-250


def test_tails_too_small_for_a_float_go_on_where_the_others_end():
    for first, second in ((40.0, 900.0), (400.0, 1500.0), (3.0, 2000.0)):
        values = np.geomspace(2, 1e6, 400)
        tails = np.array([_log_tail(value, first, second) for value in values])
        known = stats.f.sf(values, first, second)
        np.testing.assert_allclose(tails[known > 1e-280], np.log(known[known > 1e-280]))
        assert (known == 0).any()
        slopes = np.diff(tails) / np.diff(np.log(values))
        assert (np.diff(slopes) < 1e-6).all(), "it falls ever faster with the logarithm of F"
        assert slopes[-1] == pytest.approx(-second / 2, rel=1e-2)


@pytest.mark.parametrize(("overlap", "step"), [(4, 24), (6, 32), (8, 50)])
def test_bands_of_averages_are_found_where_they_begin(overlap, step):
    rng = np.random.default_rng(4)
    shape = (600, 32, 32)
    row = comb_test(texture(rng, shape) + np.roll(joined(rng, shape, step, overlap, "flat"), 7, 0)).rows[0]
    assert (row.step, row.origin, row.overlap) == (step, 7, overlap)
    faded = comb_test(texture(rng, shape) + np.roll(joined(rng, shape, step, overlap, "linear"), 7, 0)).rows[0]
    assert faded.step == step
    assert abs(faded.origin + faded.overlap / 2 - 7 - overlap / 2) <= 1
    assert 0 < faded.overlap < overlap + 1


def test_smoothed_planes_are_found_too():
    y = texture(np.random.default_rng(5), (600, 32, 32), 0.6)
    soft = y.copy()
    for p in range(9, 599, 30):
        soft[p - 1 : p + 1] = y[p - 1 : p + 1].mean(0) + 0.7 * (y[p - 1 : p + 1] - y[p - 1 : p + 1].mean(0))
    row = comb_test(soft).rows[0]
    assert (row.step, row.origin, row.overlap) == (30, 9, 0)


def test_given_steps_are_the_only_ones_tried():
    y = texture(np.random.default_rng(1), (128, 128, 128))
    rows = comb_test(y, steps=[10, 20]).rows
    assert {row.tried for row in rows} == {2}
    assert {row.step for row in rows} <= {10, 20}


@pytest.mark.parametrize("shape", [(1, 30, 300), (2, 3, 4), (300, 300)])
def test_short_axes_are_not_tested(shape):
    report = comb_test(np.random.default_rng(2).random(shape))
    for row, size in zip(report.rows, (1, *shape)[-3:], strict=True):
        assert (row.verdict == "not tested") == (size < 37)
        assert row.reason == "" or "are needed" in row.reason
    json.dumps(report.to_dict(), allow_nan=False)


def test_equal_planes_are_no_logarithm():
    report = comb_test(np.zeros((60, 60, 60), np.uint8))
    assert report.verdict == "not tested"
    assert "equal" in report.rows[0].reason


def test_mistakes_are_named():
    with pytest.raises(BadInput, match="at least 2"):
        comb_test(np.zeros((9, 9)), steps=[1])
    with pytest.raises(BadInput, match="NaN"):
        comb_test(np.full((60, 60, 60), np.nan))
